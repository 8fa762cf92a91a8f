// A call whose credentials a server refused as expired is made once more, with new ones, where nothing of it can have been done.
import { type CallCredentials, type Metadata, type StatusObject, status } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { texts } from "../grpc/status.ts";
import { LazyInstruments } from "../observability/instruments.ts";
import { LogThrottle } from "../observability/log-throttle.ts";
import { type CallListener, type ChannelCall, DelegatingCall, type SentMessage } from "./channel-call.ts";
import type { OnCredentialFailure } from "./credential-failures.ts";
import type { CredentialSource } from "./credential-source.ts";

const instruments = new LazyInstruments((meter) => ({
  renewals: meter.createCounter("palisade.credential.renewals", {
    unit: "{renewal}",
    description: "Credentials of a client that were renewed because a server refused them as expired",
  }),
}));

/** What is refused again so soon is not refused for its age: nothing is renewed, and no call is made again. */
const minIntervalMs = 1_000;

export interface RenewalsOptions {
  readonly target: string;
  readonly logger: Logger | false | undefined;
  readonly metrics: boolean;
  readonly onFailure: OnCredentialFailure;
}

/** The sources of one client that can be renewed. However many calls are refused together, they are renewed once. */
export class Renewals {
  readonly #sources: readonly CredentialSource[];
  readonly #options: RenewalsOptions;
  readonly #throttle = new LogThrottle();
  #count = 0;
  #renewedAt = Number.NEGATIVE_INFINITY;

  constructor(sources: readonly CredentialSource[], options: RenewalsOptions) {
    this.#sources = sources;
    this.#options = options;
  }

  /** How often they were renewed. A call remembers what it was when it began. */
  get count(): number {
    return this.#count;
  }

  /** Renews them, unless that was done since `before`. True where a call that began then should be made again. */
  renew(before: number): boolean {
    if (before !== this.#count) return true;
    const now = performance.now();
    if (now - this.#renewedAt < minIntervalMs) return false;
    this.#renewedAt = now;
    for (const source of this.#sources) {
      try {
        source.renew?.();
      } catch (error) {
        this.#options.onFailure(source.name, error);
        return false;
      }
    }
    this.#count += 1;
    this.#tell();
    return true;
  }

  #tell(): void {
    const { target, logger, metrics } = this.#options;
    if (metrics) instruments.use(({ renewals }) => renewals.add(1, { "grpc.target": target }));
    if (logger === undefined || logger === false) return;
    const leftOut = this.#throttle.admit(target);
    if (leftOut === undefined) return;
    try {
      logger.info(
        { target, left_out: leftOut },
        "a server refused the credentials as expired; they are renewed",
      );
    } catch {
      // A logger that throws must not end the call in another way.
    }
  }
}

/** Undefined where no source can be renewed. */
export function renewalsOf(
  sources: readonly CredentialSource[],
  options: RenewalsOptions,
): Renewals | undefined {
  const renewable = sources.filter((source) => typeof source.renew === "function");
  return renewable.length === 0 ? undefined : new Renewals(renewable, options);
}

/**
 * Holds what was sent until something is answered, one message at most. It is made again at most once, and only where it was
 * refused UNAUTHENTICATED `expired credentials` before anything was answered, the server does not forbid it (gRFC A6,
 * `grpc-retry-pushback-ms`), and all that was sent is at hand: no message, or the only one of a request that has ended.
 * Deadline, cancellation and the credentials of the call stay.
 */
export class RenewableCall extends DelegatingCall {
  readonly #create: () => ChannelCall;
  readonly #renewals: Renewals;
  readonly #before: number;
  #credentials: CallCredentials | undefined = undefined;
  #start: { readonly metadata: Metadata; readonly listener: CallListener } | undefined = undefined;
  #held: SentMessage | undefined = undefined;
  #messages = 0;
  #requestEnded = false;
  #reads = false;
  /** It was answered, cancelled or made again: it stays as it is. */
  #settled = false;

  constructor(create: () => ChannelCall, renewals: Renewals) {
    super(create());
    this.#create = create;
    this.#renewals = renewals;
    this.#before = renewals.count;
  }

  override setCredentials(credentials: CallCredentials): void {
    this.#credentials = credentials;
    super.setCredentials(credentials);
  }

  override start(metadata: Metadata, listener: CallListener): void {
    // A copy: who made the call may change its own by the time it is made again.
    this.#start = { metadata: metadata.clone(), listener };
    super.start(metadata, {
      onReceiveMetadata: (headers) => {
        this.#settle();
        listener.onReceiveMetadata(headers);
      },
      onReceiveMessage: (message) => {
        this.#settle();
        listener.onReceiveMessage(message);
      },
      onReceiveStatus: (ended) => {
        if (!this.#isRefusedUndone(ended) || !this.#makeAgain()) listener.onReceiveStatus(ended);
      },
    });
  }

  override sendMessageWithContext(...[how, message]: SentMessage): void {
    this.#messages += 1;
    const sent: SentMessage = [atMostOnce(how), message];
    this.#held = this.#settled || this.#messages > 1 ? undefined : sent;
    super.sendMessageWithContext(...sent);
  }

  override startRead(): void {
    this.#reads = true;
    super.startRead();
  }

  override halfClose(): void {
    this.#requestEnded = true;
    super.halfClose();
  }

  override cancelWithStatus(...how: Parameters<ChannelCall["cancelWithStatus"]>): void {
    this.#settle();
    super.cancelWithStatus(...how);
  }

  #settle(): void {
    this.#settled = true;
    this.#held = undefined;
    this.#start = undefined;
  }

  #isRefusedUndone({ code, details, metadata }: StatusObject): boolean {
    if (this.#settled || code !== status.UNAUTHENTICATED || details !== texts.expiredCredentials)
      return false;
    if (metadata.get("grpc-retry-pushback-ms").length > 0) return false;
    return this.#messages === 0 || (this.#held !== undefined && this.#requestEnded);
  }

  #makeAgain(): boolean {
    const started = this.#start;
    const held = this.#held;
    if (started === undefined || !this.#renewals.renew(this.#before)) return false;
    this.#settle();
    try {
      this.call = this.#create();
    } catch {
      // The client was closed: the refusal is the answer.
      return false;
    }
    if (this.#credentials !== undefined) this.call.setCredentials(this.#credentials);
    this.call.start(started.metadata, started.listener);
    if (this.#reads) this.call.startRead();
    if (held !== undefined) this.call.sendMessageWithContext(...held);
    if (this.#requestEnded) this.call.halfClose();
    return true;
  }
}

/** The message may be sent twice; who wrote it hears of it once. */
function atMostOnce(how: SentMessage[0]): SentMessage[0] {
  const { callback } = how;
  if (callback === undefined) return how;
  let told = false;
  return {
    ...how,
    callback(error) {
      if (told) return;
      told = true;
      callback(error);
    },
  };
}
