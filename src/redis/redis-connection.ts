// What is used of an ioredis client: any command, whether it has a connection, and a second one that listens.
import { z } from "zod";

/** What is used of an ioredis client, single or cluster. */
export interface RedisCommandClient {
  readonly status: string;
  call(command: string, args: (string | number)[]): Promise<unknown>;
  /** A second connection with the same options, which listens for changes. */
  duplicate(): RedisSubscriber;
}

/** The shape of the option `client`. */
export const redisCommandClient: z.ZodType<RedisCommandClient, RedisCommandClient> =
  z.custom<RedisCommandClient>(isClient, "expected an ioredis client, such as new Redis(url)");

function isClient(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return (
    typeof Reflect.get(value, "status") === "string" &&
    typeof Reflect.get(value, "call") === "function" &&
    typeof Reflect.get(value, "duplicate") === "function"
  );
}

/** The shape of the option `keyPrefix` where several keys belong together. */
export const redisKeyPrefix: z.ZodDefault<z.ZodString> = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[^{}]*$/, "must not contain braces, by which a cluster places keys")
  .default("palisade");

/**
 * A client that is connecting for the first time, or would with its first command (`lazyConnect`), keeps the command until it
 * is connected. Without that a process that starts would be told that Redis is away.
 */
export function isUsable({ status }: { readonly status: string }): boolean {
  return status === "ready" || status === "connecting" || status === "connect" || status === "wait";
}

/** A connection that only listens: Redis takes no other commands on it. */
export interface RedisSubscriber {
  readonly status: string;
  connect(): Promise<void>;
  subscribe(channel: string): Promise<unknown>;
  on(event: "message" | "ready" | "error", listener: () => void): unknown;
  disconnect(): void;
}

/** Calls `heard` for each message, and after each new connection, when some may have been missed. Returns what ends it. */
export function listenTo(subscriber: RedisSubscriber, channel: string, heard: () => void): () => void {
  // The client connects again by itself, as its `retryStrategy` says. Without a listener ioredis prints its errors.
  subscriber.on("error", () => {});
  subscriber.on("message", heard);
  subscriber.on("ready", () => {
    subscriber.subscribe(channel).then(heard, () => {});
  });
  if (subscriber.status === "wait") subscriber.connect().catch(() => {});
  return () => subscriber.disconnect();
}
