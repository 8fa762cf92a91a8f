// A TCP proxy on a local port that holds back what it passes, in each direction, as a distant network does.
import type { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface DelayingProxy extends AsyncDisposable {
  readonly port: number;
  readonly address: string;
}

/** Bytes on their way in one direction, before the sender is asked to wait: enough for 8 MiB within 20 ms. */
const maxOnTheWay = 16 * 1024 * 1024;

/** Passes everything between its callers and `port` of this machine, `delayMs` later; half a round trip. */
export async function startDelayingProxy(port: number, delayMs: number): Promise<DelayingProxy> {
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (caller) => {
    const target = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    for (const socket of [caller, target]) {
      socket.setNoDelay(true);
      open.add(socket);
      socket.once("close", () => open.delete(socket));
    }
    pass(caller, target, delayMs);
    pass(target, caller, delayMs);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("the proxy has no port");
  return {
    port: bound.port,
    address: `localhost:${bound.port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Timers of one length run in the order in which they were set, so that bytes stay in order. */
function pass(from: Socket, to: Socket, delayMs: number): void {
  let onTheWay = 0;
  const later = (act: () => void): void => {
    if (delayMs === 0) act();
    else setTimeout(act, delayMs);
  };
  from.on("data", (chunk: Buffer) => {
    onTheWay += chunk.length;
    if (onTheWay >= maxOnTheWay) from.pause();
    later(() => {
      to.write(chunk, () => {
        onTheWay -= chunk.length;
        if (onTheWay < maxOnTheWay) from.resume();
      });
    });
  });
  from.on("end", () => later(() => to.end()));
  from.on("error", () => later(() => to.destroy()));
  from.on("close", () => later(() => to.destroySoon()));
}
