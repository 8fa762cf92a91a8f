// The policy in force follows its authorizer: where that says that it changed, the policy is compiled anew and taken over whole.
import type { Logger } from "pino";
import { SecondLook } from "../config/second-look.ts";
import type { PolicyHolder } from "../middleware/authorization/authorization.ts";
import type { Authorizer, Policy } from "../middleware/authorization/authorizer.ts";

export interface ChangingPolicyOptions {
  readonly holder: PolicyHolder;
  /** Throws where the policy cannot be used. */
  readonly compile: (authorizer: Authorizer) => Policy;
  readonly logger: Logger;
}

export class ChangingPolicy {
  readonly #options: ChangingPolicyOptions;
  #authorizer: Authorizer | undefined = undefined;
  #stop: (() => void) | undefined = undefined;
  readonly #look: SecondLook = new SecondLook({
    takeOver: () => this.#takeOver(),
    onProblem: (problem) =>
      this.#say(
        "error",
        { problem },
        "the changed authorization policy cannot be used; the last good one stays in force",
      ),
  });

  constructor(options: ChangingPolicyOptions) {
    this.#options = options;
  }

  /** Throws where its policy cannot be used; the one before stays in force then. */
  use(authorizer: Authorizer): void {
    const policy = this.#options.compile(authorizer);
    const stop = authorizer.onChange?.(() => this.#look.look());
    this.#options.holder.replace(policy);
    this.#unfollow();
    this.#authorizer = authorizer;
    this.#stop = stop;
  }

  close(): void {
    this.#authorizer = undefined;
    this.#unfollow();
  }

  #unfollow(): void {
    this.#look.stop();
    try {
      this.#stop?.();
    } catch (error) {
      this.#say(
        "warn",
        { err: error },
        "an authorizer could not be told that its policy is not used any more",
      );
    }
    this.#stop = undefined;
  }

  #takeOver(): string | undefined {
    const authorizer = this.#authorizer;
    if (authorizer === undefined) return undefined;
    try {
      this.#options.holder.replace(this.#options.compile(authorizer));
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    this.#say(
      "info",
      { authorizer: authorizer.name },
      "the authorization policy changed; the new one is in force",
    );
    return undefined;
  }

  /** This runs in timers: a logger that throws must not end the process. */
  #say(level: "info" | "warn" | "error", facts: Readonly<Record<string, unknown>>, message: string): void {
    try {
      this.#options.logger[level](facts, message);
    } catch {
      // Nobody is left to be told.
    }
  }
}
