// A call that has its status holds nothing: no stream, no timer, no counter (C11).
import { Buffer } from "node:buffer";
import type { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { describe, expect, it } from "vitest";
import { securityContext } from "../../src/chain/current-context.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { fullSocket } from "../harness/full-socket.ts";
import { invoke, kinds, type Note, paths } from "../harness/kinds.ts";
import { type RawAnswer, type RawCall, RawConnection } from "../harness/raw-http2.ts";
import { eventually, type Secured, type SecuredOptions, secured } from "../harness/secured.ts";
import { withTimeEnough } from "../harness/time.ts";

type Handlers = NonNullable<SecuredOptions["handlers"]>;

/** As many as a connection may have open at once. */
const full = 100;

/** Handlers that have said everything before their caller has. */
const hasty = {
  unary: (_call: unknown, callback: (error: null, value: unknown) => void) =>
    callback(null, { text: "done" }),
  clientStream: (_call: unknown, callback: (error: null, value: unknown) => void) =>
    callback(null, { text: "done" }),
  serverStream: (call: { end(): void }) => call.end(),
  bidiStream: (call: { end(): void }) => call.end(),
} as unknown as Handlers;

const failing = {
  clientStream: async (_call: unknown) => {
    throw new Error("no");
  },
  bidiStream: async (_call: unknown) => {
    throw new Error("no");
  },
} as unknown as Handlers;

function open(raw: RawConnection, kind: MethodKind, headers: Readonly<Record<string, string>>): RawCall[] {
  return Array.from({ length: full }, () =>
    raw.call(paths[kind], { headers, body: Buffer.alloc(0), keepOpen: true }),
  );
}

interface LeftOpen {
  readonly title: string;
  readonly kinds: readonly MethodKind[];
  readonly options: SecuredOptions;
  headers(wall: Secured): Promise<Readonly<Record<string, string>>>;
  readonly name: string;
}

const streams: readonly MethodKind[] = ["client_stream", "bidi_stream"];

const leftOpen: readonly LeftOpen[] = [
  { title: "refused", kinds, options: {}, headers: async () => ({}), name: "UNAUTHENTICATED" },
  {
    title: "refused for their timeout",
    kinds,
    options: {},
    headers: async () => ({ "grpc-timeout": "soon" }),
    name: "INVALID_ARGUMENT",
  },
  {
    title: "denied",
    kinds,
    options: {},
    headers: (wall) => wall.authorized({ roles: ["other"] }),
    name: "PERMISSION_DENIED",
  },
  {
    title: "answered",
    kinds: streams,
    options: { handlers: hasty },
    headers: (wall) => wall.authorized(),
    name: "OK",
  },
  {
    title: "failed",
    kinds: streams,
    options: { handlers: failing },
    headers: (wall) => wall.authorized(),
    name: "INTERNAL",
  },
  {
    title: "out of time",
    kinds,
    options: { handlers: { clientStream: () => {}, bidiStream: () => {} } as unknown as Handlers },
    headers: async (wall) => ({ ...(await wall.authorized()), "grpc-timeout": "300m" }),
    name: "DEADLINE_EXCEEDED",
  },
];

describe.each(leftOpen)("a hundred streams that were $title and that their caller leaves open", (left) => {
  it.each([...left.kinds])(
    "C11 %s: all get their status, none is held, and the server shuts down",
    async (kind) => {
      await using wall = await secured(left.options);
      await using raw = await RawConnection.open(wall);
      const calls = open(raw, kind, await left.headers(wall));
      const answers: RawAnswer[] = [];
      for (const { answer } of calls) answers.push(await answer);
      expect(new Set(answers.map(({ name }) => name))).toEqual(new Set([left.name]));
      expect(new Set(answers.map(({ rstCode }) => rstCode))).toEqual(new Set([0]));
      // The same connection has room for as many again.
      const again = open(raw, kind, await left.headers(wall));
      for (const { answer } of again) expect((await answer).name).toBe(left.name);
      await wall.server.shutdown({ graceMs: 60_000 });
      expect(wall.lines.filter(({ msg }) => msg?.includes("still open after graceMs") === true)).toEqual([]);
      // One for each, or counted together with others.
      expect(wall.audit.reduce((calls, { count = 1 }) => calls + count, 0)).toBe(2 * full);
      const lines = wall.lines.filter(({ grpc_code }) => grpc_code !== undefined);
      expect(lines.reduce((calls, { left_out = 1 }) => calls + Number(left_out), 0)).toBe(2 * full);
      expect(wall.audit.every(({ delivered }) => delivered === undefined)).toBe(true);
    },
  );
});

describe.each(streams)("a refused %s call", (kind) => {
  it("C11 takes no more of a body that goes on and on", async () => {
    await using wall = await secured();
    await using raw = await RawConnection.open(wall);
    const { stream, answer } = raw.call(paths[kind], { body: Buffer.alloc(0), keepOpen: true });
    let written = 0;
    const chunk = Buffer.alloc(16_384);
    const more = (): void => {
      if (stream.closed || stream.destroyed) return;
      written += chunk.length;
      stream.write(chunk, more);
    };
    more();
    expect((await answer).name).toBe("UNAUTHENTICATED");
    // Within what the flow control window let pass before the answer came (RFC 9113 section 6.9.2), and a little more.
    expect(written).toBeLessThan(1 << 20);
  });
});

describe.each(streams)("a %s handler that has answered and reads on", (kind) => {
  it("C11 C4 hears of the end of its call", async () => {
    let end: unknown;
    const readOn = async (call: AsyncIterable<Note>): Promise<void> => {
      try {
        for await (const _note of call);
        end = "the request ended";
      } catch (error) {
        end = error;
      }
    };
    const handlers = {
      clientStream(call: AsyncIterable<Note>, callback: (error: null, value: Note) => void) {
        void readOn(call);
        callback(null, { text: "done" });
      },
      bidiStream(call: AsyncIterable<Note> & { end(): void }) {
        void readOn(call);
        call.end();
      },
    } as unknown as Handlers;
    await using wall = await secured({ handlers });
    await using raw = await RawConnection.open(wall);
    const call = raw.call(paths[kind], { headers: await wall.authorized(), keepOpen: true });
    expect((await call.answer).name).toBe("OK");
    expect(await eventually(() => end, "the end of the loop")).toMatchObject({
      code: "ERR_STREAM_PREMATURE_CLOSE",
    });
  });
});

describe("a caller that does not read", () => {
  const talk = (call: { write(value: unknown): void; end(): void }): void => {
    for (let i = 0; i < 100; i++) call.write({ text: "x".repeat(1_000) });
    call.end();
  };
  const talkative = { serverStream: talk } as unknown as Handlers;

  it("C11 C10 is cut at its deadline, and what it was sent counts as not delivered", async () => {
    await withTimeEnough(300, async (maxStreamMs) => {
      let started = false;
      await using wall = await secured({
        handlers: {
          serverStream(call: { write(value: unknown): void; end(): void }) {
            started = true;
            talk(call);
          },
        } as unknown as Handlers,
        deadline: { maxStreamMs },
      });
      await using raw = await RawConnection.open(wall, { initialWindowSize: 1_000 });
      raw.call(paths.server_stream, { headers: await wall.authorized(), deaf: true });
      // The status waits behind what was not read: it gets some time, and then the stream is cut.
      const entry = await eventually(() => wall.audit[0], "the audit entry");
      if (!started) return false;
      expect(entry).toMatchObject({ status: "DEADLINE_EXCEEDED", endedBy: "deadline", delivered: false });
      await wall.server.shutdown({ graceMs: 60_000 });
      return true;
    });
  });

  it("C11 gets its status once it reads on, however full its socket was", async () => {
    await using full = await fullSocket();
    full.endCall();
    // By now the stream would be reset, and its status dropped, if nothing waited for it to leave.
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
    full.wire.resume();
    expect(await full.call.ended).toMatchObject({ code: 0, rstCode: 0 });
    const entry = await full.wall.auditEntry(({ method }) => method === paths.bidi_stream);
    expect(entry).not.toHaveProperty("delivered");
  });

  it("C11 holds up no counter once it has gone", async () => {
    await using wall = await secured({ handlers: talkative, rateLimit: { inFlightPerPrincipal: 1 } });
    const deaf = await RawConnection.open(wall, { initialWindowSize: 1_000 });
    const headers = await wall.authorized();
    deaf.call(paths.server_stream, { headers, deaf: true });
    const client = wall.client();
    const refused = async (): Promise<boolean> =>
      (await invoke(client, "unary", { metadata: headers })).name === "RESOURCE_EXHAUSTED";
    await expect.poll(refused).toBe(true);
    deaf.cut();
    await wall.auditEntry(({ method }) => method === paths.server_stream);
    expect((await invoke(client, "unary", { metadata: headers })).name).toBe("OK");
  });
});

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;

describe.each(kinds)("many %s calls that ended in every way", (kind) => {
  /** As the caller says: answer, fail, or never say anything. */
  const byWord = (kindOf: MethodKind): unknown => {
    const answers = kindOf === "unary" || kindOf === "client_stream";
    return (
      call: {
        metadata: { get(key: string): unknown[] };
        end(): void;
      },
      callback: (error: null, value: unknown) => void,
    ) => {
      const [word] = call.metadata.get("x-word");
      if (word === "fail") throw new Error("as told");
      if (word === "wait") return;
      if (answers) callback(null, { text: "done" });
      else call.end();
    };
  };
  const handlers = {
    unary: byWord("unary"),
    clientStream: byWord("client_stream"),
    serverStream: byWord("server_stream"),
    bidiStream: byWord("bidi_stream"),
  } as unknown as Handlers;

  it("C11 leave no timer and no counter behind", async () => {
    await using wall = await secured({ handlers, rateLimit: { inFlightPerPrincipal: 8 } });
    const client = wall.client();
    const credential = await wall.authorized();
    const other = await wall.authorized({ roles: ["other"] });
    expect((await invoke(client, kind, { metadata: credential })).name).toBe("OK");
    await eventually(() => wall.audit.length === 1, "the audit entry");
    const before = timers();
    // Four of a round are counted at once. More rounds than the limit: one counter lost in each would be noticed.
    const rounds = 10;
    for (let i = 0; i < rounds; i++) {
      const results = await Promise.all([
        invoke(client, kind, { metadata: credential }),
        invoke(client, kind, { metadata: { ...credential, "x-word": "fail" } }),
        invoke(client, kind, { metadata: {} }),
        invoke(client, kind, { metadata: other }),
        invoke(client, kind, {
          metadata: { ...credential, "x-word": "wait" },
          onCall: (call) => setImmediate(() => call.cancel()),
        }),
        invoke(client, kind, {
          metadata: { ...credential, "x-word": "wait" },
          call: { deadline: Date.now() + 100 },
        }),
      ]);
      expect(results.map(({ name }) => name)).toEqual([
        "OK",
        "INTERNAL",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "CANCELLED",
        "DEADLINE_EXCEEDED",
      ]);
    }
    await eventually(() => timers() <= before, "the end of all timers");
    expect((await invoke(client, kind, { metadata: credential })).name).toBe("OK");
  });
});

/** Handlers that write until they hear that it is over, and say so then. `next` makes what they write. */
const writers: Readonly<Record<string, (next: () => unknown, over: (what: string) => void) => unknown>> = {
  "an async generator": (next, over) =>
    async function* () {
      try {
        for (;;) {
          yield next();
          await new Promise(setImmediate);
        }
      } finally {
        over("finally");
        over("signal");
      }
    },
  "a generator that waits for nothing": (next, over) =>
    async function* () {
      try {
        for (;;) yield next();
      } finally {
        over("finally");
        over("signal");
      }
    },
  "a pipeline": (next, over) => async (call: Writable) => {
    async function* source(): AsyncGenerator<unknown> {
      try {
        for (;;) {
          yield next();
          await new Promise(setImmediate);
        }
      } finally {
        over("finally");
      }
    }
    await pipeline(source, call).catch(() => over("signal"));
  },
  "a timer": (next, over) => (call: Writable) => {
    const timer = setInterval(() => call.write(next()), 1);
    call.on("cancelled", () => over("finally"));
    securityContext(call).signal.addEventListener("abort", () => over("signal"));
    call.on("close", () => clearInterval(timer));
  },
  "writes that wait for their callback": (next, over) => async (call: Writable) => {
    call.on("close", () => over("finally"));
    while (!call.destroyed) await new Promise<void>((resolve) => call.write(next(), () => resolve()));
    over("signal");
  },
};

const unsendable: readonly [string, unknown, string][] = [
  ["is too large", { text: "x".repeat(5 * 1024 * 1024) }, "RESOURCE_EXHAUSTED"],
  ["cannot be serialized", { text: 1n }, "INTERNAL"],
  ["a layer refuses", { text: "refuse me" }, "INTERNAL"],
];

const responding: readonly MethodKind[] = ["server_stream", "bidi_stream"];

describe.each(responding)("a %s handler whose own message cannot be sent", (kind) => {
  it.each(
    Object.entries(writers).flatMap(([how, make]) =>
      unsendable.flatMap(([why, message, name]) =>
        [1, 2].map((at) => ({ how, make, why, message, name, at })),
      ),
    ),
  )("C11 C4 writes by $how, and hears of it where message $at $why", async ({ make, message, name, at }) => {
    const heard = new Set<string>();
    let written = 0;
    const handler = make(
      () => {
        written += 1;
        return written === at ? message : { text: "fine" };
      },
      (what) => heard.add(what),
    );
    await using wall = await secured({
      handlers: { serverStream: handler, bidiStream: handler } as unknown as Handlers,
      middleware: [
        {
          name: "own",
          onResponse(sent) {
            if ((sent as Note).text === "refuse me") throw new Error("no");
          },
        },
      ],
    });
    const told = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
    expect(told.name).toBe(name);
    await eventually(() => heard.size === 2, `the handler's end, beyond ${[...heard].join()}`);
  });

  it("C11 stops where one of its listeners fails while it writes", async () => {
    const heard = new Set<string>();
    const handler = (call: Writable): void => {
      async function* source(): AsyncGenerator<Note> {
        try {
          for (;;) {
            yield { text: "more" };
            await new Promise(setImmediate);
          }
        } finally {
          heard.add("finally");
        }
      }
      securityContext(call).signal.addEventListener("abort", () => heard.add("signal"));
      pipeline(source, call).catch(() => heard.add("pipeline"));
      call.on("own", () => {
        throw new Error("a listener's");
      });
      setImmediate(() => call.emit("own"));
    };
    await using wall = await secured({
      handlers: { serverStream: handler, bidiStream: handler } as unknown as Handlers,
    });
    const told = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
    expect(told.name).toBe("INTERNAL");
    await eventually(() => heard.size === 3, `the handler's end, beyond ${[...heard].join()}`);
  });
});

type StreamHandler = (extra: unknown, stream: object, ...rest: unknown[]) => void;

describe("a stream that is closed", () => {
  it.each(kinds)("C11 %s: does not hold its call", async (kind) => {
    const streams: object[] = [];
    await using wall = await secured({
      register: ({ grpcServer }) => {
        const members = grpcServer as unknown as { _streamHandler: StreamHandler };
        const take = members._streamHandler;
        members._streamHandler = (extra, stream, ...rest) => {
          streams.push(stream);
          take(extra, stream, ...rest);
        };
      },
    });
    const metadata = await wall.authorized();
    const client = wall.client();
    for (const call of [{ metadata }, { metadata }, {}]) await invoke(client, kind, call);
    await eventually(() => wall.lines.filter((line) => line["grpc_code"]).length >= 3, "three lines");
    expect(streams).toHaveLength(3);
    for (const stream of streams) {
      const held = Object.getOwnPropertySymbols(stream)
        .filter(({ description }) => description?.startsWith("palisade.") === true)
        .map((symbol) => Reflect.get(stream, symbol));
      expect(held).toEqual([undefined]);
    }
  });
});
