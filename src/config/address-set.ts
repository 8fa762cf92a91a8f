// Which peers are meant by a list of addresses and networks, for what is believed of some and not of others.
import { BlockList, isIP } from "node:net";

/** Addresses and networks, and Unix sockets where `"unix"` was listed. */
export interface AddressSet {
  /** `address` as in `Peer.address`: an IP address, or `unix`. */
  has(address: string): boolean;
}

const unixSockets = "unix";

/** What is wrong with an entry, or undefined: an IP address, a network in CIDR notation (RFC 4632), or `unix`. */
export function addressProblem(entry: string): string | undefined {
  return parseEntry(entry) === undefined
    ? `"${entry.slice(0, 64)}" is not an IP address, a network in CIDR notation such as "10.0.0.0/8", or "unix"`
    : undefined;
}

/** Throws `TypeError` where an entry is wrong; ask `addressProblem` before. */
export function addressSet(entries: readonly string[]): AddressSet {
  const list = new BlockList();
  let unix = false;
  for (const entry of entries) {
    const parsed = parseEntry(entry);
    if (parsed === undefined) throw new TypeError(addressProblem(entry));
    if (parsed === unixSockets) unix = true;
    else list.addSubnet(parsed.address, parsed.bits, parsed.family);
  }
  return {
    has(address) {
      if (address === unixSockets) return unix;
      const plain = withoutMapping(address);
      const version = isIP(plain);
      return version !== 0 && list.check(plain, version === 4 ? "ipv4" : "ipv6");
    },
  };
}

interface Network {
  readonly address: string;
  readonly bits: number;
  readonly family: "ipv4" | "ipv6";
}

function parseEntry(entry: string): Network | typeof unixSockets | undefined {
  if (entry === unixSockets) return unixSockets;
  const [, address = "", bitsText] = /^([0-9A-Fa-f.:]+)(?:\/(\d{1,3}))?$/.exec(entry) ?? [];
  const version = isIP(address);
  if (version === 0) return undefined;
  const most = version === 4 ? 32 : 128;
  const bits = bitsText === undefined ? most : Number(bitsText);
  if (bits > most) return undefined;
  return { address, bits, family: version === 4 ? "ipv4" : "ipv6" };
}

/** A socket that speaks both families tells an IPv4 address as `::ffff:192.0.2.1` (RFC 4291 section 2.5.5.2). */
export function withoutMapping(address: string): string {
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? [];
  return mapped ?? address;
}
