/**
 * Health on ports of their own: a plaintext one that serves Check and Watch of `grpc.health.v1.Health` and nothing
 * else, for Kubernetes' built-in gRPC probe, and `/healthz` over HTTP. Whoever reaches them may connect, so connections
 * are few and the newest always gets in: connections of unauthenticated callers make room, first where one address holds most.
 */
import {
  createServer,
  type Server as HttpServer,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { ServerCredentials } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { Chain } from "../chain/chain.ts";
import { ConfigError } from "../grpc/errors.ts";
import { addressKey } from "../grpc/peer-key.ts";
import { deadline } from "../middleware/deadline/deadline.ts";
import { metadataLimit } from "../middleware/metadata-limit/metadata-limit.ts";
import { peerRateLimit } from "../middleware/rate-limit/rate-limit.ts";
import { recover } from "../middleware/recovery/recovery.ts";
import { ConnectionGate } from "../transport/connection-gate.ts";
import { PingPolicy } from "../transport/ping-policy.ts";
import type { OnRefusedBelow } from "../transport/refused-below.ts";
import { GuardedServer } from "./guarded-server.ts";
import { type HealthService, type HealthSettings, probeDefinition } from "./health.ts";
import { hostAndPortOf } from "./listen-address.ts";

export interface HealthPortsParts {
  readonly settings: HealthSettings;
  readonly health: HealthService;
  readonly logger: Logger;
  readonly onRefusedBelow: OnRefusedBelow;
}

const maxConnections = 100;
const maxConnectionsPerPeer = 10;
const maxConcurrentStreams = 100;
const maxRequestBytes = 1024;
const maxMetadataBytes = 8192;
const handshakeTimeoutMs = 5000;
const idleMs = 60_000;
const minPingIntervalMs = 10_000;
const maxWatchMs = 3_600_000;

export class HealthPorts {
  readonly #parts: HealthPortsParts;
  #plaintext: PlaintextHealth | undefined = undefined;
  #http: HttpServer | undefined = undefined;

  constructor(parts: HealthPortsParts) {
    this.#parts = parts;
  }

  /** @throws {ConfigError} where an address cannot be bound. */
  async open(): Promise<void> {
    const { settings, health } = this.#parts;
    const { plaintextAddress, httpAddress } = settings;
    try {
      if (plaintextAddress !== undefined) {
        this.#plaintext = new PlaintextHealth(this.#parts);
        health.noteAddress(
          "plaintext",
          await bound("plaintextAddress", this.#plaintext.listen(plaintextAddress)),
        );
      }
      if (httpAddress !== undefined) {
        this.#http = healthHttpServer(this.#parts);
        health.noteAddress("http", await bound("httpAddress", listenHttp(this.#http, httpAddress)));
      }
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#plaintext?.close(), closeHttp(this.#http)]);
  }
}

async function bound(option: string, listening: Promise<string>): Promise<string> {
  try {
    return await listening;
  } catch (cause) {
    throw new ConfigError(
      `health.${option}: cannot be bound: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
}

/** For one of the ports. A probe lasts milliseconds: it is never the oldest for long. */
function connectionGate(): ConnectionGate {
  return new ConnectionGate({
    maxConnections,
    maxConnectionsPerPeer,
    handshakeTimeoutMs,
    keyOf: addressKey,
    whenFull: "end-oldest",
  });
}

/** A gRPC server of its own, so that nothing that is registered on the other can be called here. */
class PlaintextHealth {
  readonly #server: GuardedServer;
  readonly #chain: Chain;

  constructor({ health, logger, onRefusedBelow }: HealthPortsParts) {
    this.#chain = new Chain({
      middleware: [
        metadataLimit({ maxMetadataBytes }),
        deadline({ maxStreamMs: maxWatchMs }),
        // Probes are not limited; whatever else is asked here is.
        peerRateLimit(),
      ],
      recovery: recover,
      checkTimeoutMs: handshakeTimeoutMs,
      logger,
    });
    this.#server = new GuardedServer({
      maxConcurrentStreams,
      maxMetadataBytes,
      maxReceivedBytes: maxRequestBytes,
      maxSentBytes: maxRequestBytes,
      grpcOptions: { "grpc.max_connection_idle_ms": idleMs },
      connections: {
        gate: connectionGate(),
        pings: new PingPolicy({ minIntervalMs: minPingIntervalMs }),
        certificateOf: () => undefined,
        refuse: () => undefined,
        onRefusedBelow,
      },
      secure: (call, { path }) => this.#chain.secure(call, path),
      onRefused: (path, error) => this.#chain.reportRefused(path, error),
    });
    const { check, watch } = health.handlers;
    this.#server.addService(probeDefinition, { check, watch });
    this.#chain.prepare(this.#server.methods);
    this.#server.seal();
  }

  async listen(address: string): Promise<string> {
    const port = await this.#server.bindChecked(address, ServerCredentials.createInsecure());
    return address.startsWith("unix:") ? address : address.replace(/:\d+$/, `:${port}`);
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.tryShutdown(() => resolve());
      void this.#server.connections.destroyAll().then(resolve);
    });
  }
}

const textHeaders = { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" } as const;

function healthHttpServer({ health, onRefusedBelow }: HealthPortsParts): HttpServer {
  const server = createServer(
    {
      headersTimeout: handshakeTimeoutMs,
      requestTimeout: handshakeTimeoutMs,
      connectionsCheckingInterval: 1000,
      keepAliveTimeout: handshakeTimeoutMs,
      maxHeaderSize: maxMetadataBytes,
    },
    (request, response) => answer(request, response, health),
  );
  const gate = connectionGate();
  server.prependListener("connection", (socket) => {
    const address = socket.remoteAddress ?? "unknown";
    gate.admit(socket, address, (reason, detail) => onRefusedBelow(reason, address, detail));
    // The timeouts of HTTP itself are in force here.
    gate.greeted(socket);
  });
  server.maxRequestsPerSocket = 100;
  // A socket that never says a word is no request yet, so the two timeouts above do not see it.
  server.timeout = 2 * handshakeTimeoutMs;
  return server;
}

function answer({ method, url }: IncomingMessage, response: ServerResponse, health: HealthService): void {
  const [path] = (url ?? "").split("?", 1);
  const say = (code: number, text: string, more: Readonly<Record<string, string>> = {}): void => {
    response.writeHead(code, { ...textHeaders, ...more }).end(method === "HEAD" ? undefined : `${text}\n`);
  };
  if (path !== "/healthz") say(404, "not found", { connection: "close" });
  else if (method !== "GET" && method !== "HEAD")
    say(405, "method not allowed", { allow: "GET, HEAD", connection: "close" });
  else if (health.isServing) say(200, "SERVING");
  else say(503, "NOT_SERVING");
}

function listenHttp(server: HttpServer, address: string): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(hostAndPortOf(address), () => {
      server.off("error", reject);
      const made = server.address();
      const port = typeof made === "object" && made !== null ? made.port : 0;
      resolve(address.replace(/:\d+$/, `:${port}`));
    });
  });
}

function closeHttp(server: HttpServer | undefined): Promise<void> {
  if (server === undefined || !server.listening) return Promise.resolve();
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
