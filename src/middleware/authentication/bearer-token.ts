// The bearer token of a call (RFC 6750 section 2.1), read from the metadata once, whoever asks.
import { hash } from "node:crypto";
import { type CallContext, ContextKey } from "../../call/context.ts";
import { readCompactJws, type UnverifiedJws } from "./compact-jws.ts";

/** Longer tokens are nobody's: no hash and no parser runs over what a stranger may make as long as it likes. */
export const maxTokenLength = 16_384;

export class BearerToken {
  readonly text: string;
  #digest: string | undefined = undefined;
  #unverified: UnverifiedJws | null | undefined = undefined;

  constructor(text: string) {
    this.text = text;
  }

  /** SHA-256 of the token. */
  get digest(): string {
    this.#digest ??= hash("sha256", this.text, "base64url");
    return this.#digest;
  }

  /** What the token says, unverified; undefined where it is no signed JSON token at all. */
  get unverified(): UnverifiedJws | undefined {
    if (this.#unverified === undefined) this.#unverified = readCompactJws(this.text) ?? null;
    return this.#unverified ?? undefined;
  }
}

const bearerKey: ContextKey<BearerToken> = new ContextKey("bearer token");

/** Undefined where the call has no `authorization`, more than one, another scheme than Bearer, or too long a token. */
export function bearerToken(call: CallContext): BearerToken | undefined {
  const known = call.get(bearerKey);
  if (known !== undefined) return known;
  const text = readBearer(call);
  if (text === undefined) return undefined;
  const token = new BearerToken(text);
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
