// How often a connection may ping (L3), and that clients which measure bandwidth with pings are served (N1).
import { Buffer } from "node:buffer";
import { once } from "node:events";
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import type { ServerWritableStream, UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { invoke, kinds, type Note, paths } from "../harness/kinds.ts";
import {
  grpcFrame,
  helloFrame,
  type RawCall,
  type RawCallOptions,
  RawConnection,
} from "../harness/raw-http2.ts";
import { type Secured, type SecuredOptions, secured } from "../harness/secured.ts";
import { openWire } from "../harness/wire.ts";

interface Goodbye {
  readonly code: number;
  readonly text: string;
}

function goodbyeOf(session: ClientHttp2Session): Promise<Goodbye> {
  session.on("error", () => {});
  return new Promise((resolve) =>
    session.once("goaway", (code, _last, data) =>
      resolve({ code, text: data === undefined ? "" : Buffer.from(data).toString() }),
    ),
  );
}

function ping(session: ClientHttp2Session): Promise<boolean> {
  return new Promise((resolve) => {
    try {
      session.ping((error) => resolve(error === null));
    } catch {
      resolve(false);
    }
  });
}

const enhanceYourCalm = 11;

describe("L3 pings", () => {
  it("L3 a flood of pings ends in GOAWAY ENHANCE_YOUR_CALM too_many_pings, and others go on", async () => {
    await using wall = await secured();
    const client = wall.client();
    const metadata = await wall.authorized();
    await using wire = await openWire(wall);
    const call = wire.call({ path: paths.bidi_stream, headers: metadata, keepOpen: true });
    const goodbye = goodbyeOf(wire.session);
    for (let i = 0; i < 50; i++) void ping(wire.session);
    expect(await goodbye).toEqual({ code: enhanceYourCalm, text: "too_many_pings" });
    await wire.closed;
    await call.ended;
    expect(wall.lines.filter(({ reason }) => reason === "too_many_pings")).toHaveLength(1);
    for (const kind of kinds) expect(await invoke(client, kind, { metadata })).toMatchObject({ name: "OK" });
  });

  it("L3 two early pings are forgiven, and what the server sends forgives again", async () => {
    await using wall = await secured();
    const headers = await wall.authorized();
    await using wire = await openWire(wall);
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 3; i++) expect(await ping(wire.session)).toBe(true);
      const call = wire.call({ path: paths.bidi_stream, headers, messages: [Buffer.from('{"text":"x"}')] });
      expect((await call.ended).code).toBe(0);
    }
    expect(wire.session.closed).toBe(false);
  });

  it("L3 without calls pings are not forgiven for being far apart", async () => {
    await using wall = await secured({ limits: { minPingIntervalMs: 1 } });
    await using wire = await openWire(wall);
    const goodbye = goodbyeOf(wire.session);
    const answers: boolean[] = [];
    for (let i = 0; i < 4; i++) {
      answers.push(await ping(wire.session));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(await goodbye).toMatchObject({ text: "too_many_pings" });
    expect(answers.slice(0, 3)).toEqual([true, true, true]);
  });

  it("L3 a grpc-js client with keepalive that keeps the interval is served for as long as it likes", async () => {
    await using wall = await secured({ limits: { minPingIntervalMs: 50 } });
    const client = wall.client({ "grpc.keepalive_time_ms": 100, "grpc.keepalive_timeout_ms": 5000 });
    const metadata = await wall.authorized();
    const told = await invoke(client, "bidi_stream", {
      metadata,
      keepOpen: true,
      onMessage: (_note, call) => {
        // Ten keepalives of silence.
        setTimeout(() => "write" in call && call.end(), 1100);
      },
    });
    expect(told).toMatchObject({ name: "OK" });
    expect(wall.lines.filter(({ reason }) => reason === "too_many_pings")).toEqual([]);
  });

  it("L3 a grpc-js client with keepalive that does not is told, and comes back", async () => {
    await using wall = await secured({ limits: { minPingIntervalMs: 60_000 } });
    const client = wall.client({ "grpc.keepalive_time_ms": 20 });
    const metadata = await wall.authorized();
    const told = await invoke(client, "bidi_stream", { metadata, keepOpen: true });
    // What gRPC makes of ENHANCE_YOUR_CALM.
    expect(told).toMatchObject({ name: "RESOURCE_EXHAUSTED" });
    expect(await invoke(client, "unary", { metadata })).toMatchObject({ name: "OK" });
  });
});

it("C9 a server shuts down while it ends a connection that pinged too often", async () => {
  const wall = await secured({ tls: { plaintext: "loopback" } });
  await using raw = await RawConnection.openPlain(wall);
  const goodbye = goodbyeOf(raw.session);
  while (await ping(raw.session));
  await goodbye;
  // grpc-js waits for a callback that Node does not make for a session that is destroyed and not yet closed.
  await wall.close();
});

/** Answers as large and as many as the request says: `{ text: "<characters>x<messages>" }`. */
const sized = {
  unary(call: { request: Note }, callback: (error: null, value: Note) => void) {
    callback(null, { text: "x".repeat(sizeOf(call.request).characters) });
  },
  serverStream(call: ServerWritableStream<Note, Note>) {
    const { characters, messages } = sizeOf(call.request);
    let left = messages;
    const write = (): void => {
      while (left-- > 0)
        if (!call.write({ text: "x".repeat(characters) })) return void call.once("drain", write);
      call.end();
    };
    write();
  },
} as unknown as UntypedServiceImplementation;

function sizeOf({ text }: Note): { readonly characters: number; readonly messages: number } {
  const [characters, messages] = text.split("x").map(Number);
  return { characters: characters ?? 0, messages: messages ?? 0 };
}

const ports: readonly (readonly [string, SecuredOptions])[] = [
  ["TLS", {}],
  ["plaintext", { tls: { plaintext: "loopback" } }],
];

describe.each(ports)("L3 N1 over %s", (port, options) => {
  const open = (wall: Secured, settings = {}): Promise<RawConnection> =>
    port === "TLS" ? RawConnection.open(wall, settings) : RawConnection.openPlain(wall, settings);

  const answers: readonly (readonly [what: string, kind: "unary" | "server_stream", size: string])[] = [
    ["one message of 1 MB", "unary", "1000000x1"],
    ["one message of 3.9 MB", "unary", "3900000x1"],
    ["a stream of five messages of 1 MB", "server_stream", "1000000x5"],
    ["a stream of 2,000 messages of 1 kB", "server_stream", "1000x2000"],
    ["a stream of 2,000 messages of 4 bytes", "server_stream", "4x2000"],
  ];

  it.each(answers)("N1 a client that pings as it reads, as Go's does, gets %s", async (_what, kind, size) => {
    await using wall = await secured({ handlers: sized, ...options });
    await using raw = await open(wall);
    const headers = await wall.authorized();
    const { characters, messages } = sizeOf({ text: size });
    for (let i = 0; i < 2; i++) {
      const { stream, answer } = raw.call(paths[kind], {
        headers,
        body: grpcFrame(JSON.stringify({ text: size })),
      });
      pingAsItReads(raw.session, stream);
      const { name, body } = await answer;
      expect(name).toBe("OK");
      expect(body).toHaveLength(
        messages * grpcFrame(JSON.stringify({ text: "x".repeat(characters) })).length,
      );
    }
    expect(wall.lines.filter(({ reason }) => reason === "too_many_pings")).toEqual([]);
  });

  it("N1 a conversation of the smallest messages with a ping after each goes on", async () => {
    await using wall = await secured(options);
    await using raw = await open(wall);
    const { stream, answer } = raw.call(paths.bidi_stream, {
      headers: await wall.authorized(),
      body: Buffer.alloc(0),
      keepOpen: true,
    });
    for (let i = 0; i < 20; i++) {
      stream.write(grpcFrame("{}"));
      await once(stream, "data");
      expect(await ping(raw.session)).toBe(true);
    }
    stream.end();
    expect((await answer).name).toBe("OK");
  });

  const floods: readonly (readonly [title: string, flood: Flood])[] = [
    [
      "1,000 pings around one small call",
      {
        async begin({ call }) {
          return async (i) => void (i === 500 && (await call("unary").answer));
        },
      },
    ],
    [
      "pings during an upload, one a kilobyte",
      {
        async begin({ call }) {
          const { stream } = call("client_stream", { keepOpen: true });
          return (i) => upload(stream, grpcFrame(JSON.stringify({ text: String(i).padEnd(1000) })));
        },
      },
    ],
    [
      "pings during an upload, one whenever a window may be renewed",
      {
        async begin({ call }) {
          const { stream } = call("client_stream", { keepOpen: true });
          return (i) => upload(stream, grpcFrame(JSON.stringify({ text: String(i).padEnd(32_768) })));
        },
      },
    ],
    [
      "pings during an upload on eight streams",
      {
        async begin({ call }) {
          const streams = Array.from({ length: 8 }, () => call("client_stream", { keepOpen: true }).stream);
          const message = grpcFrame(JSON.stringify({ text: "x".repeat(16_384) }));
          return async (i) => {
            const stream = streams[i % streams.length];
            if (stream !== undefined) await upload(stream, message);
          };
        },
      },
    ],
    [
      "pings of a caller who reads nothing of what is owed to it",
      {
        settings: { initialWindowSize: 0 },
        async begin({ call }) {
          call("unary", { body: grpcFrame(JSON.stringify({ text: "1000000x1" })) });
          return async () => {};
        },
      },
    ],
    [
      "pings of a caller who reads nothing and uploads",
      {
        settings: { initialWindowSize: 0 },
        async begin({ call }) {
          call("unary", { body: grpcFrame(JSON.stringify({ text: "1000000x1" })) });
          const { stream } = call("client_stream", { keepOpen: true });
          return (i) => upload(stream, grpcFrame(JSON.stringify({ text: String(i).padEnd(16_384) })));
        },
      },
    ],
    [
      "pings with settings in between, which are acknowledged as pings are",
      {
        async begin({ session }) {
          return async () => {
            for (let i = 0; i < 3; i++) session.settings({});
          };
        },
      },
    ],
  ];

  it.each(floods)(
    "L3 %s end in GOAWAY ENHANCE_YOUR_CALM too_many_pings",
    async (_title, { settings, begin }) => {
      await using wall = await secured({ handlers: sized, ...options });
      await using raw = await open(wall, settings);
      const headers = await wall.authorized();
      const goodbye = goodbyeOf(raw.session);
      const between = await begin({
        session: raw.session,
        call: (kind, more) => raw.call(paths[kind], { headers, body: helloFrame, ...more }),
      });
      // One call is under way by then: all others have the rule of calls that are open.
      for (let i = 0; i < 1000 && !raw.session.closed; i++) {
        await between(i);
        if (!(await ping(raw.session))) break;
      }
      expect(await goodbye).toEqual({ code: enhanceYourCalm, text: "too_many_pings" });
      expect(wall.lines.filter(({ reason }) => reason === "too_many_pings")).toHaveLength(1);
    },
  );
});

interface Flood {
  readonly settings?: { readonly initialWindowSize: number };
  /** What happens before each ping. */
  begin(caller: {
    readonly session: ClientHttp2Session;
    call(kind: (typeof kinds)[number], options?: RawCallOptions): RawCall;
  }): Promise<(i: number) => Promise<void>>;
}

/** One at a time, each begun by DATA: the estimator of bandwidth in Go, C-core and Netty. */
function pingAsItReads(session: ClientHttp2Session, stream: ClientHttp2Stream): void {
  let waiting = false;
  stream.on("data", () => {
    if (waiting || session.closed || session.destroyed) return;
    waiting = true;
    session.ping(() => {
      waiting = false;
    });
  });
}

/** Until it is on its way, or the connection is gone. */
function upload(stream: ClientHttp2Stream, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || stream.closed) resolve();
    else stream.write(bytes, () => resolve());
  });
}
