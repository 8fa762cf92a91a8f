// Starts the process under attack and connects to it.

import { Buffer } from "node:buffer";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Client, credentials } from "@grpc/grpc-js";

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
  const child: ChildProcess = fork(fileURLToPath(new URL("./server.ts", import.meta.url)), {
    execArgv: ["--import", "tsx", "--unhandled-rejections=strict"],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let said = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    said = (said + chunk.toString("utf8")).slice(-4000);
  });
  const [ready] = (await Promise.race([
    once(child, "message"),
    once(child, "exit").then(() => Promise.reject(new Error(`the server did not start: ${said}`))),
  ])) as [Pick<Attacked, "port" | "ca" | "cert" | "key" | "token">];
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
        : `ended (${child.exitCode ?? child.signalCode}): ${said}`,
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
