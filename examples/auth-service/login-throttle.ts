// How often somebody may try to sign in: wrong passwords of one address for one account are counted.
import { createHash } from "node:crypto";
import { status } from "@grpc/grpc-js";
import { currentContext, type RateLimitStore, StatusError } from "grpc-palisade";

/** Another address may still try: nobody is locked out by what others send. */
const wrong = { points: 5, durationSec: 60, blockDurationSec: 60 } as const;

export const invalidCredentials = (): StatusError =>
  new StatusError(status.UNAUTHENTICATED, "Invalid credentials");

export class LoginThrottle {
  readonly #limits: RateLimitStore;
  /** Tries of one address for one account wait for each other: sent at once, they are counted all the same. */
  readonly #last: Map<string, Promise<unknown>> = new Map();

  constructor(limits: RateLimitStore) {
    this.#limits = limits;
  }

  /** What `attempt` answers; a try that answers with nothing is a wrong one. */
  async try<T>(email: string, attempt: () => Promise<T | undefined>): Promise<T> {
    const account = createHash("sha256").update(email.toLowerCase()).digest("base64url");
    const key = `login:${currentContext()?.peer.address ?? ""}:${account}`;
    const before = this.#last.get(key);
    const own = (async () => {
      // Its failure was its caller's.
      await before?.catch(() => undefined);
      return this.#try(key, attempt);
    })();
    this.#last.set(key, own);
    try {
      return await own;
    } finally {
      if (this.#last.get(key) === own) this.#last.delete(key);
    }
  }

  async #try<T>(key: string, attempt: () => Promise<T | undefined>): Promise<T> {
    const { allowed, remaining } = await this.#limits.consume(key, 0, wrong);
    if (!allowed || remaining === 0)
      throw new StatusError(status.RESOURCE_EXHAUSTED, "Too many attempts, try again later");
    const answer = await attempt();
    if (answer !== undefined) return answer;
    await this.#limits.consume(key, 1, wrong);
    throw invalidCredentials();
  }
}
