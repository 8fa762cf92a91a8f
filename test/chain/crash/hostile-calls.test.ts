// Ten thousand calls that no honest client makes, over raw HTTP/2 and raw TLS, against one process.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  type OutgoingHttpHeaders,
} from "node:http2";
import { connect as connectTcp } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { invoke, kinds, paths } from "../../harness/kinds.ts";
import { type Attacked, startAttacked } from "./attacked.ts";
import { misbehaviours } from "./misbehaviours.ts";

let attacked: Attacked;

beforeAll(async () => {
  attacked = await startAttacked();
});

afterAll(async () => {
  expect(await attacked.stop()).toBe(0);
});

/** The same sequence on every run: a failure can be repeated. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const random = seeded(20_261_121);

function pick<T>(values: readonly T[]): T {
  const value = values[Math.floor(random() * values.length)];
  if (value === undefined) throw new Error("nothing to pick from");
  return value;
}

function bytes(length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)));
}

/** A gRPC frame; the length that it claims may be a lie. */
function frame(
  payload: Buffer,
  options: { readonly compressed?: number; readonly claims?: number } = {},
): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(options.compressed ?? 0, 0);
  head.writeUInt32BE(options.claims ?? payload.length, 1);
  return Buffer.concat([head, payload]);
}

const note = Buffer.from('{"text":"hostile"}');

const hostilePaths = [
  ...Object.values(paths),
  "/",
  "//",
  "/a",
  "/test.v1.Kinds/",
  "/test.v1.Kinds/unary",
  "/test.v1.Kinds/Unary/",
  "/__proto__/constructor",
  "/grpc.health.v1.Health/Check",
  "/grpc.health.v1.Health/Watch",
  `/${"x".repeat(4000)}/y`,
  "/test.v1.Kinds/%00",
  "*",
];

const hostileHeaders: readonly (() => OutgoingHttpHeaders)[] = [
  () => ({}),
  () => ({ authorization: "Bearer" }),
  () => ({ authorization: `Bearer ${attacked.token.slice(0, -4)}AAAA` }),
  () => ({ authorization: `Bearer ${"e30.".repeat(2000)}` }),
  () => ({ authorization: "Basic YTpi" }),
  () => ({ authorization: `Bearer ${bytes(40).toString("base64url")}.${bytes(40).toString("base64url")}.x` }),
  () => ({ "x-api-key": "x".repeat(3000) }),
  () => ({ "x-api-key": ["a", "b"] }),
  () => ({ "grpc-timeout": pick(["", "0", "1", "-1S", "1X", "0n", "1S 1S", "１S", "1e3S"]) }),
  () => ({ "grpc-encoding": pick(["gzip", "deflate", "br", "identity", "", "x".repeat(500)]) }),
  () => ({ "content-type": pick(["text/html", "application/grpc-web", "application/grpc+json", ""]) }),
  () => ({ te: "trailers", "user-agent": "x".repeat(2000) }),
  () => ({ "grpc-bin": "not base64 !!!", "x-data-bin": "====" }),
  () => ({
    traceparent: `00-${"0".repeat(32)}-${"0".repeat(16)}-00`,
    "x-request-id": "\tx\u00ff".repeat(20),
  }),
  () => Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`x-h${i}`, "v".repeat(50)])),
  () => ({ "x-big": "v".repeat(14_000) }),
  () => ({ "x-huge": "v".repeat(40_000) }),
  () => ({ __proto__x: "1", constructor: "x" }),
  () => ({ "x-misbehaviour": pick(Object.keys(misbehaviours)), authorization: `Bearer ${attacked.token}` }),
  () => ({ authorization: `Bearer ${attacked.token}` }),
];

const bomb = frame(gzipSync(Buffer.alloc(6 * 1024 * 1024)), { compressed: 1 });

const bodies: readonly (() => readonly Buffer[])[] = [
  () => [],
  () => [frame(note)],
  () => [frame(note), frame(note), frame(note)],
  () => [frame(Buffer.alloc(0))],
  () => [bytes(3)],
  () => [bytes(64)],
  () => [frame(note, { claims: 0xff_ff_ff_ff })],
  () => [frame(note, { claims: 5 * 1024 * 1024 })],
  () => [frame(note, { compressed: 1 })],
  () => [bomb],
  () => [frame(note, { compressed: 255 })],
  () => [frame(Buffer.from('{"text":'))],
  () => [frame(Buffer.from([0xff, 0xfe, 0xfd]))],
  () => [frame(note).subarray(0, 4), frame(note).subarray(4)],
];

type Ending = (stream: ClientHttp2Stream) => void;

const endings: readonly Ending[] = [
  (stream) => stream.end(),
  (stream) => stream.end(),
  (stream) => stream.close(0x8),
  (stream) => stream.close(0x0),
  (stream) => stream.close(0x2),
  // Left open: the server has to end it.
  () => {},
];

function tlsSocket(): TLSSocket {
  const { port, ca, cert, key } = attacked;
  return connectTls({ port, host: "localhost", ca, cert, key, ALPNProtocols: ["h2"] });
}

async function open(): Promise<{ readonly session: ClientHttp2Session; readonly socket: TLSSocket }> {
  const socket = tlsSocket();
  const session = connectHttp2(`https://localhost:${attacked.port}`, {
    settings: { enablePush: false },
    createConnection: () => socket,
  });
  session.on("error", () => {});
  await once(session, "connect");
  return { session, socket };
}

/** One hostile call. It is over when its stream is closed, or, where it may stay open on purpose, when it was answered. */
async function attack(session: ClientHttp2Session): Promise<void> {
  const path = pick(hostilePaths);
  const headers = pick(hostileHeaders)();
  const stream = session.request({
    ":method": pick(["POST", "POST", "POST", "GET", "PUT"]),
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    "grpc-timeout": "200m",
    ...headers,
  });
  stream.on("error", () => {});
  stream.resume();
  for (const body of pick(bodies)()) if (stream.writable) stream.write(body);
  pick(endings)(stream);
  // nghttp2 itself refuses this path, and Node's client does not announce the end of such a stream.
  if (path !== "*" && !stream.closed) await once(stream, "close");
}

describe("C3 nothing that a caller sends ends the process", () => {
  it("survives 10,000 hostile calls, and still answers", async () => {
    const perConnection = 50;
    const connections = 200;
    for (let i = 0; i < connections; i += 4) {
      await Promise.all(
        Array.from({ length: 4 }, async () => {
          const { session, socket } = await open();
          await Promise.all(Array.from({ length: perConnection }, () => attack(session).catch(() => {})));
          // `session.destroy()` would do it too, but where it finds a stream that was closed without an error before its
          // body has left, and another one, Node's client writes empty frames without end.
          if (random() < 0.3) socket.destroy();
          else session.close();
        }),
      );
      expect(attacked.state()).toBe("alive");
    }

    const client = attacked.client();
    for (const kind of kinds) {
      const result = await invoke(client, kind, { metadata: { authorization: `Bearer ${attacked.token}` } });
      expect(result.name).toBe("OK");
    }
    client.close();
  });

  it.each([
    ["bytes that are no TLS", (): Buffer => bytes(500)],
    ["an HTTP/1 request", (): Buffer => Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n")],
    ["a plaintext HTTP/2 preface", (): Buffer => Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
    ["half a TLS hello", (): Buffer => Buffer.from("160301020001", "hex")],
    ["nothing", (): Buffer => Buffer.alloc(0)],
  ])("survives %s on the port", async (_name, make) => {
    const sockets = Array.from({ length: 50 }, () => connectTcp(attacked.port, "localhost"));
    await Promise.all(
      sockets.map(async (socket) => {
        socket.on("error", () => {});
        await once(socket, "connect");
        socket.end(make());
        socket.resume();
        if (!socket.closed) await once(socket, "close");
      }),
    );
    expect(attacked.state()).toBe("alive");
  });

  it("survives HTTP/2 frames that break the protocol", async () => {
    const frames = [
      "000000040000000000", // settings
      "00000401000000000100000000", // HEADERS that end in the middle of HPACK
      "0000080000000000010000000000000000", // DATA on an idle stream
      "00000408000000000000000000", // WINDOW_UPDATE of zero
      "00000003000000000100000000", // RST_STREAM of the wrong size
      "0000ff0900000000010000", // CONTINUATION without HEADERS
    ];
    for (const hex of frames) {
      const socket = tlsSocket();
      socket.on("error", () => {});
      await once(socket, "secureConnect");
      socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
      socket.end(Buffer.from(hex, "hex"));
      socket.resume();
      if (!socket.closed) await once(socket, "close");
      expect(attacked.state()).toBe("alive");
    }
  });
});
