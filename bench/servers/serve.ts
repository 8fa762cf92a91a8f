// What every server program does beside serving: it starts when asked, and tells what it has used.
import { setTimeout as sleep } from "node:timers/promises";
import { answerAsks } from "../process/ask.ts";
import type { ServerAsks, ServerSettings } from "../process/protocol.ts";
import { cpuMicroseconds, memoryInUse } from "../process/usage.ts";
import { heldCalls, releaseHeldCalls } from "./contract.ts";

export interface Started {
  readonly port: number;
  /** Does now what is done from time to time: collects the metrics. */
  readonly collect?: () => Promise<unknown>;
}

/** Longer than any server here waits before it writes its log lines and audit records, which count too. */
const settleMs = 125;

export function serve(start: (settings: ServerSettings) => Promise<Started>): void {
  let started: Started | undefined;
  answerAsks<ServerAsks>({
    async start(settings) {
      started = await start(settings);
      return { port: started.port };
    },
    cpu: () => cpuMicroseconds(),
    async settledCpu() {
      await started?.collect?.();
      await sleep(settleMs);
      return cpuMicroseconds();
    },
    memory: () => memoryInUse(),
    held: () => heldCalls(),
    release() {
      releaseHeldCalls();
      return undefined;
    },
  });
}
