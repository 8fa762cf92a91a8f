// The bearer token of a call (RFC 6750 section 2.1), read from the metadata once, whoever asks.
import { Buffer } from "node:buffer";
import { hash, timingSafeEqual } from "node:crypto";
import { type CallContext, ContextKey } from "../../chain/context.ts";
import type { Peer } from "../../grpc/peer.ts";
import { readStrictToken, type UnverifiedToken } from "./jwt/strict-token.ts";

/** Longer tokens are nobody's: no hash and no parser runs over text of unlimited length. */
export const maxTokenLength = 16_384;

export class BearerToken {
  readonly text: string;
  readonly #peer: Peer;
  #digest: string | undefined = undefined;
  #unverified: UnverifiedToken | null | undefined = undefined;

  constructor(text: string, peer: Peer) {
    this.text = text;
    this.#peer = peer;
  }

  /** SHA-256 of the token. */
  get digest(): string {
    this.#digest ??= digestOf(this.text, this.#peer);
    return this.#digest;
  }

  /** What the token says, unverified; undefined where it is no signed JSON token at all. */
  get unverified(): UnverifiedToken | undefined {
    if (this.#unverified === undefined) this.#unverified = readStrictToken(this.text) ?? null;
    return this.#unverified ?? undefined;
  }
}

/** The token that a connection brought last, which HTTP/2 remembers as long for its header compression. */
class LastToken {
  #digest = "";
  /** What the token is compared with; none before it came twice, and one that comes once costs nothing. */
  #known: Comparable | undefined = undefined;

  digestOf(text: string): string {
    if (this.#known !== undefined && isSame(text, this.#known)) return this.#digest;
    const digest = sha256(text);
    this.#known = digest === this.#digest && text.length <= maxComparedLength ? comparable(text) : undefined;
    this.#digest = digest;
    return digest;
  }
}

/** Longer ones are hashed each time. */
const maxComparedLength = 4096;

interface Comparable {
  readonly bytes: Buffer;
  /** Where a text is written to be compared. */
  readonly compared: Buffer;
}

function comparable(text: string): Comparable {
  const bytes = Buffer.from(text, "latin1");
  return { bytes, compared: Buffer.alloc(bytes.length) };
}

/**
 * In a time that does not tell how much of the text is right: others may share the connection. Every character of a header
 * field has one byte; were there another, only its last byte would be compared, and all other bytes had to be right.
 */
function isSame(text: string, { bytes, compared }: Comparable): boolean {
  if (text.length !== compared.length) return false;
  compared.write(text, "latin1");
  return timingSafeEqual(bytes, compared);
}

function sha256(text: string): string {
  return hash("sha256", text, "base64url");
}

const lastTokens = new WeakMap<Peer, LastToken>();

/** Most connections bring one token again and again: comparing it costs a fraction of its hash. */
function digestOf(text: string, peer: Peer): string {
  // A peer that a proxy told of is the call's, and not a connection's.
  if (peer.forwardedBy !== undefined || peer.certificate?.forwarded === true) return sha256(text);
  const last = lastTokens.get(peer);
  if (last !== undefined) return last.digestOf(text);
  const first = new LastToken();
  lastTokens.set(peer, first);
  return first.digestOf(text);
}

const bearerKey: ContextKey<BearerToken> = new ContextKey("bearer token");

/** Undefined where the call has no `authorization`, more than one, another scheme than Bearer, or too long a token. */
export function bearerToken(call: CallContext): BearerToken | undefined {
  const known = call.get(bearerKey);
  if (known !== undefined) return known;
  const text = readBearer(call);
  if (text === undefined) return undefined;
  const token = new BearerToken(text, call.peer);
  call.set(bearerKey, token);
  return token;
}

/** Of principals that a bearer token proved. Who is spoken for by a trusted actor is not: the token is the actor's. */
const tokenSchemes: ReadonlySet<string> = new Set(["jwt", "introspection"]);

/** The bearer token that proved the principal; undefined where something else did, whatever token the call has beside it. */
export function tokenOfPrincipal(call: CallContext): string | undefined {
  if (call.principal === undefined || !tokenSchemes.has(call.principal.scheme)) return undefined;
  return bearerToken(call)?.text;
}

/** `Bearer` in any case, then one or more spaces, then the token (RFC 9110 sections 11.1 and 11.4). */
function readBearer(call: CallContext): string | undefined {
  const values = call.metadata.get("authorization");
  const value = values[0];
  if (values.length !== 1 || typeof value !== "string") return undefined;
  if (value.slice(0, 7).toLowerCase() !== "bearer ") return undefined;
  let start = 7;
  while (value.charCodeAt(start) === 0x20) start++;
  const length = value.length - start;
  return length === 0 || length > maxTokenLength ? undefined : value.slice(start);
}
