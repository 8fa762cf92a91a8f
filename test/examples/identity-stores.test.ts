// What the identity service demands of the stores that need nothing but Node.js.
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { memoryApiKeys } from "../../examples/auth-service/api-keys.ts";
import type { Session } from "../../examples/auth-service/identity-store.ts";
import { memoryIdentityStore } from "../../examples/auth-service/memory-identity-store.ts";
import { type SqliteStores, sqliteStores } from "../../examples/auth-service/sqlite-stores.ts";
import { issueApiKey } from "../../src/index.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "palisade-auth-"));
});
afterEach(() => rm(folder, { recursive: true }));

const user = { id: "u1", email: "Ada@acme.example", tenant: "acme", roles: ["member", "it's"] };

function newSession(): Session {
  const expiresAt = Date.now() + 86_400_000;
  return {
    id: randomUUID(),
    userId: user.id,
    refreshDigest: "first",
    expiresAt,
    ended: false,
    tokenIds: ["t1"],
  };
}

const hasSqlite = isBuiltin("node:sqlite");
const stores: readonly (readonly [string, () => Promise<SqliteStores>])[] = [
  ["memory", async () => ({ identities: memoryIdentityStore(), apiKeys: memoryApiKeys() })],
  ...(hasSqlite ? [["SQLite", () => sqliteStores(join(folder, "auth.db"))] as const] : []),
];

describe.each(stores)("S1 the store in %s", (_name, open) => {
  it("S1 finds accounts by their address in any case, and by id", async () => {
    const { identities } = await open();
    await identities.addAccount({ user, passwordHash: "hash" });
    const found = await identities.accountByEmail("aDA@ACME.example");
    expect(found).toMatchObject({ passwordHash: "hash", user: { id: "u1", roles: ["member", "it's"] } });
    expect(await identities.userById("u1")).toMatchObject({ tenant: "acme" });
    expect(await identities.accountByEmail("' OR 1=1 --")).toBeUndefined();
    expect(await identities.userById("u2")).toBeUndefined();
    await identities.close();
  });

  it("S1 a refresh token is replaced once, and never in a session that has ended", async () => {
    const { identities } = await open();
    await identities.addAccount({ user, passwordHash: "hash" });
    const session = newSession();
    await identities.addSession(session);
    expect(await identities.sessionById(session.id)).toEqual(session);
    const next = (digest: string) => ({ refreshDigest: digest, tokenIds: ["t2", "t1"] });
    expect(await identities.rotate(session.id, "first", next("second"))).toBe(true);
    expect(await identities.rotate(session.id, "first", next("third"))).toBe(false);
    expect(await identities.sessionById(session.id)).toEqual({ ...session, ...next("second") });
    await identities.endSession(session.id);
    expect(await identities.rotate(session.id, "second", next("third"))).toBe(false);
    expect(await identities.sessionById(session.id)).toMatchObject({ ended: true, refreshDigest: "second" });
    expect(await identities.sessionById("none")).toBeUndefined();
    await identities.close();
  });
});

// No test is skipped: on a Node.js without SQLite there is nothing to test.
if (hasSqlite) {
  it("S1 an SQLite file has it all after a restart", async () => {
    const path = join(folder, "auth.db");
    const before = await sqliteStores(path);
    await before.identities.addAccount({ user, passwordHash: "hash" });
    const session = newSession();
    await before.identities.addSession(session);
    const [good, bad] = [issueApiKey({ owner: "shop" }), issueApiKey({ owner: "shop" })];
    for (const { record } of [good, bad]) await before.apiKeys.add(record);
    await before.apiKeys.revoke(bad.record.id);
    await expect(before.apiKeys.revoke("none")).rejects.toThrow("no API key has this id");
    await before.identities.close();

    const { identities, apiKeys } = await sqliteStores(path);
    expect(await identities.accountByEmail(user.email)).toMatchObject({ passwordHash: "hash" });
    expect(await identities.sessionById(session.id)).toEqual(session);
    expect(await apiKeys.find(good.record.digest)).toEqual(good.record);
    expect(await apiKeys.find(bad.record.digest)).toMatchObject({ revoked: true });
    await identities.close();
  });
}
