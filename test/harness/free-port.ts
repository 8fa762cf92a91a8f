// Ports for programs that have to be told theirs, or that are started again on the one they had.
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * Below those that a system gives to whoever connects or asks for port 0 (Linux: from 32768; others: from 49152). Of these
 * one is soon somebody else's, where many tests run at once: before its program is up, or while it is down.
 */
const lowest = 20_000;
const beyond = 32_000;

/** A port of 127.0.0.1 that nobody uses now, and that nobody is given by chance. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(lowest, beyond);
    if (await isFree(port)) return port;
  }
}

/** Can somebody have the port? */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}
