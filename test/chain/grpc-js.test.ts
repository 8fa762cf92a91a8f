// The seam's contract: each thing that src/chain/seam/ relies on and grpc-js does not document, as it was last seen in
// grpc-js 1.14.7, and in the oldest that is supported. When the version moves, this file says what to look at.
import { Buffer } from "node:buffer";
import { EventEmitter, once } from "node:events";
import { connect, constants, createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  status,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import grpcJs from "@grpc/grpc-js/package.json" with { type: "json" };
import { describe, expect, it } from "vitest";
import { ConfigError, isOutgoingCallError } from "../../src/call/errors.ts";
import { arrivalOf, parseTimeout } from "../../src/chain/seam/arrival.ts";
import { checkSeam } from "../../src/chain/seam/check.ts";
import { connectionOf } from "../../src/chain/seam/connection.ts";
import { setHttp2Options, watchConnections } from "../../src/chain/seam/connections.ts";
import { decompressHere } from "../../src/chain/seam/decompression.ts";
import type { BaseCall, InboundListener, PartialStatus } from "../../src/chain/seam/inside.ts";
import { asAuthContext, asInterceptor } from "../../src/chain/seam/interceptor.ts";
import { countMessageBytes } from "../../src/chain/seam/message-sizes.ts";
import {
  cleanMetadata,
  isEmptyMetadata,
  metadataEntries,
  mostMetadataBytes,
} from "../../src/chain/seam/metadata.ts";
import { interceptOwnStatuses, sendOn } from "../../src/chain/seam/own-statuses.ts";
import { handleUnknownMethods } from "../../src/chain/seam/registered.ts";
import { captureRejections, releaseStream } from "../../src/chain/seam/streams.ts";
import { createSecureClient } from "../../src/client/secure-client.ts";
import { goodHandlers, invoke, kinds, kindsDefinition, paths } from "../harness/kinds.ts";
import { grpcFrame, helloFrame } from "../harness/raw-http2.ts";
import { inTime } from "../harness/time.ts";

const seen = "1.14.7";

it(`was last seen to hold for grpc-js ${seen}: look at everything below, then move this number`, () => {
  expect(["1.14.0", seen]).toContain(grpcJs.version);
});

const noEvents = {
  maxMetadataBytes: 8192,
  certificateOf: () => undefined,
  refuse: () => undefined,
  onRefusedBelow: () => {},
};

interface Plain extends AsyncDisposable {
  readonly server: Server;
  readonly port: number;
  readonly client: Client;
}

/** A bare grpc.Server over plaintext, with what a test puts into it. */
async function plain(
  options: {
    readonly interceptor?: ServerInterceptor;
    readonly handlers?: UntypedServiceImplementation;
    readonly before?: (server: Server) => void;
    readonly limits?: Readonly<Record<string, number>>;
  } = {},
): Promise<Plain> {
  const server = new Server({
    ...options.limits,
    ...(options.interceptor === undefined ? {} : { interceptors: [options.interceptor] }),
  });
  options.before?.(server);
  server.addService(kindsDefinition, { ...goodHandlers(), ...options.handlers });
  const port = await bind(server);
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  return {
    server,
    port,
    client,
    async [Symbol.asyncDispose]() {
      client.close();
      server.forceShutdown();
    },
  };
}

function bind(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
}

function answerFor(path: string): UntypedHandleCall {
  const answer = (_call: unknown, callback: (error: unknown) => void): void =>
    callback({ code: status.OUT_OF_RANGE, details: `asked for ${path}` });
  return answer as unknown as UntypedHandleCall;
}

/** Hands everything on, and nothing but the methods of the interface. */
class PassingCall implements ServerInterceptingCallInterface {
  readonly base: BaseCall;
  listener: InboundListener | undefined = undefined;

  constructor(base: BaseCall) {
    this.base = base;
  }
  start(listener: InboundListener): void {
    this.listener = listener;
    this.base.start(listener);
  }
  sendMetadata(metadata: Metadata): void {
    this.base.sendMetadata(metadata);
  }
  sendMessage(message: unknown, callback: () => void): void {
    this.base.sendMessage(message, callback);
  }
  sendStatus(sent: PartialStatus): void {
    sendOn(this.base, sent);
  }
  startRead(): void {
    this.base.startRead();
  }
  getPeer(): string {
    return this.base.getPeer();
  }
  getDeadline(): ReturnType<ServerInterceptingCallInterface["getDeadline"]> {
    return this.base.getDeadline();
  }
  getHost(): string {
    return this.base.getHost();
  }
  getAuthContext(): ReturnType<ServerInterceptingCallInterface["getAuthContext"]> {
    return this.base.getAuthContext();
  }
  getConnectionInfo(): ReturnType<ServerInterceptingCallInterface["getConnectionInfo"]> {
    return this.base.getConnectionInfo();
  }
  getMetricsRecorder(): ReturnType<ServerInterceptingCallInterface["getMetricsRecorder"]> {
    return this.base.getMetricsRecorder();
  }
}

/** A request of raw HTTP/2 over plaintext; the headers of the answer and the trailers in one. */
async function rawCall(
  port: number,
  path: string,
  options: { readonly headers?: Readonly<Record<string, string | string[]>>; readonly body?: Buffer } = {},
): Promise<Record<string, unknown>> {
  const session = connect(`http://127.0.0.1:${port}`);
  try {
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...options.headers,
    });
    const received: Record<string, unknown> = {};
    stream.on("response", (headers) => Object.assign(received, headers));
    stream.on("trailers", (trailers) => Object.assign(received, trailers));
    stream.on("error", () => {});
    stream.resume();
    stream.end(options.body ?? helloFrame);
    await once(stream, "close");
    return received;
  } finally {
    session.destroy();
  }
}

/** As if a later grpc-js called it something else, until it is disposed of. */
function without(object: object, name: string): Disposable {
  const was = Object.getOwnPropertyDescriptor(object, name);
  Object.defineProperty(object, name, { configurable: true, value: undefined });
  return {
    [Symbol.dispose]() {
      Reflect.deleteProperty(object, name);
      if (was !== undefined) Object.defineProperty(object, name, was);
    },
  };
}

describe(`grpc-js ${seen}: the server`, () => {
  it("has what the seam needs, and a server without is told so at once", () => {
    expect(() => checkSeam(new Server())).not.toThrow();
    const lacking = Object.assign(new Server(), {
      _retrieveHandler: undefined,
      createHttp2Server: undefined,
    });
    expect(() => checkSeam(lacking)).toThrow(ConfigError);
    expect(() => checkSeam(lacking)).toThrow(/Server\.createHttp2Server, Server\._retrieveHandler.*1\.14\.7/);
  });

  it.each(["_addWatcher", "_removeWatcher", "_equals", "getWatcherCount", "updateSecureContextOptions"])(
    "needs %s of server credentials",
    (name) => {
      using _ = without(Object.getPrototypeOf(ServerCredentials.createInsecure()), name);
      expect(() => checkSeam(new Server())).toThrow(`lacks ServerCredentials.${name};`);
    },
  );

  it.each(["_createSecureConnector", "_equals", "_isSecure"])("needs %s of channel credentials", (name) => {
    using _ = without(Object.getPrototypeOf(credentials.createInsecure()), name);
    const make = (): unknown => createSecureClient(Client, "localhost:1", { tls: { plaintext: "loopback" } });
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(`lacks ChannelCredentials.${name};`);
  });

  it("makes every port through createHttp2Server, and asks the instance for it", async () => {
    let made = 0;
    await using bare = await plain({
      before: (server) => {
        const inside = server as unknown as { createHttp2Server(credentials: unknown): unknown };
        const create = inside.createHttp2Server;
        inside.createHttp2Server = function counted(...args) {
          made += 1;
          return Reflect.apply(create, this, args);
        };
      },
    });
    await bind(bare.server);
    expect(made).toBe(2);
  });

  it("gives each port the HTTP/2 settings in commonServerOptions, plaintext ports too", async () => {
    await using bare = await plain({
      before: (server) => setHttp2Options(server, { maxConcurrentStreams: 7, maxMetadataBytes: 1_500 }),
    });
    const session = connect(`http://127.0.0.1:${bare.port}`);
    const [settings] = await once(session, "remoteSettings");
    session.destroy();
    expect(settings).toMatchObject({ maxConcurrentStreams: 7, maxHeaderListSize: 3_000 });
  });

  it("asks _retrieveHandler for every call, so that a fallback answers for unknown methods", async () => {
    await using bare = await plain({
      before: (server) =>
        handleUnknownMethods(server, (path) => ({
          path,
          type: "unary",
          func: answerFor(path),
          serialize: () => Buffer.alloc(0),
          deserialize: (bytes) => bytes,
        })),
    });
    const unknown = await invoke(bare.client, "unary", { path: "/no/Such" });
    expect(unknown).toMatchObject({ name: "OUT_OF_RANGE", details: "asked for /no/Such" });
    expect(await invoke(bare.client, "unary")).toMatchObject({ name: "OK" });
  });

  it("hands the same headers object to its own listener, after ours", async () => {
    // What we take out of them (grpc-timeout), grpc-js does not see: it would answer this by itself.
    await using bare = await plain({ before: (server) => void watchConnections(server, noEvents) });
    const answer = await rawCall(bare.port, paths.unary, { headers: { "grpc-timeout": "soon" } });
    expect(answer["grpc-status"]).toBe("0");
  });

  it("answers 415 to what has no content type of gRPC", async () => {
    await using bare = await plain();
    const answer = await rawCall(bare.port, paths.unary, { headers: { "content-type": "text/plain" } });
    expect(answer[":status"]).toBe(415);
  });
});

/** What cannot be made fails the test. */
function interceptorOf(make: Parameters<typeof asInterceptor>[0]): ServerInterceptor {
  return asInterceptor(make, (_path, error) => {
    throw error;
  });
}

describe(`grpc-js ${seen}: the base call`, () => {
  it.each(kinds)("takes an object of ours for a %s call, and calls nothing but its methods", async (kind) => {
    const made: PassingCall[] = [];
    await using bare = await plain({
      interceptor: interceptorOf((_definition, base) => {
        const call = new PassingCall(base);
        made.push(call);
        return call;
      }),
    });
    const result = await invoke(bare.client, kind);
    expect(result.name).toBe("OK");
    expect(made).toHaveLength(1);
  });

  it.each(kinds)(
    "is refused where another interceptor stands before it: no base call for %s",
    async (kind) => {
      const told: [string, unknown][] = [];
      const ours = asInterceptor(
        (_definition, base) => new PassingCall(base),
        (path, error) => told.push([path, error]),
      );
      await using bare = await plain({
        interceptor: (definition, call) => ours(definition, new ServerInterceptingCall(call)),
      });
      const result = await invoke(bare.client, kind);
      expect(`${result.name} ${result.details}`).toBe("INTERNAL internal error");
      expect(told).toEqual([[paths[kind], expect.any(ConfigError)]]);
    },
  );

  it.each(kinds)("is refused where no call of ours can be made of it: %s", async (kind) => {
    const told: unknown[] = [];
    const failure = new Error("not made");
    await using bare = await plain({
      interceptor: asInterceptor(
        () => {
          throw failure;
        },
        (_path, error) => told.push(error),
      ),
    });
    const result = await invoke(bare.client, kind);
    expect(`${result.name} ${result.details}`).toBe("INTERNAL internal error");
    expect(told).toEqual([failure]);
  });

  it("has its stream, its session, its timer, and knows when the caller has finished", async () => {
    const bases: BaseCall[] = [];
    let session: unknown;
    await using bare = await plain({
      interceptor: interceptorOf((_definition, base) => {
        bases.push(base);
        session = base.stream.session;
        return new PassingCall(base);
      }),
    });
    await invoke(bare.client, "unary", { call: { deadline: inTime() } });
    const [base] = bases;
    expect(base?.stream.id).toBeGreaterThan(0);
    expect(session).toHaveProperty("remoteSettings");
    expect(base?.deadlineTimer).toBeTruthy();
    expect(base?.receivedHalfClose).toBe(true);
  });

  const deafToSizes = { onBytesReceived() {}, onBytesSent() {} };
  const ownStatuses: readonly (readonly [string, Buffer, Readonly<Record<string, string>>, number])[] = [
    ["a message too large", grpcFrame(Buffer.alloc(2_000)), {}, status.RESOURCE_EXHAUSTED],
    ["a message it cannot decode", grpcFrame("no JSON"), {}, status.INTERNAL],
    ["a message it cannot decompress", grpcFrame("no gzip", 1), { "grpc-encoding": "gzip" }, status.INTERNAL],
    ["a compression it does not know", grpcFrame("x", 1), { "grpc-encoding": "zip" }, status.UNIMPLEMENTED],
  ];
  it.each(ownStatuses)(
    "sends the status for %s through its own property sendStatus",
    async (_name, body, headers, code) => {
      const shown: PartialStatus[] = [];
      await using bare = await plain({
        limits: { "grpc.max_receive_message_length": 1_000 },
        interceptor: interceptorOf((_definition, base) => {
          // Its own decompressor would end the process here before 1.14.4.
          decompressHere(base);
          interceptOwnStatuses(base, {
            ...deafToSizes,
            onBaseStatus: (sent) => {
              shown.push(sent);
              sendOn(base, { code: status.ABORTED, details: "ours" });
            },
          });
          return new PassingCall(base);
        }),
      });
      const answer = await rawCall(bare.port, paths.unary, { headers, body });
      expect(shown).toEqual([expect.objectContaining({ code })]);
      expect(answer).toMatchObject({ "grpc-status": String(status.ABORTED), "grpc-message": "ours" });
    },
  );

  it.each(kinds)("U5 tells the size of each message of a %s call, without its framing", async (kind) => {
    const sizes: { readonly received: number[]; readonly sent: number[] } = { received: [], sent: [] };
    await using bare = await plain({
      interceptor: interceptorOf((_definition, base) => {
        interceptOwnStatuses(base, {
          onBaseStatus: (sent) => sendOn(base, sent),
          onBytesReceived: (bytes) => sizes.received.push(bytes),
          onBytesSent: (bytes) => sizes.sent.push(bytes),
        });
        expect(countMessageBytes(base)).toBe(true);
        return new PassingCall(base);
      }),
    });
    const messages = [{ text: "a" }, { text: "bcd" }];
    const { messages: answers } = await invoke(bare.client, kind, { messages });
    const bytes = (notes: readonly unknown[]): readonly number[] =>
      notes.map((note) => JSON.stringify(note).length);
    const requests = kind === "unary" || kind === "server_stream" ? messages.slice(0, 1) : messages;
    expect(sizes).toEqual({ received: bytes(requests), sent: bytes(answers) });
  });

  it("U5 tells of no sizes where grpc-js has nothing to tell them by", () => {
    expect(countMessageBytes({} as BaseCall)).toBe(false);
  });

  it("loses its timer where the seam takes it, and answers nothing by itself", async () => {
    const timers: unknown[] = [];
    await using bare = await plain({
      interceptor: interceptorOf((_definition, base) => {
        interceptOwnStatuses(base, { ...deafToSizes, onBaseStatus: () => {} });
        timers.push(base.deadlineTimer);
        return new PassingCall(base);
      }),
    });
    await invoke(bare.client, "unary");
    expect(timers).toEqual([null]);
  });

  it("is closed without an error behind its status, where the caller does not finish", async () => {
    await using bare = await plain({
      interceptor: interceptorOf((_definition, base) => {
        const call = new PassingCall(base);
        call.start = () =>
          base.start({
            onReceiveMetadata: () => sendOn(base, { code: status.ABORTED, details: "no" }),
            onReceiveMessage() {},
            onReceiveHalfClose() {},
            // Fired after every status, also of a call that succeeded.
            onCancel: () => releaseStream(base),
          });
        return call;
      }),
    });
    const session = connect(`http://127.0.0.1:${bare.port}`);
    const stream = session.request(
      { ":method": "POST", ":path": paths.bidi_stream, "content-type": "application/grpc" },
      { endStream: false },
    );
    const [headers] = await once(stream, "response");
    stream.resume();
    await once(stream, "close");
    session.destroy();
    expect(headers["grpc-status"]).toBe(String(status.ABORTED));
    expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
  });

  it.each(kinds)("has its auth context forwarded by the call object of a %s handler", async (kind) => {
    const ours = { transportSecurityType: "ours", sslPeerCertificate: undefined };
    const found: unknown[] = [];
    const look = (
      call: { getAuthContext(): unknown; end(): void },
      callback?: (e: null, v: unknown) => void,
    ): void => {
      found.push(call.getAuthContext());
      if (callback === undefined) call.end();
      else callback(null, { text: "" });
    };
    await using bare = await plain({
      handlers: {
        unary: look,
        clientStream: look,
        serverStream: (call: never) => look(call),
        bidiStream: (call: never) => look(call),
      } as unknown as UntypedServiceImplementation,
      interceptor: interceptorOf((_definition, base) => {
        const call = new PassingCall(base);
        call.getAuthContext = () => asAuthContext(ours);
        return call;
      }),
    });
    await invoke(bare.client, kind);
    expect(found).toEqual([ours]);
    expect(found[0]).toBe(ours);
  });
});

describe(`grpc-js ${seen}: what a stream and its connection tell`, () => {
  const arrival = async (
    headers: Readonly<Record<string, string | string[]>>,
  ): Promise<{
    readonly bytes: number;
    readonly timeout: unknown;
    readonly metadata: Metadata;
    readonly peer: unknown;
  }> => {
    let found: Awaited<ReturnType<typeof arrival>> | undefined;
    await using bare = await plain({
      before: (server) => void watchConnections(server, noEvents),
      interceptor: interceptorOf((_definition, base) => {
        const call = new PassingCall(base);
        call.start = (listener) => {
          base.start({
            ...delegate(listener),
            onReceiveMetadata: (metadata) => {
              const { metadataBytes, timeoutMs } = arrivalOf(base.stream);
              const { address, secure } = connectionOf(base.stream.session).peer;
              found = { bytes: metadataBytes, timeout: timeoutMs, metadata, peer: { address, secure } };
              listener.onReceiveMetadata(metadata);
            },
          });
        };
        return call;
      }),
    });
    await rawCall(bare.port, paths.unary, { headers });
    if (found === undefined) throw new Error("no call arrived");
    return found;
  };
  const delegate = (listener: InboundListener): InboundListener => ({
    onReceiveMetadata: (metadata) => listener.onReceiveMetadata(metadata),
    onReceiveMessage: (message) => listener.onReceiveMessage(message),
    onReceiveHalfClose: () => listener.onReceiveHalfClose(),
    onCancel: () => listener.onCancel(),
  });

  it("L5 counts metadata as RFC 9113 does, every field of a repeated name", async () => {
    const bare = await arrival({});
    const more = await arrival({ "x-a": ["1", "22"], "x-b": "333" });
    expect(more.bytes - bare.bytes).toBe("x-a1".length + 32 + "x-a22".length + 32 + "x-b333".length + 32);
  });

  it("keeps a field whose value gRPC does not allow, without the value", async () => {
    const { metadata } = await arrival({ authorization: "Bearer ö", "x-note": "ö", "x-fine": "o" });
    expect(metadata.get("authorization")).toEqual([""]);
    expect(metadata.get("x-note")).toEqual([""]);
    expect(metadata.get("x-fine")).toEqual(["o"]);
  });

  it("L6 has the timeout, which grpc-js no longer sees", async () => {
    expect((await arrival({ "grpc-timeout": "2592000S" })).timeout).toBe(2_592_000_000);
    expect((await arrival({ "grpc-timeout": "x" })).timeout).toBe("malformed");
    expect((await arrival({})).timeout).toBeUndefined();
  });

  it("knows the peer of the connection", async () => {
    expect((await arrival({})).peer).toEqual({ address: "127.0.0.1", secure: false });
  });

  it.each([
    ["1H", 3_600_000],
    ["1M", 60_000],
    ["1S", 1_000],
    ["1m", 1],
    ["1u", 0.001],
    ["1n", 0.000001],
    ["99999999S", 99_999_999_000],
    ["100000000S", "malformed"],
    ["S", "malformed"],
    ["-1S", "malformed"],
    ["1s", "malformed"],
    ["1S ", "malformed"],
    ["", "malformed"],
  ])("L6 reads the timeout %j as the gRPC specification does", (text, expected) => {
    const read = parseTimeout(text);
    if (typeof expected === "number") expect(read).toBeCloseTo(expected, 9);
    else expect(read).toBe(expected);
  });
});

describe(`grpc-js ${seen}: metadata`, () => {
  it("has its entries in a Map named internalRepr, which is empty where it is", () => {
    const metadata = new Metadata();
    expect((metadata as unknown as { internalRepr: unknown }).internalRepr).toBeInstanceOf(Map);
    expect(isEmptyMetadata(metadata)).toBe(true);
    metadata.set("x", "1");
    expect(isEmptyMetadata(metadata)).toBe(false);
  });

  it("gives every value of every key", () => {
    const metadata = new Metadata();
    metadata.add("x", "1");
    metadata.add("x", "2");
    metadata.add("y-bin", Buffer.from([0]));
    expect(metadataEntries(metadata)).toEqual([
      ["x", ["1", "2"]],
      ["y-bin", [Buffer.from([0])]],
    ]);
  });

  it("C3 is never more than a header block holds, and says what is missing", () => {
    const metadata = new Metadata();
    for (let i = 0; i < 20; i++) metadata.set(`x-${i}`, "x".repeat(1_000));
    metadata.set("x-large-bin", Buffer.alloc(mostMetadataBytes));
    const dropped: string[] = [];
    const clean = cleanMetadata(metadata, (key) => dropped.push(key));
    const sizes = Object.entries(clean?.toHttp2Headers() ?? {}).flatMap(([key, values]) =>
      [values ?? []].flat().map((value) => key.length + String(value).length + 32),
    );
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(mostMetadataBytes);
    expect(sizes.length + dropped.length).toBe(21);
    expect(dropped).toContain("x-large-bin");
  });

  const names = [
    ...new Set(
      Object.entries(constants)
        .filter(([constant]) => constant.startsWith("HTTP2_HEADER_"))
        .map(([, name]) => String(name)),
    ),
  ];

  /** Sends what is left of two values, as headers and as trailers, on a real stream of Node's. */
  it(`C3 leaves nothing that Node ${process.versions.node} refuses to send, of all ${names.length} fields that it knows`, async () => {
    const thrown: string[] = [];
    const server = createServer();
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      const name = String(headers["x-name"]);
      const metadata = new Metadata();
      for (const value of ["1", "2"]) metadata.add(name, name.endsWith("-bin") ? Buffer.from(value) : value);
      const sent = cleanMetadata(metadata, () => {})?.toHttp2Headers();
      stream.on("error", (error) => thrown.push(`${name}: ${error.message}`));
      try {
        stream.respond({ ":status": 200, ...sent }, { waitForTrailers: true });
      } catch (error) {
        thrown.push(`${name} in headers: ${String(error)}`);
        stream.close();
        return;
      }
      stream.on("wantTrailers", () => {
        try {
          stream.sendTrailers({ "grpc-status": "0", ...sent });
        } catch (error) {
          thrown.push(`${name} in trailers: ${String(error)}`);
          stream.close();
        }
      });
      stream.end();
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const statuses = await Promise.all(
      names.map(async (name) => {
        const stream = session.request({ "x-name": name });
        let answered: unknown;
        stream.on("trailers", (trailers) => {
          answered = trailers["grpc-status"];
        });
        stream.on("error", () => {});
        stream.resume();
        await once(stream, "close");
        return [name, answered];
      }),
    );
    session.destroy();
    server.close();
    expect(thrown).toEqual([]);
    expect(statuses.filter(([, answered]) => answered !== "0")).toEqual([]);
    expect(names).toContain("retry-after");
  });
});

describe(`grpc-js ${seen}: the error of an outgoing call`, () => {
  const failing = {
    unary: (_call: unknown, callback: (error: unknown) => void) =>
      callback({ code: status.NOT_FOUND, details: "no such order" }),
  } as unknown as UntypedServiceImplementation;

  it("C5 is known by its message or by its stack, and others are not taken for one", async () => {
    await using bare = await plain({ handlers: failing });
    const error = await new Promise<unknown>((resolve) => {
      const method = kindsDefinition["unary"];
      if (method === undefined) throw new Error("there is one");
      const { path, requestSerialize, responseDeserialize } = method;
      bare.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, { text: "" }, resolve);
    });
    expect(isOutgoingCallError(error)).toBe(true);
    expect((error as Error).message).toBe("5 NOT_FOUND: no such order");
    expect((error as Error).stack).toContain("\nfor call at\n");
    (error as Error).message = "said otherwise";
    expect(isOutgoingCallError(error)).toBe(true);
    const own = Object.assign(new Error("no such order"), {
      code: status.NOT_FOUND,
      details: "no such order",
      metadata: new Metadata(),
    });
    expect(isOutgoingCallError(own)).toBe(false);
  });
});

describe(`Node ${process.versions.node}: rejections of async listeners`, () => {
  it("C3 are caught on an emitter that somebody else made", async () => {
    const emitter = new EventEmitter();
    const caught = new Promise((resolve) => {
      expect(captureRejections(emitter, (error, event) => resolve([String(error), event]))).toBe(true);
    });
    emitter.on("data", async () => {
      throw new Error("in a listener");
    });
    emitter.emit("data");
    expect(await caught).toEqual(["Error: in a listener", "data"]);
  });
});
