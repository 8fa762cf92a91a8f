// A call's metadata as it came, and taken apart only when somebody asks for more than a plain field. grpc-js takes every
// field apart for every call; a secured call reads two or three of them, and most handlers none.
import type { IncomingHttpHeaders } from "node:http2";
import { Metadata, type MetadataOptions, type MetadataValue } from "@grpc/grpc-js";

/** What grpc-js takes out of the metadata that it hands on. */
const takenOut: ReadonlySet<string> = new Set([
  "grpc-timeout",
  "grpc-encoding",
  "grpc-accept-encoding",
  "accept-encoding",
  "te",
  "content-type",
]);

type Values = Map<string, MetadataValue[]>;

/** The field that every method of `Metadata` works on. */
interface MetadataInside {
  readonly internalRepr: Values;
}

interface Incoming {
  opaqueData?: Map<string, unknown>;
  options: MetadataOptions;
  headers: IncomingHttpHeaders;
  values: Values | undefined;
}

const inherited = Metadata.prototype;

/** grpc-js 1.14.0 makes this map in the constructor; later versions make it with the first value. */
const makesOpaqueMap = Reflect.get(new Metadata(), "opaqueData") instanceof Map;

/** Its own constructor would make the map that most calls never need. */
function Incoming(this: Incoming, headers: IncomingHttpHeaders): void {
  this.options = {};
  this.headers = headers;
  this.values = undefined;
  if (makesOpaqueMap) this.opaqueData = new Map();
}
Incoming.prototype = Object.create(inherited, {
  constructor: { value: Metadata, configurable: true, writable: true },
  internalRepr: {
    configurable: true,
    get(this: Incoming): Values {
      this.values ??= takenApart(this.headers);
      return this.values;
    },
    set(this: Incoming, values: Values) {
      this.values = values;
    },
  },
  get: {
    configurable: true,
    writable: true,
    value: function get(this: Incoming, key: string): MetadataValue[] {
      const name = key.toLowerCase();
      const plain = this.values === undefined ? plainField(this.headers, name) : undefined;
      return plain ?? inherited.get.call(this as unknown as Metadata, name);
    },
  },
  remove: {
    configurable: true,
    writable: true,
    value: function remove(this: Incoming, key: string): void {
      const name = key.toLowerCase();
      if (this.values === undefined && this.headers[name] === undefined) return;
      inherited.remove.call(this as unknown as Metadata, name);
    },
  },
});

/** As `get` would answer; undefined where the field has to be taken apart. */
function plainField(headers: IncomingHttpHeaders, name: string): MetadataValue[] | undefined {
  const value = headers[name];
  if (value === undefined || name.startsWith(":") || takenOut.has(name)) return [];
  return typeof value === "string" && !name.endsWith("-bin") ? [value] : undefined;
}

function takenApart(headers: IncomingHttpHeaders): Values {
  const metadata = Metadata.fromHttp2Headers(headers);
  for (const name of takenOut) metadata.remove(name);
  return (metadata as unknown as MetadataInside).internalRepr;
}

const make = Incoming as unknown as new (headers: IncomingHttpHeaders) => Metadata;

/**
 * The metadata of these headers, which must be legal (`Metadata.fromHttp2Headers` drops what is not) and must not be changed
 * any more.
 */
export function incomingMetadata(headers: IncomingHttpHeaders): Metadata {
  return new make(headers);
}

/** Does this grpc-js's `Metadata` keep its values where they are kept here? */
export function knowsMetadata(): boolean {
  const probe = Metadata.fromHttp2Headers({ "x-probe": "1" }) as unknown as MetadataInside;
  return probe.internalRepr instanceof Map && probe.internalRepr.get("x-probe")?.[0] === "1";
}
