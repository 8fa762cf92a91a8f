// The shorter way through grpc-js, and base calls that grpc-js did not make: what the caller gets is what it gets on
// grpc-js's own way, whatever it sends.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { createRequire } from "node:module";
import { PassThrough } from "node:stream";
import { gzipSync } from "node:zlib";
import {
  Server,
  ServerCredentials,
  type ServerInterceptingCall,
  type ServerInterceptor,
} from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { isFamiliar, learnFrom } from "../../src/chain/seam/base-call.ts";
import { watchConnections } from "../../src/chain/seam/connections.ts";
import type { BaseCall, PartialStatus } from "../../src/chain/seam/inside.ts";
import { sendOn } from "../../src/chain/seam/own-statuses.ts";
import { takeShorterWayIn, takesShorterWay } from "../../src/chain/seam/shorter-way.ts";
import { goodHandlers, kindsDefinition, paths } from "../harness/kinds.ts";
import { grpcFrame } from "../harness/raw-http2.ts";

const { BaseServerInterceptingCall } = createRequire(import.meta.url)(
  "@grpc/grpc-js/build/src/server-interceptors.js",
) as {
  readonly BaseServerInterceptingCall: new (
    ...of: readonly unknown[]
  ) => object & { readonly decoder: unknown };
};

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: string;
}

interface Wall extends AsyncDisposable {
  readonly port: number;
  /** Of each call: did it take the shorter way? */
  readonly shorter: boolean[];
  /** Of each call: did grpc-js make its base call? */
  readonly theirs: boolean[];
  /** What each call says of its connection and its metrics. */
  readonly said: unknown[];
}

async function wall(way: "grpc-js" | "shorter" | "own base calls"): Promise<Wall> {
  const seen: boolean[] = [];
  const theirs: boolean[] = [];
  const said: unknown[] = [];
  const interceptor: ServerInterceptor = (_definition, call) => {
    const base = call as unknown as BaseCall;
    theirs.push(base.decoder.constructor.name === "StreamDecoder");
    const { localAddress, localPort, remoteAddress, remotePort } = call.getConnectionInfo();
    said.push([localAddress, localPort === port, remoteAddress, typeof remotePort]);
    const recorder = call.getMetricsRecorder();
    said.push(recorder.constructor.name, call.getMetricsRecorder() === recorder);
    said.push(call.getHost() === `127.0.0.1:${port}`, call.getDeadline(), call.getPeer().split(":").length);
    if (way !== "grpc-js") {
      learnFrom(base);
      seen.push(takesShorterWay(base));
      takeShorterWayIn(base);
      const own = base as { sendStatus(status: PartialStatus): void };
      own.sendStatus = (status) => sendOn(base, status);
    }
    return call as ServerInterceptingCall;
  };
  const server = new Server({
    interceptors: [interceptor],
    "grpc.enable_channelz": 0,
    "grpc.max_receive_message_length": 1000,
  });
  server.addService(kindsDefinition, goodHandlers());
  if (way === "own base calls")
    watchConnections(server, {
      maxMetadataBytes: 8192,
      certificateOf: () => undefined,
      refuse: () => undefined,
      onRefusedBelow: () => {},
    });
  const port: number = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return { port, shorter: seen, theirs, said, [Symbol.asyncDispose]: async () => server.forceShutdown() };
}

/** Each part in a DATA frame of its own, which the server reads before the next is sent. */
async function ask(port: number, path: string, parts: readonly Buffer[], encoding?: string): Promise<Answer> {
  const session = connect(`http://127.0.0.1:${port}`);
  try {
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      te: "trailers",
      "content-type": "application/grpc",
      ...(encoding === undefined ? {} : { "grpc-encoding": encoding }),
    });
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    const body: Buffer[] = [];
    stream.on("response", (received) => {
      headers = received;
    });
    stream.on("trailers", (received) => {
      trailers = received;
    });
    stream.on("data", (chunk: Buffer) => body.push(chunk));
    for (const part of parts) {
      stream.write(part);
      // What was sent before it has been read when the ping is answered.
      await new Promise((resolve) => session.ping(resolve));
    }
    stream.end();
    await once(stream, "close");
    for (const fields of [headers, trailers]) withoutReason(fields);
    return { headers: { ...headers, date: "" }, trailers, body: Buffer.concat(body).toString("latin1") };
  } finally {
    session.close();
  }
}

/** grpc-js 1.14.0 tells the caller why its message could not be read. Later versions, and ours, do not. */
function withoutReason(fields: IncomingHttpHeaders): void {
  const told = fields["grpc-message"];
  if (typeof told === "string")
    fields["grpc-message"] = told.replace(/^(Error%20deserializing%20request):.*/, "$1");
}

const message = (text: string): Buffer => grpcFrame(JSON.stringify({ text }));
const one = message("one");
const two = message("two");
const both = Buffer.concat([one, two]);

const rows: readonly [string, readonly Buffer[], encoding?: string][] = [
  ["one message in one frame", [one]],
  ["two messages in two frames", [one, two]],
  ["two messages in one frame", [both]],
  ["a message cut within its length", [one.subarray(0, 3), one.subarray(3)]],
  ["a message cut after its length", [one.subarray(0, 5), one.subarray(5)]],
  ["a message cut within", [one.subarray(0, 9), one.subarray(9)]],
  ["a message and a half, and the rest", [both.subarray(0, one.length + 7), both.subarray(one.length + 7)]],
  ["a whole message after one that was cut", [one.subarray(0, 4), one.subarray(4), two]],
  ["half a message that never ends", [one.subarray(0, 9)]],
  ["a frame that claims a shorter message than it holds", [Buffer.concat([one, Buffer.from([0])])]],
  ["an empty message", [grpcFrame("")]],
  ["no message", []],
  ["a message of the largest size", [message("x".repeat(1000 - 11))]],
  ["a message one byte too large", [message("x".repeat(1000 - 10))]],
  ["a message that cannot be read", [grpcFrame("{")]],
  ["a compressed message", [grpcFrame(gzipSync('{"text":"packed"}'), 1)], "gzip"],
  ["a compressed message, then one that is not", [grpcFrame(gzipSync('{"text":"packed"}'), 1), one], "gzip"],
  [
    "one that is not compressed, then one that is",
    [one, grpcFrame(gzipSync('{"text":"packed"}'), 1)],
    "gzip",
  ],
  ["a compressed message without an encoding", [grpcFrame(gzipSync('{"text":"packed"}'), 1)]],
  ["an encoding that nobody knows", [grpcFrame("{}", 1)], "snappy"],
  ["a flag that means nothing", [grpcFrame('{"text":"one"}', 2)]],
];

describe.each(Object.entries(paths))("C1 on a %s call", (_kind, path) => {
  it.each(rows)("%s is answered as on grpc-js's own way", async (_what, parts, encoding) => {
    await using own = await wall("grpc-js");
    await using shorter = await wall("shorter");
    const wanted = await ask(own.port, path, parts, encoding);
    expect(await ask(shorter.port, path, parts, encoding)).toEqual(wanted);
    expect(shorter.shorter).toEqual([true]);
    expect(wanted.trailers["grpc-status"] ?? wanted.headers["grpc-status"]).toBeDefined();
  });

  it.each(rows)(
    "%s is answered the same where grpc-js did not make the base call",
    async (_what, parts, encoding) => {
      await using own = await wall("grpc-js");
      await using ours = await wall("own base calls");
      // From this one is learned what the others look like.
      await ask(ours.port, path, [one]);
      const wanted = await ask(own.port, path, parts, encoding);
      expect(await ask(ours.port, path, parts, encoding)).toEqual(wanted);
      expect(ours.theirs.at(-1)).toBe(false);
      expect(own.theirs).toEqual([true]);
      expect(ours.said.slice(-own.said.length)).toEqual(own.said);
    },
  );
});

describe("grpc-js makes the base call", () => {
  it.each([
    ["where channelz is on", { "grpc.enable_channelz": 1 }, {}],
    ["where calls carry metrics", { "grpc.enable_channelz": 0, "grpc.server_call_metric_recording": 1 }, {}],
    ["where GRPC_TRACE is set", { "grpc.enable_channelz": 0 }, { GRPC_TRACE: "nothing" }],
  ] as const)("%s", async (_where, options, env) => {
    const theirs: boolean[] = [];
    const server = new Server({
      ...options,
      interceptors: [
        (_definition, call) => {
          learnFrom(call);
          theirs.push((call as unknown as BaseCall).decoder.constructor.name === "StreamDecoder");
          return call as ServerInterceptingCall;
        },
      ],
    });
    server.addService(kindsDefinition, goodHandlers());
    watchConnections(server, {
      maxMetadataBytes: 8192,
      certificateOf: () => undefined,
      refuse: () => undefined,
      onRefusedBelow: () => {},
    });
    for (const [name, value] of Object.entries(env)) process.env[name] = value;
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    for (const name of Object.keys(env)) delete process.env[name];
    for (let calls = 0; calls < 3; calls++) await ask(port, paths.unary, [one]);
    server.forceShutdown();
    expect(theirs).toEqual([true, true, true]);
  });

  it("where it has another field, or lacks one", () => {
    const { base } = familiar();
    expect(isFamiliar(base)).toBe(true);
    expect(isFamiliar({ ...base, added: 1 })).toBe(false);
    const { decoder: _, ...less } = base;
    expect(isFamiliar(less)).toBe(false);
  });

  it("where it belongs to another copy of grpc-js", () => {
    const { base } = familiar();
    class Metadata {}
    expect(isFamiliar({ ...base, metadata: new Metadata() })).toBe(false);
  });
});

/** A base call as grpc-js makes it. */
function familiar(): { readonly base: object & { readonly decoder: unknown } } {
  const stream = Object.assign(new PassThrough(), { session: undefined });
  const handler = { path: paths.unary, type: "unary" };
  return { base: new BaseServerInterceptingCall(stream, {}, null, handler, {}) };
}
