// Calls and outcomes for the tests of layers that watch.
import { Metadata, status } from "@grpc/grpc-js";
import { pino } from "pino";
import { Call } from "../../src/chain/context.ts";
import type { Outcome } from "../../src/chain/middleware.ts";
import type { Principal } from "../../src/chain/principal.ts";
import { type MethodInfo, methodInfo } from "../../src/grpc/method.ts";

export const getOrder: MethodInfo = methodInfo("/orders.v1.Orders/GetOrder", "unary", true);

export const alice: Principal = {
  subject: "alice",
  kind: "user",
  scheme: "jwt",
  issuer: "https://id.example",
  tenant: "acme",
  roles: new Set(["admin"]),
  permissions: new Set(["order:read"]),
  claims: { email: "alice@acme.example" },
};

export interface CallOptions {
  readonly method?: MethodInfo;
  readonly address?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly principal?: Principal;
  readonly actor?: Principal;
}

export function callFrom(options: CallOptions = {}): Call {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(options.metadata ?? {})) metadata.set(key, value);
  const call = new Call({
    method: options.method ?? getOrder,
    peer: { address: options.address ?? "192.0.2.7", port: 50_123, secure: true, certificate: undefined },
    metadata,
    metadataBytes: 0,
    timeoutMs: undefined,
    logger: pino({ enabled: false }),
  });
  if (options.principal !== undefined) call.principal = options.principal;
  if (options.actor !== undefined) call.actor = options.actor;
  return call;
}

export function outcomeOf(outcome: Partial<Outcome> = {}): Outcome {
  return {
    code: status.OK,
    details: "",
    endedBy: "handler",
    delivered: true,
    durationMs: 12.3456789,
    receivedBytes: 0,
    sentBytes: 0,
    ...outcome,
  };
}
