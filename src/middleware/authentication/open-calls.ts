// Open calls whose credential may be revoked: when an authenticator says that something changed, each is asked for again.
import { setImmediate } from "node:timers/promises";
import type { CallContext } from "../../chain/context.ts";
import { type Identity, type Principal, principalKey } from "../../chain/principal.ts";
import { isThenable } from "../../chain/thenable.ts";
import { CredentialError } from "../../grpc/errors.ts";
import { describeError } from "../../observability/error-description.ts";
import { LogThrottle } from "../../observability/log-throttle.ts";
import { type Authenticator, subscription } from "./authenticator.ts";

/** What the middleware does with calls. */
export interface OpenCallsOwner {
  /** Asks again whoever tells of changes, about the credential that the call was opened with. */
  identify(call: CallContext): Identity | Promise<Identity>;
  /** The credential is bad now. */
  end(call: CallContext, error: CredentialError): void;
  /** It is good, and may end sooner than it was known to. */
  limit(call: CallContext, identity: Identity): void;
}

/** So many calls are looked at before others have their turn. */
const sliceSize = 256;
/** So many answers are waited for at once. */
const maxWaiting = 32;
/** An answer that takes longer says nothing. */
const answerMs = 5_000;
/** The pause between two looks: ten times as long as a look took, within these bounds, so that changes cost a tenth. */
const pauseMs = { min: 20, max: 2_000 } as const;
/** When calls of which nothing could be said are asked for again: this, and double each time. */
const retryMs = { min: 1_000, max: 30_000 } as const;

export class OpenCalls {
  readonly #owner: OpenCallsOwner;
  readonly #changing: readonly Authenticator[];
  readonly #calls: Map<CallContext, Identity> = new Map();
  readonly #throttle = new LogThrottle({ periodMs: 60_000 });
  #subscriptions: readonly (() => void)[] | undefined = undefined;
  /** Calls that are being authenticated. */
  #pending = 0;
  /** Grows with each change, so that an answer that began before it is known to be old. */
  #changes = 0;
  #looking = false;
  #timer: NodeJS.Timeout | undefined = undefined;
  /** When the timer fires, by the monotonic clock. */
  #dueAt: number = Number.POSITIVE_INFINITY;
  #nextRetryMs: number = retryMs.min;

  constructor(owner: OpenCallsOwner, changing: readonly Authenticator[]) {
    this.#owner = owner;
    this.#changing = changing;
  }

  /** Before a credential is looked at: from here on no change is missed. Throws where an authenticator cannot be listened to. */
  listen(): void {
    if (this.#subscriptions !== undefined) return;
    const subscriptions: (() => void)[] = [];
    this.#subscriptions = subscriptions;
    try {
      for (const authenticator of this.#changing)
        subscriptions.push(subscription(authenticator.onChange?.(() => this.#changed())));
    } catch (error) {
      this.#stopListening();
      throw error;
    }
  }

  /** An answer is waited for, until `settled`. Returns what `add` wants to have back. */
  begin(): number {
    this.#pending += 1;
    return this.#changes;
  }

  settled(): void {
    this.#pending -= 1;
  }

  /** `since`: from `begin`, where an answer was waited for. A change in the meantime may not be in it. */
  add(call: CallContext, identity: Identity, since?: number): void {
    this.#calls.set(call, identity);
    if (since !== undefined && since !== this.#changes) this.#lookIn(pauseMs.min);
  }

  delete(call: CallContext): void {
    this.#calls.delete(call);
  }

  #changed(): void {
    this.#changes += 1;
    // A server that has shut down is not held by a store that others use.
    if (this.#calls.size === 0 && this.#pending === 0) this.#stopListening();
    else this.#lookIn(pauseMs.min);
  }

  #stopListening(): void {
    const subscriptions = this.#subscriptions ?? [];
    this.#subscriptions = undefined;
    for (const end of subscriptions) end();
  }

  #lookIn(ms: number): void {
    const dueAt = performance.now() + ms;
    // Changes that follow one another closely do not put the look off.
    if (this.#looking || this.#dueAt <= dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = dueAt;
    this.#timer = setTimeout(() => void this.#look(), ms).unref();
  }

  /** Does not reject: what one call's authenticator throws is that call's. */
  async #look(): Promise<void> {
    this.#looking = true;
    this.#dueAt = Number.POSITIVE_INFINITY;
    const startedAt = performance.now();
    const changes = this.#changes;
    const undecided = await this.#lookAtAll();
    this.#looking = false;
    if (changes !== this.#changes) {
      const took = performance.now() - startedAt;
      this.#lookIn(Math.min(Math.max(10 * took, pauseMs.min), pauseMs.max));
    } else if (undecided) {
      this.#lookIn(this.#nextRetryMs);
      this.#nextRetryMs = Math.min(2 * this.#nextRetryMs, retryMs.max);
    } else this.#nextRetryMs = retryMs.min;
  }

  /** True where nothing could be said of a call. Calls of other schemes do not wait for a store that is away. */
  async #lookAtAll(): Promise<boolean> {
    const byScheme = new Map<string, [CallContext, Identity][]>();
    for (const entry of this.#calls) {
      const scheme = `${entry[1].principal.scheme} ${entry[1].actor?.scheme}`;
      const calls = byScheme.get(scheme);
      if (calls === undefined) byScheme.set(scheme, [entry]);
      else calls.push(entry);
    }
    const undecided = await Promise.all([...byScheme.values()].map((calls) => this.#lookAt(calls)));
    return undecided.includes(true);
  }

  async #lookAt(calls: readonly (readonly [CallContext, Identity])[]): Promise<boolean> {
    const waiting = new Set<Promise<void>>();
    let undecided = false;
    let silent = false;
    let looked = 0;
    const failed = (call: CallContext, before: Identity, error: unknown): void => {
      if (!this.#failed(call, error)) return;
      undecided = true;
      if (!(error instanceof NoAnswer)) return;
      silent = true;
      // Behind the others, so that the next look does not wait for the same calls first.
      if (this.#calls.delete(call)) this.#calls.set(call, before);
    };
    for (const [call, before] of calls) {
      // It may have ended meanwhile.
      if (this.#calls.get(call) !== before) continue;
      looked += 1;
      if (looked % sliceSize === 0) await setImmediate();
      try {
        const now = this.#owner.identify(call);
        if (!isThenable(now)) {
          this.#decide(call, before, now);
          continue;
        }
        const answered = inTime(now)
          .then((identity) => this.#decide(call, before, identity))
          .catch((error: unknown) => failed(call, before, error))
          .finally(() => waiting.delete(answered));
        waiting.add(answered);
      } catch (error) {
        failed(call, before, error);
      }
      if (waiting.size >= maxWaiting) await Promise.race(waiting);
      // A store that does not answer is asked for the others later.
      if (silent) break;
    }
    await Promise.all(waiting);
    return undecided;
  }

  #decide(call: CallContext, before: Identity, now: Identity): void {
    if (!this.#calls.has(call)) return;
    if (isSame(before.principal, now.principal) && isSame(before.actor, now.actor)) {
      this.#owner.limit(call, now);
      return;
    }
    this.#end(
      call,
      new CredentialError("invalid", "the credential that opened the call is now another caller's"),
    );
  }

  /** True where the failure says nothing of the credential. */
  #failed(call: CallContext, error: unknown): boolean {
    if (error instanceof CredentialError) {
      // What was there when the call was opened is not missing.
      const isGone = error.problem === "missing";
      this.#end(call, isGone ? new CredentialError("invalid", error.message, { cause: error }) : error);
      return false;
    }
    const leftOut = this.#throttle.admit("undecided");
    if (leftOut !== undefined)
      call.log.warn(
        { err: describeError(error), left_out: leftOut },
        "whether open calls may go on cannot be told now; they go on, and are asked for again",
      );
    return true;
  }

  #end(call: CallContext, error: CredentialError): void {
    if (!this.#calls.delete(call)) return;
    this.#owner.end(call, error);
  }
}

function isSame(before: Principal | undefined, now: Principal | undefined): boolean {
  if (before === undefined || now === undefined) return before === now;
  return principalKey(before) === principalKey(now);
}

class NoAnswer extends Error {}

async function inTime(answer: Promise<Identity>): Promise<Identity> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new NoAnswer(`no answer in ${answerMs} ms`)), answerMs).unref();
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
