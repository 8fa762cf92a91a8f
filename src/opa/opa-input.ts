// The input document: what a policy in Rego sees of a call. No token, key or other credential is in it.
import { Buffer } from "node:buffer";
import type { CallContext } from "../chain/context.ts";
import type { Principal } from "../chain/principal.ts";
import type { MethodKind } from "../grpc/method.ts";
import type { PeerCertificate } from "../grpc/peer.ts";

/** `input` of a policy: the same for `opa` and `opaWasm`. What is not known is absent, not null. */
export interface OpaInput {
  readonly method: {
    /** `/package.Service/Method` */
    readonly path: string;
    /** `package.Service` */
    readonly service: string;
    readonly name: string;
    readonly kind: MethodKind;
  };
  /** The verified caller. Absent for a caller without credentials, where the authenticator admits those. */
  readonly principal?: OpaParty;
  /** The application that speaks for it. */
  readonly actor?: OpaParty;
  readonly peer: {
    /** The caller's IP address, or `unix`. */
    readonly address: string;
    /** The client's verified certificate. `notBefore` and `notAfter` are in milliseconds since the epoch. */
    readonly certificate?: Partial<PeerCertificate>;
  };
  /** The headers that the option `metadata` names, as the caller sent them: nobody verified them. Each is a list. */
  readonly metadata: Readonly<Record<string, readonly string[]>>;
  /** As in the log. Not with `cache`, because no two calls would be alike then. */
  readonly requestId?: string;
  /** The message, where the option `messages` is on and a message is decided about. */
  readonly request?: unknown;
}

/** A verified identity in the input document. */
export interface OpaParty {
  readonly subject: string;
  readonly kind: Principal["kind"];
  /** How it was verified: `jwt`, `api-key`, `mtls`, … */
  readonly scheme: string;
  readonly issuer?: string;
  readonly tenant?: string;
  readonly roles: readonly string[];
  readonly permissions: readonly string[];
  /** What the credential said besides, as far as JSON has it. */
  readonly claims: unknown;
}

/** The call cannot be decided about, because of what its caller sent. */
export class UnfitInput extends Error {}

export interface InputSettings {
  readonly metadata: readonly string[];
  readonly maxInputBytes: number;
  readonly hasRequestId: boolean;
}

export interface PolicyInput {
  readonly document: OpaInput;
  /** The document as JSON. */
  readonly text: string;
}

/** Throws `UnfitInput`. */
export function inputOf(
  call: CallContext,
  settings: InputSettings,
  message?: { readonly request: unknown },
): PolicyInput {
  const { method, principal, actor, peer } = call;
  const { maxInputBytes } = settings;
  const isVerified = principal !== undefined && principal.kind !== "anonymous";
  const document: OpaInput = {
    method: { path: method.path, service: method.service, name: method.name, kind: method.kind },
    ...(isVerified ? { principal: partyOf(principal, maxInputBytes) } : {}),
    ...(actor === undefined ? {} : { actor: partyOf(actor, maxInputBytes) }),
    peer: {
      address: peer.address,
      ...(peer.certificate === undefined ? {} : { certificate: certificateOf(peer.certificate) }),
    },
    metadata: metadataOf(call, settings.metadata),
    ...(settings.hasRequestId ? { requestId: call.requestId } : {}),
    ...(message === undefined ? {} : { request: new PlainJson(maxInputBytes).of(message.request) }),
  };
  const text = JSON.stringify(document);
  if (Buffer.byteLength(text) > maxInputBytes) throw tooLarge(maxInputBytes);
  return { document, text };
}

/** By name: what a principal of one's own carries besides is nobody's to send on. */
function partyOf(
  { subject, kind, scheme, issuer, tenant, roles, permissions, claims }: Principal,
  maxInputBytes: number,
): OpaParty {
  return {
    subject,
    kind,
    scheme,
    ...(issuer === undefined ? {} : { issuer }),
    ...(tenant === undefined ? {} : { tenant }),
    roles: [...roles],
    permissions: [...permissions],
    claims: new PlainJson(maxInputBytes).of(claims),
  };
}

/** A date that a proxy left out is infinite, which JSON cannot say. */
function certificateOf(certificate: PeerCertificate): Partial<PeerCertificate> {
  const { name, uris, dnsNames, commonName, serialNumber, issuer, fingerprint256 } = certificate;
  const { forwarded, notBefore, notAfter } = certificate;
  return {
    ...(forwarded === undefined ? {} : { forwarded }),
    ...(name === undefined ? {} : { name }),
    uris,
    dnsNames,
    ...(commonName === undefined ? {} : { commonName }),
    serialNumber,
    issuer,
    fingerprint256,
    ...(Number.isFinite(notBefore) ? { notBefore } : {}),
    ...(Number.isFinite(notAfter) ? { notAfter } : {}),
  };
}

function metadataOf(call: CallContext, names: readonly string[]): OpaInput["metadata"] {
  const sent = names.flatMap((name) => {
    const values = call.metadata.get(name);
    return values.length === 0 ? [] : [[name, values.map(textOf)] as const];
  });
  return Object.fromEntries(sent);
}

function textOf(value: string | Buffer): string {
  return typeof value === "string" ? value : value.toString("base64");
}

/** What is nested more deeply is not decided about: policies in WebAssembly have a small stack. */
const maxDepth = 32;

function tooLarge(maxInputBytes: number): UnfitInput {
  return new UnfitInput(`the input is larger than maxInputBytes (${maxInputBytes})`);
}

/**
 * A message or a claim as JSON has it: bytes in base64 and integers of 64 bits as text, as in proto3's JSON. Messages of
 * google-protobuf and protobufjs have forms of their own for this. What JSON would leave out or change is not decided about: the
 * handler sees it, and the policy must not see less.
 */
class PlainJson {
  readonly #maxBytes: number;
  /** No more work than for the largest input: what is written has at least so many bytes. */
  #left: number;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.#left = maxBytes;
  }

  /** Throws `UnfitInput`. */
  of(value: unknown, depth = 0): unknown {
    this.#spend(1);
    switch (typeof value) {
      case "bigint":
        return String(value);
      case "string":
        return this.#text(value);
      case "number":
        // JSON has null for it, which Rego takes to be less than every number.
        if (!Number.isFinite(value)) throw new UnfitInput("the input has a number that is not finite");
        return value;
      case "object":
        return value === null ? null : this.#object(value, depth);
      default:
        return value;
    }
  }

  #object(value: object, depth: number): unknown {
    if (depth === maxDepth) throw new UnfitInput(`the input is nested more than ${maxDepth} levels deep`);
    if (value instanceof Uint8Array) {
      this.#spend(value.byteLength);
      return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
    }
    if (Array.isArray(value)) return value.map((each) => this.of(each, depth + 1));
    if (value instanceof Map) return this.#members([...value], depth);
    // The class says so: a message may have a field of this name.
    if (!Object.hasOwn(value, "__isLong__") && Reflect.get(value, "__isLong__") === true)
      return String(value);
    for (const own of ["toJSON", "toObject"]) {
      const convert: unknown = Reflect.get(value, own);
      if (typeof convert === "function") return this.of(convert.call(value), depth + 1);
    }
    if (value instanceof Set || value instanceof ArrayBuffer)
      throw new UnfitInput("the input has a value that JSON cannot say");
    return this.#members(Object.entries(value), depth);
  }

  #members(
    entries: readonly (readonly [name: unknown, value: unknown])[],
    depth: number,
  ): Readonly<Record<string, unknown>> {
    return Object.fromEntries(
      entries.map(([name, each]) => [this.#text(String(name)), this.of(each, depth + 1)]),
    );
  }

  #text(text: string): string {
    this.#spend(text.length);
    if (!text.isWellFormed()) throw new UnfitInput("the input has text that is not well-formed");
    return text;
  }

  #spend(bytes: number): void {
    this.#left -= bytes;
    if (this.#left < 0) throw tooLarge(this.#maxBytes);
  }
}
