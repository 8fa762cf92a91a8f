// A token that has to be fetched: held while it is valid, renewed before it ends, fetched once however many calls wait.
import { status } from "@grpc/grpc-js";
import { StatusError } from "../grpc/errors.ts";
import { secretProblem } from "./secret-text.ts";

/** What a fetch gives. */
export interface FetchedToken {
  readonly token: string;
  /** How long it is valid from now, in milliseconds. Undefined: it is not known. */
  readonly lifeMs: number | undefined;
}

/**
 * Why there is no token. Its message is shown in the errors of calls and in the log: it holds no text that somebody else
 * wrote, and no part of a token or a secret.
 */
export class TokenFailure extends Error {
  override readonly name: string = "TokenFailure";
  /** How long the one that was asked wants to be left alone, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** The code of the calls that it ends. */
  readonly code: status;

  constructor(message: string, options: { readonly retryAfterMs?: number | undefined; code?: status } = {}) {
    super(message);
    this.retryAfterMs = options.retryAfterMs;
    this.code = options.code ?? status.UNAVAILABLE;
  }
}

export interface RenewedTokenOptions {
  /** Fetches a token. It should end when `signal` aborts; it is not waited for any longer in any case. */
  fetch(signal: AbortSignal): Promise<FetchedToken>;
  /** How long one fetch may take, in milliseconds. */
  readonly timeoutMs: number;
  /** Told of each fetch that fails, those that no call waits for included. */
  onFailure(failure: TokenFailure): void;
  /** How long before its end a token is renewed at the latest, in milliseconds, where it is valid for long enough. Default: 60,000. */
  readonly renewBeforeMs?: number;
  /** For tests. */
  readonly clock?: () => Instant;
  readonly random?: () => number;
}

/** The wall clock goes on while a machine sleeps, the other one is not set back. */
export interface Instant {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

/** A token without a lifetime of its own is fetched again after this long. */
const assumedLifeMs = 300_000;
/** However long a token says that it is valid: a client secret that was revoked should be noticed some day. */
const maxLifeMs = 86_400_000;
/** A server's clock may be ahead, and a call needs time to get there (gRFC A97). */
const clockSkewMs = 30_000;
/** What is asked to be renewed again so soon was refused for another reason than its age. */
const minRenewalIntervalMs = 10_000;

/** As gRPC's connection backoff has it. */
const firstBackoffMs = 1_000;
const maxBackoffMs = 120_000;
const backoffFactor = 1.6;
const backoffJitter = 0.2;

interface Held {
  readonly token: string;
  readonly since: Instant;
  /** Of its life: when a new one is fetched, and until when it is sent. */
  readonly renewAfterMs: number;
  readonly usableMs: number;
  /** Somebody refused it. */
  refused: boolean;
}

interface Failed {
  readonly failure: TokenFailure;
  readonly since: Instant;
  readonly waitMs: number;
}

/**
 * Nothing runs while no call is made: a call that finds a token near its end starts the renewal, and uses the old one. After
 * a failure nothing is fetched for a while, each time longer; calls use the old token while it is valid, and end with
 * the failure where there is none.
 */
export class RenewedToken {
  readonly #options: RenewedTokenOptions;
  readonly #clock: () => Instant;
  readonly #random: () => number;
  #held: Held | undefined = undefined;
  #failed: Failed | undefined = undefined;
  #failures = 0;
  #fetching: Promise<string> | undefined = undefined;

  constructor(options: RenewedTokenOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
  }

  /** The token, at once where there is one. Rejects with a `StatusError`: UNAVAILABLE, or what the failure says. */
  get(): string | Promise<string> {
    const held = this.#held;
    const age = held === undefined ? 0 : this.#elapsed(held.since);
    if (held === undefined || age >= held.usableMs) return this.#fetched();
    if (held.refused) return this.#fetchedInsteadOf(held);
    if (age >= held.renewAfterMs && this.#mayFetch()) this.#fetch().catch(() => {});
    return held.token;
  }

  /** The next call fetches a token, and uses the old one only where that fails. Not more often than every 10 seconds. */
  renew(): void {
    const held = this.#held;
    if (held === undefined || this.#elapsed(held.since) < Math.min(minRenewalIntervalMs, held.usableMs / 2))
      return;
    held.refused = true;
  }

  /** Is there a token that has not expired? */
  get isUsable(): boolean {
    return this.#held !== undefined && this.#elapsed(this.#held.since) < this.#held.usableMs;
  }

  async #fetchedInsteadOf({ token }: Held): Promise<string> {
    try {
      return await this.#fetched();
    } catch {
      // Better than none: the one that refused it may be wrong, and decides again.
      return token;
    }
  }

  #fetched(): Promise<string> {
    if (this.#fetching !== undefined) return this.#fetching;
    if (this.#failed !== undefined && !this.#mayFetch())
      return Promise.reject(asStatus(this.#failed.failure));
    return this.#fetch();
  }

  #mayFetch(): boolean {
    if (this.#fetching !== undefined) return false;
    return this.#failed === undefined || this.#elapsed(this.#failed.since) >= this.#failed.waitMs;
  }

  #fetch(): Promise<string> {
    this.#fetching = this.#fetchInTime()
      .then(
        (fetched) => this.#hold(fetched),
        (error: unknown) => this.#fail(error),
      )
      .finally(() => {
        this.#fetching = undefined;
      });
    return this.#fetching;
  }

  #fetchInTime(): Promise<FetchedToken> {
    const { timeoutMs } = this.#options;
    const abort = new AbortController();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new TokenFailure(`no answer within ${timeoutMs} ms`));
        abort.abort();
      }, timeoutMs);
      // In a microtask, so that a throw is a rejection.
      Promise.resolve(abort.signal)
        .then((signal) => this.#options.fetch(signal))
        .then(resolve, reject)
        .finally(() => clearTimeout(timer));
    });
  }

  #hold({ token, lifeMs }: FetchedToken): string {
    const problem = secretProblem(token);
    if (problem !== undefined) return this.#fail(new TokenFailure(`the token ${problem}`));
    const life = Math.min(lifeMs ?? assumedLifeMs, maxLifeMs);
    if (!(life > 0)) return this.#fail(new TokenFailure("the token has expired already"));
    const { renewBeforeMs = 60_000 } = this.#options;
    const usableMs = life - Math.min(clockSkewMs, life / 10);
    // At 80 % of its life, and early enough; a short one not before half of it. Instances that started together spread out.
    const latest = Math.max(life / 2, Math.min(0.8 * life, life - renewBeforeMs));
    this.#held = {
      token,
      since: this.#clock(),
      renewAfterMs: latest - 0.1 * life * this.#random(),
      usableMs,
      refused: false,
    };
    this.#failed = undefined;
    this.#failures = 0;
    return token;
  }

  #fail(error: unknown): never {
    const failure = error instanceof TokenFailure ? error : new TokenFailure(kindOf(error));
    const exponential = Math.min(firstBackoffMs * backoffFactor ** this.#failures, maxBackoffMs);
    const jittered = exponential * (1 + backoffJitter * (2 * this.#random() - 1));
    this.#failures += 1;
    this.#failed = {
      failure,
      since: this.#clock(),
      waitMs: Math.max(jittered, Math.min(failure.retryAfterMs ?? 0, maxBackoffMs)),
    };
    this.#options.onFailure(failure);
    throw asStatus(failure);
  }

  #elapsed(since: Instant): number {
    const now = this.#clock();
    return Math.max(now.wallMs - since.wallMs, now.monotonicMs - since.monotonicMs);
  }
}

function asStatus(failure: TokenFailure): StatusError {
  return new StatusError(failure.code, `no token: ${failure.message}`, { cause: failure });
}

/** The kind of an error, never its text: that may quote what was sent. */
export function kindOf(error: unknown): string {
  for (let each = error, depth = 0; each instanceof Error && depth < 5; each = each.cause, depth += 1) {
    const code = "code" in each ? each.code : undefined;
    if (typeof code === "string" && /^[A-Z][A-Z0-9_]{1,40}$/.test(code)) return `it failed (${code})`;
  }
  return "it failed";
}

function systemClock(): Instant {
  return { wallMs: Date.now(), monotonicMs: performance.now() };
}
