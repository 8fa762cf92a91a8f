// Revoked tokens of one process, kept in memory.
import { z } from "zod";
import { ChangeListeners } from "../../../config/change-listeners.ts";
import { type Filled, parseOptions } from "../../../config/options.ts";
import type { RevocableToken, RevocationList } from "./revocation-list.ts";
import { Revocations } from "./revocations.ts";

export interface RevocationListOptions {
  /**
   * How long the issuer's tokens live at most, in seconds. A revoked subject is remembered for that long: by then every token
   * that was issued before has expired. Default: 31,536,000.
   */
  readonly maxTokenLifetimeSec?: number | undefined;
  /**
   * How many tokens and subjects are kept at most; nothing is pushed out to make room. Default: 1,000,000.
   */
  readonly maxEntries?: number | undefined;
}

/** The shape of `revocationList`'s options; the only place where its defaults stand. */
export const revocationListSchema: z.ZodType<Filled<RevocationListOptions>> = z.strictObject({
  maxTokenLifetimeSec: z.number().positive().max(315_360_000).default(31_536_000),
  maxEntries: z.int().min(1).max(10_000_000).default(1_000_000),
});

/** Revokes tokens and whole subjects. */
export interface RevocationAdministration {
  /**
   * Revokes one token: its `jti`, and when it expires in milliseconds since the epoch (`exp * 1000`), until when the list
   * remembers it.
   * @throws {TypeError} for an id that is empty or no string, and a time that is not milliseconds since the epoch.
   * @throws {RangeError} where the list is full. The token is not revoked then.
   */
  revokeToken(id: string, expiresAt: number): void | Promise<void>;
  /**
   * Revokes all tokens of a subject (`principal.subject`) that were issued up to now, or up to `issuedBefore` in milliseconds since the epoch:
   * "sign out everywhere". Tokens name the second in which they were issued: one that is issued later in that same second is
   * refused too. Where the issuer's clock is ahead, give its time.
   * @throws {TypeError} for a subject that is empty or no string, and a time that is not milliseconds since the epoch.
   * @throws {RangeError} where the list is full. The subject is not revoked then.
   */
  revokeSubject(subject: string, options?: { readonly issuedBefore?: number }): void | Promise<void>;
}

/** The list in memory: what it is told holds from the next call on. */
export interface MemoryRevocationList extends RevocationList, RevocationAdministration {
  isRevoked(token: RevocableToken): boolean;
  onChange(listener: () => void): () => void;
  revokeToken(id: string, expiresAt: number): void;
  revokeSubject(subject: string, options?: { readonly issuedBefore?: number }): void;
}

/**
 * A list of revoked tokens in memory, for one issuer and one process: for several instances take `redisRevocationList` or
 * `postgresRevocationList`. Refuses revoked tokens from the next call on, and ends the calls that are open with one. It begins
 * empty when the process starts, so tokens that were revoked before are good again until they expire.
 *
 * Throws `ConfigError` for options that are wrong.
 *
 * @example
 * const revocations = revocationList();
 * jwt({ issuer: "https://id.example", audience: "orders", revocations });
 * revocations.revokeSubject("ada");
 */
export function revocationList(options: RevocationListOptions = {}): MemoryRevocationList {
  return new MemoryList(parseOptions(revocationListSchema, options, "revocationList"));
}

class MemoryList implements MemoryRevocationList {
  readonly #revocations: Revocations;
  readonly #maxTokenLifetimeMs: number;
  readonly #listeners = new ChangeListeners();

  constructor({ maxTokenLifetimeSec, maxEntries }: Filled<RevocationListOptions>) {
    this.#revocations = new Revocations({ maxEntries });
    this.#maxTokenLifetimeMs = maxTokenLifetimeSec * 1000;
  }

  isRevoked(token: RevocableToken): boolean {
    return this.#revocations.isRevoked(token);
  }

  onChange(listener: () => void): () => void {
    return this.#listeners.add(listener);
  }

  revokeToken(id: string, expiresAt: number): void {
    checkName("revokeToken: the token's id (jti)", id);
    checkTime("revokeToken: expiresAt", expiresAt);
    this.#added(this.#revocations.addToken(id, expiresAt));
  }

  revokeSubject(
    subject: string,
    { issuedBefore = Date.now() }: { readonly issuedBefore?: number } = {},
  ): void {
    checkName("revokeSubject: the subject", subject);
    checkTime("revokeSubject: issuedBefore", issuedBefore);
    this.#added(this.#revocations.addSubject(subject, issuedBefore, issuedBefore + this.#maxTokenLifetimeMs));
  }

  #added(added: boolean): void {
    if (!added) throw new RangeError(listIsFull);
    this.#listeners.notify();
  }
}

export const listIsFull: string =
  "the revocation list is full (maxEntries), and nothing was revoked; give it more entries";

/** Longer names are nobody's: a token has 16 KiB at most. */
const maxNameLength = 16_384;
/** Of 1973. A time in seconds is always before it. */
const firstMilliseconds = 1e11;

/** Throws a `TypeError` for what cannot be the id or the subject of a token. */
export function checkName(what: string, name: unknown): void {
  if (typeof name === "string" && name !== "" && name.length <= maxNameLength) return;
  throw new TypeError(`${what} is not a string of 1 to ${maxNameLength} characters`);
}

/** Throws a `TypeError` for what is no time in milliseconds; above all for one in seconds, as it stands in a token. */
export function checkTime(what: string, time: unknown): void {
  if (typeof time === "number" && time >= firstMilliseconds && time <= 8.64e15) return;
  throw new TypeError(
    `${what} is not a time in milliseconds since the epoch; multiply seconds (exp, iat) by 1000`,
  );
}
