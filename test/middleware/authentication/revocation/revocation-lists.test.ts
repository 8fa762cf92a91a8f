// What every revocation list does, wherever it is kept.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type RevocationAdministration,
  revocationList,
} from "../../../../src/middleware/authentication/revocation/memory-revocation-list.ts";
import type {
  RevocableToken,
  RevocationList,
} from "../../../../src/middleware/authentication/revocation/revocation-list.ts";
import type { ListOptions, ListPlace } from "./list-places.ts";
import { sharedPlaces } from "./list-places.ts";

type AnyList = RevocationList & RevocationAdministration;

const day = 86_400_000;
const tomorrow = Date.now() + day;
const at = 1_800_000_000_000;

const places: readonly {
  readonly name: string;
  readonly isMissing: boolean;
  start?: () => Promise<ListPlace>;
}[] = [{ name: "revocationList", isMissing: false }, ...sharedPlaces];

describe.each(places)("A8 the contract of a revocation list: $name", ({ isMissing, start }) => {
  describe.skipIf(isMissing)("with a real server", () => {
    let place: ListPlace | undefined;
    beforeAll(async () => {
      place = await start?.();
    });
    afterAll(() => place?.[Symbol.asyncDispose]());

    /** Two instances of one list: what the first is told, the second knows. In memory there is one. */
    async function two(options: ListOptions = {}): Promise<readonly [AnyList, AnyList]> {
      if (place === undefined) {
        const { maxEntries, maxTokenLifetimeSec } = options;
        const list = revocationList({ maxEntries, maxTokenLifetimeSec });
        return [list, list];
      }
      // Those of another test would write back what they know.
      await place.closeInstances();
      await place.empty();
      return [place.instance(options), place.instance(options)];
    }

    async function knows(list: AnyList, token: RevocableToken, expected = true): Promise<void> {
      await expect.poll(() => list.isRevoked(token)).toBe(expected);
    }

    const answers = async (list: AnyList, ids: readonly string[]): Promise<readonly boolean[]> =>
      Promise.all(ids.map((id) => list.isRevoked({ id, subject: "nobody" })));

    it.each([
      "one",
      "a b",
      'it\'s "quoted"; DROP TABLE palisade_revocations; --',
      "\n\r\t",
      "*{}[]$1%s\\",
      "\u{1f600} \u00e9 \u0065\u0301",
      "token:x",
      "epoch",
      "revision",
      "__proto__",
      "x".repeat(16_384),
      "\u20ac".repeat(5_000),
    ])("A8 revokes exactly the token %j", async (name) => {
      const [one, other] = await two();
      await one.revokeToken(name, tomorrow);
      await knows(other, { id: name, subject: "nobody" });
      for (const id of [`${name} `, ` ${name}`, name.toUpperCase(), name.slice(1), `token:${name}`])
        if (id !== name) expect(await other.isRevoked({ id, subject: name }), id).toBe(false);
      expect(await other.isRevoked({ subject: "nobody" })).toBe(false);
    });

    it.each<[string, number | undefined, boolean]>([
      ["before", at - 1, true],
      ["at that moment", at, true],
      ["after", at + 1, false],
      ["nobody knows when", undefined, true],
    ])("A8 of a subject the tokens that were issued up to then: %s", async (_what, issuedAt, revoked) => {
      const [one, other] = await two();
      await one.revokeSubject("ada", { issuedBefore: at });
      await knows(other, { subject: "ada", issuedAt: 0 });
      const token = { ...(issuedAt === undefined ? {} : { issuedAt }) };
      expect(await other.isRevoked({ ...token, subject: "ada" })).toBe(revoked);
      expect(await other.isRevoked({ ...token, subject: "grace" })).toBe(false);
      expect(await other.isRevoked({ ...token, id: "ada", subject: "grace" })).toBe(false);
    });

    it("A8 a second revocation takes nothing back, and one that reaches further holds", async () => {
      const [one, other] = await two();
      await one.revokeSubject("ada", { issuedBefore: at });
      await knows(other, { subject: "ada", issuedAt: at });
      await other.revokeSubject("ada", { issuedBefore: at - day });
      await one.revokeToken("mark", tomorrow);
      await knows(other, { id: "mark", subject: "x" });
      expect(await other.isRevoked({ subject: "ada", issuedAt: at })).toBe(true);
      expect(await one.isRevoked({ subject: "ada", issuedAt: at })).toBe(true);
      await other.revokeSubject("ada", { issuedBefore: at + day });
      await knows(one, { subject: "ada", issuedAt: at + day });
    });

    it.each<[string, (list: AnyList) => unknown, RegExp]>([
      ["an empty id", (list) => list.revokeToken("", tomorrow), /token's id \(jti\) is not a string of 1/],
      ["an endless id", (list) => list.revokeToken("x".repeat(16_385), tomorrow), /to 16384 characters/],
      ["a time in seconds", (list) => list.revokeToken("one", tomorrow / 1000), /multiply seconds/],
      ["no time", (list) => list.revokeToken("one", Number.NaN), /not a time in milliseconds/],
      ["an empty subject", (list) => list.revokeSubject(""), /subject is not a string of 1/],
      [
        "a subject's time in seconds",
        (list) => list.revokeSubject("ada", { issuedBefore: tomorrow / 1000 }),
        /multiply seconds/,
      ],
    ])("A8 refuses %s", async (_what, revoke, message) => {
      const [list] = await two();
      const revoked = (async () => revoke(list))();
      await expect(revoked).rejects.toThrow(TypeError);
      await expect((async () => revoke(list))()).rejects.toThrow(message);
    });

    it("L10 a list that is full says so, and forgets nothing that is revoked", async () => {
      const [one, other] = await two({ maxEntries: 3 });
      await one.revokeToken("one", tomorrow);
      await other.revokeToken("two", tomorrow);
      await one.revokeSubject("ada");
      await knows(one, { id: "two", subject: "x" });
      for (const list of [one, other]) {
        const full = (async () => list.revokeToken("three", tomorrow))();
        await expect(full).rejects.toThrow(/is full \(maxEntries\), and nothing was revoked/);
        await expect((async () => list.revokeSubject("grace"))()).rejects.toThrow(RangeError);
      }
      // What is there already needs no room.
      await other.revokeToken("one", tomorrow + 1);
      await other.revokeSubject("ada");
      expect(await answers(one, ["one", "two", "three"])).toEqual([true, true, false]);
    });

    it("L10 tokens that have long expired make room", async () => {
      const [one, other] = await two({ maxEntries: 2 });
      await one.revokeToken("old", Date.now() - day);
      await one.revokeToken("older", Date.now() - 2 * day);
      await one.revokeToken("new", tomorrow);
      await knows(other, { id: "new", subject: "x" });
      await one.revokeToken("newer", tomorrow);
      await knows(other, { id: "newer", subject: "x" });
    });

    it("A8 a token is remembered beyond its end, for verifiers that tolerate clocks", async () => {
      const [one, other] = await two();
      await one.revokeToken("just ended", Date.now() - 200_000);
      await one.revokeToken("next", tomorrow);
      await knows(other, { id: "next", subject: "x" });
      expect(await other.isRevoked({ id: "just ended", subject: "x" })).toBe(true);
    });

    it("A12 tells every listener of each revocation, by whomever, until it is told to stop", async () => {
      const [one, other] = await two();
      const calls = [0, 0];
      const [first] = calls.map((_, index) =>
        other.onChange?.(() => {
          calls[index] = (calls[index] ?? 0) + 1;
        }),
      );
      await one.revokeToken("one", tomorrow);
      await expect.poll(() => calls).toEqual([1, 1]);
      first?.();
      first?.();
      await one.revokeSubject("ada");
      await expect.poll(() => calls).toEqual([1, 2]);
      // Nothing new: nobody is told.
      await one.revokeSubject("ada", { issuedBefore: at - 10 * day });
      await one.revokeToken("two", tomorrow);
      await knows(other, { id: "two", subject: "x" });
    });

    it("A8 10,000 revocations at once are all known to both", async () => {
      const [one, other] = await two();
      const names = Array.from({ length: 10_000 }, (_, n) => `token-${n}`);
      for (let start = 0; start < names.length; start += 200)
        await Promise.all(
          names
            .slice(start, start + 200)
            .map((id, n) => (n % 2 === 0 ? one : other).revokeToken(id, tomorrow)),
        );
      for (const list of [one, other])
        await expect
          .poll(async () => (await answers(list, names)).filter((revoked) => revoked).length)
          .toBe(names.length);
    });
  });
});
