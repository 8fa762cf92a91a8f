/**
 * Asks the hooks of a call's middleware, one after the other, and waits for those that answer later. What only observes is
 * not waited for, and its failures affect nothing.
 */
import { status } from "@grpc/grpc-js";
import { StatusError } from "../grpc/errors.ts";
import { texts } from "../grpc/status.ts";
import type { Call } from "./context.ts";
import type { Middleware } from "./middleware.ts";
import { isThenable } from "./thenable.ts";

/** A call is checking until every `onCall` hook said yes, then open while messages pass, then ended. */
export type Phase = "checking" | "open" | "ended";

export interface CheckedCall {
  readonly phase: Phase;
  readonly context: Call;
  /** A hook threw, rejected, or did not answer in time. */
  refuse(middleware: Middleware, error: unknown): void;
  /** A middleware that only observes failed. */
  reportObserver(middleware: Middleware, error: unknown): void;
  /** From now on the call waits for somebody else. */
  onWaiting(): void;
}

export interface Question {
  hook(middleware: Middleware, call: Call, message: unknown): void | Promise<void>;
  /**
   * After one that was waited for all are asked anew: between their word and what it allows nothing may be waited for.
   * Otherwise the next one is asked.
   */
  readonly asksAnew: boolean;
}

export const onCall: Question = { hook: (middleware, call) => middleware.onCall?.(call), asksAnew: false };
export const onRequest: Question = {
  hook: (middleware, call, message) => middleware.onRequest?.(message, call),
  asksAnew: false,
};
export const confirm: Question = { hook: (middleware, call) => middleware.confirm?.(call), asksAnew: true };

export class Checks {
  readonly #call: CheckedCall;
  #timer: NodeJS.Timeout | undefined = undefined;
  /** How many were asked for `onCall`: those hear the end too. */
  entered = 0;

  constructor(call: CheckedCall) {
    this.#call = call;
  }

  /** `passed` is called once all have said yes, at once where none has to be waited for. */
  ask(
    question: Question,
    chain: readonly Middleware[],
    timeoutMs: number,
    passed: (message: unknown) => void,
    message?: unknown,
    from = 0,
  ): void {
    const call = this.#call;
    for (let i = from; i < chain.length; i++) {
      const middleware = chain[i] as Middleware;
      if (question === onCall) this.entered = i + 1;
      let answer: void | Promise<void>;
      try {
        answer = question.hook(middleware, call.context, message);
      } catch (error) {
        if (middleware.observes === true) {
          call.reportObserver(middleware, error);
          continue;
        }
        call.refuse(middleware, error);
        return;
      }
      if (!isThenable(answer)) continue;
      if (middleware.observes === true) {
        answer.then(undefined, (error: unknown) => call.reportObserver(middleware, error));
        continue;
      }
      const next = question.asksAnew ? 0 : i + 1;
      this.#wait(answer, middleware, timeoutMs, () =>
        this.ask(question, chain, timeoutMs, passed, message, next),
      );
      return;
    }
    passed(message);
  }

  /** Waits for a hook, at most `timeoutMs`. An answer that comes after the call ended is dropped. */
  #wait(answer: Promise<void>, middleware: Middleware, timeoutMs: number, goOn: () => void): void {
    const call = this.#call;
    const { phase } = call;
    call.onWaiting();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      call.refuse(
        middleware,
        new StatusError(status.UNAVAILABLE, texts.temporarilyUnavailable, {
          cause: new Error(`${middleware.name} did not answer within ${timeoutMs} ms`),
        }),
      );
    }, /* protection: check-timeout */ timeoutMs);
    answer.then(
      () => {
        if (/* protection: late-answers */ call.phase !== phase) return;
        clearTimeout(this.#timer);
        goOn();
      },
      (error: unknown) => {
        if (call.phase === phase) call.refuse(middleware, error);
      },
    );
  }

  /** The call ended: nothing is waited for any more. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}
