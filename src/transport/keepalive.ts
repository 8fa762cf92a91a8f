// Ends connections whose other end is gone. Node's HTTP/2 session neither reads nor closes after some frames that break
// the protocol (DATA on an idle stream, say), and does not notice that its client left: the connection, its place among
// `limits.maxConnections` and its calls would stay for ever.
import type { ServerHttp2Session } from "node:http2";

export interface KeepaliveTimes {
  /** How long after the last answer a connection is pinged, in milliseconds. */
  readonly timeMs: number;
  /** How long it has to answer, in milliseconds. */
  readonly timeoutMs: number;
}

/** Older versions of grpc-js close such a connection gracefully, and wait for its calls; so this does not leave it to them. */
export function keepAlive(session: ServerHttp2Session, { timeMs, timeoutMs }: KeepaliveTimes): void {
  let timer: NodeJS.Timeout | undefined;
  const wait = (): void => {
    timer = setTimeout(ping, timeMs).unref();
  };
  const ping = (): void => {
    if (session.destroyed) return;
    timer = setTimeout(() => session.destroy(), timeoutMs).unref();
    session.ping((error) => {
      if (error !== null) return;
      clearTimeout(timer);
      wait();
    });
  };
  wait();
  session.once("close", () => clearTimeout(timer));
}
