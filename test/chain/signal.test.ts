// The signal that a handler's work waits on: guarded (C3), and for the rest an AbortSignal like any other.
import { once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import { Metadata } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { currentContext, type SecurityContext, securityContext } from "../../src/index.ts";
import { type InvokeOptions, invoke, kinds } from "../harness/kinds.ts";
import { eventually, type SecuredOptions, secured } from "../harness/secured.ts";

type Handlers = NonNullable<SecuredOptions["handlers"]>;

/** Handlers that hang something on the signal and never answer. */
function waiting(listen: (context: SecurityContext) => void): Handlers {
  const handler = (call: { sendMetadata(metadata: Metadata): void }): void => {
    listen(securityContext(call));
    call.sendMetadata(new Metadata());
  };
  return {
    unary: handler,
    clientStream: handler,
    serverStream: handler,
    bidiStream: handler,
  } as unknown as Handlers;
}

/** A caller who cancels once the handler is at work. */
const cancelling: InvokeOptions = { onCall: (call) => call.on("metadata", () => call.cancel()) };

describe.each(kinds)("the signal of a %s call", (kind) => {
  it("C10 tells each listener once, in the call's context, and none that was removed", async () => {
    const heard: string[] = [];
    const contexts: unknown[] = [];
    let context: SecurityContext | undefined;
    await using wall = await secured({
      handlers: waiting((its) => {
        context = its;
        const { signal } = its;
        const twice = (): void => void heard.push("twice");
        const removed = (): void => void heard.push("removed");
        signal.addEventListener("abort", twice);
        signal.addEventListener("abort", twice, { once: true });
        signal.addEventListener("abort", removed);
        signal.removeEventListener("abort", removed);
        signal.onabort = removed;
        signal.onabort = function onabort(this: AbortSignal, event: Event) {
          heard.push(`onabort ${event.type} ${this === signal} ${signal.onabort === onabort}`);
        };
        signal.addEventListener("abort", () => {
          throw new Error("in between");
        });
        signal.addEventListener("abort", () => {
          contexts.push(currentContext());
          heard.push("last");
        });
      }),
    });
    const told = await invoke(wall.client(), kind, { metadata: await wall.authorized(), ...cancelling });
    expect(told.name).toBe("CANCELLED");
    await eventually(() => heard.includes("last"), "the last listener");
    expect(heard).toEqual(["twice", "onabort abort true true", "last"]);
    expect(contexts).toEqual([context]);
    expect(context?.signal.reason).toMatchObject({ name: "AbortError" });
    // At debug: the caller who went away could make a handler's fault fill the log.
    const line = await eventually(
      () => wall.lines.find(({ msg }) => msg === "the handler failed after its call had ended"),
      "a log line",
    );
    expect(JSON.stringify(line)).toContain("in between");
  });

  it("C10 serves what Node builds on it", async () => {
    const ended: string[] = [];
    await using wall = await secured({
      handlers: waiting(({ signal }) => {
        const say =
          (what: string) =>
          (error?: unknown): void =>
            void ended.push(`${what} ${error instanceof Error ? error.name : ""}`);
        wait(60_000, undefined, { signal }).catch(say("timer"));
        once(signal, "abort").then(() => say("once")());
        AbortSignal.any([signal]).addEventListener("abort", () => say("any")());
        fetch(wall.world.issuer.jwksUri, {
          signal,
          method: "POST",
          body: new ReadableStream(),
          duplex: "half",
        } as RequestInit).catch(say("fetch"));
      }),
    });
    await invoke(wall.client(), kind, { metadata: await wall.authorized(), ...cancelling });
    await eventually(() => ended.length === 4, `all four, beyond ${ended.join()}`);
    expect(ended.sort()).toEqual(["any ", "fetch AbortError", "once ", "timer AbortError"]);
  });
});
