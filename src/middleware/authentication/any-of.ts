// Several ways to say who one is, side by side.
import type { CallContext } from "../../chain/context.ts";
import type { Identity } from "../../chain/principal.ts";
import { isThenable } from "../../chain/thenable.ts";
import { ConfigError, CredentialError } from "../../grpc/errors.ts";
import { type Authenticator, IncompleteCredentials, isAuthenticator, schemesOf } from "./authenticator.ts";

/**
 * Accepts whoever one of these authenticators knows. Every credential that a call presents is verified, and any bad one
 * ends the call: none is skipped in favour of another. Where several are good, the authenticator listed first names the
 * principal; an anonymous one (`optional`, `anonymous`) counts only where nobody else was presented. May be nested. An
 * `allOf` of which only one credential was presented, and is good, steps back where another authenticator knows the
 * caller: `anyOf(allOf({ principal: users, actor: apps }), apps)` takes an application alone, or with its user.
 *
 * Two authenticators that claim the same credential, such as two `jwt` of one issuer, must both accept it; for several
 * audiences give one `jwt` a list.
 *
 * Throws `ConfigError` for an empty list, and where something listed is not an authenticator.
 *
 * @example
 * anyOf(jwt({ issuer, audience: "orders", jwksUri }), apiKey({ store }))
 */
export function anyOf(...authenticators: readonly Authenticator[]): Authenticator {
  if (authenticators.length === 0) throw new ConfigError("anyOf: expected at least one authenticator");
  const problems = authenticators.flatMap((a, index) =>
    isAuthenticator(a) ? [] : [`anyOf.${index}: expected an authenticator`],
  );
  if (problems.length > 0) throw new ConfigError(problems);
  return new AnyOf([...authenticators]);
}

/** A part wants more than was presented, and of that everything is good. No authenticator can answer with it. */
const incomplete: unique symbol = Symbol("incomplete");

class AnyOf implements Authenticator {
  readonly name: string;
  readonly source: "metadata" | "connection";
  readonly schemes: readonly string[] | undefined;
  readonly actorSchemes: readonly string[] | undefined;
  readonly parts: readonly Authenticator[];

  constructor(parts: readonly Authenticator[]) {
    this.name = `anyOf(${parts.map((part) => part.name).join(", ")})`;
    this.source = parts.every((part) => part.source === "connection") ? "connection" : "metadata";
    this.schemes = schemesOf(parts, "schemes");
    this.actorSchemes = schemesOf(parts, "actorSchemes");
    this.parts = parts;
  }

  presents(call: CallContext): boolean {
    for (const part of this.parts) {
      if (part.presents(call)) return true;
    }
    return false;
  }

  authenticate(call: CallContext): Identity | Promise<Identity> {
    let best: Identity | undefined;
    for (const [index, part] of this.parts.entries()) {
      if (!part.presents(call)) continue;
      const result = this.#answer(part, call);
      if (result === incomplete) continue;
      if (isThenable(result)) return this.#authenticateRest(call, best, result, index + 1);
      best = preferred(best, result);
    }
    if (best === undefined) throw new CredentialError("missing", "no credential was presented");
    return best;
  }

  #answer(part: Authenticator, call: CallContext): Identity | Promise<Identity> | typeof incomplete {
    try {
      return part.authenticate(call);
    } catch (error) {
      return passOverIncomplete(error);
    }
  }

  /** From the first answer that is a promise on; those behind it are asked at once, not one after the other. */
  async #authenticateRest(
    call: CallContext,
    sure: Identity | undefined,
    first: Promise<Identity>,
    from: number,
  ): Promise<Identity> {
    const answers = [first];
    for (let i = from; i < this.parts.length; i++) {
      const part = this.parts[i];
      if (part !== undefined) answers.push(...ask(part, call));
    }
    let best = sure;
    const settled = answers.map((answer) => answer.catch(passOverIncomplete));
    for (const identity of await Promise.all(settled)) {
      if (identity !== incomplete) best = preferred(best, identity);
    }
    if (best === undefined) throw new CredentialError("missing", "no credential was presented");
    return best;
  }
}

/** What throws at once is a rejection as well here: it must not leave earlier promises without a listener. */
function ask(part: Authenticator, call: CallContext): readonly Promise<Identity>[] {
  try {
    return part.presents(call) ? [Promise.resolve(part.authenticate(call))] : [];
  } catch (error) {
    return [Promise.reject(error)];
  }
}

function passOverIncomplete(error: unknown): typeof incomplete {
  if (error instanceof IncompleteCredentials) return incomplete;
  throw error;
}

function preferred(best: Identity | undefined, next: Identity): Identity {
  // Read first: an authenticator that presented and answers with nothing has failed, whoever else is good.
  const { kind } = next.principal;
  if (best === undefined) return next;
  return best.principal.kind === "anonymous" && kind !== "anonymous" ? next : best;
}
