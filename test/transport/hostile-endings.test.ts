// Endings for which Node tells nobody: what they held is free all the same.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { constants } from "node:http2";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { Metadata, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { CallContext } from "../../src/chain/context.ts";
import { CredentialError } from "../../src/grpc/errors.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { secureInterceptors } from "../../src/server/interceptors.ts";
import { foreign } from "../harness/foreign.ts";
import { invoke, kinds, kindsDefinition, paths } from "../harness/kinds.ts";
import {
  callerPolicy,
  eventually,
  keptLog,
  type LogLine,
  type Secured,
  type SecuredOptions,
  secured,
  theWorld,
} from "../harness/secured.ts";
import { waitMs, withTimeEnough } from "../harness/time.ts";
import { type Frame, frameTypes, openWire, tlsSocket } from "../harness/wire.ts";

const hello = Buffer.from(JSON.stringify({ text: "hello" }));
const windowUpdate = 8;
const resetStream = 3;

/** Node's client says END_STREAM before it resets a stream; and here it never lets the server send more than 64 KiB. */
function neverReads(frame: Frame): Frame | undefined {
  if (frame.type === windowUpdate) return undefined;
  if (frame.type === frameTypes.data) return { ...frame, flags: 0 };
  // What Node's client resets a stream with.
  return frame.type === resetStream ? { ...frame, payload: Buffer.alloc(4) } : frame;
}

interface Served extends AsyncDisposable {
  readonly port: number;
  readonly address: string;
  readonly world: Secured["world"];
  readonly lines: LogLine[];
  authorized(): Promise<{ authorization: string }>;
}

type Options = Pick<SecuredOptions, "handlers" | "middleware" | "authentication">;

/** On our own server, and on one that somebody else made. */
const servers: Readonly<Record<"own" | "attached", (options: Options) => Promise<Served>>> = {
  own: (options) => secured(options),
  async attached({ handlers = {}, ...options }) {
    const { logger, lines } = keptLog();
    const { issuer } = await theWorld();
    const interceptors = secureInterceptors({
      authentication: jwt({ issuer: issuer.issuer, audience: "kinds", jwksUri: issuer.jwksUri }),
      authorization: callerPolicy,
      services: [kindsDefinition],
      logger,
      ...options,
    });
    const served = await foreign([...interceptors], { handlers });
    return {
      port: served.port,
      address: `localhost:${served.port}`,
      world: served.world,
      lines,
      authorized: () => served.authorized(),
      async [Symbol.asyncDispose]() {
        await served[Symbol.asyncDispose]();
        await interceptors.close();
      },
    };
  },
};

function callLines({ lines }: Served): readonly LogLine[] {
  return lines.filter(({ grpc_code }) => grpc_code !== undefined);
}

describe.each(["own", "attached"] as const)("on a server of kind %s", (road) => {
  it.each(
    (["client_stream", "bidi_stream"] as const).filter((kind) => road === "own" || kind === "bidi_stream"),
  )(
    "C11 L9 a %s call that is reset without an error while its answer waits for room has ended",
    async (kind) => {
      const heard: string[] = [];
      const big = { text: "x".repeat(200_000) };
      await using served = await servers[road]({
        handlers: {
          clientStream: (call: Duplex, callback: (error: null, value: object) => void) => {
            call.on("cancelled", () => heard.push("cancelled")).resume();
            heard.push("started");
            callback(null, big);
          },
          bidiStream: (call: Duplex) => {
            call.on("cancelled", () => heard.push("cancelled")).resume();
            heard.push("started");
            call.write(big);
          },
        } as unknown as UntypedServiceImplementation,
      });
      await using wire = await openWire(served, { outbound: neverReads });
      const headers = await served.authorized();
      const { stream } = wire.call({ path: paths[kind], headers, messages: [hello], keepOpen: true });
      await once(stream, "data");
      stream.close(constants.NGHTTP2_CANCEL);
      const line = await eventually(() => callLines(served)[0], "the end of the call");
      expect(line["method"]).toBe(paths[kind]);
      if (kind === "bidi_stream") await eventually(() => heard.includes("cancelled"), "the cancellation");
    },
  );

  it.each(kinds)(
    "C12 a %s call that is reset without an error in mid-check starts no handler",
    async (kind) => {
      let decide: () => void = () => {};
      const asked: CallContext[] = [];
      const slow: Authenticator = {
        name: "slow",
        source: "metadata",
        presents: () => true,
        async authenticate(call) {
          asked.push(call);
          await new Promise<void>((resolve) => {
            decide = resolve;
          });
          throw new CredentialError("invalid", "a bad one");
        },
      };
      await using served = await servers[road]({ authentication: slow });
      await using wire = await openWire(served, { outbound: neverReads });
      const { stream } = wire.call({
        path: paths[kind],
        headers: { authorization: "x" },
        messages: [hello],
        keepOpen: true,
      });
      await eventually(() => asked.length === 1, "the check");
      stream.close(constants.NGHTTP2_CANCEL);
      // Ended while the check goes on.
      expect(await eventually(() => callLines(served)[0], "the end of the call")).toMatchObject({
        grpc_code: "CANCELLED",
      });
      expect(asked[0]?.signal.aborted).toBe(true);
      decide();
    },
  );

  it.each(["trailers", "headers"])(
    "C3 a field that handler and middleware set, and of which there may be one: %s",
    async (where) => {
      const own = new Metadata();
      own.set("etag", "the handler's");
      await using served = await servers[road]({
        middleware: [
          {
            name: "own",
            onCall: (call) =>
              (where === "trailers" ? call.trailers : call.responseHeaders).set("etag", "the middleware's"),
          },
        ],
        handlers: {
          unary: (
            call: { sendMetadata(metadata: Metadata): void },
            callback: (error: null, value: object, trailers?: Metadata) => void,
          ) => {
            if (where === "headers") call.sendMetadata(own);
            callback(null, { text: "" }, where === "trailers" ? own : undefined);
          },
        } as unknown as UntypedServiceImplementation,
      });
      await using wire = await openWire(served);
      const { ended } = wire.call({
        path: paths.unary,
        headers: await served.authorized(),
        messages: [hello],
      });
      const { code, trailers, headers } = await ended;
      expect(code).toBe(0);
      expect((where === "trailers" ? trailers : headers)?.["etag"]).toBe("the handler's");
    },
  );
});

function frame(type: number, flags: number, streamId: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

const goaway = 7;

/** HPACK, each field as a literal that is not indexed (RFC 7541 section 6.2.2). */
function headersFrame(streamId: number, path: string): Buffer {
  const fields = {
    ":method": "POST",
    ":scheme": "https",
    ":path": path,
    ":authority": "localhost",
    "content-type": "application/grpc",
    te: "trailers",
  };
  const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  const block = Object.entries(fields).flatMap(([name, value]) => [
    Buffer.from([0]),
    text(name),
    text(value),
  ]);
  return frame(frameTypes.headers, 4, streamId, Buffer.concat(block));
}

function frameTypesIn(bytes: Buffer): readonly number[] {
  const types: number[] = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3))
    types.push(bytes.readUInt8(at + 3));
  return types;
}

const preface = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  frame(frameTypes.settings, 0, 0),
  frame(frameTypes.settings, 1, 0),
]);

/** Of a client that reads, and is not told what it did wrong. */
async function connected(wall: Pick<Secured, "port" | "world">): Promise<TLSSocket> {
  const socket = await tlsSocket(wall);
  return socket.on("error", () => {}).resume();
}

describe("L9 a connection that breaks the protocol and leaves", () => {
  it.each([
    ["DATA on an idle stream", frame(frameTypes.data, 1, 3)],
    ["SETTINGS of a bad length", frame(frameTypes.settings, 0, 0, Buffer.alloc(5))],
    ["a PING of seven bytes", frame(6, 0, 0, Buffer.alloc(7))],
    ["CONTINUATION by itself", frame(9, 4, 1)],
    ["HPACK that cannot be read", frame(frameTypes.headers, 4, 1, Buffer.from("ffffffffff", "hex"))],
  ])("L9 gives its place back: %s", async (_what, bad) => {
    // They do not answer pings either: the server may not lose patience with them before they did what they do.
    await withTimeEnough(200, async (ms) => {
      await using wall = await secured({
        limits: { maxConnectionsPerPeer: 2 },
        channelOptions: { "grpc.keepalive_time_ms": ms, "grpc.keepalive_timeout_ms": ms },
      });
      for (let i = 0; i < 2; i++) {
        const socket = await connected(wall);
        const received: Buffer[] = [];
        socket.on("data", (bytes: Buffer) => received.push(bytes));
        socket.write(preface);
        await eventually(() => received.length > 0 || socket.closed, "the server's settings");
        // With a call open, which nothing else would end.
        socket.write(Buffer.concat([headersFrame(1, paths.bidi_stream), bad]));
        const isGoingAway = (): boolean => frameTypesIn(Buffer.concat(received)).includes(goaway);
        await eventually(() => isGoingAway() || socket.closed, "GOAWAY");
        if (!isGoingAway()) return false;
        socket.destroy();
      }
      const client = wall.client();
      const metadata = await wall.authorized();
      const until = Date.now() + waitMs;
      let told = await invoke(client, "unary", { metadata });
      // A refused connection is tried again.
      while (told.name !== "OK" && Date.now() < until)
        told = await invoke(client, "unary", { metadata, call: { deadline: Date.now() + 500 } });
      expect(told.name).toBe("OK");
      return true;
    });
  });

  it("L9 connections are pinged by default", async () => {
    await using wall = await secured();
    const socket = await connected(wall);
    const received: Buffer[] = [];
    socket.on("data", (bytes: Buffer) => received.push(bytes));
    socket.write(preface);
    await eventually(
      () => Buffer.concat(received).includes(frame(6, 0, 0, Buffer.alloc(8)).subarray(0, 9)),
      "a ping",
    );
    socket.destroy();
  });
});
