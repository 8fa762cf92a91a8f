// What single methods have of their own: `methods` of the server's options. The most specific entry wins, for
// each setting by itself; which one that is, is looked up once for each method.
import { z } from "zod";
import type { Middleware } from "../chain/middleware.ts";
import { ConfigError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import { explainNoMatch, rulePathsFor, scopeOf } from "../middleware/authorization/rule-path.ts";
import {
  type MethodRateLimits,
  methodRateLimitSchema,
  type RateLimits,
} from "../middleware/rate-limit/rate-limit.ts";

/** Settings that differ for some methods. What is not given here is as it is for the whole server. */
export interface MethodOptions {
  /** How long calls of these methods may take. Default: the server's. */
  readonly deadline?:
    | {
        /** Refuse calls that come without a deadline. Default: the server's. */
        readonly required?: boolean | undefined;
        /** The longest that a call may take, in milliseconds, whatever its kind. Default: the server's. */
        readonly maxMs?: number | undefined;
      }
    | undefined;
  /** Limits that count apart from the server's, in their place, and what a call costs. Default: the server's. */
  readonly rateLimit?: MethodRateLimits | undefined;
  /** The largest message that is accepted, decompressed size included. Default: the server's. */
  readonly maxReceiveMessageBytes?: number | undefined;
  /** Whether calls leave an audit record. Default: they do, where there are sinks. */
  readonly audit?: boolean | undefined;
}

/** By `/pkg.Service/Method`, `/pkg.Service/*`, `/pkg.*` or `/*`. */
export type MethodsOptions = Readonly<Record<string, MethodOptions>>;

const methodSchema = z.strictObject({
  deadline: z
    .strictObject({
      required: z.boolean().optional(),
      maxMs: z.int().min(1).max(2_147_483_647).optional(),
    })
    .optional(),
  rateLimit: methodRateLimitSchema.optional(),
  maxReceiveMessageBytes: z
    .int()
    .min(1)
    .max(2 ** 32 - 1)
    .optional(),
  audit: z.boolean().optional(),
});

/** The shape of `methods`. */
export const methodsSchema: z.ZodType<MethodsOptions> = z.record(
  z.string().refine((path) => scopeOf(path) !== undefined),
  methodSchema,
  {
    error: ({ code }) =>
      code === "invalid_key"
        ? "not a path; write /pkg.Service/Method, /pkg.Service/*, /pkg.* or /*"
        : undefined,
  },
);

type Setting = keyof MethodOptions;

export interface MethodOverridesParts {
  readonly methods: MethodsOptions;
  /** The server's own limits. */
  readonly rateLimit: Pick<RateLimits, "perPeer" | "perPrincipal">;
}

export class MethodOverrides {
  readonly #entries: ReadonlyMap<string, MethodOptions>;

  /** @throws {ConfigError} where a call costs more than there is: it would never pass. */
  constructor({ methods, rateLimit }: MethodOverridesParts) {
    this.#entries = new Map(Object.entries(methods));
    checkCosts(methods, rateLimit);
  }

  /** @throws {ConfigError} with every path under which no method is registered. */
  check(methods: readonly MethodInfo[]): void {
    const known = new Set(methods.flatMap(rulePathsFor));
    const wrong = [...this.#entries.keys()].filter((path) => !known.has(path));
    if (wrong.length > 0)
      throw new ConfigError(wrong.map((path) => `methods.${explainNoMatch(path, methods)}`));
  }

  /** A method's own value, where it has one. */
  valueOf<S extends Setting>(method: MethodInfo, setting: S): MethodOptions[S] {
    const path = this.#pathOf(method, setting);
    return path === undefined ? undefined : this.#entries.get(path)?.[setting];
  }

  /**
   * The middleware of a setting, once for all methods that have no value of their own and once for each entry that has one.
   * For each method one of them applies, so that a call pays nothing for the choice. `make` gets the entry's path, `""`
   * for the server's own setting.
   */
  middlewareFor<S extends Setting>(
    setting: S,
    make: (own: NonNullable<MethodOptions[S]> | undefined, path: string) => Middleware,
  ): readonly Middleware[] {
    const chain = [only(make(undefined, ""), (method) => this.#pathOf(method, setting) === undefined)];
    for (const [path, { [setting]: own }] of this.#entries) {
      if (own !== undefined)
        chain.push(
          only(
            make(own as NonNullable<MethodOptions[S]>, path),
            (method) => this.#pathOf(method, setting) === path,
          ),
        );
    }
    return chain;
  }

  /** Unknown methods are nobody's: they have the server's settings. */
  #pathOf(method: MethodInfo, setting: Setting): string | undefined {
    if (!method.known) return undefined;
    return rulePathsFor(method).find((path) => this.#entries.get(path)?.[setting] !== undefined);
  }
}

/** The same middleware, for some methods. */
function only(middleware: Middleware, applies: (method: MethodInfo) => boolean): Middleware {
  return Object.freeze<Middleware>({
    ...middleware,
    appliesTo: (method) => applies(method) && (middleware.appliesTo?.(method) ?? true),
  });
}

function checkCosts(methods: MethodsOptions, server: MethodOverridesParts["rateLimit"]): void {
  const problems = Object.entries(methods).flatMap(([path, { rateLimit: own }]) =>
    (["perPeer", "perPrincipal"] as const).flatMap((name) => {
      const limit = own?.[name] ?? server[name];
      if (limit === false || (own?.cost ?? 1) <= limit.points) return [];
      return [
        `methods.${path}.rateLimit.cost: more than the ${limit.points} points of ${name}; no call would ever pass`,
      ];
    }),
  );
  if (problems.length > 0) throw new ConfigError(problems);
}
