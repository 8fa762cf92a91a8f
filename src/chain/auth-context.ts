// What `call.getAuthContext()` returns behind the chain. Every wrapper of a call forwards it, so it leads from a handler's
// call, however wrapped, back to the secured call and its context.
import type { PeerCertificate } from "node:tls";
import type { TransportCall } from "../transport/call.ts";

export class CallAuthContext {
  readonly #owner: object;
  readonly #base: Pick<TransportCall, "getAuthContext">;

  constructor(owner: object, base: Pick<TransportCall, "getAuthContext">) {
    this.#owner = owner;
    this.#base = base;
  }

  get transportSecurityType(): string | undefined {
    return this.#base.getAuthContext().transportSecurityType;
  }

  /** Node converts the certificate anew on each read; `securityContext(call).peer.certificate` does not. */
  get sslPeerCertificate(): PeerCertificate | undefined {
    return this.#base.getAuthContext().sslPeerCertificate;
  }

  /** Whose context this is, found from a handler's `call`; undefined where that did not pass the chain. */
  static ownerOf(handlerCall: unknown): object | undefined {
    if (typeof handlerCall !== "object" || handlerCall === null || !("getAuthContext" in handlerCall))
      return undefined;
    if (typeof handlerCall.getAuthContext !== "function") return undefined;
    const context: unknown = handlerCall.getAuthContext();
    return context instanceof CallAuthContext ? context.#owner : undefined;
  }
}
