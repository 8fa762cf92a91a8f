/**
 * The seam: the only file that touches what grpc-js does not document. Each function is small and typed, names what it
 * relies on, and was last seen to hold for grpc-js 1.14.7 (test/chain/grpc-js.test.ts is the contract test).
 * `checkSeam` runs when a server is made, so that a grpc-js that changed stops it at start. What only a call can show is
 * looked at when the first one comes: then every call is refused, and the log says why.
 */
import { Buffer } from "node:buffer";
import { EventEmitter } from "node:events";
import {
  constants,
  type Http2SecureServer,
  type Http2Server,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import {
  ChannelCredentials,
  Metadata,
  type Server,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServerMethodDefinition,
  status,
  type UntypedHandleCall,
} from "@grpc/grpc-js";
import { ConfigError } from "../call/errors.ts";
import type { MethodKind } from "../call/method.ts";
import { inItsTime, type Peer, type PeerCertificate } from "../call/peer.ts";
import { longestTimerMs } from "../call/timer.ts";
import { learnFrom, streamTaker, type TakeStream } from "./base-call.ts";
import type { ConnectionGate } from "./connection-gate.ts";
import type { PingPolicy } from "./ping-policy.ts";
import type { CertificateNames, OnRefusedBelow, RefusedBelow } from "./refused-below.ts";
import { sendDueTrailers, sendPlainSuccess, takeShorterWayIn, takesShorterWay } from "./shorter-way.ts";
import { framingBytes } from "./whole-message.ts";

/** grpc-js exports neither this interface nor `PartialStatusObject`. */
export interface InboundListener {
  onReceiveMetadata(metadata: Metadata): void;
  onReceiveMessage(message: unknown): void;
  onReceiveHalfClose(): void;
  onCancel(): void;
}

export interface PartialStatus {
  readonly code: number;
  readonly details: string;
  readonly metadata?: Metadata | null | undefined;
}

/** What stands behind an interceptor's call: the base call, with the fields that we use of it. */
export interface BaseCall extends ServerInterceptingCallInterface {
  readonly stream: ServerHttp2Stream;
  readonly handler: RegisteredHandler;
  deadlineTimer: NodeJS.Timeout | null;
  receivedHalfClose: boolean;
  maxReceiveMessageSize: number;
  readonly incomingEncoding: string;
  readonly decoder: { maxReadMessageLength: number };
  decompressMessage(message: Buffer, encoding: string): Buffer | Promise<Buffer>;
  sendStatus(status: PartialStatus): void;
}

/** One intercepting call of ours, as grpc-js wants it: it is handed to `_runHandlerForCall`, which only calls methods. */
export type OwnInterceptingCall = ServerInterceptingCallInterface;

export type GrpcHandlerType = "unary" | "clientStream" | "serverStream" | "bidi";

export interface RegisteredHandler {
  func: UntypedHandleCall;
  readonly serialize: (value: unknown) => Buffer;
  readonly deserialize: (bytes: Buffer) => unknown;
  readonly type: GrpcHandlerType;
  readonly path: string;
}

interface ServerInside {
  createHttp2Server(credentials: unknown): Http2Server | Http2SecureServer;
  _retrieveHandler(path: string): RegisteredHandler | null;
  readonly commonServerOptions: Record<string, unknown>;
}

/** What the caller's HEADERS frame said that grpc-js would not tell. */
export interface Arrival {
  /** RFC 9113 section 10.5.1: name + value + 32 for each field, pseudo-header fields included. */
  readonly metadataBytes: number;
  /** Milliseconds; undefined: no `grpc-timeout`; "malformed": one that the gRPC specification does not allow. */
  readonly timeoutMs: number | undefined | "malformed";
  /** `x-forwarded-client-cert`, taken out of what layers and handlers see: only whoever knows its sender may read it. */
  readonly forwardedCertificate: string | undefined;
}

/** A connection as we know it: computed once, when it is accepted. */
export interface Connection {
  readonly peer: Peer;
  /** Calls that are open on it. */
  calls: number;
  /** Was anything of a call sent on it since the last ping (L3)? */
  sentSincePing: boolean;
}

// Kept on the stream and the session themselves: a property is cheaper per call than a WeakMap, and goes with them.
const arrivalKey: unique symbol = Symbol("palisade.arrival");
const connectionKey: unique symbol = Symbol("palisade.connection");

interface MarkedStream {
  [arrivalKey]?: Arrival;
}

interface MarkedSession {
  [connectionKey]?: Connection;
}

/** Throws where this grpc-js is not the one the seam was made for. */
export function checkSeam(server: Server): void {
  const inside = server as unknown as Partial<ServerInside>;
  const missing = [
    typeof inside.createHttp2Server === "function" ? "" : "Server.createHttp2Server",
    typeof inside._retrieveHandler === "function" ? "" : "Server._retrieveHandler",
    typeof inside.commonServerOptions === "object" ? "" : "Server.commonServerOptions",
    ...missingMethods("ServerCredentials", ServerCredentials.createInsecure(), [
      "_addWatcher",
      "_removeWatcher",
      "_equals",
      "getWatcherCount",
      "updateSecureContextOptions",
    ]),
  ].filter((name) => name !== "");
  if (missing.length > 0) throw lacking(missing);
}

/** The same for channel credentials, which ours override and wrap. Runs when a client is made. */
export function checkChannelSeam(): void {
  const names = ["_createSecureConnector", "_equals", "_isSecure"];
  const missing = missingMethods("ChannelCredentials", ChannelCredentials.createInsecure(), names);
  if (missing.length > 0) throw lacking(missing);
}

function missingMethods(of: string, object: object, names: readonly string[]): string[] {
  return names
    .filter((name) => typeof Reflect.get(object, name) !== "function")
    .map((name) => `${of}.${name}`);
}

/** Hears why a call was refused before there was anything of ours to refuse it. grpc-js does not survive a throw here. */
export type OnUnmade = (path: string, error: unknown) => void;

/** Turns a call of ours into what an interceptor has to return: grpc-js types it as its own class, but only calls methods. */
export function asInterceptor(
  make: (definition: ServerMethodDefinition<unknown, unknown>, base: BaseCall) => OwnInterceptingCall,
  onUnmade: OnUnmade,
): ServerInterceptor {
  const asBaseCall = newBaseCallCheck();
  return orRefuse((definition, call) => make(definition, asBaseCall(call)), onUnmade);
}

/**
 * The same for a server that somebody else made (C6). `base` is undefined where the call is not next to the wire, because
 * another interceptor stands before ours.
 */
export function asAttachedInterceptor(
  make: (
    definition: ServerMethodDefinition<unknown, unknown>,
    call: ServerInterceptingCallInterface,
    base: BaseCall | undefined,
  ) => OwnInterceptingCall,
  onUnmade: OnUnmade,
): ServerInterceptor {
  const asBaseCall = newBaseCallCheck();
  return orRefuse(
    (definition, call) => make(definition, call, isNextToWire(call) ? asBaseCall(call) : undefined),
    onUnmade,
  );
}

function isNextToWire(call: ServerInterceptingCallInterface): boolean {
  return "stream" in call && "handler" in call;
}

function orRefuse(
  make: (
    definition: ServerMethodDefinition<unknown, unknown>,
    call: ServerInterceptingCallInterface,
  ) => OwnInterceptingCall,
  onUnmade: OnUnmade,
): ServerInterceptor {
  return (definition, call) => {
    try {
      return make(definition, call) as unknown as ServerInterceptingCall;
    } catch (error) {
      onUnmade(definition.path, error);
      return refusingCall(call, unmade) as unknown as ServerInterceptingCall;
    }
  };
}

const unmade: PartialStatus = { code: status.INTERNAL, details: "internal error" };

/** Looks at the first base call of an interceptor; the others are of the same class. */
function newBaseCallCheck(): (call: ServerInterceptingCallInterface) => BaseCall {
  let whole: unknown;
  let shorter = false;
  return (call) => {
    const base = call as BaseCall;
    const prototype: unknown = Object.getPrototypeOf(call);
    if (prototype !== whole) {
      checkBaseCall(call);
      learnFrom(call);
      whole = prototype;
      shorter = takesShorterWay(base);
    }
    if (shorter) takeShorterWayIn(base);
    return base;
  };
}

/** Throws where this grpc-js's base call is not the one the seam was made for. */
function checkBaseCall(call: ServerInterceptingCallInterface): void {
  const base = call as Partial<OwnedBaseCall>;
  const missing = [
    typeof base.stream === "object" ? "" : "stream",
    typeof base.handler?.func === "function" ? "" : "handler.func",
    typeof base.handler?.serialize === "function" ? "" : "handler.serialize",
    typeof base.handler?.deserialize === "function" ? "" : "handler.deserialize",
    base.handler !== undefined && base.handler.type in kinds ? "" : "handler.type",
    base.deadlineTimer !== undefined ? "" : "deadlineTimer",
    typeof base.receivedHalfClose === "boolean" ? "" : "receivedHalfClose",
    typeof base.maxReceiveMessageSize === "number" ? "" : "maxReceiveMessageSize",
    typeof base.maxSendMessageSize === "number" ? "" : "maxSendMessageSize",
    typeof base.incomingEncoding === "string" ? "" : "incomingEncoding",
    typeof base.decoder?.maxReadMessageLength === "number" ? "" : "decoder.maxReadMessageLength",
    typeof base.decompressMessage === "function" ? "" : "decompressMessage",
    typeof base.serializeMessage === "function" ? "" : "serializeMessage",
    typeof base.sendStatus === "function" ? "" : "sendStatus",
  ].filter((name) => name !== "");
  if (missing.length > 0) throw lacking(missing.map((name) => `BaseServerInterceptingCall.${name}`));
}

function lacking(missing: readonly string[]): ConfigError {
  return new ConfigError(
    `this version of @grpc/grpc-js lacks ${missing.join(", ")}; use a version that this release was tested with (1.14.7)`,
  );
}

/** Answers a call that cannot be let through, without anything of it reaching a handler. */
export function refusingCall(
  call: ServerInterceptingCallInterface,
  status: PartialStatus,
): OwnInterceptingCall {
  return new ServerInterceptingCall(call, {
    start: () => call.sendStatus({ code: status.code, details: status.details, metadata: null }),
  });
}

export interface HandlerGuards {
  readonly handler: (func: UntypedHandleCall, kind: MethodKind) => UntypedHandleCall;
  readonly codec: <In, Out>(codec: (value: In) => Out) => (value: In) => Out;
}

const guarded = new WeakSet<RegisteredHandler>();

/**
 * Puts the guard round a handler that is registered already: grpc-js reads these fields only after the interceptors.
 * The object belongs to the registration, so one server's handlers are not another's.
 */
export function guardRegistered({ handler }: BaseCall, guards: HandlerGuards): void {
  if (guarded.has(handler)) return;
  guarded.add(handler);
  const open = handler as { -readonly [Field in keyof RegisteredHandler]: RegisteredHandler[Field] };
  open.func = guards.handler(handler.func, methodKind(handler.type));
  open.serialize = guards.codec(handler.serialize);
  open.deserialize = guards.codec(handler.deserialize);
}

/** grpc-js exports no type for it, and means "absent" where our getters say undefined. */
export function asAuthContext(context: {
  readonly transportSecurityType: string | undefined;
  readonly sslPeerCertificate: unknown;
}): ReturnType<ServerInterceptingCallInterface["getAuthContext"]> {
  return context as ReturnType<ServerInterceptingCallInterface["getAuthContext"]>;
}

/**
 * Shows every status: those that the base call sends by itself (messages too large, decompression, serialization,
 * failed writes) go through `this.sendStatus`, so an own property sees them. Returns nothing; send with `sendOn`.
 */
export function interceptOwnStatuses(base: BaseCall, receiver: BaseCallReceiver): void {
  const owned = base as OwnedBaseCall;
  owned.palisade = receiver;
  owned.sendStatus = sendToReceiver;
  // Our own timer ends the call (L6): the base call's counts in 32 bits and answers with its own text.
  if (base.deadlineTimer !== null) {
    clearTimeout(base.deadlineTimer);
    base.deadlineTimer = null;
  }
}

/** Another limit for this call's messages than the server's (L4), compressed and decompressed. */
export function limitMessages(base: BaseCall, maxBytes: number): void {
  base.maxReceiveMessageSize = maxBytes;
  base.decoder.maxReadMessageLength = maxBytes;
}

export interface BaseCallReceiver {
  onBaseStatus(status: PartialStatus): void;
  /** Of one message, as it came over the wire, without its framing. */
  onBytesReceived(bytes: number): void;
  onBytesSent(bytes: number): void;
}

interface OwnedBaseCall extends BaseCall {
  palisade: BaseCallReceiver;
  readonly maxSendMessageSize: number;
  serializeMessage(value: unknown): Buffer;
}

function sendToReceiver(this: OwnedBaseCall, status: PartialStatus): void {
  this.palisade.onBaseStatus(status);
}

/**
 * Tells the receiver the size of each message: the base call takes every inbound message through
 * `this.decompressMessage`, compressed or not, and every outbound one through `this.serializeMessage`. Needs
 * `interceptOwnStatuses` first. False, and no sizes, where this grpc-js has neither.
 */
export function countMessageBytes(base: BaseCall): boolean {
  const owned = base as OwnedBaseCall;
  if (typeof owned.decompressMessage !== "function" || typeof owned.serializeMessage !== "function")
    return false;
  owned.decompressMessage = countReceived;
  owned.serializeMessage = countSent;
  return true;
}

function countReceived(this: OwnedBaseCall, message: Buffer, encoding: string): Buffer | Promise<Buffer> {
  this.palisade.onBytesReceived(message.length - framingBytes);
  const prototype = Object.getPrototypeOf(this) as OwnedBaseCall;
  return prototype.decompressMessage.call(this, message, encoding);
}

function countSent(this: OwnedBaseCall, value: unknown): Buffer {
  const prototype = Object.getPrototypeOf(this) as OwnedBaseCall;
  const message = prototype.serializeMessage.call(this, value);
  const bytes = message.length - framingBytes;
  // The base call sends no message beyond its limit.
  if (this.maxSendMessageSize === -1 || bytes <= this.maxSendMessageSize) this.palisade.onBytesSent(bytes);
  return message;
}

/**
 * grpc-js inflates every message of a frame as it arrives, all at once, read or not, ended or not: sixteen kilobytes of
 * them are a thousand inflaters, or as many megabytes. Here the next one is inflated when the compressed one before it
 * was delivered, whatever came uncompressed in between.
 */
export class Inflation {
  readonly #waiting: (() => void)[] = [];
  /** Of each message that was not delivered yet, in their order: was it compressed? */
  readonly #compressed: boolean[] = [];
  #underWay = false;

  constructor(base: BaseCall) {
    const inflate = base.decompressMessage;
    base.decompressMessage = (message, encoding) => {
      const compressed = encoding !== "identity";
      this.#compressed.push(compressed);
      return compressed
        ? this.#turn().then(() => inflate.call(base, message, encoding))
        : inflate.call(base, message, encoding);
    };
  }

  #turn(): Promise<void> {
    if (this.#underWay) return new Promise((resolve) => this.#waiting.push(resolve));
    this.#underWay = true;
    return Promise.resolve();
  }

  /** A message was delivered, in the order in which they came. Where it was compressed, the next one may be inflated. */
  next(): void {
    if (this.#compressed.shift() !== true) return;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#underWay = false;
    else waiting();
  }

  /** The call ended: what waits is never inflated. */
  stop(): void {
    this.#waiting.length = 0;
    this.#compressed.length = 0;
    this.#underWay = true;
  }
}

/** Undefined where the caller does not compress. */
export function inflationOf(base: BaseCall): Inflation | undefined {
  return base.incomingEncoding === "identity" ? undefined : new Inflation(base);
}

/** Sends a status for real, past our own property. */
export function sendOn(base: BaseCall, status: PartialStatus): void {
  if (sendPlainSuccess(base, status)) return;
  const prototype = Object.getPrototypeOf(base) as BaseCall;
  prototype.sendStatus.call(base, status);
  sendDueTrailers(base);
}

/** How many values a `Metadata` holds, without building a map of it. */
export function isEmptyMetadata(metadata: Metadata): boolean {
  const { internalRepr } = metadata as unknown as { internalRepr?: Map<string, unknown> };
  return internalRepr === undefined ? Object.keys(metadata.getMap()).length === 0 : internalRepr.size === 0;
}

/** Every key with all its values. */
export function metadataEntries(metadata: Metadata): readonly (readonly [string, readonly unknown[]])[] {
  return Object.keys(metadata.toJSON()).map((key) => [key, metadata.get(key)] as const);
}

/** Our own `commonServerOptions`: HTTP/2 options of every port, plaintext ones too, which ignore the credentials'. */
export function setHttp2Options(
  server: Server,
  options: { readonly maxConcurrentStreams: number; readonly maxHeaderListBytes: number },
): void {
  const inside = server as unknown as ServerInside;
  Object.assign(inside.commonServerOptions, {
    settings: {
      maxConcurrentStreams: options.maxConcurrentStreams,
      maxHeaderListSize: options.maxHeaderListBytes,
    },
    // Node cuts off at 128 fields, without a status, whatever their size. Each counts 32 bytes at least (RFC 9113 section
    // 10.5.1), so that with these the size alone decides.
    maxHeaderListPairs: Math.ceil(options.maxHeaderListBytes / 32),
    // A field whose value ends in white space is dropped without a word otherwise, and with it a bad credential (A6). A
    // Node that does not know the option drops it all the same.
    strictFieldWhitespaceValidation: false,
  });
}

export interface ConnectionEvents {
  /** Which connections are let in, and for how long they may take to speak HTTP/2 (L9). */
  readonly gate?: ConnectionGate;
  /** How often a connection may ping (L3). */
  readonly pings?: PingPolicy;
  /** Reads the identity of a verified client certificate (T2, T5). */
  readonly certificateOf: (socket: TLSSocket) => PeerCertificate | undefined;
  /** Why the connection is refused before any HTTP/2 is spoken on it, or undefined. */
  readonly refuse: (socket: Socket) => RefusedConnection | undefined;
  /** Something was refused before a call existed: TLS, HTTP/2, content type (C8). */
  readonly onRefusedBelow: OnRefusedBelow;
}

export interface RefusedConnection {
  readonly reason: Extract<RefusedBelow, "certificate" | "untrusted_peer">;
  /** For the log. */
  readonly detail: string;
  /** The one that it was refused for. */
  readonly certificate?: CertificateNames | undefined;
}

/** The open connections of a server. */
export interface Connections {
  /** Ends them all at once. `Server.forceShutdown` forgets every connection where channelz is off. */
  destroyAll(): void;
  /** Where the server listens by now: IP addresses, and `unix` for each Unix socket. */
  boundAddresses(): readonly string[];
}

/** Wraps `createHttp2Server`, through which every port of this server is made. */
export function watchConnections(server: Server, events: ConnectionEvents): Connections {
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const servers = new Set<Http2Server | Http2SecureServer>();
  const inside = server as unknown as ServerInside;
  const create = inside.createHttp2Server;
  inside.createHttp2Server = function createWatchedHttp2Server(credentials) {
    const http2Server = create.call(this, credentials);
    watchHttp2Server(http2Server, events, streamTaker(server, credentials));
    trackSockets(http2Server, sockets);
    http2Server.on("session", (session: ServerHttp2Session) => {
      sessions.add(session);
      session.once("close", () => sessions.delete(session));
    });
    servers.add(http2Server);
    http2Server.once("close", () => servers.delete(http2Server));
    return http2Server;
  };
  return {
    boundAddresses() {
      const bound = [...servers].map((http2Server) => http2Server.address());
      return bound
        .filter((each) => each !== null)
        .map((each) => (typeof each === "string" ? "unix" : each.address));
    },
    destroyAll() {
      for (const session of sessions) session.destroy();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Every accepted socket, those still in their TLS handshake too: the server is not closed before all of them are. */
function trackSockets(http2Server: Http2Server | Http2SecureServer, sockets: Set<Socket>): void {
  const emitter: EventEmitter = http2Server;
  emitter.prependListener("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
}

function watchHttp2Server(
  http2Server: Http2Server | Http2SecureServer,
  events: ConnectionEvents,
  take: TakeStream,
): void {
  const emitter: EventEmitter = http2Server;
  const secure = emitter.listenerCount("secureConnection") > 0;
  const accepted = secure ? "secureConnection" : "connection";

  emitter.prependListener("connection", rememberAddress);

  // Node's own listener turns the socket into an HTTP/2 session, so a socket is refused by not handing it on.
  // The session is made and announced synchronously: while it is, `accepting` is its socket.
  let accepting: Socket | undefined;
  const handOn = emitter.listeners(accepted);
  emitter.removeAllListeners(accepted);
  emitter.on(accepted, (socket: Socket) => {
    const refused = events.refuse(socket);
    if (refused !== undefined) {
      events.onRefusedBelow(refused.reason, addressOf(socket), refused.detail, refused.certificate);
      socket.destroy();
      return;
    }
    accepting = socket;
    try {
      for (const listener of handOn) Reflect.apply(listener, http2Server, [socket]);
    } finally {
      accepting = undefined;
    }
  });

  if (events.gate !== undefined) standAtTheGate(emitter, events.gate, events, http2Server);

  emitter.prependListener("session", (session: ServerHttp2Session) => {
    const socket = accepting;
    const peer = new ConnectionPeer(
      socket,
      socket instanceof TLSSocket ? events.certificateOf(socket) : undefined,
    );
    const connection: Connection = { peer, calls: 0, sentSincePing: false };
    (session as MarkedSession)[connectionKey] = connection;
    closeWhenCertificateEnds(session, peer);
    session.on("error", (error: Error) => events.onRefusedBelow("http2_error", peer.address, error.message));
    const { gate, pings } = events;
    if (gate !== undefined && socket !== undefined)
      session.once("remoteSettings", () => gate.greeted(underlying(socket)));
    if (pings !== undefined) watchPings(session, connection, pings, events);
  });
  watchStreams(emitter, events, take);
  emitter.on("tlsClientError", (error: Error & { code?: string }, socket: TLSSocket) => {
    // Ended by the gate, which has said so.
    if (events.gate?.gaveUpOn(underlying(socket)) === true) return;
    const { reason, detail } = handshakeFailure(error, socket);
    events.onRefusedBelow(reason, addressOf(socket), detail);
  });
  emitter.on("unknownProtocol", (socket: Socket) => {
    events.onRefusedBelow(
      "unknown_protocol",
      addressOf(socket),
      "the client did not agree on HTTP/2 (ALPN h2)",
    );
    socket.destroy();
  });
  emitter.on("sessionError", () => {
    // Each session's own listener has reported it; without a listener here Node has nothing else to do with it either.
  });
}

type StreamListener = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  rawHeaders: readonly string[],
) => void;

/** Reads what arrives before grpc-js does, and hands it on where it does not take it. */
function watchStreams(emitter: EventEmitter, events: ConnectionEvents, take: TakeStream): void {
  /** Is it a gRPC call? */
  const arrives = (
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    rawHeaders: readonly string[],
  ): boolean => {
    (stream as MarkedStream)[arrivalKey] = readArrival(headers, rawHeaders);
    const reason = notGrpc(headers);
    if (reason === undefined) return true;
    // A CONNECT has no path, and Node ends the answer to a HEAD with its headers: neither may get any further.
    delete headers["content-type"];
    // grpc-js answers 415 by itself, past every interceptor, and leaves the request's side open.
    events.onRefusedBelow("content_type", connectionOf(stream.session).peer.address, reason);
    freeOnceAnswered(stream);
    return false;
  };
  const first: StreamListener = (stream, headers, _flags, rawHeaders) => {
    // grpc-js listens by now: it gets this one all the same, and from here on what is handed to it.
    const handOn = emitter.listeners("stream").filter((listener) => listener !== first);
    emitter.removeAllListeners("stream");
    const all: StreamListener = (...arrival) => {
      if (arrives(arrival[0], arrival[1], arrival[3]) && take(arrival[0], arrival[1])) return;
      for (const listener of handOn) Reflect.apply(listener, emitter, arrival);
    };
    emitter.on("stream", all);
    arrives(stream, headers, rawHeaders);
  };
  emitter.prependListener("stream", first);
}

/** A certificate that Node refused cannot be read any more: the connection is closed already. */
function handshakeFailure(error: Error & { code?: string }, socket: TLSSocket): RefusedHandshake {
  const verdict: unknown = socket.authorizationError;
  if (verdict)
    return { reason: "certificate", detail: verdict instanceof Error ? verdict.message : String(verdict) };
  const detail = error.code ?? error.message;
  if (detail === "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE")
    return { reason: "certificate", detail: `the client showed none (${detail})` };
  return { reason: "tls_handshake", detail };
}

interface RefusedHandshake {
  readonly reason: Extract<RefusedBelow, "certificate" | "tls_handshake">;
  readonly detail: string;
}

/** A connection does not outlive its client certificate: it takes no new calls, and ends with those that it has (T7). */
function closeWhenCertificateEnds(session: ServerHttp2Session, peer: ConnectionPeer): void {
  const end = peer.certificate?.notAfter;
  if (end === undefined) return;
  let timer: NodeJS.Timeout | undefined;
  const wait = (): void => {
    const left = end - Date.now();
    if (left < 0) session.close();
    // A longer wait is taken in steps.
    else timer = setTimeout(wait, Math.min(left + 1, longestTimerMs)).unref();
  };
  wait();
  session.once("close", () => clearTimeout(timer));
}

/** Before any other listener spends work on the socket, TLS included. */
function standAtTheGate(
  emitter: EventEmitter,
  gate: ConnectionGate,
  { onRefusedBelow }: ConnectionEvents,
  http2Server: Http2Server | Http2SecureServer,
): void {
  const handOn = emitter.listeners("connection");
  emitter.removeAllListeners("connection");
  emitter.on("connection", (socket: Socket) => {
    const address = addressOf(socket);
    const refusal = gate.admit(socket, address, (reason, detail) => onRefusedBelow(reason, address, detail));
    if (refusal !== undefined) {
      onRefusedBelow(refusal.reason, address, refusal.detail);
      socket.destroy();
      return;
    }
    for (const listener of handOn) Reflect.apply(listener, http2Server, [socket]);
  });
}

function watchPings(
  session: ServerHttp2Session,
  connection: Connection,
  policy: PingPolicy,
  { onRefusedBelow }: ConnectionEvents,
): void {
  const pings = policy.watch();
  let ended = false;
  session.on("ping", () => {
    if (ended) return;
    const busy = connection.calls > 0;
    const reset = connection.sentSincePing;
    connection.sentSincePing = false;
    if (!pings.tooMany({ busy, reset })) return;
    ended = true;
    onRefusedBelow(
      "too_many_pings",
      connection.peer.address,
      "pings more often than limits.minPingIntervalMs",
    );
    // gRPC's own word for it: a client that reads it pings half as often from then on.
    if (!session.destroyed)
      session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from("too_many_pings"));
    // What was queued in the turn of a read leaves after it.
    setImmediate(() => session.destroy());
  });
}

/** Why a request is no gRPC call: gRPC over HTTP/2, "Request-Headers". Undefined where it is one. */
function notGrpc(headers: IncomingHttpHeaders): string | undefined {
  const contentType = headers["content-type"];
  if (typeof contentType !== "string" || !contentType.startsWith("application/grpc"))
    return "not application/grpc";
  if (headers[":method"] !== "POST") return "not a POST";
  return typeof headers[":path"] === "string" ? undefined : "no path";
}

/** Closes the stream behind the answer. Node ends what answers a HEAD before anybody hears of the request. */
function freeOnceAnswered(stream: ServerHttp2Stream): void {
  // "finish" may come before the headers of the answer are on their way.
  const free = (): void => void setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
  if (stream.writableFinished) free();
  else stream.once("finish", free);
}

/**
 * Where a connection comes from, also after it was destroyed: the socket under TLS remembers its address where it was
 * read in time, which `rememberAddress` does.
 */
function addressOf(socket: Socket): string {
  const address = socket.remoteAddress ?? underlying(socket).remoteAddress;
  return address ?? (socket instanceof TLSSocket || socket.destroyed ? "unknown" : "unix");
}

/** The socket that was accepted, under TLS or not. */
function underlying(socket: Socket & { readonly _parent?: unknown }): Socket {
  const { _parent: under } = socket;
  return under instanceof Socket ? under : socket;
}

function rememberAddress(socket: Socket): string | undefined {
  return socket.remoteAddress;
}

class ConnectionPeer implements Peer {
  readonly address: string;
  readonly port: number | undefined;
  readonly secure: boolean;
  readonly #certificate: PeerCertificate | undefined;

  constructor(socket: Socket | undefined, certificate: PeerCertificate | undefined) {
    this.address = socket === undefined ? "unknown" : (socket.remoteAddress ?? "unix");
    this.port = socket?.remotePort;
    this.secure = socket instanceof TLSSocket;
    this.#certificate = certificate;
  }

  get certificate(): PeerCertificate | undefined {
    return inItsTime(this.#certificate);
  }
}

const unknownConnection: Connection = {
  peer: new ConnectionPeer(undefined, undefined),
  calls: 0,
  sentSincePing: false,
};

/** What is known of the connection a stream runs on. */
export function connectionOf(session: Http2Session | undefined): Connection {
  return (session as MarkedSession | undefined)?.[connectionKey] ?? unknownConnection;
}

const noArrival: Arrival = { metadataBytes: 0, timeoutMs: undefined, forwardedCertificate: undefined };

export function arrivalOf(stream: ServerHttp2Stream): Arrival {
  return (stream as MarkedStream)[arrivalKey] ?? noArrival;
}

/** Where a chain learns what grpc-js does not tell of a call. */
export interface Road {
  arrivalOf(base: BaseCall, metadata: Metadata): Arrival;
  peerOf(session: Http2Session | undefined): Peer;
}

/** Our own server: connections were watched, and HEADERS frames read, before grpc-js saw them. */
export const ownRoad: Road = {
  arrivalOf: ({ stream }) => arrivalOf(stream),
  peerOf: (session) => connectionOf(session).peer,
};

/**
 * A server that somebody else made: what can still be known when the call is there. The metadata is counted as grpc-js
 * hands it on (without pseudo-header fields), and the deadline is as grpc-js read it.
 */
export function attachedRoad(certificateOf: (socket: TLSSocket) => PeerCertificate | undefined): Road {
  return {
    arrivalOf(base, metadata) {
      const deadline = Number(base.getDeadline());
      const metadataBytes = metadataSize(metadata);
      // Nobody here knows who its sender is (T8).
      metadata.remove("x-forwarded-client-cert");
      return {
        metadataBytes,
        timeoutMs: Number.isFinite(deadline) ? Math.max(0, deadline - Date.now()) : undefined,
        forwardedCertificate: undefined,
      };
    },
    peerOf(session) {
      if (session === undefined) return unknownConnection.peer;
      const marked = session as MarkedSession;
      marked[connectionKey] ??= {
        peer: peerBehind(session, certificateOf),
        calls: 0,
        sentSincePing: false,
      };
      return marked[connectionKey].peer;
    },
  };
}

function peerBehind(
  session: Http2Session,
  certificateOf: (socket: TLSSocket) => PeerCertificate | undefined,
): Peer {
  if (session.destroyed) return unknownConnection.peer;
  // Node's stand-in for the socket: what only reads passes through it.
  const { socket } = session;
  return new ConnectionPeer(socket, socket instanceof TLSSocket ? certificateOf(socket) : undefined);
}

function metadataSize(metadata: Metadata): number {
  let bytes = 0;
  for (const [key, values] of metadataEntries(metadata)) {
    for (const value of values) {
      if (typeof value === "string" || Buffer.isBuffer(value)) bytes += key.length + sentLength(value) + 32;
    }
  }
  return bytes;
}

/** What gRPC allows in the names and values of metadata: gRPC over HTTP/2, "Custom-Metadata". */
const legalKey = /^[:0-9a-z_.-]+$/;
const legalValue = /^[ -~]*$/;
/** The name of the field that stood last in each place and was legal: most calls have the same ones in the same order. */
const lastLegalKeys: string[] = [];
/** Callers choose the others. */
const longestKeptKey = 32;

function isLegalKey(name: string, place: number): boolean {
  if (name === lastLegalKeys[place]) return true;
  if (!legalKey.test(name)) return false;
  if (name.length <= longestKeptKey) lastLegalKeys[place] = name;
  return true;
}

/**
 * grpc-js writes a field that gRPC does not allow to standard error, with its value, which may be a credential. The
 * field stays, without its value: a credential that was presented must not be passed over as if there were none.
 */
function withhold(headers: IncomingHttpHeaders, name: string): void {
  if (name.startsWith(":")) return;
  if (name === forwardedFor) headers[name] = legalEntries(headers[name]);
  else if (legalKey.test(name)) headers[name] = "";
  else delete headers[name];
}

const forwardedFor = "x-forwarded-for";

/** The caller writes the first entries and our proxy the last one: what he wrote must not take the proxy's word away. */
function legalEntries(sent: string | string[] | undefined): string {
  return String(sent ?? "")
    .split(",")
    .map((entry) => (legalValue.test(entry) ? entry : ""))
    .join(",");
}

/**
 * Reads what the chain needs from the raw header fields, and takes `grpc-timeout` away from grpc-js, whose own reading
 * overflows 32 bits, accepts trailing garbage and echoes a malformed value.
 */
function readArrival(headers: IncomingHttpHeaders, rawHeaders: readonly string[]): Arrival {
  let metadataBytes = 0;
  let authorizations: string[] | undefined;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? "";
    const value = rawHeaders[i + 1] ?? "";
    metadataBytes += name.length + value.length + 32;
    if (!legalValue.test(value) || !isLegalKey(name, i >> 1)) withhold(headers, name);
    else if (name === "authorization") {
      authorizations ??= [];
      authorizations.push(value);
    }
  }
  // Node keeps the first of two `authorization` fields and drops the other; whoever checks credentials must see both.
  if (authorizations !== undefined && authorizations.length > 1) {
    (headers as Record<string, string | string[]>)["authorization"] = authorizations;
  }
  const forwardedCertificate = takeForwardedCertificate(headers);
  const timeout = headers["grpc-timeout"];
  if (timeout === undefined) return { metadataBytes, timeoutMs: undefined, forwardedCertificate };
  delete headers["grpc-timeout"];
  return { metadataBytes, timeoutMs: parseTimeout(timeout), forwardedCertificate };
}

/** Everybody can send one (T8). Node joins several with commas, as RFC 9110 section 5.3 does. */
function takeForwardedCertificate(headers: IncomingHttpHeaders): string | undefined {
  const sent = headers["x-forwarded-client-cert"];
  if (sent === undefined) return undefined;
  delete headers["x-forwarded-client-cert"];
  return typeof sent === "string" ? sent : sent.join(", ");
}

const timeoutSyntax = /^[0-9]{1,8}[HMSmun]$/;
const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** gRPC over HTTP/2, "Timeout": at most eight digits and a unit. */
export function parseTimeout(value: string | string[]): number | "malformed" {
  if (typeof value !== "string" || !timeoutSyntax.test(value)) return "malformed";
  const last = value.length - 1;
  const unit = unitMs[value.charAt(last)];
  return unit === undefined ? "malformed" : Number(value.slice(0, last)) * unit;
}

/** Lets methods that nobody registered pass the chain (C8): `fallback` stands in as their handler. */
export function handleUnknownMethods(server: Server, fallback: (path: string) => RegisteredHandler): void {
  const inside = server as unknown as ServerInside;
  const retrieve = inside._retrieveHandler;
  inside._retrieveHandler = function retrieveOrFallBack(path) {
    return retrieve.call(this, path) ?? fallback(path);
  };
}

/**
 * Makes `handler` the one that runs, whatever wrapped it while it was registered. `@opentelemetry/instrumentation-grpc`
 * does so from a patched `Server.prototype.register`: its span would be a second one, starts beside the chain's, and its
 * callback loses trailers (U6).
 */
export function keepHandler(server: Server, path: string, handler: UntypedHandleCall): void {
  const registered = (server as unknown as ServerInside)._retrieveHandler(path);
  if (registered !== null && registered.func !== handler) registered.func = handler;
}

const kinds: Readonly<Record<GrpcHandlerType, MethodKind>> = {
  unary: "unary",
  clientStream: "client_stream",
  serverStream: "server_stream",
  bidi: "bidi_stream",
};

export function methodKind(type: GrpcHandlerType): MethodKind {
  return kinds[type];
}

/**
 * Node's switch for catching rejections of async listeners. Public API sets it only in a constructor's options, and
 * grpc-js constructs the call objects; the symbol is found on an emitter made with the option.
 */
const captureSwitch = Object.getOwnPropertySymbols(new EventEmitter({ captureRejections: true })).find(
  (symbol) => symbol.description === "kCapture",
);

/** Makes an emitter report rejections of its async listeners to `onRejection`. False where this Node has no such switch. */
export function captureRejections(
  emitter: EventEmitter,
  onRejection: (error: unknown, event: string) => void,
): boolean {
  if (captureSwitch === undefined) return false;
  const open = emitter as unknown as Record<symbol, unknown>;
  open[captureSwitch] = true;
  open[EventEmitter.captureRejectionSymbol] = onRejection;
  return true;
}

/** Was the stream ended by the caller (RST_STREAM) or by the loss of its connection? */
export function endedByCaller(stream: ServerHttp2Stream, session: Http2Session | undefined): boolean {
  if (stream.rstCode !== constants.NGHTTP2_CANCEL && stream.rstCode !== constants.NGHTTP2_NO_ERROR)
    return false;
  return session !== undefined && !session.destroyed && !session.closed;
}

/**
 * Closes the stream without an error once its status has left, so that a caller who never half-closes frees it
 * (RFC 9113 section 8.1). Not before: nghttp2 drops whatever of a stream is still queued when RST_STREAM is, and with a
 * socket that is full the status may be. `state.localClose` turns 1 when END_STREAM was sent.
 */
export function releaseStream(base: BaseCall): void {
  if (!base.receivedHalfClose) setImmediate(releaseWhenSent, base.stream, shortestRetryMs);
}

const shortestRetryMs = 1;
const longestRetryMs = 1000;

function releaseWhenSent(stream: ServerHttp2Stream, retryMs: number): void {
  if (stream.closed || stream.destroyed) return;
  const { localClose, remoteClose } = stream.state;
  // The caller did half-close; it was only not read yet. The stream ends by itself.
  if (remoteClose === 1) return;
  if (localClose === 1) stream.close(constants.NGHTTP2_NO_ERROR);
  else setTimeout(releaseWhenSent, retryMs, stream, Math.min(2 * retryMs, longestRetryMs)).unref();
}

/** Cuts the stream: nobody is reading what it still holds. */
export function cutStream(stream: ServerHttp2Stream): void {
  if (!stream.closed && !stream.destroyed) stream.close(constants.NGHTTP2_CANCEL);
}

/** Connection-specific fields (RFC 9113 section 8.2.2) and those that grpc-js itself writes. */
const reservedHeaders: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "te",
  "host",
  "content-type",
  "content-length",
  "grpc-status",
  "grpc-message",
  "grpc-encoding",
  "grpc-accept-encoding",
]);

/**
 * The most response metadata that is sent, counted as RFC 9113 section 10.5.1 counts. nghttp2 sends no header block
 * beyond 64 KiB: it drops the frame without a word, and the caller waits (C3). Two of these, from handler and layers,
 * and the status with its details have room below that.
 */
export const mostMetadataBytes = 16_384;

/**
 * Takes out of response metadata what HTTP/2 or Node would throw at: such a throw happens inside an event of the
 * stream, where it ends the process or leaves the caller waiting (C3, C5). `onDropped` hears each key.
 */
export function cleanMetadata(metadata: unknown, onDropped: (key: string) => void): Metadata | undefined {
  if (metadata === undefined || metadata === null) return undefined;
  if (!(metadata instanceof Metadata)) {
    onDropped("(not a grpc.Metadata)");
    return undefined;
  }
  if (isEmptyMetadata(metadata)) return metadata;
  const clean = new Metadata(metadata.getOptions());
  let room = mostMetadataBytes;
  for (const [key, values] of metadataEntries(metadata)) {
    if (reservedHeaders.has(key) || key.startsWith(":")) {
      onDropped(key);
      continue;
    }
    for (const value of sendableValues(key, values, onDropped)) {
      const bytes = key.length + sentLength(value) + 32;
      if (bytes > room) {
        onDropped(key);
        continue;
      }
      room -= bytes;
      try {
        clean.add(key, value);
      } catch {
        onDropped(key);
      }
    }
  }
  return clean;
}

/** Binary values travel as base64. */
function sentLength(value: string | Buffer): number {
  return typeof value === "string" ? value.length : Math.ceil(value.length / 3) * 4;
}

/** Node refuses to send these more than once (`ERR_HTTP2_HEADER_SINGLE_VALUE`). */
const singleValueHeaders: ReadonlySet<string> = new Set(
  `access-control-allow-credentials access-control-max-age access-control-request-method age authorization
  content-encoding content-language content-length content-location content-md5 content-range content-type date dnt
  etag expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location
  max-forwards proxy-authorization range referer retry-after tk upgrade-insecure-requests user-agent
  x-content-type-options`.split(/\s+/),
);

function sendableValues(
  key: string,
  values: readonly unknown[],
  onDropped: (key: string) => void,
): readonly (string | Buffer)[] {
  const sendable = values.filter((value) => typeof value === "string" || Buffer.isBuffer(value));
  const few = singleValueHeaders.has(key) ? sendable.slice(0, 1) : sendable;
  if (few.length < values.length) onDropped(key);
  return few;
}
