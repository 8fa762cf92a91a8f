// Two credentials in one call: the application's, and that of the user it speaks for.
import { z } from "zod";
import type { CallContext } from "../../chain/context.ts";
import { checkPrincipal, type Identity } from "../../chain/principal.ts";
import { isThenable } from "../../chain/thenable.ts";
import { parseOptions } from "../../config/options.ts";
import {
  type Authenticator,
  headersOf,
  IncompleteCredentials,
  isAuthenticator,
  singleAuthenticators,
} from "./authenticator.ts";

export interface AllOfOptions {
  /** Who the call is for: usually the user, by `jwt`. */
  readonly principal: Authenticator;
  /** Who makes the call: usually the application, by `apiKey` or `mtls`. */
  readonly actor: Authenticator;
}

const authenticator = z
  .custom<Authenticator>(isAuthenticator, { error: "expected an authenticator", abort: true })
  .refine((value) => !holdsAllOf(value), {
    error: "allOf cannot be used inside allOf: a call has one actor",
  });

/** The shape of `allOf`'s options. One credential that counted as both would make the other unnecessary. */
export const allOfSchema: z.ZodType<AllOfOptions> = z
  .strictObject({ principal: authenticator, actor: authenticator })
  .superRefine(({ principal, actor }, context) => {
    const of = sourcesOf(principal);
    for (const shared of sourcesOf(actor).filter((source) => of.includes(source))) {
      context.addIssue({
        code: "custom",
        path: ["actor"],
        message: `reads ${shared}, and so does principal: one credential would count as both`,
      });
    }
  });

/** Where its credentials stand. */
function sourcesOf(authenticator: Authenticator): readonly string[] {
  const all = singleAuthenticators(authenticator).flatMap((single) =>
    single.source === "connection" ? ["the certificate"] : (headersOf(single) ?? []),
  );
  return [...new Set(all)];
}

/**
 * Accepts calls that present both credentials, both good. The identity has the one as `principal` and the other as
 * `actor`, and ends when the first of them does. With one of them a call is refused as `missing`, after the one that is
 * there was verified. Roles and permissions in a rule are the principal's; `actor` in a rule is about the other.
 *
 * A certificate alone, which comes with every call of a connection, is not taken for an attempt to be both: where the
 * other credential is absent, `anyOf` asks its other authenticators, and a public method may be called.
 *
 * Throws `ConfigError` for options that are wrong.
 *
 * @example
 * allOf({ principal: jwt({ issuer, audience: "orders", jwksUri }), actor: apiKey({ store }) })
 */
export function allOf(options: AllOfOptions): Authenticator {
  return new AllOf(parseOptions(allOfSchema, options, "allOf"));
}

class AllOf implements Authenticator {
  readonly name: string;
  readonly source: "metadata" | "connection";
  readonly schemes: readonly string[] | undefined;
  readonly actorSchemes: readonly string[] | undefined;
  readonly parts: readonly Authenticator[];
  readonly #principal: Authenticator;
  readonly #actor: Authenticator;

  constructor({ principal, actor }: AllOfOptions) {
    this.name = `allOf(${principal.name}, ${actor.name})`;
    this.parts = [principal, actor];
    this.source = this.parts.every((part) => part.source === "connection") ? "connection" : "metadata";
    this.schemes = principal.schemes;
    this.actorSchemes = actor.schemes;
    this.#principal = principal;
    this.#actor = actor;
  }

  presents(call: CallContext): boolean {
    for (const part of this.parts) {
      if (part.source === this.source && part.presents(call)) return true;
    }
    return false;
  }

  authenticate(call: CallContext): Identity | Promise<Identity> {
    const principal = answer(this.#principal, call);
    if (isThenable(principal)) return this.#authenticateAsync(principal, call);
    const actor = answer(this.#actor, call);
    return isThenable(actor) ? actor.then((identity) => both(principal, identity)) : both(principal, actor);
  }

  /** Both are asked at once. What throws at once is a rejection too: no promise is left without a listener. */
  async #authenticateAsync(principal: Promise<Answer>, call: CallContext): Promise<Identity> {
    const actor = (async (): Promise<Answer> => answer(this.#actor, call))();
    return both(...(await Promise.all([principal, actor])));
  }
}

/** Nothing was presented. No authenticator can answer with it. */
const absent: unique symbol = Symbol("absent");
type Answer = Identity | typeof absent;

/** What is presented is verified, whether or not the other is there: no credential is passed over. */
function answer(part: Authenticator, call: CallContext): Answer | Promise<Answer> {
  return part.presents(call) ? part.authenticate(call) : absent;
}

function both(principal: Answer, actor: Answer): Identity {
  const user = named(principal, "principal");
  const application = named(actor, "actor");
  const expiresAt = earlier(user.expiresAt, application.expiresAt);
  return {
    principal: user.principal,
    actor: application.principal,
    ...(expiresAt === undefined ? {} : { expiresAt }),
  };
}

function named(identity: Answer, role: "principal" | "actor"): Identity {
  if (identity === absent || identity.principal.kind === "anonymous") {
    throw new IncompleteCredentials(`the ${role}'s credential was not presented`);
  }
  checkPrincipal(role, identity.principal);
  if (identity.actor !== undefined)
    throw new TypeError(
      `the ${role}'s authenticator returned an actor; inside allOf it must return a principal only`,
    );
  return identity;
}

function earlier(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Math.min(one, other);
}

function holdsAllOf(value: Authenticator): boolean {
  return value instanceof AllOf || (value.parts ?? []).some(holdsAllOf);
}
