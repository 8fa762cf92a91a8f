import { describe, expect, it } from "vitest";
import { ConfigError } from "../../../../src/grpc/errors.ts";
import { revocationList } from "../../../../src/middleware/authentication/revocation/memory-revocation-list.ts";
import { Revocations } from "../../../../src/middleware/authentication/revocation/revocations.ts";

const day = 86_400_000;
const tomorrow = Date.now() + day;

describe("A8 the revocation list in memory", () => {
  it("A8 revokes exactly the token that it is told of", () => {
    const list = revocationList();
    list.revokeToken("one", tomorrow);
    expect(list.isRevoked({ id: "one", subject: "ada" })).toBe(true);
    for (const id of ["On", "ONE", "one ", " one", "one\0", "on\u0435", "", "__proto__", "constructor"])
      expect(list.isRevoked({ id, subject: "one" }), JSON.stringify(id)).toBe(false);
    expect(list.isRevoked({ subject: "one" })).toBe(false);
  });

  const at = 1_800_000_000_000;
  it.each<[string, number | undefined, boolean]>([
    ["before", at - 1, true],
    ["at that moment", at, true],
    ["after", at + 1, false],
    ["nobody knows when", undefined, true],
    ["at no time at all", Number.NaN, true],
  ])("A8 of a subject the tokens that were issued up to then: %s", (_what, issuedAt, revoked) => {
    const list = revocationList();
    list.revokeSubject("ada", { issuedBefore: at });
    const token = { subject: "ada", ...(issuedAt === undefined ? {} : { issuedAt }) };
    expect(list.isRevoked(token)).toBe(revoked);
    expect(list.isRevoked({ ...token, subject: "grace" })).toBe(false);
  });

  it("A8 a second revocation takes nothing back", () => {
    const list = revocationList();
    list.revokeSubject("ada", { issuedBefore: at });
    list.revokeSubject("ada", { issuedBefore: at - day });
    expect(list.isRevoked({ subject: "ada", issuedAt: at })).toBe(true);
  });

  it.each<[string, (list: ReturnType<typeof revocationList>) => void, RegExp]>([
    ["an empty id", (list) => list.revokeToken("", tomorrow), /token's id \(jti\) is not a string of 1/],
    [
      "an id that is no string",
      (list) => list.revokeToken(7 as unknown as string, tomorrow),
      /is not a string of 1/,
    ],
    ["an endless id", (list) => list.revokeToken("x".repeat(16_385), tomorrow), /to 16384 characters/],
    ["a time in seconds", (list) => list.revokeToken("one", tomorrow / 1000), /multiply seconds/],
    ["no time", (list) => list.revokeToken("one", Number.NaN), /not a time in milliseconds/],
    ["eternity", (list) => list.revokeToken("one", Number.POSITIVE_INFINITY), /not a time in milliseconds/],
    ["an empty subject", (list) => list.revokeSubject(""), /subject is not a string of 1/],
    [
      "a subject's time in seconds",
      (list) => list.revokeSubject("ada", { issuedBefore: tomorrow / 1000 }),
      /multiply seconds/,
    ],
  ])("A8 refuses %s", (_what, revoke, message) => {
    const list = revocationList();
    expect(() => revoke(list)).toThrow(TypeError);
    expect(() => revoke(list)).toThrow(message);
  });

  it.each<[object, string]>([
    [{ maxTokenLifetimeSec: 0 }, "revocationList.maxTokenLifetimeSec"],
    [{ maxEntries: 0 }, "revocationList.maxEntries"],
    [{ maxEntries: 1.5 }, "revocationList.maxEntries"],
    [{ maxEntrys: 1 }, "revocationList.maxEntrys"],
  ])("A8 refuses the options %j", (options, path) => {
    expect(() => revocationList(options)).toThrow(ConfigError);
    expect(() => revocationList(options)).toThrow(path);
  });

  it("L10 a list that is full says so, and forgets nothing that is revoked", () => {
    const list = revocationList({ maxEntries: 3 });
    list.revokeToken("one", tomorrow);
    list.revokeToken("two", tomorrow);
    list.revokeSubject("ada");
    expect(() => list.revokeToken("three", tomorrow)).toThrow(RangeError);
    expect(() => list.revokeSubject("grace")).toThrow(/is full \(maxEntries\), and nothing was revoked/);
    // What is there already needs no room.
    list.revokeToken("one", tomorrow + 1);
    list.revokeSubject("ada");
    expect(["one", "two", "three"].map((id) => list.isRevoked({ id, subject: "x" }))).toEqual([
      true,
      true,
      false,
    ]);
  });

  it("L10 tokens that have long expired make room", () => {
    const list = revocationList({ maxEntries: 2 });
    list.revokeToken("old", Date.now() - day);
    list.revokeToken("older", Date.now() - 2 * day);
    list.revokeToken("new", tomorrow);
    expect(list.isRevoked({ id: "new", subject: "x" })).toBe(true);
  });

  it("A8 a token is remembered beyond its end, for verifiers that tolerate clocks", () => {
    const revocations = new Revocations({ maxEntries: 10 });
    revocations.addToken("just ended", Date.now() - 200_000);
    revocations.addToken("next", tomorrow);
    expect(revocations.isRevoked({ id: "just ended", subject: "x" })).toBe(true);
  });

  it("A12 tells every listener of each revocation until it is told to stop", () => {
    const list = revocationList();
    let calls = 0;
    const listener = (): void => {
      calls += 1;
    };
    const [first, second] = [list.onChange(listener), list.onChange(listener)];
    list.revokeToken("one", tomorrow);
    expect(calls).toBe(2);
    first();
    first();
    list.revokeSubject("ada");
    expect(calls).toBe(3);
    second();
    list.revokeSubject("ada");
    expect(calls).toBe(3);
  });
});
