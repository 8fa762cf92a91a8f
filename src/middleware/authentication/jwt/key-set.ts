// The keys of an issuer at one moment, and where they come from.
import type { CallContext } from "../../../chain/context.ts";
import { type CryptoKey, type JWK, type JWTVerifyGetKey, jose } from "../jose.ts";

export interface KeySet {
  /** Two sets with the same text have the same keys. */
  readonly text: string;
  readonly kids: ReadonlySet<string>;
  readonly isEmpty: boolean;
  /** Has every key a `kid`? */
  readonly isNamed: boolean;
  /** Gives jose the key that fits a token's `kid` and `alg`. */
  readonly resolve: JWTVerifyGetKey;
  /** The same among the keys without `kid`, where those fit a token with any `kid`. */
  readonly resolveUnnamed: JWTVerifyGetKey | undefined;
}

/** Who asks, for the log: a call, or a server at its start. */
export type Logging = Pick<CallContext, "log">;

export interface KeySource {
  /**
   * The keys that are believed now; undefined where they must be requested first. The same object as long as they are the
   * same keys.
   */
  believed(call: Logging): KeySet | undefined;
  /** How many requests the issuer may have read by now. Those that come are younger than every token that is here. */
  readonly requestsSent: number;
  /** Which of the requests, counted from 1, was answered last. */
  readonly answeredRequest: number;
  /** Waits for an answer of the issuer. Rejects where nobody can tell now whether there are newer keys. */
  renew(call: Logging): Promise<void>;
}

/** `keys` are public keys, each with its `kid` and `alg` where it has any. */
export function keySet(keys: readonly JWK[]): KeySet {
  const kids = keys.flatMap(({ kid }) => (kid === undefined ? [] : [kid]));
  return {
    text: JSON.stringify(keys),
    kids: new Set(kids),
    isEmpty: keys.length === 0,
    isNamed: kids.length === keys.length,
    resolve: memoized(jose.createLocalJWKSet({ keys: [...keys] })),
    resolveUnnamed: undefined,
  };
}

/** jose looks at all members of all keys for each token. Only what it found is kept: no more names than keys. */
function memoized(resolve: (...asked: Parameters<JWTVerifyGetKey>) => Promise<CryptoKey>): JWTVerifyGetKey {
  const found = new Map<string, CryptoKey>();
  return (header, token) => {
    const name = JSON.stringify([header.alg, header.kid]);
    return (
      found.get(name) ??
      resolve(header, token).then((key) => {
        found.set(name, key);
        return key;
      })
    );
  };
}

/** Keys that never change. One without a `kid` (PEM, KeyObject) fits any `kid` of its algorithm. */
export function fixedKeys(keys: readonly JWK[]): KeySource {
  const unnamed = keys.filter(({ kid }) => kid === undefined);
  const { resolve } = keySet(unnamed);
  const set: KeySet = {
    ...keySet(keys),
    resolveUnnamed:
      unnamed.length === 0 ? undefined : ({ kid: _, ...header }, token) => resolve(header, token),
  };
  return { believed: () => set, requestsSent: 0, answeredRequest: 1, renew: () => Promise.resolve() };
}
