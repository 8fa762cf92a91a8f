// Starts the process under attack and connects to it.

import { Buffer } from "node:buffer";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Client, credentials } from "@grpc/grpc-js";
import { forkProgram } from "../../harness/child-process.ts";

export interface Attacked {
  readonly port: number;
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly token: string;
  client(): Client;
  /** `alive`, or how the process ended and what it said last. */
  state(): string;
  lines(): Promise<readonly Readonly<Record<string, unknown>>[]>;
  /** Asks it to stop, and gives its exit code. */
  stop(): Promise<number | null>;
}

export async function startAttacked(): Promise<Attacked> {
  const server = fileURLToPath(new URL("./server.ts", import.meta.url));
  const {
    process: child,
    first: ready,
    said,
  } = await forkProgram<Pick<Attacked, "port" | "ca" | "cert" | "key" | "token">>(
    server,
    [],
    ["--import", "tsx", "--unhandled-rejections=strict"],
  );
  return {
    ...ready,
    client: () =>
      new Client(
        `localhost:${ready.port}`,
        credentials.createSsl(Buffer.from(ready.ca), Buffer.from(ready.key), Buffer.from(ready.cert)),
        { "grpc.use_local_subchannel_pool": 1 },
      ),
    state: () =>
      child.exitCode === null && child.signalCode === null
        ? "alive"
        : `ended (${child.exitCode ?? child.signalCode}): ${said()}`,
    async lines() {
      child.send("lines");
      const [answer] = (await once(child, "message")) as [
        { lines: readonly Readonly<Record<string, unknown>>[] },
      ];
      return answer.lines;
    },
    async stop() {
      if (child.exitCode !== null) return child.exitCode;
      child.send("stop");
      const [code] = (await once(child, "exit")) as [number | null];
      return code;
    },
  };
}
