// Which callers share a peer limit: one verified certificate, one IPv4 address, one IPv6 network of 64 bits; behind a
// configured proxy always the address.
import { isIPv4, isIPv6 } from "node:net";
import type { Peer } from "./peer.ts";

/** A peer lasts as long as its connection, and so does its key. */
const known: WeakMap<Peer, string> = new WeakMap();

/** The key under which a peer is counted: `cert:<fingerprint>`, else `ip:<address or network>`. */
export function peerKey(peer: Peer): string {
  const before = known.get(peer);
  if (before !== undefined) return before;
  const key = keyOf(peer);
  known.set(peer, key);
  return key;
}

function keyOf({ certificate, forwardedBy, address }: Peer): string {
  // Behind a proxy the connection's certificate is the proxy's, and many callers share it.
  const isOwn = forwardedBy === undefined || certificate?.forwarded === true;
  return certificate !== undefined && isOwn
    ? `cert:${certificate.fingerprint256}`
    : `ip:${addressKey(address)}`;
}

/**
 * An IPv4 address as it is, also where IPv6 carries it (`::ffff:192.0.2.1`, and `64:ff9b::192.0.2.1` of RFC 6052);
 * an IPv6 address as its /64, because one subscriber has all addresses in it (RFC 6177). Anything else (`unix`) as it is.
 */
export function addressKey(address: string): string {
  if (isIPv4(address)) return address;
  if (!isIPv6(address)) return address;
  const groups = groupsOf(address);
  const network = groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(":");
  const prefix = groups
    .slice(0, 6)
    .map((group) => group.toString(16))
    .join(":");
  return carriesIPv4.has(prefix) ? dotted(groups[6] ?? 0, groups[7] ?? 0) : `${network}::/64`;
}

/** The first 96 bits of IPv4-mapped addresses (RFC 4291 section 2.5.5.2) and of the NAT64 prefix (RFC 6052). */
const carriesIPv4: ReadonlySet<string> = new Set(["0:0:0:0:0:ffff", "64:ff9b:0:0:0:0"]);

/** The eight groups of a valid IPv6 address, in whatever form it is written; a zone id is no part of them. */
function groupsOf(address: string): readonly number[] {
  const [text = ""] = address.split("%", 1);
  const [head = "", tail] = text.split("::");
  const before = groupsIn(head);
  if (tail === undefined) return before;
  const after = groupsIn(tail);
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
}

function groupsIn(text: string): number[] {
  if (text === "") return [];
  return text
    .split(":")
    .flatMap((part) => (part.includes(".") ? groupsOfIPv4(part) : [Number.parseInt(part, 16)]));
}

function groupsOfIPv4(text: string): number[] {
  const [a = 0, b = 0, c = 0, d = 0] = text.split(".").map(Number);
  return [(a << 8) | b, (c << 8) | d];
}

function dotted(high: number, low: number): string {
  return `${high >> 8}.${high & 0xff}.${low >> 8}.${low & 0xff}`;
}
