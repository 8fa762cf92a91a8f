// The connections of a server: who is let in, what is refused below the chain, how each stream starts.
import { Buffer } from "node:buffer";
import type { EventEmitter } from "node:events";
import { constants, type Http2SecureServer, type Http2Server, type ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { TLSSocket } from "node:tls";
import { maxTimerMs } from "../config/timer.ts";
import type { PeerCertificate } from "../grpc/peer.ts";
import {
  addressOf,
  type Connection,
  ConnectionPeer,
  connectionKey,
  type MarkedSession,
  rememberAddress,
  underlying,
} from "./connection.ts";
import type { ConnectionGate } from "./connection-gate.ts";
import { type KeepaliveTimes, keepAlive } from "./keepalive.ts";
import type { PingPolicy } from "./ping-policy.ts";
import type { CertificateNames, OnRefusedBelow, RefusedBelow } from "./refused-below.ts";
import { SentBetweenPings } from "./sent-between-pings.ts";

export interface ConnectionEvents {
  /** Which connections are let in, and for how long they may take to speak HTTP/2. */
  readonly gate?: ConnectionGate;
  /** How often a connection may ping. */
  readonly pings?: PingPolicy;
  /** When a connection is pinged that is silent. */
  readonly keepalive: KeepaliveTimes;
  /** Reads the identity of a verified client certificate. */
  readonly certificateOf: (socket: TLSSocket) => PeerCertificate | undefined;
  /** Why the connection is refused before any HTTP/2 is spoken on it, or undefined. */
  readonly refuse: (socket: Socket) => RefusedConnection | undefined;
  /** Why an open connection is closed when `recheck` is called, or undefined. */
  readonly refuseOpen?: (socket: Socket) => RefusedConnection | undefined;
  /** May the calls of a connection that `refuseOpen` refuses go on until they end? */
  readonly callsOutliveCertificates?: boolean;
  /** The calls on a connection have no certificate any more: it was found to be bad. */
  readonly onCertificateLost?: (certificate: PeerCertificate) => void;
  /** Something was refused before a call existed: TLS, HTTP/2, content type. */
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
  /** To be told of each port, before it listens. */
  watch(http2Server: Http2Server | Http2SecureServer): void;
  /**
   * Ends them all at once; settles when all ports that were asked to close are closed. `Server.forceShutdown` forgets
   * every connection where channelz is off, and `Server.tryShutdown` never calls back where it finds a connection that is
   * being destroyed: `Http2Session.close` does not call back then.
   */
  destroyAll(): Promise<void>;
  /**
   * Asks `refuseOpen` about each connection, and closes those that it refuses: they take no new calls, are given a while for what
   * is open, and are cut then.
   */
  recheck(): Promise<void>;
  /** Where the server listens by now: IP addresses, and `unix` for each Unix socket. */
  boundAddresses(): readonly string[];
}

export function watchConnections(events: ConnectionEvents): Connections {
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const recheck = rechecked(sessions, events);
  const servers = new Set<Http2Server | Http2SecureServer>();
  return {
    watch(http2Server) {
      watchHttp2Server(http2Server, events);
      trackSockets(http2Server, sockets);
      http2Server.on("session", (session: ServerHttp2Session) => {
        sessions.add(session);
        session.once("close", () => sessions.delete(session));
      });
      servers.add(http2Server);
      http2Server.once("close", () => servers.delete(http2Server));
    },
    recheck,
    boundAddresses() {
      const bound = [...servers].map((http2Server) => http2Server.address());
      return bound
        .filter((each) => each !== null)
        .map((each) => (typeof each === "string" ? "unix" : each.address));
    },
    async destroyAll() {
      const closed = [...servers].map((each) => new Promise((resolve) => each.once("close", resolve)));
      for (const session of sessions) {
        // A status that waits within a session counts as sent, for its stream.
        const connection = (session as MarkedSession)[connectionKey];
        if (connection !== undefined) connection.cut = true;
        session.destroy();
      }
      for (const socket of sockets) socket.destroy();
      await Promise.all(closed);
    },
  };
}

/** So long connections are looked at before others have their turn. */
const sliceMs = 5;
/** How long such a connection may take to end with its calls. */
const endingMs = 10_000;

/** One look at a time: what changes during one is looked at by the next. */
function rechecked(sessions: ReadonlySet<ServerHttp2Session>, events: ConnectionEvents): () => Promise<void> {
  const closing = new WeakSet<ServerHttp2Session>();
  let isLooking = false;
  let again = false;
  const look = async (): Promise<void> => {
    let sliceEnd = performance.now() + sliceMs;
    for (const session of [...sessions]) {
      if (performance.now() > sliceEnd) {
        await nextTurn();
        sliceEnd = performance.now() + sliceMs;
      }
      const connection = (session as MarkedSession)[connectionKey];
      if (connection?.socket === undefined || session.destroyed || closing.has(session)) continue;
      const refused = events.refuseOpen?.(connection.socket);
      if (refused === undefined) continue;
      closing.add(session);
      closeRefused(session, connection, refused, events);
    }
  };
  return async () => {
    again = true;
    if (isLooking) return;
    isLooking = true;
    try {
      while (again) {
        again = false;
        await look();
      }
    } finally {
      isLooking = false;
    }
  };
}

function closeRefused(
  session: ServerHttp2Session,
  connection: Connection,
  refused: RefusedConnection,
  events: ConnectionEvents,
): void {
  const { peer, socket } = connection;
  const detail = `an open connection is closed: ${refused.detail}`;
  events.onRefusedBelow(refused.reason, peer.address, detail, refused.certificate);
  session.close();
  if (events.callsOutliveCertificates === true) return;
  const lost = peer.loseCertificate();
  if (lost !== undefined) events.onCertificateLost?.(lost);
  // A session waits for its client: for what it does not read, and for its end of the connection.
  const cut = setTimeout(() => {
    connection.cut = true;
    session.destroy();
    if (socket !== undefined) underlying(socket).destroy();
  }, endingMs).unref();
  if (socket !== undefined) underlying(socket).once("close", () => clearTimeout(cut));
}

/** Every accepted socket, those still in their TLS handshake too: the server is not closed before all of them are. */
function trackSockets(http2Server: Http2Server | Http2SecureServer, sockets: Set<Socket>): void {
  const emitter: EventEmitter = http2Server;
  emitter.prependListener("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
}

function watchHttp2Server(http2Server: Http2Server | Http2SecureServer, events: ConnectionEvents): void {
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
    const connection: Connection = { peer, socket, calls: 0, handedOver: false, cut: false };
    (session as MarkedSession)[connectionKey] = connection;
    closeWhenCertificateEnds(session, peer);
    keepAlive(session, events.keepalive);
    session.on("error", (error: Error) => events.onRefusedBelow("http2_error", peer.address, error.message));
    const { gate, pings } = events;
    if (gate !== undefined && socket !== undefined) {
      gate.speaksFor(peer, underlying(socket));
      session.once("remoteSettings", () => gate.greeted(underlying(socket)));
    }
    if (pings !== undefined) watchPings(session, connection, pings, events);
  });
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

/** A certificate that Node refused cannot be read any more: the connection is closed already. */
function handshakeFailure(error: Error & { code?: string }, socket: TLSSocket): RefusedHandshake {
  const verdict: unknown = socket.authorizationError;
  if (verdict)
    return { reason: "certificate", detail: verdict instanceof Error ? verdict.message : String(verdict) };
  const detail = error.code ?? error.message;
  if (detail === "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE")
    return { reason: "certificate", detail: `the client sent no certificate (${detail})` };
  return { reason: "tls_handshake", detail };
}

interface RefusedHandshake {
  readonly reason: Extract<RefusedBelow, "certificate" | "tls_handshake">;
  readonly detail: string;
}

/** A connection does not outlive its client certificate: it takes no new calls, and ends with those that it has. */
function closeWhenCertificateEnds(session: ServerHttp2Session, peer: ConnectionPeer): void {
  const end = peer.certificate?.notAfter;
  if (end === undefined) return;
  let timer: NodeJS.Timeout | undefined;
  const wait = (): void => {
    const left = end - Date.now();
    if (left < 0) session.close();
    // A longer wait is taken in steps.
    else timer = setTimeout(wait, Math.min(left + 1, maxTimerMs)).unref();
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
  const between = new SentBetweenPings();
  let settings = 0;
  let ended = false;
  session.on("remoteSettings", () => {
    settings += 1;
  });
  session.on("ping", () => {
    if (ended) return;
    const { bytesWritten, bytesRead } = session.socket;
    const reset = between.sent({ bytesWritten, bytesRead, settings }, connection.handedOver);
    if (reset) connection.handedOver = false;
    if (!pings.tooMany({ busy: connection.calls > 0, reset })) return;
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
