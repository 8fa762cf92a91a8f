// The bearer token of a call (RFC 6750 section 2.1), read from the metadata once, whoever asks.
import { Buffer } from "node:buffer";
import { hash, timingSafeEqual } from "node:crypto";
import { type CallContext, ContextKey } from "../../call/context.ts";
import type { Peer } from "../../call/peer.ts";
import { readCompactJws, type UnverifiedJws } from "./compact-jws.ts";

/** Longer tokens are nobody's: no hash and no parser runs over what a stranger may make as long as it likes. */
export const maxTokenLength = 16_384;

export class BearerToken {
  readonly text: string;
  readonly #peer: Peer;
  #digest: string | undefined = undefined;
  #unverified: UnverifiedJws | null | undefined = undefined;

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
  get unverified(): UnverifiedJws | undefined {
    if (this.#unverified === undefined) this.#unverified = readCompactJws(this.text) ?? null;
    return this.#unverified ?? undefined;
  }
}

/** The token that a connection brought last, which HTTP/2 remembers as long for its header compression. */
class LastToken {
  readonly digest: string;
  readonly #text: string;
  readonly #bytes: Buffer;
  readonly #compared: Buffer;

  constructor(text: string, digest: string) {
    this.digest = digest;
    this.#text = text;
    this.#bytes = Buffer.from(text, "latin1");
    this.#compared = Buffer.alloc(this.#bytes.length);
  }

  /** In a time that does not tell how much of the text is right: others may share the connection. */
  is(text: string): boolean {
    if (text.length !== this.#compared.length) return false;
    this.#compared.write(text, "latin1");
    // Every character of a header field has one byte; were there another, the texts would still be told apart.
    return timingSafeEqual(this.#bytes, this.#compared) && text === this.#text;
  }
}

const lastTokens = new WeakMap<Peer, LastToken>();
/** Beyond this a connection remembers nothing. */
const longestRemembered = 4096;

/** Most connections bring one token again and again: comparing it costs a fraction of its hash. */
function digestOf(text: string, peer: Peer): string {
  const last = lastTokens.get(peer);
  if (last?.is(text) === true) return last.digest;
  const digest = hash("sha256", text, "base64url");
  // A peer that a proxy told of is the call's, and not a connection's.
  const isConnection = peer.forwardedBy === undefined && peer.certificate?.forwarded !== true;
  if (isConnection && text.length <= longestRemembered) lastTokens.set(peer, new LastToken(text, digest));
  return digest;
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
