// Handlers that can never answer, or answer with nothing: INTERNAL at once, with what to do in the log (C4), and no handler
// that calls back later is taken for one.
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { MethodKind } from "../../src/call/method.ts";
import { goodHandlers, invoke } from "../harness/kinds.ts";
import { type Secured, type SecuredOptions, secured } from "../harness/secured.ts";

type Callback = (error: null, value: unknown) => void;

const answering: readonly MethodKind[] = ["unary", "client_stream"];
const answer = { text: "answer" };

function withHandler(handler: unknown, how: Partial<SecuredOptions> = {}): Promise<Secured> {
  const handlers = { ...goodHandlers(), unary: handler, clientStream: handler };
  return secured({ handlers: handlers as unknown as UntypedServiceImplementation, ...how });
}

const later = (callback: Callback): NodeJS.Immediate => setImmediate(() => callback(null, answer));

const nothing: Readonly<Record<string, unknown>> = {
  "async () => {}": async () => {},
  "async function () {}": async function handler() {},
  "a method async unary() {}": { async unary() {} }.unary,
  "() => a value, which is no promise": () => answer,
  "function () { return a value }": function handler() {
    return answer;
  },
  "() => a promise of nothing": () => Promise.resolve(),
};

const calledBack: Readonly<Record<string, unknown>> = {
  "(call, callback)": (_call: unknown, callback: Callback) => void later(callback),
  "async (call, callback), which calls back after its promise": async (
    _call: unknown,
    callback: Callback,
  ) => {
    later(callback);
  },
  "(...args), which passes them on": (...args: [unknown, Callback]) => void later(args[1]),
  "async (...args), which passes them on": async (...args: [unknown, Callback]) => {
    later(args[1]);
  },
  "async function (), which reads its arguments": async function handler() {
    // biome-ignore lint/complexity/noArguments: what is tested
    later(arguments[1] as Callback);
  },
  "async (call = {}, callback)": async (_call: unknown = {}, callback?: Callback) => {
    if (callback !== undefined) later(callback);
  },
  "a bound (...args)": ((...args: [unknown, Callback]) => void later(args[1])).bind(undefined),
  "async () => its answer": async () => answer,
  "() => a promise": () => Promise.resolve(answer),
};

describe("a handler that takes nothing", () => {
  for (const kind of answering) {
    it.each(Object.entries(nothing))(
      `C4 ${kind}: %s is INTERNAL at once, and the log says what to do`,
      async (_how, handler) => {
        await using wall = await withHandler(handler);
        const result = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
        expect(result).toMatchObject({ name: "INTERNAL", details: expect.stringMatching(/^internal error/) });
        expect(JSON.stringify(await wall.callLine(() => true))).toMatch(
          /answered with nothing; return its answer from an async handler|returned a value, and not a promise of it; make it async/,
        );
      },
    );

    it.each(Object.entries(calledBack))(`C4 ${kind}: %s answers`, async (_how, handler) => {
      await using wall = await withHandler(handler);
      const result = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
      expect(result).toMatchObject({ name: "OK" });
    });
  }

  it("C4 its throw is told, and nothing else", async () => {
    await using wall = await withHandler(() => {
      throw new Error("out of stock");
    });
    const result = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(result).toMatchObject({ name: "INTERNAL" });
    expect(JSON.stringify(wall.lines)).toContain("out of stock");
    expect(JSON.stringify(wall.lines)).not.toContain("make it async");
  });
});

describe("a handler that answers with nothing", () => {
  it.each<readonly [string, unknown]>([
    ["async (call) => {}", async (_call: unknown) => {}],
    ["callback(null, undefined)", (_call: unknown, callback: Callback) => callback(null, undefined)],
    ["callback(null, null)", (_call: unknown, callback: Callback) => callback(null, null)],
  ])("C4 %s is INTERNAL, and the log says what to do", async (_how, handler) => {
    await using wall = await withHandler(handler);
    const result = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(result).toMatchObject({ name: "INTERNAL" });
    expect(JSON.stringify(await wall.callLine(() => true))).toContain(
      "the handler answered with nothing; return its answer from an async handler, or give it to callback(null, answer)",
    );
  });
});
