// What compressed messages cost: four kilobytes inflate to four megabytes.
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { deflateSync, gzipSync } from "node:zlib";
import { type ServiceDefinition, status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { StatusError } from "../../src/grpc/errors.ts";
import { type MethodKind, streamsRequests as streams } from "../../src/grpc/method.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { decompressionBudget } from "../../src/transport/decompression.ts";
import { countInflaters } from "../harness/inflaters.ts";
import { kinds, kindsDefinition, paths } from "../harness/kinds.ts";
import { watchLiveBytes } from "../harness/live-bytes.ts";
import { grpcFrame, type RawCall, RawConnection } from "../harness/raw-http2.ts";
import { eventually, type Secured, type SecuredOptions, secured } from "../harness/secured.ts";

const mebibyte = 1024 * 1024;
const packers = { gzip: gzipSync, deflate: deflateSync } as const;
type Encoding = keyof typeof packers;

/** A little less than the limit. */
const zeros = Buffer.alloc(4 * mebibyte - 16);
const bombs: Readonly<Record<Encoding, Buffer>> = {
  gzip: grpcFrame(gzipSync(zeros), 1),
  deflate: grpcFrame(deflateSync(zeros), 1),
};

/** 64 MiB, and the messages of calls whose handler has answered, until their streams are closed. All would be 400 or more. */
const bound = 160 * mebibyte;

/** Its messages are the bytes that came: what they hold is seen outside the heap. */
const bytesDefinition: ServiceDefinition = Object.fromEntries(
  Object.entries(kindsDefinition).map(([name, method]) => [
    name,
    { ...method, requestDeserialize: (bytes: Buffer) => bytes, responseSerialize: (bytes: Buffer) => bytes },
  ]),
);

type Answer = (error: null, bytes: Buffer) => void;
type Stream = Readable & { end(): void };

const lengthOf = (bytes: number): Buffer => Buffer.from(String(bytes));

const answering = {
  unary: (call: { request: Buffer }, answer: Answer) => answer(null, lengthOf(call.request.length)),
  clientStream(call: Stream, answer: Answer) {
    let bytes = 0;
    call.on("data", (message: Buffer) => {
      bytes += message.length;
    });
    call.on("end", () => answer(null, lengthOf(bytes)));
  },
  serverStream(call: { request: Buffer; write(bytes: Buffer): void; end(): void }) {
    call.write(lengthOf(call.request.length));
    call.end();
  },
  bidiStream(call: Stream & { write(bytes: Buffer): void }) {
    call.on("data", (message: Buffer) => call.write(lengthOf(message.length)));
    call.on("end", () => call.end());
  },
} as unknown as UntypedServiceImplementation;

function bytesServer(options: SecuredOptions = {}, handlers = answering): Promise<Secured> {
  // `secured` registers the kinds themselves; the same paths cannot be registered twice.
  const definition = Object.fromEntries(
    Object.entries(bytesDefinition).map(([name, method]) => [
      name,
      { ...method, path: method.path.replace("Kinds", "Bytes") },
    ]),
  );
  return secured({
    authentication: anonymous(),
    authorization: rbac({
      roles: {},
      rules: Object.fromEntries(
        kinds.flatMap((kind) => [
          [paths[kind], "public"],
          [pathOf(kind), "public"],
        ]),
      ),
    }),
    rateLimit: { perPeer: false, perPrincipal: false, inFlightPerPrincipal: false },
    // Four gigabytes are inflated in one of the tests.
    deadline: { maxUnaryMs: 600_000 },
    register: (server) => server.addService(definition, handlers),
    ...options,
  });
}

function pathOf(kind: MethodKind): string {
  return paths[kind].replace("Kinds", "Bytes");
}

interface Attack {
  readonly kind: MethodKind;
  readonly encoding?: Encoding;
  readonly connections: number;
  readonly calls: number;
  readonly body?: Buffer;
  readonly keepOpen?: boolean;
}

async function attack(
  wall: Secured,
  { kind, encoding = "gzip", connections, calls: all, body, keepOpen = false }: Attack,
): Promise<{ readonly calls: readonly RawCall[]; cut(): void }> {
  const opened = await Promise.all(Array.from({ length: connections }, () => RawConnection.open(wall)));
  const calls = opened.flatMap((connection) =>
    Array.from({ length: all / connections }, () =>
      connection.call(pathOf(kind), {
        headers: { "grpc-encoding": encoding },
        body: body ?? bombs[encoding],
        keepOpen,
      }),
    ),
  );
  return { calls, cut: () => void opened.map((connection) => connection.cut()) };
}

/** An honest caller who compresses, on a connection of its own. */
async function honest(wall: Secured, kind: MethodKind = "unary"): Promise<string> {
  await using connection = await RawConnection.open(wall);
  const body = grpcFrame(gzipSync(Buffer.alloc(100_000, "honest ")), 1);
  const headers = { "grpc-encoding": "gzip", "grpc-timeout": "60S" };
  const seen = await connection.call(pathOf(kind), { headers, body }).answer;
  return `${seen.name} ${seen.body.subarray(5).toString()}`;
}

describe("calls of 3.9 kB that inflate to 4 MiB", () => {
  const attacks: readonly (readonly [MethodKind, Encoding, connections: number, calls: number])[] = [
    ...kinds.map((kind) => [kind, "gzip", 10, 100] as const),
    ["unary", "deflate", 1, 100],
    ["bidi_stream", "deflate", 1, 100],
    ["unary", "gzip", 10, 1_000],
  ];
  it.each(attacks)(
    "L4 hold a bounded part of it, and keep nobody else waiting: %s, %s, on %i connections %i calls",
    async (kind, encoding, connections, all) => {
      await using wall = await bytesServer();
      using live = watchLiveBytes();
      const { calls, cut } = await attack(wall, { kind, encoding, connections, calls: all });
      let left = all;
      for (const { answer } of calls) void answer.then(() => (left -= 1));
      expect(await honest(wall)).toBe("OK 100000");
      // It was answered in its turn, and not after all of them.
      expect(left).toBeGreaterThan(0);
      // The first hundreds show what thousands hold; the others are cut while they wait.
      const answers = await Promise.all(calls.slice(0, 100).map(({ answer }) => answer));
      expect(live.most).toBeLessThan(bound);
      expect(answers.filter(({ name }) => name !== "OK")).toEqual([]);
      expect(answers[0]?.body.subarray(5).toString()).toBe(String(zeros.length));
      cut();
    },
  );

  it.each(kinds)(
    "L4 C13 are not inflated where they are refused, nor while they are checked: %s",
    async (kind) => {
      using inflaters = countInflaters();
      let decide = (): void => {};
      const decided = new Promise<void>((resolve) => {
        decide = resolve;
      });
      let asked = 0;
      await using wall = await bytesServer({
        middleware: [
          {
            name: "slow-refusal",
            appliesTo: ({ path }) => path === pathOf(kind),
            async onCall() {
              asked += 1;
              await decided;
              throw new StatusError(status.PERMISSION_DENIED, "no");
            },
          },
        ],
      });
      const { calls, cut } = await attack(wall, { kind, connections: 5, calls: 100 });
      await eventually(() => asked === 100, "all calls");
      decide();
      const answers = await Promise.all(calls.map(({ answer }) => answer));
      expect(answers.map(({ name }) => name)).toEqual(Array(100).fill("PERMISSION_DENIED"));
      expect(inflaters.all).toBe(0);
      cut();
    },
  );
});

describe("messages that nobody takes", () => {
  const held: readonly (readonly [MethodKind, keepOpen: boolean, why: string])[] = [
    ["unary", true, "whose request has no end"],
    ["server_stream", true, "whose request has no end"],
    ["client_stream", false, "whose handler does not read"],
    ["bidi_stream", false, "whose handler does not read"],
  ];
  it.each(held)("L4 N3 are not inflated: %s calls (open request: %s) %s", async (kind, keepOpen) => {
    using inflaters = countInflaters();
    let begun = 0;
    const deaf = (): void => {
      begun += 1;
    };
    const wall = await bytesServer({}, {
      ...answering,
      clientStream: deaf,
      bidiStream: deaf,
    } as unknown as UntypedServiceImplementation);
    const body = streams(kind) ? Buffer.concat(Array<Buffer>(20).fill(bombs.gzip)) : bombs.gzip;
    const { calls, cut } = await attack(wall, { kind, connections: 10, calls: 1_000, body, keepOpen });
    if (streams(kind)) await eventually(() => begun === 1_000, "all handlers");
    expect(await honest(wall)).toBe("OK 100000");
    expect(inflaters.all).toBe(1);
    cut();
    await Promise.all(calls.map(({ answer }) => answer));
    // Once it is closed, all of its calls have ended: a connection that was lost ended no request.
    await wall.close();
    expect(inflaters.all).toBe(1);
  });

  it("L4 are not taken from the wire either, while the handler reads none of them", async () => {
    let begun = false;
    await using wall = await bytesServer({}, {
      ...answering,
      bidiStream(call: Stream) {
        begun = true;
        // The stream asks for messages on its own account.
        call.read(0);
      },
    } as unknown as UntypedServiceImplementation);
    await using connection = await RawConnection.open(wall);
    const message = grpcFrame(gzipSync(randomBytes(mebibyte)), 1);
    const call = connection.call(pathOf("bidi_stream"), {
      headers: { "grpc-encoding": "gzip" },
      body: message,
      keepOpen: true,
    });
    await eventually(() => begun, "the handler");
    let written = 0;
    for (let i = 0; i < 64; i++) call.stream.write(message, () => (written += 1));
    // Long enough for all of them to be taken.
    for (let i = 0; i < 100; i++) expect(await honest(wall)).toBe("OK 100000");
    expect(written).toBeLessThan(8);
    connection.cut();
    await call.answer;
  });

  it("L4 are not inflated where the handler reads one and no more, however it reads", async () => {
    using inflaters = countInflaters();
    const ways: readonly ((call: Stream) => unknown)[] = [
      (call) => call.once("data", () => call.pause()),
      async (call) => {
        for await (const _message of call) await new Promise(() => {});
      },
      (call) => call.pipe(new Writable({ objectMode: true, highWaterMark: 1, write: () => {} })),
      (call) => call.once("readable", () => call.read()),
    ];
    let read = 0;
    await using wall = await bytesServer({}, {
      ...answering,
      bidiStream(call: Stream) {
        return ways[read++ % ways.length]?.(call);
      },
    } as unknown as UntypedServiceImplementation);
    const body = Buffer.concat(Array<Buffer>(16).fill(bombs.gzip));
    const { calls, cut } = await attack(wall, { kind: "bidi_stream", connections: 4, calls: 40, body });
    await eventually(() => read === 40 && inflaters.all >= 40, "one message of each");
    expect(await honest(wall)).toBe("OK 100000");
    // A pipe's destination holds one, and has asked for the next.
    expect(inflaters.all).toBeLessThanOrEqual(40 + 1 + 10);
    cut();
    await Promise.all(calls.map(({ answer }) => answer));
  });
});

const readers: Readonly<Record<string, (call: Stream, take: (message: Buffer) => void) => Promise<void>>> = {
  data: async (call, take) => {
    call.on("data", take);
    await once(call, "end");
  },
  "data, with pauses": async (call, take) => {
    call.on("data", (message: Buffer) => {
      take(message);
      call.pause();
      setImmediate(() => call.resume());
    });
    await once(call, "end");
  },
  loop: async (call, take) => {
    for await (const message of call) take(message as Buffer);
  },
  "loop that waits": async (call, take) => {
    for await (const message of call) {
      take(message as Buffer);
      await new Promise((resolve) => setImmediate(resolve));
    }
  },
  "two loops, one after the other": async (call, take) => {
    for await (const message of call) {
      take(message as Buffer);
      break;
    }
    for await (const message of call) take(message as Buffer);
  },
  "readable, all there is": async (call, take) => {
    call.on("readable", () => {
      for (let message = call.read(); message !== null; message = call.read()) take(message);
    });
    await once(call, "end");
  },
  "once readable, again and again": async (call, take) => {
    let ended = false;
    call.once("end", () => {
      ended = true;
    });
    while (!ended) {
      const message = call.read();
      if (message !== null) take(message);
      else await Promise.race([once(call, "readable"), once(call, "end")]);
    }
  },
  "data first, then readable": async (call, take) => {
    await new Promise<void>((resolve) =>
      call.once("data", (message: Buffer) => {
        call.pause();
        take(message);
        resolve();
      }),
    );
    await new Promise((resolve) => setImmediate(resolve));
    call.on("readable", () => {
      for (let message = call.read(); message !== null; message = call.read()) take(message);
    });
    await once(call, "end");
  },
  "pipeline to a slow end": async (call, take) => {
    const slow = new Writable({
      objectMode: true,
      highWaterMark: 1,
      write(message: Buffer, _encoding, done) {
        take(message);
        setImmediate(done);
      },
    });
    await pipeline(call, slow);
  },
  "after a while": async (call, take) => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    for await (const message of call) take(message as Buffer);
  },
};

describe("a handler that reads by", () => {
  const packed = (text: string): Buffer => grpcFrame(gzipSync(text), 1);
  it.each(Object.keys(readers))("C4 L4 %s gets all messages in order, compressed or not", async (name) => {
    await using wall = await bytesServer({}, {
      ...answering,
      async clientStream(call: Stream) {
        const texts: string[] = [];
        await readers[name]?.(call, (message) => texts.push(message.toString()));
        return Buffer.from(texts.join());
      },
    } as unknown as UntypedServiceImplementation);
    await using connection = await RawConnection.open(wall);
    const texts = Array.from({ length: 60 }, (_, i) => `message ${i}`);
    const call = connection.call(pathOf("client_stream"), {
      headers: { "grpc-encoding": "gzip" },
      body: Buffer.concat(
        texts.slice(0, 30).map((text, i) => (i % 3 === 1 ? grpcFrame(text) : packed(text))),
      ),
      keepOpen: true,
    });
    // The others come one by one.
    for (const text of texts.slice(30)) {
      await new Promise((resolve) => setImmediate(resolve));
      call.stream.write(packed(text));
    }
    call.stream.end();
    const seen = await call.answer;
    expect(`${seen.name} ${seen.body.subarray(5).toString()}`).toBe(`OK ${texts.join()}`);
  });
});

describe("the room for inflated messages", () => {
  const emptied = (): Promise<true> =>
    eventually(
      () => decompressionBudget.size === 0 && decompressionBudget.heldBytes === 0,
      "an empty budget",
    );

  it("L4 C11 is free again when calls end while they wait for it or are inflated, and none of those is inflated", async () => {
    using inflaters = countInflaters();
    await using wall = await bytesServer();
    const { calls, cut } = await attack(wall, { kind: "bidi_stream", connections: 4, calls: 400 });
    await eventually(() => decompressionBudget.size === 4, "calls that wait");
    cut();
    await Promise.all(calls.map(({ answer }) => answer));
    expect(await honest(wall)).toBe("OK 100000");
    await emptied();
    expect(inflaters.all).toBeLessThan(200);
  });

  it("L4 C11 is free again when calls end whose handlers have not read what was inflated for them", async () => {
    await using wall = await bytesServer({}, {
      ...answering,
      // Whoever listens for it is given a message.
      bidiStream: (call: Stream) => void call.on("readable", () => {}),
    } as unknown as UntypedServiceImplementation);
    const { calls, cut } = await attack(wall, { kind: "bidi_stream", connections: 2, calls: 4 });
    await eventually(() => decompressionBudget.heldBytes === 4 * zeros.length, "four that are not read");
    cut();
    await Promise.all(calls.map(({ answer }) => answer));
    await emptied();
  });

  it("L4 is not all had by one connection, whatever its handlers leave unread", async () => {
    await using wall = await bytesServer({}, {
      ...answering,
      bidiStream: (call: Stream) => void call.on("readable", () => {}),
    } as unknown as UntypedServiceImplementation);
    const { calls, cut } = await attack(wall, { kind: "bidi_stream", connections: 1, calls: 100 });
    await eventually(() => decompressionBudget.heldBytes >= 5 * zeros.length, "some that are not read");
    expect(await honest(wall)).toBe("OK 100000");
    expect(decompressionBudget.heldBytes).toBeLessThanOrEqual(32 * mebibyte);
    cut();
    await Promise.all(calls.map(({ answer }) => answer));
    await emptied();
  });

  it.each(["unary", "server_stream"] as const)(
    "L4 is not held by %s calls with two compressed messages, which are refused",
    async (kind) => {
      await using wall = await bytesServer();
      const body = Buffer.concat([bombs.gzip, grpcFrame(gzipSync(Buffer.alloc(1)), 1)]);
      const { calls, cut } = await attack(wall, { kind, connections: 3, calls: 18, body });
      const names = await Promise.all(calls.map(async ({ answer }) => (await answer).name));
      expect(new Set(names)).toEqual(new Set(["UNIMPLEMENTED"]));
      expect(await honest(wall)).toBe("OK 100000");
      await eventually(() => decompressionBudget.size === 0, "an empty budget");
      cut();
    },
  );

  it.each(["for await", "pause"])(
    "L4 is free when a handler that reads by %s has taken the message, whatever came behind it",
    async (way) => {
      let taken = 0;
      const hold = (message: Buffer): boolean => {
        if (message.length < mebibyte) return false;
        taken += 1;
        return true;
      };
      await using wall = await bytesServer({}, {
        ...answering,
        async bidiStream(call: Stream) {
          if (way === "pause") call.on("data", (message: Buffer) => hold(message) && call.pause());
          else for await (const message of call) if (hold(message as Buffer)) await new Promise(() => {});
          await new Promise(() => {});
        },
      } as unknown as UntypedServiceImplementation);
      const small = grpcFrame("small");
      const body = Buffer.concat([small, small, bombs.gzip, ...Array<Buffer>(80).fill(small)]);
      const flood: Attack = { kind: "bidi_stream", connections: 3, calls: 48, body, keepOpen: true };
      const { calls, cut } = await attack(wall, flood);
      await eventually(
        () => taken === 48 && decompressionBudget.heldBytes === 0,
        "every message to be taken",
      );
      expect(await honest(wall)).toBe("OK 100000");
      cut();
      await Promise.all(calls.map(({ answer }) => answer));
    },
  );

  it("L4 is enough for a message that alone may be larger", async () => {
    const path = pathOf("unary");
    await using wall = await bytesServer({ methods: { [path]: { maxReceiveMessageBytes: 128 * mebibyte } } });
    const body = grpcFrame(gzipSync(Buffer.alloc(100 * mebibyte)), 1);
    const { calls, cut } = await attack(wall, { kind: "unary", connections: 2, calls: 4, body });
    const answers = await Promise.all(calls.map(({ answer }) => answer));
    expect(answers.map((seen) => `${seen.name} ${seen.body.subarray(5).toString()}`)).toEqual(
      Array(4).fill(`OK ${100 * mebibyte}`),
    );
    expect(await honest(wall)).toBe("OK 100000");
    cut();
  });
});
