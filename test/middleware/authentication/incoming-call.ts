// A call as the chain would hand it to the authentication layer, and what a refusal looks like.
import { Metadata, status } from "@grpc/grpc-js";
import { type Logger, pino } from "pino";
import { expect } from "vitest";
import { Call } from "../../../src/chain/context.ts";
import type { Middleware } from "../../../src/chain/middleware.ts";
import type { Identity } from "../../../src/chain/principal.ts";
import { CredentialError, StatusError } from "../../../src/grpc/errors.ts";
import { methodInfo } from "../../../src/grpc/method.ts";
import type { Peer } from "../../../src/grpc/peer.ts";
import type { Authenticator } from "../../../src/middleware/authentication/authenticator.ts";
import { header } from "../../harness/linear-time.ts";

export interface IncomingCall {
  readonly path?: string;
  readonly known?: boolean;
  readonly logger?: Logger;
  readonly peer?: Partial<Peer>;
}

export function incomingCall(
  headers: Readonly<Record<string, string | readonly string[]>> = {},
  {
    path = "/orders.v1.Orders/GetOrder",
    known = true,
    logger = pino({ enabled: false }),
    peer,
  }: IncomingCall = {},
): Call {
  const metadata = new Metadata();
  for (const [key, values] of Object.entries(headers)) {
    for (const value of typeof values === "string" ? [values] : values) metadata.add(key, value);
  }
  return new Call({
    method: methodInfo(path, "unary", known),
    peer: { address: "127.0.0.1", port: 1, secure: true, certificate: undefined, ...peer },
    metadata,
    metadataBytes: 0,
    timeoutMs: undefined,
    logger,
  });
}

/** One with a field of any text, also of such as HTTP/2 would not let through. */
export function callWithField(name: string, text: string): Call {
  const call = incomingCall();
  call.metadata.get = header(name, text).get;
  return call;
}

export function bearer(token: string, logger?: Logger): Call {
  return incomingCall({ authorization: `Bearer ${token}` }, logger === undefined ? {} : { logger });
}

/** What the authenticator says of a token: `missing`, `invalid`, `expired`, or `unclaimed` where it is not presented. */
export async function verdict(authenticator: Authenticator, call: Call): Promise<string> {
  if (!authenticator.presents(call)) return "unclaimed";
  try {
    const identity = await authenticator.authenticate(call);
    return `good: ${identity.principal.subject}`;
  } catch (error) {
    return error instanceof CredentialError ? error.problem : `failure: ${String(error)}`;
  }
}

/** An authentication that must answer without a promise. */
export function atOnce(authenticator: Authenticator, call: Call): Identity {
  const identity = authenticator.authenticate(call);
  if (identity instanceof Promise) {
    identity.catch(() => {});
    throw new Error("expected an answer without a promise");
  }
  return identity;
}

/** Runs the layer; gives the refusal, or undefined where the call was let in. */
export async function refusalBy(layer: Middleware, call: Call): Promise<StatusError | undefined> {
  try {
    await layer.onCall?.(call);
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(StatusError);
    return error instanceof StatusError ? error : undefined;
  }
}

/** `UNAUTHENTICATED missing credentials`, or `in` where the call was let in. */
export async function outcomeOf(layer: Middleware, call: Call): Promise<string> {
  const refusal = await refusalBy(layer, call);
  return refusal === undefined ? "in" : `${status[refusal.code]} ${refusal.details}`;
}
