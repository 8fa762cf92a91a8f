// What every server program does beside serving: it starts when asked, and tells what it has used.
import { setTimeout as sleep } from "node:timers/promises";
import { answerAsks } from "../process/ask.ts";
import type { ServerAsks, ServerSettings } from "../process/protocol.ts";
import { collectYoungGarbage, cpuMicroseconds, cpuMicrosecondsOf, memoryInUse } from "../process/usage.ts";
import { heldCalls, releaseHeldCalls } from "./contract.ts";

export interface Started {
  readonly port: number;
  /** Another process that serves with this one: its CPU time counts too. */
  readonly besidePid?: number;
  /** Does now what is done from time to time: collects the metrics. */
  readonly collect?: () => Promise<unknown>;
}

export function serve(start: (settings: ServerSettings) => Promise<Started>): void {
  let started: Started | undefined;
  let settleMs = 0;
  const cpu = (): number =>
    cpuMicroseconds() + (started?.besidePid === undefined ? 0 : cpuMicrosecondsOf(started.besidePid));
  answerAsks<ServerAsks>({
    async start(settings) {
      ({ settleMs } = settings);
      started = await start(settings);
      const { port, besidePid } = started;
      return { port, pids: besidePid === undefined ? [process.pid] : [process.pid, besidePid] };
    },
    cpu,
    async settledCpu() {
      await sleep(settleMs);
      collectYoungGarbage();
      return cpu();
    },
    async collect() {
      if (started?.collect === undefined) return 0;
      const before = cpuMicroseconds();
      await started.collect();
      // Else the next turn pays in full for garbage of which each turn is to carry its share.
      collectYoungGarbage();
      return cpuMicroseconds() - before;
    },
    memory: () => memoryInUse(),
    held: () => heldCalls(),
    release() {
      releaseHeldCalls();
      return undefined;
    },
  });
}
