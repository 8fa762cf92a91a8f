/**
 * The standard health service: `grpc.health.v1.Health` with Check, Watch and List. Check and Watch are open to
 * probes without credentials, so what an unauthenticated caller can hold open is bounded; List needs credentials.
 * Source: the gRPC health checking protocol.
 */

import type { ServiceDefinition } from "@grpc/grpc-js";
import { type ServerUnaryCall, type ServerWritableStream, type sendUnaryData, status } from "@grpc/grpc-js";
import { fromJSON } from "@grpc/proto-loader";
import { z } from "zod";
import { securityContext } from "../chain/current-context.ts";
import { StatusError } from "../grpc/errors.ts";
import { healthServiceName } from "../grpc/method.ts";
import { peerKey } from "../grpc/peer-key.ts";
import { texts } from "../grpc/status.ts";
import { Holders } from "../transport/holders.ts";
import { hostAndPortOf, isListenAddress } from "./listen-address.ts";

export type ServingStatus = "UNKNOWN" | "SERVING" | "NOT_SERVING" | "SERVICE_UNKNOWN";

/** What an application says of itself. `service` is a full service name, or `""` for the server as a whole. */
export interface Health {
  setStatus(service: string, servingStatus: "SERVING" | "NOT_SERVING"): void;
  /** Where the ports of `health.plaintextAddress` and `health.httpAddress` are bound, once `listen()` has. */
  readonly addresses: HealthAddresses;
}

export interface HealthAddresses {
  readonly plaintext?: string;
  readonly http?: string;
}

export interface HealthOptions {
  /**
   * How many watches may be open at once. Where `total` is reached, a peer with fewer watches than another still gets one:
   * the oldest watch of the peer that has most ends with RESOURCE_EXHAUSTED, as a watch that is refused does.
   */
  readonly watchLimit?:
    | {
        /** From one peer. Default: 100. */
        readonly perPeer?: number | undefined;
        /** In all. Default: 1,000. */
        readonly total?: number | undefined;
      }
    | undefined;
  /**
   * A port without TLS that serves Check and Watch and nothing else, such as `0.0.0.0:50052`: for Kubernetes' built-in
   * gRPC probe, which speaks no TLS. Default: none.
   */
  readonly plaintextAddress?: string | undefined;
  /** A port that answers `GET /healthz` over HTTP/1.1 with 200 or 503, such as `0.0.0.0:8080`. Default: none. */
  readonly httpAddress?: string | undefined;
}

export interface HealthSettings {
  readonly plaintextAddress?: string | undefined;
  readonly httpAddress?: string | undefined;
  readonly watchLimit: { readonly perPeer: number; readonly total: number };
}

const count = z.int().min(1).max(1_000_000);

/** The shape of `health`; the only place where its defaults stand. */
export const healthSchema: z.ZodType<HealthSettings, HealthOptions> = z.strictObject({
  watchLimit: z.strictObject({ perPeer: count.default(100), total: count.default(1000) }).prefault({}),
  plaintextAddress: z
    .string()
    .refine(isListenAddress, { error: "expected host:port, [ipv6]:port or unix:path, with the port" })
    .optional(),
  httpAddress: z
    .string()
    .refine((address) => hostAndPortOf(address) !== undefined, {
      error: "expected host:port or [ipv6]:port, with the port",
    })
    .optional(),
});

const maxServiceNameLength = 256;

interface CheckRequest {
  readonly service: string;
}

interface CheckResponse {
  readonly status: ServingStatus;
}

interface ListResponse {
  readonly statuses: Readonly<Record<string, CheckResponse>>;
}

type Watcher = ServerWritableStream<CheckRequest, CheckResponse>;

export class HealthService implements Health {
  readonly #limits: HealthSettings["watchLimit"];
  readonly #statuses: Map<string, ServingStatus> = new Map([["", "NOT_SERVING"]]);
  readonly #watchers: Map<string, Set<Watcher>> = new Map();
  readonly #watches: Holders<string, Watcher> = new Holders();
  #addresses: HealthAddresses = {};
  #closing = false;

  constructor(settings: HealthSettings) {
    this.#limits = settings.watchLimit;
  }

  setStatus(service: string, servingStatus: "SERVING" | "NOT_SERVING"): void {
    if (this.#closing && servingStatus === "SERVING") return;
    if (this.#statuses.get(service) === servingStatus) return;
    this.#statuses.set(service, servingStatus);
    for (const watcher of this.#watchers.get(service) ?? []) watcher.write({ status: servingStatus });
  }

  get addresses(): HealthAddresses {
    return this.#addresses;
  }

  noteAddress(port: keyof HealthAddresses, address: string): void {
    this.#addresses = Object.freeze({ ...this.#addresses, [port]: address });
  }

  /** What is said of the server as a whole. */
  get isServing(): boolean {
    return this.#statuses.get("") === "SERVING";
  }

  /** The server is ready; what the application said of a service already, stands. */
  serve(services: Iterable<string>): void {
    this.setStatus("", "SERVING");
    for (const service of services) if (!this.#statuses.has(service)) this.setStatus(service, "SERVING");
  }

  /** The server is going: everything is NOT_SERVING from now on, and every watch ends once it has been told. */
  close(): void {
    this.#closing = true;
    for (const service of this.#statuses.keys()) this.setStatus(service, "NOT_SERVING");
    for (const watchers of this.#watchers.values()) for (const watcher of watchers) watcher.end();
  }

  readonly handlers: {
    check(call: ServerUnaryCall<CheckRequest, CheckResponse>, callback: sendUnaryData<CheckResponse>): void;
    list(call: ServerUnaryCall<unknown, ListResponse>, callback: sendUnaryData<ListResponse>): void;
    watch(call: Watcher): void;
  } = {
    check: (call, callback) => {
      const known = this.#statuses.get(call.request.service);
      if (known === undefined) callback(new StatusError(status.NOT_FOUND, "unknown service"));
      else callback(null, { status: known });
    },
    list: (_call, callback) => {
      callback(null, {
        statuses: Object.fromEntries(
          [...this.#statuses].map(([service, known]) => [service, { status: known }]),
        ),
      });
    },
    watch: (call) => this.#watch(call),
  };

  #watch(call: Watcher): void {
    const { service } = call.request;
    // An unauthenticated caller may ask, and the name is kept as long as the watch.
    if (service.length > maxServiceNameLength)
      throw new StatusError(status.INVALID_ARGUMENT, texts.invalidRequest);
    const peer = peerKey(securityContext(call).peer);
    const fromPeer = this.#watches.countOf(peer);
    if (fromPeer >= this.#limits.perPeer || !this.#makesRoom(fromPeer)) throw tooManyWatches();
    this.#watches.add(peer, call);
    const watchers = this.#watchers.get(service) ?? new Set();
    this.#watchers.set(service, watchers.add(call));
    // "close" comes once, whatever ends the call: the caller, the deadline, or our own end().
    call.once("close", () => {
      watchers.delete(call);
      if (watchers.size === 0) this.#watchers.delete(service);
      this.#watches.remove(peer, call);
    });
    call.write({ status: this.#statuses.get(service) ?? "SERVICE_UNKNOWN" });
    if (this.#closing) call.end();
  }

  /**
   * Is there room for one more watch, of a peer that has so many? Where all places are taken, the oldest watch of the peer
   * that has most ends, if that peer still has no fewer than the other then: two that have as many do not take turns.
   */
  #makesRoom(fromPeer: number): boolean {
    if (this.#watches.size < this.#limits.total) return true;
    const greediest = this.#watches.greediest();
    if (greediest === undefined || greediest.count <= fromPeer + 1) return false;
    const oldest = this.#watches.oldestOf(greediest.key);
    if (oldest === undefined) return false;
    // Its "close" comes later.
    this.#watches.remove(greediest.key, oldest);
    oldest.emit("error", tooManyWatches());
    return true;
  }
}

function tooManyWatches(): StatusError {
  return new StatusError(status.RESOURCE_EXHAUSTED, texts.tooManyCallsInFlight);
}

/** Said apart: protobufjs reads it, but its type for a field does not know maps. */
const mapField = { keyType: "string", type: "HealthCheckResponse", id: 1 };

/** The service's definition, kept as data so that no file has to be found at run time. */
export const healthDefinition: ServiceDefinition = fromJSON(
  {
    nested: {
      "grpc.health.v1": {
        nested: {
          HealthCheckRequest: { fields: { service: field("string") } },
          HealthCheckResponse: {
            fields: { status: field("ServingStatus") },
            nested: {
              ServingStatus: { values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } },
            },
          },
          HealthListRequest: { fields: {} },
          HealthListResponse: { fields: { statuses: mapField } },
          Health: {
            methods: {
              Check: method("HealthCheckRequest", "HealthCheckResponse"),
              List: method("HealthListRequest", "HealthListResponse"),
              Watch: { ...method("HealthCheckRequest", "HealthCheckResponse"), responseStream: true },
            },
          },
        },
      },
    },
  },
  { enums: String, defaults: true, keepCase: true },
)[healthServiceName] as ServiceDefinition;

/** What probes call, alone. */
export const probeDefinition: ServiceDefinition = Object.fromEntries(
  Object.entries(healthDefinition).filter(([name]) => name === "Check" || name === "Watch"),
);

function field(type: string): { readonly type: string; readonly id: number } {
  return { type, id: 1 };
}

function method(
  requestType: string,
  responseType: string,
): { readonly requestType: string; readonly responseType: string; readonly comment: string } {
  return { requestType, responseType, comment: "" };
}
