// Waits for what happens a moment later on the other side.
import { setTimeout as sleep } from "node:timers/promises";

const withinMs = 5_000;

/**
 * Looks until there is something to see.
 *
 * @throws Error where there is nothing within five seconds
 */
export async function eventually<T>(
  what: string,
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const until = performance.now() + withinMs;
  while (performance.now() < until) {
    const seen = await look();
    if (seen !== undefined) return seen;
    await sleep(5);
  }
  throw new Error(`no ${what} within ${withinMs} ms`);
}
