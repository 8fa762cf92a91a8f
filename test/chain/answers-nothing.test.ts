// Handlers that answer with nothing: INTERNAL at once, or the deadline where they may still call back, with what to do in the
// log (C4); and no handler that calls back later is taken for one.
import { status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { MethodKind } from "../../src/grpc/method.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import {
  type AnyClientCall,
  goodHandlers,
  type InvokeOptions,
  invoke,
  kinds,
  paths,
} from "../harness/kinds.ts";
import { type LogLine, type Secured, type SecuredOptions, secured } from "../harness/secured.ts";
import { withTimeEnough } from "../harness/time.ts";

type Callback = (error: null, value: unknown) => void;

const answering: readonly MethodKind[] = ["unary", "client_stream"];
const answer = { text: "answer" };

function withHandler(handler: unknown, how: Partial<SecuredOptions> = {}): Promise<Secured> {
  const handlers = { ...goodHandlers(), unary: handler, clientStream: handler };
  return secured({ handlers: handlers as unknown as UntypedServiceImplementation, ...how });
}

const later = (callback: Callback): NodeJS.Immediate => setImmediate(() => callback(null, answer));

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
    // biome-ignore lint/complexity/noArguments: a handler that takes its callback from `arguments` is the case
    later(arguments[1] as Callback);
  },
  "async (call = {}, callback)": async (_call: unknown = {}, callback?: Callback) => {
    if (callback !== undefined) later(callback);
  },
  "a bound (...args)": ((...args: [unknown, Callback]) => void later(args[1])).bind(undefined),
  "(call, callback), which returns something besides": (_call: unknown, callback: Callback) =>
    later(callback),
  "(...args), which returns something besides": (...args: [unknown, Callback]) => later(args[1]),
  "(call, ...rest), which returns something besides": (_call: unknown, ...rest: [Callback]) => later(rest[0]),
  "function (call), which reads its arguments and returns something": function handler(_call: unknown) {
    // biome-ignore lint/complexity/noArguments: a handler that takes its callback from `arguments` is the case
    return later(arguments[1] as Callback);
  },
  "a bound function that returns something besides": ((...args: [unknown, Callback]) => later(args[1])).bind(
    undefined,
  ),
  "async () => its answer": async () => answer,
  "() => a promise": () => Promise.resolve(answer),
};

describe("a handler, however it takes its callback", () => {
  for (const kind of answering) {
    it.each(Object.entries(calledBack))(`C4 ${kind}: %s answers`, async (_how, handler) => {
      await using wall = await withHandler(handler);
      const result = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
      expect(result).toMatchObject({ name: "OK" });
    });
  }

  it("C4 (call) that emits its error and returns what emit answers is told no other", async () => {
    const error = Object.assign(new Error("no such order"), {
      code: status.NOT_FOUND,
      details: "no such order",
    });
    await using wall = await withHandler((call: NodeJS.EventEmitter) => call.emit("error", error));
    const result = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(result).toMatchObject({ name: "NOT_FOUND", details: "no such order" });
    await wall.callLine(() => true);
    expect(JSON.stringify(wall.lines)).not.toContain("make it async");
  });

  it("C4 its throw is told, and nothing else", async () => {
    await using wall = await withHandler(() => {
      throw new Error("out of stock");
    });
    const result = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(result).toMatchObject({ name: "INTERNAL" });
    await wall.callLine(() => true);
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
      "the handler returned no answer; return it from an async handler, or call callback(null, answer)",
    );
  });
});

/** What never answers, by the kinds of method that it is a handler for. */
const silent: readonly (readonly [how: string, kinds: readonly MethodKind[], handler: unknown])[] = [
  ["(call) {}", kinds, (_call: unknown) => {}],
  ["(call, callback), which returns an answer", answering, (_call: unknown, _callback: Callback) => answer],
  ["(...args), which returns an answer", answering, (..._args: unknown[]) => answer],
  ["async (call, callback) => {}", answering, async (_call: unknown, _callback: Callback) => {}],
  // Declared without the callback, and yet it may have it: `(...args) => inner(...args)` looks the same.
  ["async () => {}", answering, async () => {}],
  ["() => a value, which is no promise", answering, () => answer],
  ["() => a promise of nothing", answering, () => Promise.resolve()],
  ["(call) => a value, async forgotten", answering, (_call: unknown) => ({ ...answer })],
  ["({ request }) => a value", answering, ({ request }: { request: unknown }) => ({ request })],
  [
    "a method unary(call), which returns a value",
    answering,
    {
      unary(_call: unknown) {
        return answer;
      },
    }.unary,
  ],
  [
    "function* (call)",
    ["server_stream"],
    function* handler() {
      yield answer;
    },
  ],
];

describe("a handler that never answers", () => {
  // Nothing has to be fetched before the handler runs.
  const short: Partial<SecuredOptions> = {
    authentication: anonymous(),
    authorization: rbac({ rules: Object.fromEntries(kinds.map((kind) => [paths[kind], "public" as const])) }),
    deadline: { maxUnaryMs: 100, maxStreamMs: 100 },
  };
  const withSilent = (handler: unknown, ms: number): Promise<Secured> =>
    secured({
      handlers: {
        unary: handler,
        clientStream: handler,
        serverStream: handler,
        bidiStream: handler,
      } as never,
      ...short,
      deadline: { maxUnaryMs: ms, maxStreamMs: ms },
    });

  /** The log line of a call that was at its handler when its deadline came. */
  async function lineOf(kind: MethodKind, handler: unknown, options: InvokeOptions = {}): Promise<LogLine> {
    const lines: LogLine[] = [];
    await withTimeEnough(100, async (ms) => {
      let ran = false;
      // With the length and the looks of the handler.
      const seen = new Proxy(handler as () => unknown, {
        apply(target, self, args) {
          ran = true;
          return Reflect.apply(target, self, args);
        },
      });
      await using wall = await withSilent(seen, ms);
      expect(await invoke(wall.client(), kind, options)).toMatchObject({ name: "DEADLINE_EXCEEDED" });
      lines.push(await wall.callLine(() => true));
      return ran;
    });
    return lines.at(-1) ?? { level: 0 };
  }

  const cases = silent.flatMap(([how, on, handler]) => on.map((kind) => [kind, how, handler] as const));
  it.each(cases)(
    "C4 %s: %s is DEADLINE_EXCEEDED, and the line says what it had left undone",
    async (kind, _how, handler) => {
      const line = await lineOf(kind, handler);
      expect(line).toMatchObject(
        answering.includes(kind)
          ? {
              reason: expect.stringContaining("the handler did not answer"),
              hint: expect.stringContaining(
                "make it async and return the answer, or call callback(null, answer)",
              ),
            }
          : {
              reason: expect.stringContaining("the handler did not end the call"),
              hint: expect.stringContaining("call.end()"),
            },
      );
    },
  );

  it.each(kinds)("C4 %s: one that is still waiting is told of, without advice", async (kind) => {
    const line = await lineOf(kind, () => new Promise(() => {}));
    expect(line["reason"]).toContain("the handler did not");
    expect(line["hint"]).toBeUndefined();
  });

  it.each(kinds)(
    "C4 %s: whose caller gave up at the deadline, just before it, is told of as well",
    async (kind) => {
      // Until the caller is the first of the two: on a busy machine the deadline is.
      for (let name = ""; name !== "CANCELLED"; ) {
        let call: AnyClientCall | undefined;
        await using wall = await withSilent(() => call?.cancel(), 100);
        const told = await invoke(wall.client(), kind, {
          onCall: (made) => {
            call = made;
          },
        });
        ({ name } = told);
        expect(["CANCELLED", "DEADLINE_EXCEEDED"]).toContain(name);
        if (name === "CANCELLED") {
          const line = await wall.callLine(() => true);
          expect(line["reason"]).toContain("the handler did not");
        }
      }
    },
  );

  it("C4 a caller who gives up earlier gets no such line", async () => {
    let call: AnyClientCall | undefined;
    await using wall = await secured({
      ...short,
      deadline: {},
      handlers: { unary: (_call: unknown) => void call?.cancel() } as never,
    });
    await invoke(wall.client(), "unary", {
      onCall: (made) => {
        call = made;
      },
    });
    const line = await wall.callLine(() => true);
    expect(line).toMatchObject({ grpc_code: "CANCELLED", ended_by: "caller" });
    expect(line["reason"]).toBeUndefined();
  });

  it("C4 a caller who never ends its stream is told of too", async () => {
    const reading = async (call: AsyncIterable<unknown>): Promise<unknown> => {
      for await (const _ of call);
      return answer;
    };
    expect(await lineOf("client_stream", reading, { keepOpen: true })).toMatchObject({
      reason: "the handler did not answer, and did not read the caller's stream to its end",
    });
  });

  it("C4 a layer that is out of time is not the handler's fault", async () => {
    await using wall = await secured({
      ...short,
      middleware: [{ name: "slow", onCall: () => new Promise(() => {}) }],
    });
    await invoke(wall.client(), "unary");
    const line = await wall.callLine(() => true);
    expect(line).toMatchObject({ grpc_code: "DEADLINE_EXCEEDED" });
    expect(line["reason"]).toBeUndefined();
  });
});
