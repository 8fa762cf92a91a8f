// A revocation list that several processes share: what is the same wherever the revocations are kept.
import { type Logger, pino } from "pino";
import { z } from "zod";
import { loggerSchema } from "../../../config/logger-option.ts";
import { milliseconds } from "../../../config/options.ts";
import { checkName, checkTime, listIsFull, type RevocationAdministration } from "./memory-revocation-list.ts";
import type { RevocableToken, RevocationList } from "./revocation-list.ts";
import { RevocationMirror, type RevocationSource } from "./revocation-mirror.ts";
import type { Revocation } from "./revocations.ts";

export interface SharedRevocationListOptions {
  /**
   * How long the issuer's tokens live at most, in seconds. A revoked subject is remembered for that long: by then every token
   * that was issued before has expired. Default: 31,536,000.
   */
  readonly maxTokenLifetimeSec?: number | undefined;
  /**
   * How many tokens and subjects are kept at most, in the store and in the memory of each instance; nothing is pushed out to
   * make room. Give every instance the same. Default: 1,000,000.
   */
  readonly maxEntries?: number | undefined;
  /**
   * How long the last known list serves while the store cannot be read, in seconds. After that callers are told UNAVAILABLE.
   * Default: 300.
   */
  readonly maxStaleSec?: number | undefined;
  /** How often the store is asked for what no message told, in milliseconds. At most half of `maxStaleSec`. Default: 500. */
  readonly pollMs?: number | undefined;
  /**
   * How long the store may take for one answer, in milliseconds. Must be shorter than `deadline.checkTimeoutMs`. Default: 1,000.
   */
  readonly timeoutMs?: number | undefined;
  /** Told when the list cannot be read, and when it can again; `false` for nobody. Default: pino to standard output. */
  readonly logger?: Logger | false | undefined;
}

/** Options with their defaults. */
export interface SharedRevocationListSettings {
  readonly maxTokenLifetimeSec: number;
  readonly maxEntries: number;
  readonly maxStaleSec: number;
  readonly pollMs: number;
  readonly timeoutMs: number;
  readonly logger?: Logger | false | undefined;
}

/** The shape of the options that do not depend on the store. */
export const sharedRevocationListShape: {
  readonly maxTokenLifetimeSec: z.ZodDefault<z.ZodNumber>;
  readonly maxEntries: z.ZodDefault<z.ZodInt>;
  readonly maxStaleSec: z.ZodDefault<z.ZodNumber>;
  readonly pollMs: z.ZodDefault<z.ZodInt>;
  readonly timeoutMs: z.ZodDefault<z.ZodInt>;
  readonly logger: z.ZodType<Logger | false | undefined>;
} = {
  maxTokenLifetimeSec: z.number().positive().max(315_360_000).default(31_536_000),
  maxEntries: z.int().min(1).max(10_000_000).default(1_000_000),
  maxStaleSec: z.number().min(1).max(86_400).default(300),
  pollMs: z.int().min(50).max(60_000).default(500),
  timeoutMs: milliseconds.default(1_000),
  logger: z.union([loggerSchema, z.literal(false)]).optional(),
};

/** A list that is asked less often than it gets too old would be too old now and then. */
export function checkPoll(
  { pollMs, maxStaleSec }: SharedRevocationListSettings,
  context: z.RefinementCtx,
): void {
  if (2 * pollMs <= maxStaleSec * 1000) return;
  context.addIssue({
    code: "custom",
    path: ["pollMs"],
    message: `must be at most half of maxStaleSec: ${(maxStaleSec * 1000) / 2}`,
    input: pollMs,
  });
}

/** A `RevocationList` that instances of a service share. */
export interface SharedRevocationList extends RevocationList, RevocationAdministration {
  /** Calls `listener` when something was revoked, by whichever instance. */
  onChange(listener: () => void): () => void;
  /**
   * As `RevocationAdministration`. Resolves when it is stored. Rejects where it is not, or where that is not known: then do it
   * again, which changes nothing where it was stored.
   */
  revokeToken(id: string, expiresAt: number): Promise<void>;
  /** As `RevocationAdministration`; without `issuedBefore` up to now by the clock of this process. Resolves as `revokeToken`. */
  revokeSubject(subject: string, options?: { readonly issuedBefore?: number }): Promise<void>;
  /** Ends the connection that listens, and stops asking. The next use starts both again. */
  close(): Promise<void>;
}

export class SharedRevocations implements SharedRevocationList {
  readonly #source: RevocationSource;
  readonly #mirror: RevocationMirror;
  readonly #maxTokenLifetimeMs: number;

  constructor(source: RevocationSource, settings: SharedRevocationListSettings) {
    const { maxTokenLifetimeSec, maxEntries, maxStaleSec, pollMs, logger } = settings;
    this.#source = source;
    this.#maxTokenLifetimeMs = maxTokenLifetimeSec * 1000;
    this.#mirror = new RevocationMirror(source, {
      maxEntries,
      maxStaleMs: maxStaleSec * 1000,
      pollMs,
      logger: logger === false ? undefined : (logger ?? pino()),
    });
  }

  isRevoked(token: RevocableToken): boolean | Promise<boolean> {
    return this.#mirror.isRevoked(token);
  }

  onChange(listener: () => void): () => void {
    return this.#mirror.onChange(listener);
  }

  async revokeToken(id: string, expiresAt: number): Promise<void> {
    checkStorable("revokeToken: the token's id (jti)", id);
    checkTime("revokeToken: expiresAt", expiresAt);
    await this.#revoke({ kind: "token", name: id, before: 0, ends: Math.ceil(expiresAt) });
  }

  async revokeSubject(
    subject: string,
    { issuedBefore = Date.now() }: { readonly issuedBefore?: number } = {},
  ): Promise<void> {
    checkStorable("revokeSubject: the subject", subject);
    checkTime("revokeSubject: issuedBefore", issuedBefore);
    const before = Math.ceil(issuedBefore);
    const ends = Math.min(before + Math.ceil(this.#maxTokenLifetimeMs), maxTime);
    await this.#revoke({ kind: "subject", name: subject, before, ends });
  }

  close(): Promise<void> {
    return this.#mirror.close();
  }

  async #revoke(revocation: Revocation): Promise<void> {
    if ((await this.#source.add([revocation])) === "full") throw new RangeError(listIsFull);
    this.#mirror.add(revocation);
  }
}

/** The last moment that a `Date` can tell. */
const maxTime = 8.64e15;

/** Half a surrogate pair has no UTF-8, and PostgreSQL holds no U+0000: what was stored would be another name. */
const unstorable = /[\p{Surrogate}\0]/u;

function checkStorable(what: string, name: unknown): void {
  checkName(what, name);
  if (typeof name === "string" && unstorable.test(name))
    throw new TypeError(`${what} has a character that no store can hold: U+0000, or half a surrogate pair`);
}
