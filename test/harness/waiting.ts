// Calls that stay open: handlers that answer nothing, and a client's call whose handler has started.
import { type EventEmitter, once } from "node:events";
import type { Client, UntypedServiceImplementation } from "@grpc/grpc-js";
import { securityContext } from "../../src/chain/current-context.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { type AnyClientCall, invoke, type Result } from "./kinds.ts";

/** Handlers that answer nothing, and say when they started (`started`, with kind and call) and when their call was aborted. */
export function waitingHandlers(events: EventEmitter): UntypedServiceImplementation {
  const handler = (kind: MethodKind) => (call: EventEmitter) => {
    securityContext(call).signal.addEventListener("abort", () => events.emit(`aborted ${kind}`));
    call.on("data", () => {});
    events.emit("started", kind, call);
  };
  return {
    unary: handler("unary"),
    clientStream: handler("client_stream"),
    serverStream: handler("server_stream"),
    bidiStream: handler("bidi_stream"),
  } as unknown as UntypedServiceImplementation;
}

export interface OpenCall {
  readonly ended: Promise<Result>;
  readonly hasEnded: () => boolean;
  readonly client: AnyClientCall;
  /** What the handler was given. */
  readonly handled: EventEmitter & {
    readonly metadata: { remove(key: string): void; set(key: string, value: string): void };
  };
}

/** A call to `waitingHandlers(events)`, whose handler has started. */
export async function openCall(
  events: EventEmitter,
  client: Client,
  kind: MethodKind,
  metadata: Readonly<Record<string, string>> = {},
): Promise<OpenCall> {
  const started = once(events, "started");
  let own: AnyClientCall | undefined;
  let hasEnded = false;
  const ended = invoke(client, kind, {
    metadata,
    keepOpen: true,
    onCall: (call) => {
      own = call;
    },
  }).then((result) => {
    hasEnded = true;
    return result;
  });
  const [, handled] = await Promise.race([
    started,
    ended.then((result) => {
      throw new Error(`the call ended before its handler started: ${told(result)}`);
    }),
  ]);
  return { ended, hasEnded: () => hasEnded, client: own as AnyClientCall, handled };
}

export function told({ name, details }: Result): string {
  return `${name} ${details}`;
}
