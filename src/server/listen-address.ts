// What can be listened on: `host:port`, `[ipv6]:port`, `unix:path`.
import { once } from "node:events";
import { createServer } from "node:net";
import { ConfigError } from "../grpc/errors.ts";

const hostAndPort = /^(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/[\]]+):(\d{1,5})$/;

/** With its port: grpc-js would take 443 where there is none. */
export function isListenAddress(address: string): boolean {
  return /^unix:./.test(address) || hostAndPort.test(address);
}

/** `host:port` in its parts; undefined for anything else, a Unix socket too. */
export function hostAndPortOf(address: string): { readonly host: string; readonly port: number } | undefined {
  const [, host = "", port = ""] = hostAndPort.exec(address) ?? [];
  if (host === "" || Number(port) > 65_535) return undefined;
  return { host: host.replace(/^\[|\]$/g, ""), port: Number(port) };
}

const advice: ReadonlyMap<string, string> = new Map([
  ["EADDRINUSE", "another process uses the port; stop it, or choose another port"],
  ["EACCES", "this process is not allowed to use the port; choose one above 1023, or allow it"],
  [
    "EADDRNOTAVAIL",
    "this machine does not have the address; use one that it has, or 0.0.0.0 for all of them",
  ],
]);

/**
 * Binds the address for a moment. grpc-js writes a line to standard error for each address that it cannot bind, and its own
 * error does not say what to do.
 * @throws {ConfigError} where the address cannot be bound for a reason that is known. The rest is left to grpc-js.
 */
export async function checkFree(address: string): Promise<void> {
  const parts = hostAndPortOf(address);
  if (parts === undefined || parts.port === 0) return;
  const probe = createServer();
  try {
    probe.listen(parts);
    await once(probe, "listening");
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
    const known = advice.get(code);
    if (known !== undefined)
      throw new ConfigError(`listen: cannot bind ${address} (${code}): ${known}`, { cause });
    return;
  }
  probe.close();
  await once(probe, "close");
}
