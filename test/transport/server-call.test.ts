// One call on one stream: what of a request reaches a handler, and what leaves.
import { Buffer } from "node:buffer";
import { constants } from "node:http2";
import type { Duplex, Writable } from "node:stream";
import { gzipSync } from "node:zlib";
import type { Metadata, ServerInterceptingCallInterface, UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { securityContext } from "../../src/chain/current-context.ts";
import { streamsRequests } from "../../src/grpc/method.ts";
import { serverCredentials } from "../../src/tls/server-credentials.ts";
import type { CallListener, TransportCall } from "../../src/transport/call.ts";
import { type TransportOptions, TransportServer } from "../../src/transport/server.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { grpcFrame, helloFrame, RawConnection } from "../harness/raw-http2.ts";
import { eventually, type Secured, secured, theWorld } from "../harness/secured.ts";
import { type Frame, frameTypes, openWire, type Wire, type WireCall } from "../harness/wire.ts";

/** What handlers of streams heard of their callers, in its order. */
function listening(): { readonly heard: string[]; readonly handlers: UntypedServiceImplementation } {
  const heard: string[] = [];
  const listen = (call: Duplex): void => {
    heard.push("started");
    securityContext(call).signal.addEventListener("abort", () => heard.push("aborted"));
    for (const event of ["data", "end", "cancelled"]) call.on(event, () => heard.push(event));
  };
  return {
    heard,
    handlers: {
      unary: listen,
      serverStream: listen,
      clientStream: listen,
      bidiStream: listen,
    } as unknown as UntypedServiceImplementation,
  };
}

/** The server has seen everything that was sent before when this is answered, with whatever. */
const probe = "/test.v1.Kinds/Nobody";
const hello = Buffer.from(JSON.stringify({ text: "hello" }));

/** Node's client says END_STREAM before it resets a stream, so that nobody can tell it from a finished request. */
function withoutEnd(frame: Frame): Frame {
  return frame.type === frameTypes.data ? { ...frame, flags: 0 } : frame;
}

const endings = [
  ["RST_STREAM CANCEL", "reset", constants.NGHTTP2_CANCEL],
  ["RST_STREAM NO_ERROR", "reset", constants.NGHTTP2_NO_ERROR],
  ["RST_STREAM INTERNAL_ERROR", "reset", constants.NGHTTP2_INTERNAL_ERROR],
  ["a lost connection", "cut", 0],
] as const;

describe.each(kinds)("a %s request that is not finished", (kind) => {
  it.each(endings)("N3 C12 has no end: %s", async (_name, how, code) => {
    const { heard, handlers } = listening();
    await using wall = await secured({ handlers });
    await using wire = await openWire(wall, { outbound: withoutEnd });
    const headers = await wall.authorized();
    const call = wire.call({ path: paths[kind], headers, messages: [hello], keepOpen: true });
    if (streamsRequests(kind)) await eventually(() => heard.includes("data"), "the first message");
    else await wire.call({ path: probe, messages: [Buffer.alloc(0)], keepOpen: true }).ended;
    if (how === "cut") wire.session.destroy();
    else call.stream.close(code);
    const line = await wall.callLine(({ grpc_code }) => grpc_code === "CANCELLED");
    expect(line["method"]).toBe(paths[kind]);
    if (!streamsRequests(kind)) expect(heard).toEqual([]);
    else {
      await eventually(() => heard.includes("cancelled"), "the cancellation");
      expect([...heard].sort()).toEqual(["aborted", "cancelled", "data", "started"]);
    }
  });
});

/** A server without a chain: what its calls tell of their requests. */
async function bareTransport(
  heard: string[],
  secure: TransportOptions["secure"] = (call) => listen(call, heard),
): Promise<{ readonly wire: Wire; close(): Promise<void> }> {
  const world = await theWorld();
  const server = new TransportServer({
    maxConcurrentStreams: 100,
    maxMetadataBytes: 8192,
    maxReceivedBytes: 1_000_000,
    maxSentBytes: 1_000_000,
    grpcOptions: {},
    connections: { certificateOf: () => undefined, refuse: () => undefined, onRefusedBelow: () => {} },
    onRefused: (_path, error) => heard.push(String(error)),
    secure,
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(
      "127.0.0.1:0",
      serverCredentials({
        cert: Buffer.from(world.server.cert),
        key: Buffer.from(world.server.key),
        clientCa: Buffer.from(world.ca.caPem),
      }),
      (error, bound) => (error === null ? resolve(bound) : reject(error)),
    ),
  );
  const wire = await openWire({ port, address: `localhost:${port}`, world }, { outbound: withoutEnd });
  return {
    wire,
    async close() {
      await wire[Symbol.asyncDispose]();
      server.forceShutdown();
    },
  };
}

function listen(call: TransportCall, heard: string[]): ServerInterceptingCallInterface {
  const start = (): void =>
    call.start({
      onReceiveMetadata: () => call.startRead(),
      onReceiveMessage: () => {
        heard.push("message");
        call.startRead();
      },
      onReceiveHalfClose: () => heard.push("end"),
      onCancel: () => heard.push("cancelled"),
      onClosed: () => heard.push("closed"),
      onRequestFailure: ({ details }) => heard.push(details),
      onResponseFailure: (error) => heard.push(String(error)),
      onEndedBelow: ({ details }) => heard.push(details),
    });
  return { start } as unknown as ServerInterceptingCallInterface;
}

describe("the transport alone", () => {
  it.each<[string, TransportOptions["secure"]]>([
    [
      "cannot be made",
      () => {
        throw new Error("no chain");
      },
    ],
    [
      "cannot be started",
      (call) => {
        const start = (): void =>
          call.start({
            onReceiveMetadata: () => {
              throw new Error("no start");
            },
            onCancel: () => {},
            onClosed: () => {},
          } as unknown as CallListener);
        return { start } as unknown as ServerInterceptingCallInterface;
      },
    ],
  ])("C3 answers a call whose chain %s, and tells the caller nothing of why", async (_what, secure) => {
    const heard: string[] = [];
    const { wire, close } = await bareTransport(heard, secure);
    const { ended } = wire.call({ path: paths.bidi_stream, messages: [hello], keepOpen: true });
    expect(await ended).toMatchObject({ code: 13, message: "internal error" });
    expect(heard).toEqual([expect.stringMatching(/^Error: no (chain|start)$/)]);
    await close();
  });

  it.each([
    ["is reset", (call: WireCall) => call.stream.close(constants.NGHTTP2_NO_ERROR)],
    ["is cancelled", (call: WireCall) => call.stream.close(constants.NGHTTP2_CANCEL)],
    ["loses its connection", (call: WireCall) => call.stream.session?.destroy()],
  ])("N3 tells no end of a request that %s", async (_what, end) => {
    const heard: string[] = [];
    const { wire, close } = await bareTransport(heard);
    const call = wire.call({ path: paths.bidi_stream, messages: [hello], keepOpen: true });
    await eventually(() => heard.includes("message"), "the message");
    end(call);
    await eventually(() => heard.includes("closed"), "the end");
    expect(heard).toEqual(["message", "cancelled", "closed"]);
    await close();
  });
});

describe.each(["client_stream", "bidi_stream"] as const)("a loop over a %s request", (kind) => {
  it("N3 throws where the request is reset, and does not end", async () => {
    let read = 0;
    let thrown: unknown;
    let ended = false;
    const loop = async (call: Duplex): Promise<void> => {
      try {
        for await (const _message of call) read += 1;
        ended = true;
      } catch (error) {
        thrown = error;
      }
    };
    const handlers = { clientStream: loop, bidiStream: loop } as unknown as UntypedServiceImplementation;
    await using wall = await secured({ handlers });
    await using wire = await openWire(wall, { outbound: withoutEnd });
    const headers = await wall.authorized();
    const call = wire.call({ path: paths[kind], headers, messages: [hello], keepOpen: true });
    await eventually(() => read === 1, "the first message");
    call.stream.close(constants.NGHTTP2_CANCEL);
    await eventually(() => thrown !== undefined || ended, "the loop's end");
    expect(ended).toBe(false);
    expect(thrown).toMatchObject({ code: "ERR_STREAM_PREMATURE_CLOSE" });
  });
});

const half = grpcFrame(JSON.stringify({ text: "hello" })).subarray(0, -1);
const malformed: readonly (readonly [string, Buffer, Readonly<Record<string, string>>])[] = [
  ["a prefix that is cut", helloFrame.subarray(0, 3), {}],
  ["a message that is cut", half, {}],
  ["bytes behind a message", Buffer.concat([helloFrame, Buffer.from("xy")]), {}],
  ["a flag that nobody knows", grpcFrame("{}", 2), {}],
  ["a compressed message without an encoding", grpcFrame(gzipSync("{}"), 1), {}],
  ["a compressed message with identity", grpcFrame(gzipSync("{}"), 1), { "grpc-encoding": "identity" }],
  ["what gzip cannot read", grpcFrame("no gzip", 1), { "grpc-encoding": "gzip" }],
  ["what the service cannot read", grpcFrame("no JSON"), {}],
];

describe.each(kinds)("a %s request", (kind) => {
  it.each(malformed)(
    "N4 with %s is told so, without an error id, logged at info",
    async (_name, body, more) => {
      const { heard, handlers } = listening();
      await using wall = await secured({ handlers });
      await using connection = await RawConnection.open(wall);
      const headers = { ...(await wall.authorized()), ...more };
      const { name, details } = await connection.call(paths[kind], { headers, body }).answer;
      expect(`${name} ${details}`).toBe("INTERNAL malformed request message");
      expect(heard).not.toContain("end");
      if (!streamsRequests(kind)) expect(heard).toEqual([]);
      const line = await wall.callLine(({ grpc_code }) => grpc_code === "INTERNAL");
      expect(line).toMatchObject({ level: 30, ended_by: "transport" });
      expect(line["error_id"]).toBeUndefined();
      expect(line["err"]).toBeDefined();
    },
  );

  it("N2 in an encoding that nobody knows is UNIMPLEMENTED, with those that are known", async () => {
    await using wall = await secured();
    await using connection = await RawConnection.open(wall);
    for (const flag of [0, 1]) {
      const headers = { ...(await wall.authorized()), "grpc-encoding": "br" };
      const answer = await connection.call(paths[kind], { headers, body: grpcFrame("{}", flag) }).answer;
      expect(`${answer.name} ${answer.details}`).toBe("UNIMPLEMENTED unsupported compression");
      expect(answer.headers["grpc-accept-encoding"]).toBe("identity,deflate,gzip");
    }
  });

  it("N4 in frames of a byte is read as one", async () => {
    await using wall = await secured();
    await using connection = await RawConnection.open(wall);
    const body = grpcFrame(JSON.stringify({ text: "x".repeat(1_000) }));
    const call = connection.call(paths[kind], {
      headers: await wall.authorized(),
      body: Buffer.alloc(0),
      keepOpen: true,
    });
    for (const byte of body) call.stream.write(Buffer.of(byte));
    call.stream.end();
    expect((await call.answer).name).toBe("OK");
  });
});

/** What makes the rest of a request unreadable where it comes in the same frame as good messages. */
const badRests: readonly (readonly [string, Buffer, string])[] = [
  ["a message that is cut", half, "INTERNAL malformed request message"],
  ["a flag that nobody knows", grpcFrame("{}", 2), "INTERNAL malformed request message"],
  ["a compressed message", grpcFrame(gzipSync("{}"), 1), "INTERNAL malformed request message"],
  ["what the service cannot read", grpcFrame("no JSON"), "INTERNAL malformed request message"],
  [
    "a message beyond the limit",
    Buffer.from([0, 0xff, 0xff, 0xff, 0xff]),
    "RESOURCE_EXHAUSTED message too large",
  ],
];

describe.each(["client_stream", "bidi_stream"] as const)("the messages of a %s request", (kind) => {
  it.each(badRests)("N4 reach the handler before the call fails for %s", async (_name, rest, told) => {
    const { heard, handlers } = listening();
    await using wall = await secured({ handlers });
    await using connection = await RawConnection.open(wall);
    const body = Buffer.concat([helloFrame, helloFrame, helloFrame, rest]);
    const { name, details } = await connection.call(paths[kind], {
      headers: await wall.authorized(),
      body,
    }).answer;
    expect(`${name} ${details}`).toBe(told);
    await eventually(() => heard.includes("cancelled"), "the cancellation");
    expect(heard.filter((each) => each !== "aborted")).toEqual([
      "started",
      "data",
      "data",
      "data",
      "cancelled",
    ]);
  });
});

/** The document's Call-Definition: what the caller says to the transport. */
const callDefinition = {
  te: "trailers",
  "content-type": "application/grpc+json",
  "grpc-timeout": "30S",
  "grpc-encoding": "identity",
  "grpc-accept-encoding": "identity,gzip",
  "accept-encoding": "identity",
};

describe.each(kinds)("the metadata of a %s call", (kind) => {
  it("N1 L6 shows its handler what the caller added, and nothing of the transport's", async () => {
    let seen: Metadata | undefined;
    const look = (call: { metadata: Metadata; end(): void }, callback?: (e: null, v: unknown) => void) => {
      seen = call.metadata;
      if (callback === undefined) call.end();
      else callback(null, { text: "" });
    };
    const handlers = { unary: look, clientStream: look, serverStream: look, bidiStream: look };
    await using wall = await secured({ handlers: handlers as unknown as UntypedServiceImplementation });
    await using connection = await RawConnection.open(wall);
    const own = { "x-own": "1", "user-agent": "test", ...(await wall.authorized()) };
    const call = connection.call(paths[kind], { headers: { ...callDefinition, ...own } });
    expect((await call.answer).name).toBe("OK");
    expect(seen?.getMap()).toEqual(own);
  });
});

/** What left, as raw HTTP/2 has it. */
async function rawAnswer(wall: Secured, kind: (typeof kinds)[number]) {
  await using connection = await RawConnection.open(wall);
  return await connection.call(paths[kind], { headers: await wall.authorized() }).answer;
}

describe.each(kinds)("a %s answer", (kind) => {
  it("N1 has no grpc-message beside OK, and binary values without padding", async () => {
    await using wall = await secured({
      middleware: [
        {
          name: "adds",
          onCall(call) {
            (call.responseHeaders as Metadata).set("x-head-bin", Buffer.from([1]));
            call.trailers.set("x-tail-bin", Buffer.from([1, 2]));
          },
        },
      ],
    });
    const { name, headers, trailers } = await rawAnswer(wall, kind);
    expect(name).toBe("OK");
    expect({ ...headers, ...trailers }).not.toHaveProperty("grpc-message");
    expect(headers["x-head-bin"]).toBe("AQ");
    expect(trailers["x-tail-bin"]).toBe("AQI");
    const result = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
    expect(result.trailers.get("x-tail-bin")).toEqual([Buffer.from([1, 2])]);
  });
});

describe.each(["server_stream", "bidi_stream"] as const)("the answers of a %s call", (kind) => {
  it("C4 leave together while there is room, and not one by one", async () => {
    const count = 100;
    const write = (call: Writable): void => {
      for (let i = 0; i < count; i++) call.write({ text: "" });
      call.end();
    };
    const handlers = { serverStream: write, bidiStream: write } as unknown as UntypedServiceImplementation;
    await using wall = await secured({ handlers });
    let dataFrames = 0;
    const inbound = (frame: Frame): Frame => {
      if (frame.type === frameTypes.data) dataFrames += 1;
      return frame;
    };
    await using wire = await openWire(wall, { inbound });
    const headers = await wall.authorized();
    const answer = await wire.call({ path: paths[kind], headers, messages: [hello] }).ended;
    expect(answer).toMatchObject({ code: 0, bytes: count * grpcFrame(JSON.stringify({ text: "" })).length });
    expect(dataFrames).toBeLessThan(count / 4);
  });
});
