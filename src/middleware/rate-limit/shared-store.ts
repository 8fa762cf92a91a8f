/**
 * Asks the store that instances share, and tells when this process has to decide by itself.
 *
 * A store that fails is not asked for a while: else each call would wait for its time limit. Then one call asks it again,
 * and when that is answered all do.
 */
import type { CallContext } from "../../chain/context.ts";
import { isThenable } from "../../chain/thenable.ts";
import { describeError } from "../../observability/error-description.ts";
import { observed } from "../../observability/instruments.ts";
import { LogThrottle } from "../../observability/log-throttle.ts";
import type { RateLimit, RateLimitResult, RateLimitStore } from "./rate-limit-store.ts";

/** How long a store that failed is not asked. */
const pauseMs = 1_000;

const requests = observed("counter", "palisade.rate_limit.store.requests", {
  unit: "{request}",
  description: "Decisions of rate limits by what made them: the shared store, or this process in its place",
});
const answered = requests({ "palisade.result": "answered" });
const failed = requests({ "palisade.result": "failed" });
const skipped = requests({ "palisade.result": "skipped" });
const fromMemory = requests({ "palisade.result": "from_memory" });

const away = observed("up-down counter", "palisade.rate_limit.store.away", {
  unit: "{store}",
  description: "Shared stores of rate limits that do not answer now",
})({});

/** A key that the store refused before is refused without asking it again. */
export function countRefusedFromMemory(): void {
  fromMemory.value += 1;
}

/** Undefined: the store cannot tell, and the process decides. */
export type SharedAnswer = RateLimitResult | undefined;

export class SharedStore {
  readonly #store: RateLimitStore;
  readonly #lines: LogThrottle = new LogThrottle();
  #isAway = false;
  #askAgainAt = 0;
  /** Decisions of this process since the store went away. */
  #decidedHere = 0;

  constructor(store: RateLimitStore) {
    this.#store = store;
  }

  /** Never throws and never rejects. */
  consume(
    key: string,
    cost: number,
    limit: RateLimit,
    call: CallContext,
  ): SharedAnswer | Promise<SharedAnswer> {
    // An answer to what was asked before the store failed says nothing of the time since.
    const take = this.#isAway ? this.#takeProbe : this.#take;
    if (this.#isAway && !this.#mayProbe(cost)) {
      skipped.value += 1;
      this.#decidedHere += 1;
      return undefined;
    }
    let answer: RateLimitResult | Promise<RateLimitResult>;
    try {
      answer = this.#store.consume(key, cost, limit);
    } catch (error) {
      return this.#fail(error, call);
    }
    if (!isThenable(answer)) return take(answer, call);
    return answer.then(
      (result) => take(result, call),
      (error: unknown) => this.#fail(error, call),
    );
  }

  /** A question that takes nothing says little: a store without room for more still answers it. */
  #mayProbe(cost: number): boolean {
    const now = performance.now();
    if (cost === 0 || now < this.#askAgainAt) return false;
    this.#askAgainAt = now + pauseMs;
    return true;
  }

  readonly #take = (result: RateLimitResult, call: CallContext): SharedAnswer => {
    if (!isResult(result)) return this.#fail(new TypeError("the store returned no RateLimitResult"), call);
    answered.value += 1;
    return result;
  };

  readonly #takeProbe = (result: RateLimitResult, call: CallContext): SharedAnswer => {
    const taken = this.#take(result, call);
    if (taken !== undefined && this.#isAway) this.#comeBack(call);
    return taken;
  };

  #fail(error: unknown, call: CallContext): undefined {
    failed.value += 1;
    this.#decidedHere += 1;
    this.#askAgainAt = performance.now() + pauseMs;
    if (this.#isAway) return undefined;
    this.#isAway = true;
    away.value += 1;
    const leftOut = this.#lines.admit("away");
    if (leftOut !== undefined)
      call.log.warn(
        { err: describeError(error, { stack: false }), left_out: leftOut },
        "the rate limit store does not answer; until it does, this process counts in its own memory",
      );
    return undefined;
  }

  #comeBack(call: CallContext): void {
    this.#isAway = false;
    away.value -= 1;
    const leftOut = this.#lines.admit("back");
    if (leftOut !== undefined)
      call.log.info(
        { decided_in_process: this.#decidedHere, left_out: leftOut },
        "the rate limit store answers again",
      );
    this.#decidedHere = 0;
  }
}

/** A store is other people's code, and what it answers may have any type. */
function isResult(
  result: { readonly [Field in keyof RateLimitResult]?: unknown } | null | undefined,
): boolean {
  return typeof result?.allowed === "boolean" && isCount(result.remaining) && isCount(result.retryAfterMs);
}

function isCount(value: unknown): boolean {
  return typeof value === "number" && value >= 0 && Number.isFinite(value);
}
