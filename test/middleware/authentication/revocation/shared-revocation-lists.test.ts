// Lists that instances share in a real Redis and a real PostgreSQL, whose servers are killed, restarted or hang.
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Client, credentials } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { jwt } from "../../../../src/middleware/authentication/jwt/jwt.ts";
import type { SharedRevocationList } from "../../../../src/middleware/authentication/revocation/shared-revocation-list.ts";
import { allowAuthenticated } from "../../../../src/middleware/authorization/allow-authenticated.ts";
import { type Forked, forkProgram } from "../../../harness/child-process.ts";
import { type AnyClientCall, invoke, kinds, type Result } from "../../../harness/kinds.ts";
import { keptLog, secured, theWorld } from "../../../harness/secured.ts";
import type { ListInstanceOptions, Revoke } from "./list-instance.ts";
import { type ListPlace, sharedPlaces } from "./list-places.ts";

const program = fileURLToPath(new URL("./list-instance.ts", import.meta.url));
const tomorrow = Date.now() + 86_400_000;
const refused = "UNAUTHENTICATED invalid credentials";
const unavailable = "UNAVAILABLE temporarily unavailable";

/** What a look-up says, however it says it. */
async function verdict(list: SharedRevocationList, id: string, subject = "nobody"): Promise<string> {
  try {
    return (await list.isRevoked({ id, subject })) ? "revoked" : "good";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function told({ name, details }: Result): string {
  return `${name} ${details}`;
}

async function failureOf(revoked: Promise<void>): Promise<string> {
  return revoked.then(
    () => "stored",
    (error: unknown) => String(error),
  );
}

describe.each(sharedPlaces)("A8 lists that instances share: $name", ({ name, isMissing, start }) => {
  describe.skipIf(isMissing)("with a real server", () => {
    let place: ListPlace;
    beforeEach(async () => {
      place = await start();
    });
    afterEach(() => place[Symbol.asyncDispose]());

    it("A8 answers without a promise once the list is read, and a list that is not read yet waits for it", async () => {
      await place.instance().revokeToken("one", tomorrow);
      const list = place.instance();
      const first = list.isRevoked({ id: "one", subject: "x" });
      expect(first).toBeInstanceOf(Promise);
      expect(await first).toBe(true);
      expect(list.isRevoked({ id: "one", subject: "x" })).toBe(true);
      expect(list.isRevoked({ id: "two", subject: "x" })).toBe(false);
    });

    it.each(["half \ud800", "\udc00", "a\0b", "\0"])(
      "A8 refuses the name %j, which would be stored as another",
      async (bad) => {
        const list = place.instance();
        await expect(list.revokeToken(bad, tomorrow)).rejects.toThrow(/a character that no store can hold/);
        await expect(list.revokeSubject(bad)).rejects.toThrow(TypeError);
        expect(await place.count()).toBe(0);
      },
    );

    it("A8 a later revocation that reaches less far takes nothing back in the store", async () => {
      const list = place.instance();
      const now = Date.now();
      await list.revokeSubject("ada", { issuedBefore: now });
      await list.revokeSubject("ada", { issuedBefore: now - 60_000 });
      await list.revokeToken("one", tomorrow);
      await list.revokeToken("one", now - 290_000);
      const fresh = place.instance();
      expect(await fresh.isRevoked({ subject: "ada", issuedAt: now })).toBe(true);
      expect(await fresh.isRevoked({ subject: "ada", issuedAt: now + 1 })).toBe(false);
      expect(await verdict(fresh, "one")).toBe("revoked");
      // By the time at which it would have ended then, it is still there.
      await list.revokeToken("one", now - 400_000);
      await list.revokeToken("two", tomorrow);
      expect(await verdict(place.instance(), "one")).toBe("revoked");
    });

    it("A8 a restarted server takes nothing back: instances know it, and write back what was lost", async () => {
      const [one, other] = [place.instance(), place.instance()];
      await one.revokeToken("before", tomorrow);
      await one.revokeSubject("ada");
      await expect.poll(() => verdict(other, "before")).toBe("revoked");
      await expect.poll(() => verdict(other, "x", "ada")).toBe("revoked");
      await place.server.kill();
      expect(await verdict(other, "before")).toBe("revoked");
      await place.server.start();
      await expect.poll(() => failureOf(one.revokeToken("after", tomorrow))).toBe("stored");
      await expect.poll(() => verdict(other, "after")).toBe("revoked");
      await expect.poll(() => place.count().catch(String)).toBe(3);
      const fresh = place.instance();
      expect(await Promise.all([verdict(fresh, "before"), verdict(fresh, "x", "ada")])).toEqual([
        "revoked",
        "revoked",
      ]);
      expect(await verdict(fresh, "x", "grace")).toBe("good");
    });

    it("A8 a server that somebody emptied gets back what the instances know", async () => {
      const { logger, lines } = keptLog();
      // Whichever comes first writes them back, and the other finds nothing to do.
      const [one, other] = [place.instance({ logger }), place.instance({ logger })];
      for (let n = 0; n < 1_500; n += 100)
        await Promise.all(Array.from({ length: 100 }, (_, i) => one.revokeToken(`token-${n + i}`, tomorrow)));
      await expect.poll(() => verdict(one, "token-1499")).toBe("revoked");
      await expect.poll(() => verdict(other, "token-1499")).toBe("revoked");
      await place.empty();
      await expect.poll(() => place.count()).toBe(1_500);
      expect(await verdict(place.instance(), "token-0")).toBe("revoked");
      await expect
        .poll(() => lines.map(({ msg }) => msg))
        .toContain("the revocation store had lost entries; they were written back");
      expect(JSON.stringify(lines)).not.toContain("token-");
    });

    it("A8 the last known list serves while the server is away, up to maxStaleSec; then nothing is known", async () => {
      const { logger, lines } = keptLog();
      const list = place.instance({ maxStaleSec: 1, pollMs: 50, timeoutMs: 400, logger });
      await expect.poll(() => failureOf(list.revokeToken("one", tomorrow))).toBe("stored");
      await expect.poll(() => verdict(list, "two")).toBe("good");
      await place.server.kill();
      const killedAt = performance.now();
      for (;;) {
        const lookedAt = performance.now();
        const said = await verdict(list, "two");
        if (said !== "good") {
          expect(said).toMatch(/the list was last read more than 1 s ago/);
          break;
        }
        // It was read at the latest when the server was killed.
        expect(lookedAt - killedAt).toBeLessThan(1_000);
        await new Promise((resolve) => setImmediate(resolve));
      }
      // What is revoked stays revoked, however old the list is.
      expect(list.isRevoked({ id: "one", subject: "x" })).toBe(true);
      expect(await failureOf(list.revokeToken("three", tomorrow))).not.toBe("stored");
      expect(() => list.isRevoked({ id: "three", subject: "x" })).toThrow(/last read/);
      const messages = (): unknown[] => lines.map(({ msg }) => msg);
      const tooOld = "the revocation list is too old; its calls end UNAVAILABLE";
      // It is told when the next reading fails.
      await expect.poll(messages).toContain(tooOld);
      await place.server.start();
      await expect.poll(() => verdict(list, "two")).toBe("good");
      await expect.poll(messages).toContain("the revocation list is read again");
      expect(messages().filter((msg) => msg === tooOld)).toHaveLength(1);
      const away = "the revocation list cannot be read; the last known list is used";
      expect(messages().filter((msg) => msg === away)).toHaveLength(1);
    });

    it("A8 a list that was never read answers nothing while the server is away, and then is read", async () => {
      await place.server.kill();
      const list = place.instance({ timeoutMs: 300 });
      expect(await verdict(list, "one")).not.toMatch(/^(good|revoked)$/);
      await place.server.start();
      await expect.poll(() => verdict(list, "one")).toBe("good");
    });

    it("A8 a server that hangs is waited for in a time limit, and nobody is told that it was stored", async () => {
      const list = place.instance({ timeoutMs: 300 });
      await expect.poll(() => verdict(list, "one")).toBe("good");
      place.server.hang();
      expect(await failureOf(list.revokeToken("one", tomorrow))).toMatch(/did not answer within 300 ms/);
      expect(list.isRevoked({ id: "two", subject: "x" })).toBe(false);
      const fresh = place.instance({ timeoutMs: 300 });
      await expect.poll(() => verdict(fresh, "two")).toMatch(/did not answer within 300 ms/);
      place.server.goOn();
      await expect.poll(() => verdict(fresh, "two")).toBe("good");
      await expect.poll(() => failureOf(list.revokeToken("one", tomorrow))).toBe("stored");
      await expect.poll(() => verdict(fresh, "one")).toBe("revoked");
    });

    it("A8 sees what was revoked while only the connections that listen were lost", async () => {
      const [one, other] = [place.instance(), place.instance()];
      await expect.poll(() => verdict(other, "x")).toBe("good");
      for (let round = 0; round < 5; round++) {
        await expect.poll(() => place.endListeners()).toBeGreaterThan(0);
        await one.revokeToken(`round-${round}`, tomorrow);
        await expect.poll(() => verdict(other, `round-${round}`)).toBe("revoked");
      }
    });

    it.each([
      ["nothing", ""],
      ["JSON of a revocation", '{"kind":"subject","name":"ada","before":9e15,"ends":9e15}'],
      ["a command", "*1\r\n$8\r\nflushall\r\n"],
      ["a long text", "x".repeat(7_900)],
      ["prototype names", '{"__proto__":{"kind":"subject"}}'],
    ])("A8 a message on the channel revokes nothing and takes nothing back: %s", async (_what, payload) => {
      const [one, other] = [place.instance(), place.instance()];
      await one.revokeToken("one", tomorrow);
      await expect.poll(() => verdict(other, "one")).toBe("revoked");
      let changes = 0;
      other.onChange(() => changes++);
      for (let n = 0; n < 100; n++) await place.publish(payload);
      await one.revokeToken("two", tomorrow);
      await expect.poll(() => verdict(other, "two")).toBe("revoked");
      expect(changes).toBe(1);
      expect(await verdict(other, "x", "ada")).toBe("good");
      expect(await place.count()).toBe(2);
    });

    it("C11 close ends what it holds; the next use starts again, with what was revoked meanwhile", async () => {
      const [one, other] = [place.instance(), place.instance()];
      await expect.poll(() => verdict(other, "one")).toBe("good");
      await other.close();
      await other.close();
      await one.close();
      await expect.poll(() => place.endListeners()).toBe(0);
      await one.revokeToken("one", tomorrow);
      expect(await verdict(other, "one")).toBe("revoked");
      await expect.poll(() => place.endListeners()).toBe(1);
    });

    it("A12 a server that shuts down does not keep another from hearing of revocations", async () => {
      const [one, shared] = [place.instance(), place.instance()];
      const { issuer, jwksUri } = (await theWorld()).issuer;
      const options = {
        authentication: jwt({ issuer, jwksUri, audience: "kinds", revocations: shared }),
        authorization: allowAuthenticated(),
      };
      const first = await secured(options);
      await using second = await secured(options);
      const metadata = await second.authorized({ jti: "mine" });
      expect(told(await invoke(first.client(), "unary", { metadata }))).toBe("OK OK");
      const stream = await openStream(second.client(), metadata);
      await first.close();
      await one.revokeToken("mine", tomorrow);
      expect(told(await stream.ended)).toBe(refused);
    });

    it.each(kinds)(
      "A8 A12 %s calls: refused once revoked, UNAVAILABLE when the list is too old, never counted",
      async (kind) => {
        const list = place.instance({ maxStaleSec: 1, pollMs: 50, timeoutMs: 400 });
        const { issuer, jwksUri } = (await theWorld()).issuer;
        await using server = await secured({
          authentication: jwt({ issuer, jwksUri, audience: "kinds", revocations: list }),
          authorization: allowAuthenticated(),
          rateLimit: { failedAuthentication: { points: 3, durationSec: 600, blockDurationSec: 600 } },
        });
        const client = server.client();
        const call = async (jti: string): Promise<string> =>
          told(await invoke(client, kind, { metadata: await server.authorized({ jti }) }));
        await expect.poll(() => call("good")).toBe("OK OK");
        await expect.poll(() => failureOf(place.instance().revokeToken("bad", tomorrow))).toBe("stored");
        await expect.poll(() => call("bad")).toBe(refused);
        await place.server.kill();
        await expect.poll(() => call("good")).toBe(unavailable);
        for (let n = 0; n < 10; n++) expect(await call("good")).toBe(unavailable);
        await place.server.start();
        await expect.poll(() => call("good")).toBe("OK OK");
      },
    );

    it("A8 A12 two processes refuse what one of them revokes, and end its streams, also after the server was killed", async () => {
      const world = await theWorld();
      const { issuer, jwksUri } = world.issuer;
      const at = "url" in place.server ? { postgresUrl: place.server.url } : { redisPort: place.server.port };
      const wanted: ListInstanceOptions = { ...at, issuer, jwksUri, list: { timeoutMs: 5_000 } };
      const forked = await Promise.all(
        [1, 2].map(() => forkProgram<number>(program, [JSON.stringify(wanted)], ["--import", "tsx"])),
      );
      const clients = forked.map(
        ({ first }) => new Client(`127.0.0.1:${first}`, credentials.createInsecure()),
      );
      const bearer = async (claims: object) => ({
        authorization: `Bearer ${await world.token({ ...claims })}`,
      });
      const answers = async (metadata: { authorization: string }): Promise<readonly string[]> =>
        Promise.all(clients.map(async (client) => told(await invoke(client, "unary", { metadata }))));
      const took: number[] = [];

      const revokedAtOne = async (what: Revoke, claims: object): Promise<void> => {
        const metadata = await bearer(claims);
        const others = await bearer({ sub: "grace", jti: "others" });
        await expect.poll(() => answers(metadata)).toEqual(["OK OK", "OK OK"]);
        const [, other] = clients;
        if (other === undefined) throw new Error("there is no second process");
        const stream = await openStream(other, metadata);
        const goesOn = await openStream(other, others);
        await expect.poll(() => ask(forked[0], what)).toBe("stored");
        const storedAt = performance.now();
        expect(told(await stream.ended)).toBe(refused);
        took.push(performance.now() - storedAt);
        expect(await answers(metadata)).toEqual([refused, refused]);
        expect(await answers(others)).toEqual(["OK OK", "OK OK"]);
        goesOn.call.cancel();
        expect((await goesOn.ended).name).toBe("CANCELLED");
      };

      await revokedAtOne({ token: "first", expiresAt: tomorrow }, { sub: "ada", jti: "first" });
      await revokedAtOne({ subject: "bob" }, { sub: "bob", jti: "second" });
      await place.server.kill();
      expect(await answers(await bearer({ sub: "ada", jti: "first" }))).toEqual([refused, refused]);
      await place.server.start();
      await revokedAtOne({ token: "third", expiresAt: tomorrow }, { sub: "ada", jti: "third" });
      await place.endListeners();
      await revokedAtOne({ token: "fourth", expiresAt: tomorrow }, { sub: "ada", jti: "fourth" });
      if (process.env["PRINT_TIMES"] !== undefined) process.stderr.write(`${name}: ${took.join(" ")}\n`);
      expect(await answers(await bearer({ sub: "ada", jti: "first" }))).toEqual([refused, refused]);
      for (const client of clients) client.close();
      for (const { process: instance } of forked) {
        const exited = once(instance, "exit");
        instance.send("stop");
        // By itself: nothing of the list keeps the process.
        expect(await exited).toEqual([0, null]);
      }
    });
  });
});

interface Stream {
  readonly ended: Promise<Result>;
  readonly call: AnyClientCall;
}

/** A bidirectional stream whose handler has answered once. */
async function openStream(client: Client, metadata: { readonly authorization: string }): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const ended = invoke(client, "bidi_stream", {
      metadata,
      keepOpen: true,
      onMessage: (_note, call) => resolve({ ended, call }),
    });
    ended.then((result) => reject(new Error(`the stream ended before it was answered: ${told(result)}`)));
  });
}

async function ask(instance: Forked<number> | undefined, what: Revoke): Promise<unknown> {
  if (instance === undefined) throw new Error("there is no such process");
  const answered = once(instance.process, "message");
  instance.process.send(what);
  const [answer] = await answered;
  return answer;
}
