// What can be listened on: `host:port`, `[ipv6]:port`, `unix:path`.

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
