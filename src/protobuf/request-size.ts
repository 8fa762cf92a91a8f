// How many messages a request holds: each takes time to write and to read again, however few its bytes are.

/** Some hundred milliseconds at most. */
export const maxMessages = 50_000;

/** Does the request hold more messages, lists and maps than that? Takes no longer for a larger one. */
export function holdsTooManyMessages(request: unknown): boolean {
  const waiting: unknown[] = [request];
  let found = 0;
  for (let value = waiting.pop(); value !== undefined; value = waiting.pop()) {
    if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) continue;
    found += 1;
    if (found > maxMessages) return true;
    const parts: Iterable<unknown> = Array.isArray(value)
      ? value
      : value instanceof Map
        ? value.values()
        : Object.values(value);
    for (const part of parts) if (typeof part === "object" && part !== null) waiting.push(part);
  }
  return false;
}
