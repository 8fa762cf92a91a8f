// grpc-js's `Server` on our own calls: it registers services, binds ports, runs handlers and drains; streams are ours.
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import {
  Server,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServerOptions,
  status,
  type UntypedHandleCall,
} from "@grpc/grpc-js";
import type { TransportCall } from "./call.ts";
import { connectionOf } from "./connection.ts";
import { type ConnectionEvents, type Connections, watchConnections } from "./connections.ts";
import { type GrpcHandlerType, type RegisteredHandler, serverMembers } from "./grpc-js.ts";
import type { KeepaliveTimes } from "./keepalive.ts";
import { answerNotGrpc, cutOffHeaders, notGrpc } from "./not-grpc.ts";
import { headerListBytes, readHead } from "./request-head.ts";
import { type MessageLimits, ServerCall, type TransportMethod } from "./server-call.ts";

export interface TransportOptions extends MessageLimits {
  readonly maxConcurrentStreams: number;
  /** What a call may carry; HTTP/2 cuts off at twice that, also a client that does not acknowledge settings. */
  readonly maxMetadataBytes: number;
  readonly connections: Omit<ConnectionEvents, "keepalive">;
  /** What of grpc-js's own options nothing above covers. */
  readonly grpcOptions: ServerOptions;
  /** Puts the chain before a call of a method; `known`: somebody registered it. Where it throws, the call is refused. */
  readonly secure: (call: TransportCall, method: RegisteredMethod) => ServerInterceptingCallInterface;
  /** A call was refused because `secure` or the call's start threw, or because grpc-js took it past us. */
  readonly onRefused: (path: string, error: unknown) => void;
}

export interface RegisteredMethod extends RegisteredHandler, TransportMethod {
  readonly known: boolean;
}

/** Between the two the chain refuses a call with a status, a line in the log and an audit record. */
function hardCap(maxMetadataBytes: number): number {
  return 2 * maxMetadataBytes;
}

/** `channelOptions` may say otherwise, by grpc-js's names for them. */
function keepaliveTimes(options: ServerOptions): KeepaliveTimes {
  return {
    timeMs: options["grpc.keepalive_time_ms"] ?? 20_000,
    timeoutMs: options["grpc.keepalive_timeout_ms"] ?? 10_000,
  };
}

/** With the largest time grpc-js sends no pings of its own. */
const noKeepalive: ServerOptions = { "grpc.keepalive_time_ms": 2_147_483_647 };

const refused = { code: status.INTERNAL, details: "internal error" } as const;

export class TransportServer extends Server {
  readonly #options: TransportOptions;
  readonly #members: ReturnType<typeof serverMembers>;
  readonly #methods: Map<string, RegisteredMethod> = new Map();
  readonly connections: Connections;

  constructor(options: TransportOptions) {
    super({
      ...options.grpcOptions,
      ...noKeepalive,
      "grpc.max_concurrent_streams": options.maxConcurrentStreams,
      // Streams come by `_channelzHandler` otherwise.
      "grpc.enable_channelz": 0,
      // No call passes here. If one did, no handler would run.
      interceptors: [refusingInterceptor(options.onRefused)],
    });
    this.#options = options;
    const members = serverMembers(this);
    this.#members = members;
    Object.assign(members.commonServerOptions, http2Options(options));
    members._streamHandler = (_extra, stream, headers, _flags, rawHeaders) =>
      this.#take(stream, headers, rawHeaders);
    members._channelzHandler = (_extra, stream, headers) => {
      options.onRefused(
        String(headers[":path"]),
        new Error("channelz is enabled although grpc.enable_channelz is 0"),
      );
      cutOffHeaders(stream);
    };
    const create = members.createHttp2Server;
    this.connections = watchConnections({
      ...options.connections,
      keepalive: keepaliveTimes(options.grpcOptions),
    });
    members.createHttp2Server = (credentials) => {
      const http2Server = create.call(this, credentials);
      this.connections.watch(http2Server);
      return http2Server;
    };
  }

  override register<Request, Response>(
    path: string,
    func: UntypedHandleCall,
    serialize: (value: Response) => Buffer,
    deserialize: (bytes: Buffer) => Request,
    type: string,
  ): boolean {
    if (!super.register(path, func, serialize, deserialize, type)) return false;
    // Ours runs, whatever wrapped it on its way into grpc-js: `@opentelemetry/instrumentation-grpc` patches the method that
    // was called above, and its span would be a second one.
    this.#methods.set(path, {
      path,
      func,
      type: type as GrpcHandlerType,
      serialize: serialize as RegisteredHandler["serialize"],
      deserialize,
      streamsRequests: type === "clientStream" || type === "bidi",
      known: true,
    });
    return true;
  }

  override unregister(path: string): boolean {
    this.#methods.delete(path);
    return super.unregister(path);
  }

  #take(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void {
    stream.on("error", ignore);
    this.#members.onStreamOpened(stream);
    // Reset before anybody saw it.
    if (stream.closed || stream.destroyed) return;
    const { maxMetadataBytes, connections } = this.#options;
    const metadataBytes = headerListBytes(rawHeaders);
    // protection: header-cap
    if (metadataBytes > hardCap(maxMetadataBytes)) {
      cutOffHeaders(stream);
      return;
    }
    const other = notGrpc(headers);
    if (other !== undefined) {
      connections.onRefusedBelow("content_type", connectionOf(stream.session).peer.address, other.detail);
      answerNotGrpc(stream, other);
      return;
    }
    const head = readHead(headers, rawHeaders, { metadataBytes, tooLarge: metadataBytes > maxMetadataBytes });
    const path = String(headers[":path"]);
    const method = this.#methods.get(path) ?? unknownMethod(path);
    const call = new ServerCall(stream, headers, { head, method, limits: this.#options });
    try {
      const secured = this.#options.secure(call, method);
      this.#members._runHandlerForCall(secured, method);
    } catch (error) {
      // Nothing known gets here. Thrown on, it would end the process.
      this.#options.onRefused(path, error);
      call.sendStatus(refused);
    }
  }
}

/** Every error of a stream is followed by its "close". */
function ignore(): void {}

function http2Options({
  maxConcurrentStreams,
  maxMetadataBytes,
}: Pick<TransportOptions, "maxConcurrentStreams" | "maxMetadataBytes">): Readonly<Record<string, unknown>> {
  const maxHeaderListSize = hardCap(maxMetadataBytes);
  return {
    settings: { maxConcurrentStreams, maxHeaderListSize },
    // Node cuts off at 128 fields, without a status, whatever their size. Each counts 32 bytes at least (RFC 9113 section
    // 10.5.1), so that with these the size alone decides.
    maxHeaderListPairs: Math.ceil(maxHeaderListSize / 32),
    // A field whose value begins or ends with white space is dropped silently otherwise, and with it a bad
    // credential. A Node that does not know the option drops it all the same; see padded-fields.ts.
    strictFieldWhitespaceValidation: false,
  };
}

/** Calls of methods that nobody registered pass the chain too, which answers for them. */
function unknownMethod(path: string): RegisteredMethod {
  return {
    path,
    type: "bidi",
    func: neverCalled,
    serialize: neverCalled,
    deserialize: (bytes) => bytes,
    streamsRequests: true,
    known: false,
  };
}

function neverCalled(): never {
  throw new Error("an unknown method has no handler");
}

function refusingInterceptor(onRefused: TransportOptions["onRefused"]): ServerInterceptor {
  return ({ path }, call) => {
    onRefused(path, new Error("grpc-js took a call past the chain"));
    return refusingCall(call);
  };
}

/** Answers a call that cannot be let through, without anything of it reaching a handler. */
export function refusingCall(call: ServerInterceptingCallInterface): ServerInterceptingCall {
  return new ServerInterceptingCall(call, {
    start: () => call.sendStatus({ ...refused, metadata: null }),
  });
}
