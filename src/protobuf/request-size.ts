// How much a request holds: each message takes time to write and to read again, however few its bytes are.

/** Some hundred milliseconds at most. */
export const maxMessages = 50_000;

export interface RequestSize {
  /** Messages, lists and maps; what is more than `maxMessages` is not counted. */
  readonly messages: number;
  /** Numbers, texts and bytes in lists and maps that are long. */
  readonly elements: number;
}

/** No generator keeps so many fields of a message in a list. */
const longList = 1_000;

/** Takes no longer for a request of very many messages. */
export function sizeOfRequest(request: unknown): RequestSize {
  const waiting: unknown[] = [request];
  let messages = 0;
  let elements = 0;
  for (let value = waiting.pop(); value !== undefined && messages <= maxMessages; value = waiting.pop()) {
    if (!isHolder(value)) continue;
    messages += 1;
    const parts: readonly unknown[] = Array.isArray(value)
      ? value
      : value instanceof Map
        ? [...value.values()]
        : Object.values(value);
    const isLong = parts.length > longList;
    for (const part of parts) {
      if (isHolder(part)) waiting.push(part);
      else if (isLong) elements += 1;
    }
  }
  return { messages, elements };
}

function isHolder(value: unknown): value is object {
  return typeof value === "object" && value !== null && !ArrayBuffer.isView(value);
}
