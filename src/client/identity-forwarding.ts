// Puts the identity of the call that is being handled on a client's calls, with its deadline and its cancellation.
import type { CallInvocationTransformer, CallOptions, Channel, Metadata, MetadataValue } from "@grpc/grpc-js";
import type { CallContext } from "../chain/context.ts";
import { credentialHeadersOfProcess } from "../middleware/authentication/presented-credentials.ts";
import { callCredentials } from "./call-credentials.ts";
import type { OnCredentialFailure } from "./credential-failures.ts";
import type { CredentialSource } from "./credential-source.ts";
import {
  type Forwarded,
  ForwardIdentity,
  forwardedHeaders,
  identityToForward,
  refused,
  refusing,
} from "./forward-identity.ts";

export interface ForwardingOptions {
  /** The client's own channel: nothing is forwarded over another one. */
  readonly channel: Channel;
  /** All sources of the client. */
  readonly sources: readonly CredentialSource[];
  readonly onFailure: OnCredentialFailure;
}

/** Does this client forward identities? */
export function forwards(sources: readonly CredentialSource[]): boolean {
  return sources.some((source) => source instanceof ForwardIdentity);
}

/**
 * Finds out what to forward while the call is made: grpc-js asks for credentials when the connection is there, in whatever
 * context that happens. The credentials are this one call's, in a copy of its options. `before` runs first.
 */
export function identityForwarding(
  { channel, sources, onFailure }: ForwardingOptions,
  before: CallInvocationTransformer,
): CallInvocationTransformer {
  return (properties) => {
    const call = before(properties);
    const { callOptions } = call;
    // A transformer of the program may replace the channel.
    const forwarded =
      call.channel === channel
        ? identityToForward(callOptions.parent)
        : refusing(refused("the call was given another channel than its client's"));
    const asked = sources.map((source) => (source instanceof ForwardIdentity ? forwarded.source : source));
    const own = callCredentials(asked, onFailure, forwarded.call);
    call.callOptions = {
      ...callOptions,
      credentials: callOptions.credentials?.compose(own) ?? own,
      ...deadlineOf(callOptions, forwarded),
    };
    if (forwarded.call === undefined) return call;
    call.metadata = withoutClaims(call.metadata, forwarded.call);
    cancelWith(forwarded.call, call.call);
    return call;
  };
}

/** The nearer one of the call's own and of that of the call that is being handled. */
function deadlineOf({ deadline }: CallOptions, forwarded: Forwarded): Pick<CallOptions, "deadline"> {
  if (forwarded.call === undefined) return {};
  const own = deadline === undefined ? Number.POSITIVE_INFINITY : Number(deadline);
  return { deadline: Math.min(own, forwarded.call.deadline) };
}

/**
 * A handler may hand on the metadata that it was called with: of those the names that are forwarded are taken from the verified
 * identity, and its caller's credentials stay here, those for an own authenticator too where it declares its `headers`.
 */
function withoutClaims(metadata: Metadata, handled: CallContext): Metadata {
  const forwarded = forwardedHeaders.filter((header) => metadata.get(header).length > 0);
  const credentials = [...sentByBrowsers, ...credentialHeadersOfProcess()].filter((header) =>
    isHandedOn(metadata.get(header), handled.metadata.get(header)),
  );
  if (forwarded.length === 0 && credentials.length === 0) return metadata;
  // A copy: it may be the one of the call that is being handled.
  const own = metadata.clone();
  for (const header of [...forwarded, ...credentials]) own.remove(header);
  return own;
}

/** Credentials which no authenticator reads, as a rule, and which a proxy may have left in the call. */
const sentByBrowsers = ["cookie", "proxy-authorization"] as const;

/** What the handler gives the call itself is meant for the next service. */
function isHandedOn(sent: readonly MetadataValue[], received: readonly MetadataValue[]): boolean {
  return sent.some((value) => received.some((other) => isSame(value, other)));
}

function isSame(value: MetadataValue, other: MetadataValue): boolean {
  if (typeof value === "string" || typeof other === "string") return value === other;
  return value.equals(other);
}

interface OutgoingCall {
  cancel(): void;
  on(event: "status", listener: () => void): unknown;
}

/** The outgoing calls of each handled call, which has one listener for all of them. */
const outgoingOf = new WeakMap<CallContext, Set<OutgoingCall>>();

/** grpc-js's `parent` would do it too, but keeps a listener for each outgoing call until the handled call ends. */
function cancelWith(handled: CallContext, outgoing: OutgoingCall): void {
  const open = outgoingOf.get(handled) ?? firstOf(handled);
  open.add(outgoing);
  outgoing.on("status", () => open.delete(outgoing));
}

function firstOf(handled: CallContext): Set<OutgoingCall> {
  const open = new Set<OutgoingCall>();
  outgoingOf.set(handled, open);
  const cancelAll = (): void => {
    for (const outgoing of [...open]) outgoing.cancel();
  };
  handled.signal.addEventListener("abort", cancelAll, { once: true });
  return open;
}
