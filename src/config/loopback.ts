// Which targets stay on this machine, so that plaintext to them cannot be overheard.
import { isIPv4, isIPv6 } from "node:net";

/**
 * Does `target` name this machine, and nothing else? Read as grpc-js reads it: `localhost`, `127.0.0.0/8` and `::1`,
 * plain or under `dns:`, `ipv4:`, `ipv6:`, and Unix sockets. Every other spelling is no, shortened, mapped and named
 * addresses included: what is not certainly here is elsewhere.
 */
export function isLoopbackTarget(target: string): boolean {
  const parts = /^(?:(dns|ipv4|ipv6|unix):(?:\/\/([^/]*)\/)?)?(.+)$/.exec(target);
  if (parts === null) return false;
  const [, scheme, authority = "", path = ""] = parts;
  // An authority is somebody to ask: `dns://8.8.8.8/localhost` is whatever that server answers.
  if (authority !== "") return false;
  if (scheme === "unix") return true;
  if (scheme === "ipv4") return path.split(",").every((address) => isLoopbackIPv4(hostOf(address)));
  if (scheme === "ipv6") return path.split(",").every((address) => isLoopbackIPv6(hostOf(address)));
  const host = hostOf(path);
  return host?.toLowerCase() === "localhost" || isLoopbackIPv4(host) || isLoopbackIPv6(host);
}

/** Is this IP address one of this machine's own, which no other machine can reach? */
export function isLoopbackAddress(address: string): boolean {
  return isLoopbackIPv4(address) || isLoopbackIPv6(address);
}

/** Of `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; undefined for anything else. */
function hostOf(address: string): string | undefined {
  if (isIPv6(address)) return address;
  const parts = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::\d{1,5})?$/.exec(address);
  if (parts === null) return undefined;
  const [, bracketed, host] = parts;
  if (bracketed === undefined) return host;
  return isIPv6(bracketed) ? bracketed : undefined;
}

function isLoopbackIPv4(host: string | undefined): boolean {
  return host !== undefined && isIPv4(host) && host.startsWith("127.");
}

function isLoopbackIPv6(host: string | undefined): boolean {
  return host === "::1" || host === "0:0:0:0:0:0:0:1";
}
