// Keys that instances share in a real Redis and a real PostgreSQL: revocations, and servers that are killed, restarted or
// hang.
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Client, credentials } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { apiKey } from "../../../src/middleware/authentication/api-key.ts";
import { issueApiKey } from "../../../src/middleware/authentication/memory-api-key-store.ts";
import type { SharedApiKeyStore } from "../../../src/middleware/authentication/shared-api-keys.ts";
import { allowAuthenticated } from "../../../src/middleware/authorization/allow-authenticated.ts";
import { forkProgram } from "../../harness/child-process.ts";
import { invoke, kinds } from "../../harness/kinds.ts";
import { type Secured, secured } from "../../harness/secured.ts";
import { incomingCall, verdict } from "./incoming-call.ts";
import type { KeyInstanceOptions } from "./key-instance.ts";
import { type SharedPlace, sharedPlaces } from "./key-places.ts";

const program = fileURLToPath(new URL("./key-instance.ts", import.meta.url));
const second = 1_000;
/** Did memory answer? What is still asked for is of no interest then, and may fail. */
function hasAnswer(found: unknown): boolean {
  if (!(found instanceof Promise)) return true;
  found.catch(() => {});
  return false;
}

describe.each(sharedPlaces)("A3 keys that instances share: $name", ({ name, isMissing, start }) => {
  describe.skipIf(isMissing)("with a real server", () => {
    let place: SharedPlace;
    beforeEach(async () => {
      place = await start();
    });
    afterEach(() => place[Symbol.asyncDispose]());

    const judged = (store: SharedApiKeyStore, key: string): Promise<string> =>
      verdict(apiKey({ store }), incomingCall({ "x-api-key": key }));

    /** Looks without a pause until the key is refused. No look that begins a second after the revocation finds it good. */
    async function refusedWithin(store: SharedApiKeyStore, digest: string, revokedAt: number): Promise<void> {
      for (;;) {
        const lookedAt = performance.now();
        const record = await store.find(digest);
        if (record?.revoked === true) return;
        expect(lookedAt - revokedAt).toBeLessThan(second);
        await new Promise((resolve) => setImmediate(resolve));
      }
    }

    it("a revocation is seen by every instance within a second, and until then memory answers", async () => {
      const instances = [place.instance(), place.instance(), place.instance()];
      for (let round = 0; round < 5; round++) {
        const { record } = issueApiKey({ owner: "shop" });
        await place.keys.add(record);
        for (const store of instances)
          await expect
            .poll(async () => {
              await store.find(record.digest);
              return hasAnswer(store.find(record.digest));
            })
            .toBe(true);
        await place.keys.revoke(record.id);
        const revokedAt = performance.now();
        await Promise.all(instances.map((store) => refusedWithin(store, record.digest, revokedAt)));
      }
    });

    it("a revocation during an outage is seen when it is over, and was never missed", async () => {
      const { key, record } = issueApiKey({ owner: "shop" });
      await place.keys.add(record);
      const store = place.instance({ timeoutMs: 500 });
      let changes = 0;
      store.onChange(() => changes++);
      await expect.poll(() => judged(store, key)).toBe("good: shop");
      await place.server.kill();
      await expect.poll(() => judged(store, key)).toMatch(/^failure/);
      await place.server.start();
      // Redis is empty now: an operator puts back what there was.
      const operator = place.instance();
      if (name === "redisApiKeyStore") {
        await expect.poll(() => judged(store, key)).toMatch(/holds no API keys/);
        await operator.add(record);
      }
      const before = changes;
      await operator.revoke(record.id);
      await expect.poll(() => changes).toBeGreaterThan(before);
      await expect.poll(() => judged(store, key)).toBe("invalid");
    });

    it("memory answers for a second at most when the server is killed", async () => {
      const { key, record } = issueApiKey({ owner: "shop" });
      await place.keys.add(record);
      const store = place.instance({ timeoutMs: 500 });
      await expect.poll(() => hasAnswer(store.find(record.digest))).toBe(true);
      await place.server.kill();
      const killedAt = performance.now();
      for (;;) {
        const lookedAt = performance.now();
        const found = await judged(store, key);
        if (found !== "good: shop") break;
        expect(lookedAt - killedAt).toBeLessThan(second);
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(await judged(store, key)).toMatch(/^failure/);
    });

    it("a server that hangs fails a look-up in its time limit, and answers again when it goes on", async () => {
      const { key, record } = issueApiKey({ owner: "shop" });
      await place.keys.add(record);
      const store = place.instance({ timeoutMs: 300 });
      await expect.poll(() => judged(store, key)).toBe("good: shop");
      place.server.hang();
      await expect.poll(() => judged(store, key)).toMatch(/did not answer within 300 ms/);
      place.server.goOn();
      await expect.poll(() => judged(store, key)).toBe("good: shop");
    });

    it("guesses do not pile up while a server hangs", async () => {
      const store = place.instance({ timeoutMs: 300 });
      const { record } = issueApiKey({ owner: "shop" });
      await place.keys.add(record);
      await expect.poll(async () => (await store.find(record.digest))?.id).toBe(record.id);
      place.server.hang();
      // 32 are asked, and 1,000 wait.
      const guesses = Array.from({ length: 2_032 }, (_, n) =>
        Promise.resolve(store.find(n.toString(16).padStart(64, "0"))).then(
          () => "an answer",
          (error: Error) => error.message,
        ),
      );
      const told = await Promise.all(guesses);
      expect(told.filter((text) => text.includes("wait for")).length).toBeGreaterThanOrEqual(1_000);
      expect(told).not.toContain("an answer");
      place.server.goOn();
      await expect.poll(() => store.find("0".repeat(64))).toBeUndefined();
    });

    it("guesses push no key out of memory", async () => {
      const { record } = issueApiKey({ owner: "shop" });
      await place.keys.add(record);
      const store = place.instance();
      await expect.poll(() => hasAnswer(store.find(record.digest))).toBe(true);
      for (let n = 0; n < 2_000; n += 100)
        await Promise.all(
          Array.from({ length: 100 }, (_, i) => store.find((n + i).toString(16).padStart(64, "0"))),
        );
      await expect.poll(() => hasAnswer(store.find(record.digest))).toBe(true);
    });

    it("the last use is kept: the newest time, of keys that exist", async () => {
      const { record } = issueApiKey({ owner: "shop" });
      await place.keys.add(record);
      const store = place.instance();
      const at = 1_767_225_600_000;
      let changes = 0;
      await expect.poll(() => hasAnswer(store.find(record.digest))).toBe(true);
      store.onChange(() => changes++);
      await store.recordUse([
        { id: record.id, at },
        { id: "nobody's", at },
      ]);
      await place.instance().recordUse([{ id: record.id, at: at - 5_000 }]);
      expect(await place.keys.list()).toEqual([{ record: expect.anything(), lastUsedAt: at }]);
      // It is no change of the key: one that is comes after it.
      expect(changes).toBe(0);
      await place.keys.revoke(record.id);
      await expect.poll(() => changes).toBe(1);
    });

    it("keys added, revoked and rotated at once are all done, each once", async () => {
      const operators = [place.instance(), place.instance()];
      const issued = Array.from({ length: 10 }, (_, n) => issueApiKey({ owner: "shop", id: `key-${n}` }));
      const tries = issued.flatMap(({ record }) => operators.map((each) => each.add(record)));
      const added = await Promise.allSettled(tries);
      expect(added.filter(({ status }) => status === "fulfilled")).toHaveLength(10);
      const rotations = await Promise.allSettled(
        operators.map((each) => each.rotate("key-0", { overlapMs: 60_000, id: "key-0-next" })),
      );
      expect(rotations.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      await Promise.all(issued.map(({ record }, n) => operators[n % 2]?.revoke(record.id)));
      const records = (await place.keys.list()).map(({ record }) => record);
      expect(records).toHaveLength(11);
      expect(records.filter(({ revoked }) => revoked === true)).toHaveLength(10);
    });

    it("a revocation is not lost to a rotation at the same time", async () => {
      const [one, other] = [place.instance(), place.instance()];
      for (let round = 0; round < 20; round++) {
        const { record } = issueApiKey({ owner: "shop" });
        await one.add(record);
        const [, rotation] = await Promise.allSettled([
          one.revoke(record.id),
          other.rotate(record.id, { overlapMs: 60_000 }),
        ]);
        const found = (await place.keys.list()).find((each) => each.record.id === record.id);
        expect(found?.record.revoked).toBe(true);
        expect(found?.record.expiresAt !== undefined).toBe(rotation.status === "fulfilled");
      }
    });

    it.each(kinds)(
      "%s calls: refused once revoked, UNAVAILABLE while the server is away, never counted",
      async (kind) => {
        const good = issueApiKey({ owner: "shop" });
        const bad = issueApiKey({ owner: "shop" });
        for (const { record } of [good, bad]) await place.keys.add(record);
        const store = place.instance({ timeoutMs: 500 });
        await using server: Secured = await secured({
          authentication: apiKey({ store }),
          authorization: allowAuthenticated(),
          rateLimit: { failedAuthentication: { points: 3, durationSec: 600, blockDurationSec: 600 } },
        });
        const client = server.client();
        const told = async (key: string): Promise<string> => {
          const { name: code, details } = await invoke(client, kind, { metadata: { "x-api-key": key } });
          return `${code} ${details}`;
        };
        await expect.poll(() => told(good.key)).toBe("OK OK");
        await place.keys.revoke(bad.record.id);
        await expect.poll(() => told(bad.key)).toBe("UNAUTHENTICATED invalid credentials");
        await place.server.kill();
        await expect.poll(() => told(good.key)).toBe("UNAVAILABLE temporarily unavailable");
        for (let i = 0; i < 10; i++) expect(await told(good.key)).toBe("UNAVAILABLE temporarily unavailable");
        await place.server.start();
        if (name === "redisApiKeyStore") await place.instance().add(good.record);
        await expect.poll(() => told(good.key)).toBe("OK OK");
      },
    );

    it("two processes refuse a revoked key, also after the server was killed and started again", async () => {
      const wanted: KeyInstanceOptions =
        "url" in place.server ? { postgresUrl: place.server.url } : { redisPort: place.server.port };
      const forked = await Promise.all(
        [1, 2].map(() => forkProgram<number>(program, [JSON.stringify(wanted)], ["--import", "tsx"])),
      );
      const clients = forked.map(
        ({ first }) => new Client(`127.0.0.1:${first}`, credentials.createInsecure()),
      );
      const told = async (key: string): Promise<readonly string[]> =>
        Promise.all(
          clients.map(
            async (client) => (await invoke(client, "unary", { metadata: { "x-api-key": key } })).details,
          ),
        );
      const issue = async (keys: SharedApiKeyStore) => {
        const issued = issueApiKey({ owner: "shop" });
        await keys.add(issued.record);
        return issued;
      };
      const first = await issue(place.keys);
      await expect.poll(() => told(first.key)).toEqual(["OK", "OK"]);
      await place.keys.revoke(first.record.id);
      await expect.poll(() => told(first.key)).toEqual(["invalid credentials", "invalid credentials"]);
      await place.server.kill();
      await place.server.start();
      const operator = place.instance();
      const other = await issue(operator);
      await expect.poll(() => told(other.key)).toEqual(["OK", "OK"]);
      await operator.revoke(other.record.id);
      await expect.poll(() => told(other.key)).toEqual(["invalid credentials", "invalid credentials"]);
      for (const client of clients) client.close();
      for (const { process: instance } of forked) {
        const exited = once(instance, "exit");
        instance.send("stop");
        // By itself: nothing of the store keeps the process.
        expect(await exited).toEqual([0, null]);
      }
    });
  });
});
