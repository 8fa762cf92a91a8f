/**
 * Who calls, where the connection comes from a configured proxy: the address that the proxy forwards. Nobody else
 * is believed, whatever headers are sent.
 */
import { isIP, isIPv6 } from "node:net";
import { z } from "zod";
import type { ReadonlyMetadata } from "../chain/context.ts";
import type { PeerOf } from "../chain/plan.ts";
import { type AddressSet, addressProblem, addressSet } from "../config/address-set.ts";
import type { Peer, PeerCertificate } from "../grpc/peer.ts";
import { hasUnreadableCertificate } from "../tls/forwarded-certificate.ts";

export interface PeerOptions {
  /** The proxies' addresses or networks: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`, or `unix`. At least one. */
  readonly trustedProxies: readonly string[];
  /**
   * Where they say who calls. In `x-forwarded-for` the last address that is no trusted proxy counts: what stands before
   * it was written by nobody we know. `x-envoy-external-address` holds one address.
   */
  readonly addressFrom: "x-forwarded-for" | "x-envoy-external-address";
  /**
   * How many proxies add to `x-forwarded-for`, where their addresses are not all known: the address so many places from
   * the end counts. Default: decided by `trustedProxies`.
   */
  readonly hops?: number | undefined;
}

export type PeerSettings = PeerOptions;

const network = z.string().superRefine((entry, context) => {
  const problem = addressProblem(entry);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
});

/** The shape of `peer`. */
export const peerSchema: z.ZodType<PeerSettings> = z
  .strictObject({
    trustedProxies: z.array(network).min(1, { error: "needs at least one address or network" }),
    addressFrom: z.enum(["x-forwarded-for", "x-envoy-external-address"]),
    hops: z.int().min(1).max(32).optional(),
  })
  .refine(({ addressFrom, hops }) => hops === undefined || addressFrom === "x-forwarded-for", {
    path: ["hops"],
    error: "only x-forwarded-for has hops",
  });

/** What is kept of a connection: whether it is a proxy's, and the last peer that it forwarded. */
interface Proxied {
  readonly isProxy: boolean;
  last: PeerBehindProxy | undefined;
}

/**
 * Who calls: what a sidecar says of the client's certificate, and then what a proxy says of its address. Undefined where
 * nobody is believed, so that a call pays nothing.
 */
export function peerOfCalls(
  behindMesh: PeerOf | undefined,
  peer: PeerSettings | undefined,
): PeerOf | undefined {
  if (peer === undefined) return behindMesh;
  const forwarded = forwardedPeer(peer);
  if (behindMesh === undefined)
    return (connection, _certificate, metadata) => forwarded(connection, metadata);
  return (connection, certificate, metadata) => {
    const client = behindMesh(connection, certificate, metadata);
    // As it is: a middleware knows it by this object, and refuses the call.
    return hasUnreadableCertificate(client) ? client : forwarded(client, metadata);
  };
}

/** Made once for a server. What a connection is, is found out with its first call. */
export function forwardedPeer({
  trustedProxies,
  addressFrom,
  hops,
}: PeerSettings): (connection: Peer, metadata: ReadonlyMetadata) => Peer {
  const proxies = addressSet(trustedProxies);
  const connections = new WeakMap<Peer, Proxied>();
  const read = addressFrom === "x-forwarded-for" ? forwardedFor(proxies, hops) : externalAddress;
  return (connection, metadata) => {
    let proxied = connections.get(connection);
    if (proxied === undefined) {
      proxied = { isProxy: proxies.has(connection.address), last: undefined };
      connections.set(connection, proxied);
    }
    // protection: configured-proxies
    if (!proxied.isProxy) return connection;
    const address = read(metadata) ?? connection.address;
    if (proxied.last?.address !== address) proxied.last = new PeerBehindProxy(connection, address);
    return proxied.last;
  };
}

/** Reads the address that counts; undefined where there is none, or what is there is no address. */
type ReadAddress = (metadata: ReadonlyMetadata) => string | undefined;

function forwardedFor(proxies: AddressSet, hops: number | undefined): ReadAddress {
  return (metadata) => {
    const sent = metadata.get("x-forwarded-for").join(",");
    if (sent === "") return undefined;
    const entries = sent.split(",");
    if (hops !== undefined) return parseAddress(entries.at(-hops));
    let address: string | undefined;
    for (let i = entries.length - 1; i >= 0; i--) {
      address = parseAddress(entries[i]);
      if (address === undefined || !proxies.has(address)) return address;
    }
    // Proxies all the way: the first of them is who calls.
    return address;
  };
}

function externalAddress(metadata: ReadonlyMetadata): string | undefined {
  const values = metadata.get("x-envoy-external-address");
  return values.length === 1 ? parseAddress(String(values[0])) : undefined;
}

/** An address as proxies write it: plain, or with a port, where IPv6 stands in brackets. */
function parseAddress(entry: string | undefined): string | undefined {
  const text = entry?.trim() ?? "";
  // The longest text of an IPv6 address has 45 characters; zones are no part of an address that travels.
  if (text.length > 64 || text.includes("%")) return undefined;
  if (isIP(text) !== 0) return text;
  const bracketed = /^\[([^\]]+)\](?::\d{1,5})?$/.exec(text)?.[1];
  if (bracketed !== undefined) return isIPv6(bracketed) ? bracketed : undefined;
  const [, address = ""] = /^([\d.]+):\d{1,5}$/.exec(text) ?? [];
  return isIP(address) === 4 ? address : undefined;
}

class PeerBehindProxy implements Peer {
  readonly address: string;
  readonly port: undefined = undefined;
  readonly secure: boolean;
  readonly forwardedBy: string;
  readonly #connection: Peer;

  constructor(connection: Peer, address: string) {
    this.address = address;
    this.secure = connection.secure;
    this.forwardedBy = connection.address;
    this.#connection = connection;
  }

  get certificate(): PeerCertificate | undefined {
    return this.#connection.certificate;
  }

  get certificateLost(): boolean {
    return this.#connection.certificateLost === true;
  }
}
