// API keys in `x-api-key`. Only their SHA-256 digests are stored: a key has 256 random bits, so nothing slower is needed.
import { Buffer } from "node:buffer";
import { hash, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { type CallContext, ContextKey } from "../../chain/context.ts";
import { FrozenSet } from "../../chain/frozen-set.ts";
import type { Identity, Principal } from "../../chain/principal.ts";
import { isThenable } from "../../chain/thenable.ts";
import { type AddressSet, addressProblem, addressSet } from "../../config/address-set.ts";
import { parseOptions } from "../../config/options.ts";
import { CredentialError } from "../../grpc/errors.ts";
import type { Peer } from "../../grpc/peer.ts";
import { type ApiKeyUse, ApiKeyUses } from "./api-key-uses.ts";
import { type Authenticator, subscription } from "./authenticator.ts";

/** What is kept of a key. Never the key. */
export interface ApiKeyRecord {
  /** Names the key in logs and in `claims.keyId`; not secret. */
  readonly id: string;
  /** SHA-256 of the key: 64 hexadecimal digits in lower case. */
  readonly digest: string;
  /** Whom the key speaks for: the principal's subject. Two keys of one owner, as during a rotation, share its limits. */
  readonly owner: string;
  readonly roles?: readonly string[] | undefined;
  readonly permissions?: readonly string[] | undefined;
  readonly tenant?: string | undefined;
  /** Milliseconds since the epoch; the key is not good from then on. Default: it does not expire. */
  readonly expiresAt?: number | undefined;
  /** Milliseconds since the epoch; the key is not good before. Default: at once. */
  readonly notBefore?: number | undefined;
  readonly revoked?: boolean | undefined;
  /**
   * From where the key may be used: IP addresses, networks in CIDR notation (RFC 4632), and `unix` for Unix sockets. At
   * least one. The address is the peer's: behind `peer.trustedProxies` the one that they forward, behind a sidecar the
   * sidecar's. Where a proxy forwards none that can be read the key is refused. Default: from everywhere.
   */
  readonly networks?: readonly string[] | undefined;
}

/**
 * Where records are kept. `find` gets the digest of a key that a caller sent and answers with exactly that record. A
 * throw means that the store is away: the caller is told UNAVAILABLE. Answer without a promise where you can.
 */
export interface ApiKeyStore {
  find(digest: string): ApiKeyRecord | undefined | Promise<ApiKeyRecord | undefined>;
  /**
   * Calls `listener` after a record was changed, revoked or taken out, or when that cannot be excluded; `find` answers with
   * what is new by then. Returns what ends it. Without it the calls that a key opened are not looked at again.
   */
  onChange?(listener: () => void): () => void;
  /**
   * Keeps when keys were used last. It gets each key that was used since the last time once, every ten seconds and when the
   * server has shut down; no call waits for it. What it fails with is in the log, and its uses are handed in again.
   */
  recordUse?(uses: readonly ApiKeyUse[]): void | Promise<void>;
  /**
   * Lets go of what it holds: files, connections. Called when a server that uses it has shut down. Another server may
   * use it still, or again.
   */
  close?(): void | Promise<void>;
}

export interface ApiKeyOptions {
  /**
   * Where the records of keys are: `memoryApiKeyStore`, `fileApiKeyStore`, `redisApiKeyStore` of `grpc-palisade/redis`,
   * `postgresApiKeyStore` of `grpc-palisade/postgres`, or your own.
   */
  readonly store: ApiKeyStore;
}

const header = "x-api-key";
/** Of the key that the call brought: the handler may take the header away, and the call be looked at again. */
const digestKey = new ContextKey<string>("api key digest");
/** Longer keys are nobody's, and are not hashed. */
const maxKeyLength = 512;

/** The shape of `apiKey`'s options. */
export const apiKeySchema: z.ZodType<ApiKeyOptions> = z.strictObject({
  store: z.custom<ApiKeyStore>(isStore, "expected an API key store: an object with find(digest)"),
});

function isStore(value: unknown): boolean {
  return typeof value === "object" && value !== null && "find" in value && typeof value.find === "function";
}

/**
 * Authenticates by the `x-api-key` header. The principal is of kind `service`: its subject is the key's owner, its
 * `claims.keyId` the key's id. An unknown, revoked or not yet valid key is `invalid`, and so is one that comes from outside
 * of its `networks`; one past its end is `expired`.
 *
 * Throws `ConfigError` for options that are wrong.
 *
 * @example
 * const { key, record } = issueApiKey({ owner: "billing", permissions: ["order:read"] });
 * apiKey({ store: memoryApiKeyStore([record]) })
 */
export function apiKey(options: ApiKeyOptions): Authenticator {
  return new ApiKeyAuthenticator(parseOptions(apiKeySchema, options, "apiKey").store);
}

class ApiKeyAuthenticator implements Authenticator {
  readonly name = "api-key";
  readonly source = "metadata";
  readonly headers: readonly string[] = [header];
  readonly schemes: readonly string[] = ["api-key"];
  readonly actorSchemes: readonly string[] = [];
  readonly #store: ApiKeyStore;
  readonly #uses: ApiKeyUses | undefined;
  /** What follows from records that can no longer change. */
  readonly #known: WeakMap<ApiKeyRecord, Known> = new WeakMap();

  readonly onChange?: (listener: () => void) => () => void;

  constructor(store: ApiKeyStore) {
    this.#store = store;
    if (store.onChange !== undefined) this.onChange = (listener) => subscription(store.onChange?.(listener));
    if (store.recordUse !== undefined) this.#uses = new ApiKeyUses(async (uses) => store.recordUse?.(uses));
  }

  presents(call: CallContext): boolean {
    return call.get(digestKey) !== undefined || call.metadata.get(header).length > 0;
  }

  authenticate(call: CallContext): Identity | Promise<Identity> {
    let digest = call.get(digestKey);
    if (digest === undefined) {
      digest = digestOf(readKey(call));
      call.set(digestKey, digest);
    }
    const found = this.#store.find(digest);
    if (isThenable(found)) return found.then((record) => this.#admit(record, digest, call));
    return this.#admit(found, digest, call);
  }

  async close(): Promise<void> {
    await this.#uses?.close();
    await this.#store.close?.();
  }

  #admit(record: ApiKeyRecord | undefined, digest: string, call: CallContext): Identity {
    // Null too: it is how Redis and most SQL clients say "not found", whatever the type says.
    if (record === undefined || record === null) throw invalid("the API key is not known");
    checkRecord(record, digest);
    if (/* protection: revoked-key */ record.revoked === true)
      throw invalid("the API key is revoked", record);
    const now = Date.now();
    if (record.expiresAt !== undefined && now >= record.expiresAt) {
      throw new CredentialError("expired", `the API key ${record.id} has expired`);
    }
    if (record.notBefore !== undefined && now < record.notBefore)
      throw invalid("the API key is not valid yet", record);
    const { identity, networks } = this.#consequencesOf(record);
    if (networks !== undefined && !isFrom(networks, call.peer))
      throw invalid("the API key may not be used from the peer's address", record);
    this.#uses?.note(record.id, now, call);
    return identity;
  }

  #consequencesOf(record: ApiKeyRecord): Known {
    const known = this.#known.get(record);
    if (known !== undefined) return known;
    const { networks } = record;
    const made = {
      identity: identityOf(record),
      networks: networks === undefined ? undefined : addressSet(networks),
    };
    const lists = [record.roles, record.permissions, networks];
    if (Object.isFrozen(record) && lists.every(isFrozenList)) this.#known.set(record, made);
    return made;
  }
}

interface Known {
  readonly identity: Identity;
  /** Undefined: the key is good from everywhere. */
  readonly networks: AddressSet | undefined;
}

/** The address of a proxy that forwarded none says nothing of where the caller is. */
function isFrom(networks: AddressSet, { address, forwardedBy }: Peer): boolean {
  return forwardedBy !== address && networks.has(address);
}

/** SHA-256 in lower-case hexadecimal digits: what a store keeps. */
export function digestOf(key: string): string {
  return hash("sha256", key, "hex");
}

function readKey(call: CallContext): string {
  const values = call.metadata.get(header);
  const key = values[0];
  if (key === undefined) throw new CredentialError("missing", "no API key");
  if (values.length > 1 || typeof key !== "string") throw invalid("the call carries several API keys");
  if (key === "" || key.length > maxKeyLength)
    throw invalid(`the API key is empty or longer than ${maxKeyLength} characters`);
  return key;
}

/**
 * A store is other people's code and its rows may have any type: a date that is text would compare as never over. What
 * does not fit is the store's failure (UNAVAILABLE), never a yes.
 */
function checkRecord(record: ApiKeyRecord, digest: string): void {
  const fault =
    faultIn("digest", typeof record.digest === "string" && sameDigest(record.digest, digest)) ??
    faultIn("id", typeof record.id === "string") ??
    faultIn("owner", typeof record.owner === "string" && record.owner !== "") ??
    faultIn(
      "tenant",
      record.tenant === undefined || (typeof record.tenant === "string" && record.tenant !== ""),
    ) ??
    faultIn("roles", isNameList(record.roles)) ??
    faultIn("permissions", isNameList(record.permissions)) ??
    faultIn("expiresAt", record.expiresAt === undefined || Number.isFinite(record.expiresAt)) ??
    faultIn("notBefore", record.notBefore === undefined || Number.isFinite(record.notBefore)) ??
    faultIn("revoked", record.revoked === undefined || typeof record.revoked === "boolean") ??
    faultIn("networks", record.networks === undefined || isNetworkList(record.networks));
  if (fault !== undefined)
    throw new TypeError(
      `the API key store returned a record with a wrong value in ${fault} (see ApiKeyRecord)`,
    );
}

function faultIn(field: string, good: boolean): string | undefined {
  return good ? undefined : field;
}

/** A lookup that matched by prefix or without regard to case would otherwise let a wrong key in. */
function sameDigest(stored: string, digest: string): boolean {
  return (
    stored.length === digest.length &&
    timingSafeEqual(Buffer.from(stored, "latin1"), Buffer.from(digest, "latin1"))
  );
}

function isNameList(value: unknown): boolean {
  return value === undefined || (Array.isArray(value) && value.every((name) => typeof name === "string"));
}

/** An empty one is a mistake, and would otherwise be read as no restriction by one and as no address by another. */
function isNetworkList(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((entry) => typeof entry === "string" && addressProblem(entry) === undefined)
  );
}

function isFrozenList(value: readonly string[] | undefined): boolean {
  return value === undefined || Object.isFrozen(value);
}

function identityOf(record: ApiKeyRecord): Identity {
  const ends = record.expiresAt === undefined ? {} : { expiresAt: record.expiresAt };
  const principal: Principal = Object.freeze({
    subject: record.owner,
    kind: "service",
    scheme: "api-key",
    ...(record.tenant === undefined ? {} : { tenant: record.tenant }),
    roles: new FrozenSet(record.roles),
    permissions: new FrozenSet(record.permissions),
    claims: Object.freeze({ keyId: record.id }),
    ...ends,
  });
  return Object.freeze({ principal, ...ends });
}

function invalid(message: string, record?: ApiKeyRecord): CredentialError {
  return new CredentialError("invalid", record === undefined ? message : `${message} (${record.id})`);
}
