// Roles that a user store knows, and the credential does not: asked when the credential's own roles do not suffice.
import { z } from "zod";
import { type Principal, principalKey } from "../../chain/principal.ts";
import { milliseconds } from "../../config/options.ts";
import { StoreRequests } from "../../config/store-requests.ts";

/** Who is looked up: what tells one caller from another. Its credential's claims are not in it, because answers are kept by caller. */
export type LookedUpPrincipal = Pick<Principal, "kind" | "scheme" | "issuer" | "tenant" | "subject">;

/** The roles of a verified caller. `timeUp` aborts when the answer comes too late to be used. */
export type FindRoles = {
  // A method, so that a function of fewer parameters fits.
  find(principal: LookedUpPrincipal, timeUp: AbortSignal): Iterable<string> | Promise<Iterable<string>>;
}["find"];

export interface RoleLookupOptions {
  /** Answers with the caller's roles. Throws or rejects where it cannot tell: the call is UNAVAILABLE then, never allowed. */
  readonly find: FindRoles;
  /** How long one answer counts, in seconds. A role that is taken away there counts so long here. Default: 60. */
  readonly maxAgeSec?: number | undefined;
  /** Of how many callers answers are kept. Default: 10,000. */
  readonly maxEntries?: number | undefined;
  /** How long an answer is waited for, in milliseconds. Default: 2,000. */
  readonly timeoutMs?: number | undefined;
}

/** A function alone, with the defaults of the rest; or the function and the rest. */
export type RoleLookup = FindRoles | RoleLookupOptions;

interface RoleLookupSettings {
  readonly find: FindRoles;
  readonly maxAgeSec: number;
  readonly maxEntries: number;
  readonly timeoutMs: number;
}

const findSchema = z.custom<FindRoles>(
  (value) => typeof value === "function",
  "expected a function of the principal that returns its roles",
);

const settingsSchema = z.strictObject({
  find: findSchema,
  maxAgeSec: z.int().min(1).max(86_400).default(60),
  maxEntries: z.int().min(1).max(1_000_000).default(10_000),
  timeoutMs: milliseconds.default(2_000),
});

/** The shape of `roleLookup`. */
export const roleLookupSchema: z.ZodType<RoleLookupSettings, RoleLookup> = z.union([
  findSchema.transform((find) => settingsSchema.parse({ find })),
  settingsSchema,
]);

interface KnownRoles {
  readonly roles: ReadonlySet<string>;
  /** By the monotonic clock. */
  readonly until: number;
}

/** One question however many calls wait for the answer; so many answers are kept, each for so long. */
export class LookedUpRoles {
  readonly #settings: RoleLookupSettings;
  readonly #requests: StoreRequests;
  /** In the order in which they came. */
  readonly #known = new Map<string, KnownRoles>();
  readonly #pending = new Map<string, Promise<ReadonlySet<string>>>();

  constructor(settings: RoleLookupSettings) {
    this.#settings = settings;
    this.#requests = new StoreRequests({ store: "roleLookup", timeoutMs: settings.timeoutMs });
  }

  /** Rejects where it cannot be told. */
  rolesOf(principal: Principal): ReadonlySet<string> | Promise<ReadonlySet<string>> {
    const key = principalKey(principal);
    const known = this.#known.get(key);
    if (known !== undefined && performance.now() < known.until) return known.roles;
    const pending = this.#pending.get(key);
    if (pending !== undefined) return pending;
    const asked = this.#ask(key, principal);
    this.#pending.set(key, asked);
    return asked;
  }

  async #ask(key: string, principal: Principal): Promise<ReadonlySet<string>> {
    try {
      // The answer counts from the moment of the question: what changed in between is not in it.
      const until = performance.now() + this.#settings.maxAgeSec * 1_000;
      const { kind, scheme, issuer, tenant, subject } = principal;
      const caller: LookedUpPrincipal = Object.freeze({
        kind,
        scheme,
        subject,
        ...(issuer === undefined ? {} : { issuer }),
        ...(tenant === undefined ? {} : { tenant }),
      });
      const found = await this.#requests.send(async (timeUp) => this.#settings.find(caller, timeUp));
      const roles = namesIn(found);
      this.#known.delete(key);
      this.#known.set(key, { roles, until });
      for (const oldest of this.#known.keys()) {
        if (this.#known.size <= this.#settings.maxEntries) break;
        this.#known.delete(oldest);
      }
      return roles;
    } finally {
      this.#pending.delete(key);
    }
  }
}

/** A text would be taken for a list of its letters. */
function namesIn(found: unknown): ReadonlySet<string> {
  if (typeof found !== "object" || found === null || !(Symbol.iterator in found))
    throw new TypeError(`roleLookup returned ${typeof found}; expected a list or a set of role names`);
  const names = new Set<string>();
  for (const name of found as Iterable<unknown>) {
    if (typeof name !== "string")
      throw new TypeError("roleLookup returned a list with something that is no name");
    names.add(name);
  }
  return names;
}
