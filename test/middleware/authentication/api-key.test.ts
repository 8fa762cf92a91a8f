import { createHash } from "node:crypto";
import { afterEach, describe, expect, it, vi } from "vitest";
import { principalKey } from "../../../src/chain/principal.ts";
import { ConfigError } from "../../../src/grpc/errors.ts";
import { type ApiKeyRecord, apiKey } from "../../../src/middleware/authentication/api-key.ts";
import {
  type IssueApiKeyOptions,
  issueApiKey,
  memoryApiKeyStore,
} from "../../../src/middleware/authentication/memory-api-key-store.ts";
import { rbac } from "../../../src/middleware/authorization/rbac.ts";
import { atOnce, incomingCall, verdict } from "./incoming-call.ts";

const issued = issueApiKey({
  owner: "billing",
  permissions: ["order:read"],
  roles: ["reader"],
  tenant: "acme",
});

function withKey(key: string) {
  return incomingCall({ "x-api-key": key });
}

function storing(...records: readonly ApiKeyRecord[]) {
  return apiKey({ store: memoryApiKeyStore(records) });
}

afterEach(() => {
  vi.useRealTimers();
});

describe("apiKey", () => {
  it("A3 the principal is a service: the key's owner, with its scopes and the key's id", () => {
    const { principal } = atOnce(storing(issued.record), withKey(issued.key));
    expect(principal).toMatchObject({
      subject: "billing",
      kind: "service",
      scheme: "api-key",
      tenant: "acme",
      claims: { keyId: issued.record.id },
    });
    expect([...principal.roles, ...principal.permissions]).toEqual(["reader", "order:read"]);
  });

  it("A3 two live keys of one owner share the key that limits count by", () => {
    const second = issueApiKey({ owner: "billing", tenant: "acme" });
    const authenticator = storing(issued.record, second.record);
    const keys = [issued.key, second.key].map((key) =>
      principalKey(atOnce(authenticator, withKey(key)).principal),
    );
    expect(keys[0]).toBe(keys[1]);
  });

  it.each<[string, string, string]>([
    ["an unknown key", "plsd_unknown", "invalid"],
    ["an empty key", "", "invalid"],
    ["the digest in place of the key", issued.record.digest, "invalid"],
    ["the key with a space behind it", `${issued.key} `, "invalid"],
    ["two keys that HTTP/2 joined", `${issued.key}, ${issued.key}`, "invalid"],
    ["a key of 100 kB", "x".repeat(100_000), "invalid"],
  ])("A3 refuses %s", async (_, key, expected) => {
    expect(await verdict(storing(issued.record), withKey(key))).toBe(expected);
  });

  it("A3 refuses a revoked key", async () => {
    expect(await verdict(storing({ ...issued.record, revoked: true }), withKey(issued.key))).toBe("invalid");
  });

  it.each([
    [999, "invalid"],
    [1000, "good: billing"],
    [1999, "good: billing"],
    [2000, "expired"],
  ])("A3 a key good from 1000 and before 2000 is, at %i, %s", async (now, expected) => {
    vi.useFakeTimers({ toFake: ["Date"], now });
    const authenticator = storing({ ...issued.record, notBefore: 1000, expiresAt: 2000 });
    expect(await verdict(authenticator, withKey(issued.key))).toBe(expected);
  });

  it("A3 checks the end on each call, not only on the first", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: 1000 });
    const authenticator = storing({ ...issued.record, expiresAt: 2000 });
    expect(atOnce(authenticator, withKey(issued.key)).expiresAt).toBe(2000);
    vi.setSystemTime(2000);
    expect(await verdict(authenticator, withKey(issued.key))).toBe("expired");
  });

  it("A3 a record that its store changes is read anew", async () => {
    const record: { -readonly [K in keyof ApiKeyRecord]: ApiKeyRecord[K] } = { ...issued.record };
    const authenticator = apiKey({ store: { find: () => record } });
    expect(await verdict(authenticator, withKey(issued.key))).toBe("good: billing");
    record.roles = [];
    expect(atOnce(authenticator, withKey(issued.key)).principal.roles.size).toBe(0);
    record.revoked = true;
    expect(await verdict(authenticator, withKey(issued.key))).toBe("invalid");
  });

  it("A3 gives the store a digest, never the key", async () => {
    const asked: string[] = [];
    const store = {
      async find(digest: string) {
        asked.push(digest);
        return issued.record;
      },
    };
    expect(await verdict(apiKey({ store }), withKey(issued.key))).toBe("good: billing");
    expect(asked).toEqual([createHash("sha256").update(issued.key).digest("hex")]);
  });

  it.each<[string, () => unknown]>([
    [
      "throws",
      () => {
        throw new Error("away");
      },
    ],
    ["rejects", () => Promise.reject(new Error("away"))],
    ["answers with another key's record", () => issueApiKey({ owner: "root" }).record],
    [
      "answers with a digest in upper case",
      () => ({ ...issued.record, digest: issued.record.digest.toUpperCase() }),
    ],
    ["answers with an end that is text", () => ({ ...issued.record, expiresAt: "2020-01-01" })],
    ["answers with an end that is a Date", () => ({ ...issued.record, expiresAt: new Date(0) })],
    ["answers with an end that is NaN", () => ({ ...issued.record, expiresAt: Number.NaN })],
    ["answers with revoked as text", () => ({ ...issued.record, revoked: "true" })],
    ["answers with no owner", () => ({ ...issued.record, owner: "" })],
    ["answers with roles as text", () => ({ ...issued.record, roles: "admin" })],
    ["answers with text", () => "billing"],
  ])("A3 fails closed, as our failure, where the store %s", async (_, find) => {
    const authenticator = apiKey({ store: { find: find as () => undefined } });
    expect(await verdict(authenticator, withKey(issued.key))).toMatch(/^failure/);
  });

  it.each([[undefined], [null]])("A3 a store that answers %s does not know the key", async (nothing) => {
    const authenticator = apiKey({ store: { find: async () => nothing as undefined } });
    expect(await verdict(authenticator, withKey(issued.key))).toBe("invalid");
  });

  it("A3 refuses options without a store", () => {
    expect(() => apiKey({ store: {} as never })).toThrow("apiKey.store: expected an API key store");
  });
});

describe("memoryApiKeyStore and issueApiKey", () => {
  it.each<[string, readonly unknown[], string]>([
    ["a digest that is none", [{ ...issued.record, digest: "abc" }], "memoryApiKeyStore.0.digest"],
    [
      "a digest in upper case",
      [{ ...issued.record, digest: issued.record.digest.toUpperCase() }],
      "memoryApiKeyStore.0.digest",
    ],
    [
      "the same record twice",
      [issued.record, issued.record],
      "memoryApiKeyStore.1.id: the same id as record 0",
    ],
    [
      "a digest twice",
      [issued.record, { ...issued.record, id: "other" }],
      "memoryApiKeyStore.1.digest: the same digest as record 0",
    ],
    ["a key in clear", [{ ...issued.record, key: "plsd_secret" }], "memoryApiKeyStore.0.key: unknown option"],
    ["an end that is text", [{ ...issued.record, expiresAt: "2020" }], "memoryApiKeyStore.0.expiresAt"],
    ["no owner", [{ ...issued.record, owner: "" }], "memoryApiKeyStore.0.owner"],
  ])("A3 refuses %s", (_, records, message) => {
    const make = () => memoryApiKeyStore(records as ApiKeyRecord[]);
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(message);
  });

  it("A3 says in one line that it wants the record, where it was given what issueApiKey returns", () => {
    const both = issueApiKey({ owner: "billing" });
    const make = () => memoryApiKeyStore([both] as unknown as ApiKeyRecord[]);
    expect(make).toThrow(
      new ConfigError(
        "memoryApiKeyStore.0: has both key and record, as issueApiKey returns them; give .record",
      ),
    );
  });

  it("A3 keeps a copy: a list changed afterwards changes nothing", async () => {
    const roles = ["reader"];
    const authenticator = storing({ ...issued.record, roles });
    roles.push("admin");
    expect([...atOnce(authenticator, withKey(issued.key)).principal.roles]).toEqual(["reader"]);
  });

  it("A3 issues a key of 256 random bits that the record does not contain", () => {
    const { key, record } = issueApiKey({ owner: "billing" });
    expect(key).toMatch(/^plsd_[A-Za-z0-9_-]{43}$/);
    expect(JSON.stringify(record)).not.toContain(key);
    expect(record.digest).toBe(createHash("sha256").update(key).digest("hex"));
    expect(issueApiKey({ owner: "billing" }).key).not.toBe(key);
  });

  it("A3 refuses to issue a key for nobody", () => {
    expect(() => issueApiKey({} as IssueApiKeyOptions)).toThrow("issueApiKey.owner");
    expect(() => issueApiKey({ owner: "a", role: "x" } as IssueApiKeyOptions)).toThrow(
      "issueApiKey.role: unknown option",
    );
  });

  it.each(["read", "", "order read", "*:read", "order:", ":read", "order:read:all", " order:read"])(
    "A3 Z1 refuses to issue a key whose permission meets no rule: %j",
    (permission) => {
      const attempt = () => issueApiKey({ owner: "a", permissions: ["order:read", permission] });
      expect(attempt).toThrow(
        new ConfigError(
          "issueApiKey.permissions.1: malformed permission, which matches no rule; write resource:action, resource:* or *",
        ),
      );
    },
  );

  it.each(["order:read", "order:*", "*"])(
    "A3 Z1 issues a key for what a role may grant: %s",
    (permission) => {
      expect(issueApiKey({ owner: "a", permissions: [permission] }).record.permissions).toEqual([permission]);
      expect(() => rbac({ roles: { a: { permissions: [permission] } }, rules: {} })).not.toThrow();
    },
  );
});
