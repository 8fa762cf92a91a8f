// Decisions that need not be asked for again, by the digest of their whole input; and those that are being asked for, so that
// calls that are alike share one request.
import { createHash } from "node:crypto";
import type { Decision } from "../middleware/authorization/authorizer.ts";

export interface DecisionCacheOptions {
  readonly maxEntries: number;
  readonly maxAgeMs: number;
}

export class DecisionCache {
  readonly #maxEntries: number;
  readonly #maxAgeMs: number;
  /** In the order in which they came: the oldest leaves when there is no room. */
  readonly #known: Map<string, { readonly decision: Decision; readonly askedAt: number }> = new Map();
  /** Not more than run and wait in the queue. */
  readonly #pending: Map<string, Promise<Decision>> = new Map();

  constructor({ maxEntries, maxAgeMs }: DecisionCacheOptions) {
    this.#maxEntries = maxEntries;
    this.#maxAgeMs = maxAgeMs;
  }

  /** What is known of this input, else what `ask` answers. A failure is not kept. */
  get(input: string, ask: () => Promise<Decision>): Decision | Promise<Decision> {
    const key = createHash("sha256").update(input).digest("base64");
    const known = this.#known.get(key);
    // By the monotonic clock, from the request on: what changed at OPA later is not in the answer.
    if (known !== undefined && performance.now() - known.askedAt < this.#maxAgeMs) return known.decision;
    const underWay = this.#pending.get(key);
    if (underWay !== undefined) return underWay;
    const askedAt = performance.now();
    const asked = ask()
      .then((decision) => {
        this.#keep(key, decision, askedAt);
        return decision;
      })
      .finally(() => this.#pending.delete(key));
    this.#pending.set(key, asked);
    return asked;
  }

  #keep(key: string, decision: Decision, askedAt: number): void {
    this.#known.delete(key);
    const [oldest] = this.#known.keys();
    if (oldest !== undefined && this.#known.size >= this.#maxEntries) this.#known.delete(oldest);
    this.#known.set(key, { decision, askedAt });
  }
}
