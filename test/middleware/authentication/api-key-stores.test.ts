// What every store of API keys must do: the same cases for memory, a file, Redis and PostgreSQL.
import type { EventEmitter } from "node:events";
import type { Client } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../../src/grpc/errors.ts";
import {
  type ApiKeyRecord,
  type ApiKeyStore,
  apiKey,
} from "../../../src/middleware/authentication/api-key.ts";
import { issueApiKey } from "../../../src/middleware/authentication/memory-api-key-store.ts";
import { allowAuthenticated } from "../../../src/middleware/authorization/allow-authenticated.ts";
import { invoke, kinds } from "../../harness/kinds.ts";
import { secured } from "../../harness/secured.ts";
import { incomingCall, verdict } from "./incoming-call.ts";
import { type KeyPlace, places, storeWith } from "./key-places.ts";

const dayMs = 86_400_000;
const withKey = (key: string) => incomingCall({ "x-api-key": key });
const judged = (store: ApiKeyStore, key: string): Promise<string> => verdict(apiKey({ store }), withKey(key));

describe.each([{ name: "memoryApiKeyStore", isMissing: false, start: undefined }, ...places])(
  "A3 $name",
  ({ isMissing, start }) => {
    describe.skipIf(isMissing)("as every store of API keys", () => {
      let place: KeyPlace | undefined;
      beforeAll(async () => {
        place = await start?.();
      });
      afterAll(async () => {
        await place?.[Symbol.asyncDispose]();
      });

      it("finds what it was given, frozen, and again without being asked twice", async () => {
        const { key, record } = issueApiKey({
          owner: "shop",
          roles: ["app", 'a "quoted", {one}'],
          permissions: ["order:read"],
          tenant: "acme",
          notBefore: 1_767_225_600_123,
          expiresAt: 4_102_444_800_001,
          networks: ["127.0.0.0/8", "2001:db8::/32", "unix"],
        });
        const store = await storeWith(place, record);
        for (let i = 0; i < 2; i++) {
          const found = await store.find(record.digest);
          expect({ revoked: false, ...found }).toEqual({ revoked: false, ...record });
          expect(Object.isFrozen(found)).toBe(true);
          expect(Object.isFrozen(found?.networks)).toBe(true);
        }
        expect(await judged(store, key)).toBe("good: shop");
      });

      const { key, record } = issueApiKey({ owner: "variants" });
      it.each<[string, string]>([
        ["the digest of no key", "0".repeat(64)],
        ["a prefix of a digest", record.digest.slice(0, 63)],
        ["a digest in upper case", record.digest.toUpperCase()],
        ["a digest with a space behind it", `${record.digest} `],
        ["a digest with a line's end behind it", `${record.digest}\n`],
        ["a digest with NUL behind it", `${record.digest}\0`],
        ["a pattern", "%"],
        ["a pattern of Redis", "*"],
        ["what Redis keeps beside the records", "version"],
        ["a quote", "' OR '1'='1"],
        ["nothing", ""],
        ["a text of 1 MB", "a".repeat(1_048_576)],
        ["the name of a member of every object", "__proto__"],
      ])("finds nothing for %s", async (_what, digest) => {
        const store = await storeWith(place, issueApiKey({ owner: "other" }).record);
        const found = await Promise.resolve(store.find(digest)).catch(() => "an error");
        expect([undefined, "an error"]).toContain(found);
      });

      it.each<[string, Partial<ApiKeyRecord>, string]>([
        ["has nothing more", {}, "good: times"],
        ["expired a second ago", { expiresAt: Date.now() - 1_000 }, "expired"],
        ["expires in a day", { expiresAt: Date.now() + dayMs }, "good: times"],
        ["begins in a day", { notBefore: Date.now() + dayMs }, "invalid"],
        ["is revoked", { revoked: true }, "invalid"],
        ["is for another network", { networks: ["192.0.2.0/24"] }, "invalid"],
        ["is for the caller's network", { networks: ["127.0.0.0/8"] }, "good: times"],
      ])("judges a key that %s", async (_what, more, expected) => {
        const issued = issueApiKey({ owner: "times" });
        const store = await storeWith(place, { ...issued.record, ...more });
        expect(await judged(store, issued.key)).toBe(expected);
      });

      it.each(kinds)("%s: lets a good key in, and nobody else", async (kind) => {
        const good = issueApiKey({ owner: "shop" });
        const bad = issueApiKey({ owner: "shop" });
        const store = await storeWith(place, good.record, { ...bad.record, revoked: true });
        await using server = await secured({
          authentication: apiKey({ store }),
          authorization: allowAuthenticated(),
        });
        const client: Client = server.client();
        const told = async (key: string): Promise<string> => {
          const { name, details } = await invoke(client, kind, { metadata: { "x-api-key": key } });
          return `${name} ${details}`;
        };
        expect(await told(good.key)).toBe("OK OK");
        expect(await told(bad.key)).toBe("UNAUTHENTICATED invalid credentials");
        expect(await told(key)).toBe("UNAUTHENTICATED invalid credentials");
        expect(server.started).toEqual([kind]);
      });
    });
  },
);

describe.each(places)("A3 the keys of $name", ({ isMissing, start }) => {
  describe.skipIf(isMissing)("as an operator changes them", () => {
    let place: KeyPlace;
    beforeAll(async () => {
      place = await start();
    });
    afterAll(() => place[Symbol.asyncDispose]());

    /** What `act` is told where it is refused. */
    const problem = async (act: Promise<unknown>): Promise<string> => {
      const error: unknown = await act.then(
        () => "it was done",
        (refused: unknown) => refused,
      );
      return error instanceof ConfigError ? error.message : `no ConfigError: ${String(error)}`;
    };

    it("are listed by owner and id", async () => {
      for (const [owner, id] of [
        ["zoo", "list-1"],
        ["ant", "list-3"],
        ["ant", "list-2"],
      ] as const)
        await place.keys.add(issueApiKey({ owner, id }).record);
      const listed = (await place.keys.list()).map(({ record }) => record.id);
      expect(listed.filter((id) => id.startsWith("list-"))).toEqual(["list-2", "list-3", "list-1"]);
    });

    it("are refused where the id or the digest is there already", async () => {
      const { record } = issueApiKey({ owner: "shop" });
      const other = issueApiKey({ owner: "shop" }).record;
      await place.keys.add(record);
      expect(await problem(place.keys.add(record))).toContain("is there already");
      expect(await problem(place.keys.add({ ...other, id: record.id }))).toContain("is there already");
      expect(await problem(place.keys.add({ ...other, digest: record.digest }))).toContain(
        "is there already",
      );
      const store = place.instance();
      expect(await store.find(other.digest)).toBeUndefined();
    });

    it.each<[string, object, string]>([
      ["a digest that is none", { digest: "abc" }, "add.digest: expected the SHA-256"],
      ["no owner", { owner: "" }, "add.owner"],
      ["an unknown field", { note: "x" }, "add.note: unknown option"],
      ["a network that is none", { networks: ["10.0.0.0/33"] }, 'add.networks.0: "10.0.0.0/33" is not'],
    ])("are refused with %s", async (_what, more, expected) => {
      const { record } = issueApiKey({ owner: "shop" });
      expect(await problem(place.keys.add({ ...record, ...more }))).toContain(expected);
    });

    it("of another instance are refused once they are revoked, and their record stays", async () => {
      const { key, record } = issueApiKey({ owner: "shop" });
      await place.keys.add(record);
      const store = place.instance();
      let changes = 0;
      const stop = store.onChange?.(() => changes++);
      expect(await judged(store, key)).toBe("good: shop");
      const before = changes;
      expect(await place.keys.revoke(record.id)).toMatchObject({ id: record.id, revoked: true });
      await expect.poll(() => changes).toBeGreaterThan(before);
      expect(await judged(store, key)).toBe("invalid");
      stop?.();
      const after = changes;
      await place.keys.add(issueApiKey({ owner: "shop" }).record);
      const listed = (await place.keys.list()).find(({ record: { id } }) => id === record.id);
      expect(listed?.record.revoked).toBe(true);
      expect(changes).toBe(after);
    });

    it.each(kinds)(
      "A12 %s: a call that is open when its key is revoked ends, another's goes on",
      async (kind) => {
        const [mine, others] = [issueApiKey({ owner: "shop" }), issueApiKey({ owner: "bank" })];
        for (const { record } of [mine, others]) await place.keys.add(record);
        let open = 0;
        const waiting = (call: EventEmitter): void => {
          open += 1;
          call.on("data", () => {});
        };
        const names = ["unary", "clientStream", "serverStream", "bidiStream"];
        await using server = await secured({
          authentication: apiKey({ store: place.instance() }),
          authorization: allowAuthenticated(),
          handlers: Object.fromEntries(names.map((name) => [name, waiting])),
        });
        const client = server.client();
        const call = async (key: string): Promise<string> => {
          const { name, details } = await invoke(client, kind, {
            metadata: { "x-api-key": key },
            keepOpen: true,
          });
          return `${name} ${details}`;
        };
        await expect.poll(() => judged(place.instance(), mine.key)).toBe("good: shop");
        const revoked = call(mine.key);
        let othersEnded = false;
        call(others.key).then(() => {
          othersEnded = true;
        });
        await expect.poll(() => open).toBe(2);
        await place.keys.revoke(mine.record.id);
        expect(await revoked).toBe("UNAUTHENTICATED invalid credentials");
        expect(othersEnded).toBe(false);
      },
    );

    it("are rotated: both are good, with the same rights, and the old one ends", async () => {
      const { key, record } = issueApiKey({
        owner: "shop",
        roles: ["app"],
        permissions: ["order:read"],
        tenant: "acme",
        networks: ["127.0.0.1"],
      });
      await place.keys.add(record);
      const earliest = Date.now();
      const rotated = await place.keys.rotate(record.id, { overlapMs: dayMs, id: `${record.id}-2` });
      const { id: _, digest: _digest, ...rights } = record;
      expect(rotated.record).toMatchObject({ ...rights, id: `${record.id}-2` });
      expect(rotated.record.expiresAt).toBeUndefined();
      expect(rotated.previous.expiresAt).toBeGreaterThanOrEqual(earliest + dayMs);
      expect(rotated.previous.expiresAt).toBeLessThanOrEqual(Date.now() + dayMs);
      const store = place.instance();
      expect([await judged(store, key), await judged(store, rotated.key)]).toEqual([
        "good: shop",
        "good: shop",
      ]);
      expect((await store.find(record.digest))?.expiresAt).toBe(rotated.previous.expiresAt);
    });

    it("are rotated only with an end where they had one, which is never put off", async () => {
      const expiresAt = Date.now() + dayMs;
      const { record } = issueApiKey({ owner: "shop", expiresAt });
      await place.keys.add(record);
      expect(await problem(place.keys.rotate(record.id, { overlapMs: 7 * dayMs }))).toContain(
        "say when the new one ends",
      );
      const rotated = await place.keys.rotate(record.id, {
        overlapMs: 7 * dayMs,
        expiresAt: expiresAt + dayMs,
      });
      expect(rotated.previous.expiresAt).toBe(expiresAt);
      expect(rotated.record.expiresAt).toBe(expiresAt + dayMs);
    });

    it("are not rotated where that cannot be done whole", async () => {
      const { key, record } = issueApiKey({ owner: "shop" });
      const other = issueApiKey({ owner: "shop" }).record;
      const revoked = { ...issueApiKey({ owner: "shop" }).record, revoked: true };
      const expired = issueApiKey({ owner: "shop", expiresAt: Date.now() - 1_000 }).record;
      for (const each of [record, other, revoked, expired]) await place.keys.add(each);
      const overlapMs = 0;
      expect(await problem(place.keys.rotate("nobody's", { overlapMs }))).toContain(
        'no API key has the id "nobody\'s"',
      );
      expect(await problem(place.keys.rotate(revoked.id, { overlapMs }))).toContain("is revoked");
      expect(await problem(place.keys.rotate(expired.id, { overlapMs }))).toContain("has expired");
      expect(await problem(place.keys.rotate(record.id, { overlapMs: -1 }))).toContain("rotate.overlapMs");
      expect(await problem(place.keys.rotate(record.id, { overlapMs, id: other.id }))).toContain(
        "is there already",
      );
      expect(await problem(place.keys.revoke("nobody's"))).toContain('no API key has the id "nobody\'s"');
      expect(await judged(place.instance(), key)).toBe("good: shop");
    });
  });
});
