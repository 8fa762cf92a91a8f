import { describe, expect, it } from "vitest";
import type { AuditEntry } from "../../../src/middleware/audit/audit-entry.ts";
import { AuditQueue } from "../../../src/middleware/audit/audit-queue.ts";

function anonymous(number: number, entry: Partial<AuditEntry> = {}): AuditEntry {
  return {
    time: new Date(number).toISOString(),
    id: `anonymous ${number}`,
    caller: null,
    method: "/orders.v1.Orders/GetOrder",
    peer: "192.0.2.7",
    status: "UNAUTHENTICATED",
    durationMs: 1,
    decision: "deny",
    rule: "authentication",
    endedBy: "layer",
    ...entry,
  };
}

function identified(number: number): AuditEntry {
  const caller = { subject: "alice", kind: "user", scheme: "jwt" } as const;
  return anonymous(number, { id: `identified ${number}`, caller });
}

function takeAll(queue: AuditQueue): AuditEntry[] {
  const all: AuditEntry[] = [];
  while (queue.size > 0) all.push(...queue.take(256));
  return all;
}

function calls(entries: readonly AuditEntry[]): number {
  return entries.reduce((sum, entry) => sum + (entry.count ?? 1), 0);
}

describe("AuditQueue", () => {
  it("U2 gives entries back in order, identified callers first", () => {
    const queue = new AuditQueue(100);
    queue.add(anonymous(1));
    queue.add(identified(2));
    queue.add(identified(3));
    expect(queue.take(2).map(({ id }) => id)).toEqual(["identified 2", "identified 3"]);
    expect(queue.take(2).map(({ id }) => id)).toEqual(["anonymous 1"]);
    expect(queue.size).toBe(0);
  });

  it("U2 counts a flood of anonymous refusals in one entry for each method, status, rule and peer", () => {
    const queue = new AuditQueue(20);
    for (let i = 0; i < 10; i++) queue.add(anonymous(i));
    for (let i = 10; i < 1_000; i++)
      queue.add(anonymous(i, { peer: i % 2 === 0 ? "192.0.2.2" : "192.0.2.1" }));
    const entries = takeAll(queue);
    expect(entries).toHaveLength(12);
    expect(entries.slice(10)).toEqual([
      {
        ...anonymous(998, { peer: "192.0.2.2" }),
        count: 495,
        firstTime: new Date(10).toISOString(),
        lastTime: new Date(998).toISOString(),
      },
      {
        ...anonymous(999, { peer: "192.0.2.1" }),
        count: 495,
        firstTime: new Date(11).toISOString(),
        lastTime: new Date(999).toISOString(),
      },
    ]);
  });

  it("U2 L12 adds up entries that stand for many calls already", () => {
    const queue = new AuditQueue(2);
    const many = (number: number): AuditEntry => {
      const [firstTime, lastTime] = [new Date(number - 1).toISOString(), new Date(number).toISOString()];
      return anonymous(number, { count: 100, firstTime, lastTime });
    };
    queue.add(anonymous(1));
    for (const number of [10, 20]) queue.add(many(number));
    queue.add(anonymous(30));
    expect(takeAll(queue)).toEqual([
      anonymous(1),
      {
        ...anonymous(30),
        count: 201,
        firstTime: new Date(9).toISOString(),
        lastTime: new Date(30).toISOString(),
      },
    ]);
  });

  it("U2 leaves the entry of a single call as it was", () => {
    const queue = new AuditQueue(2);
    queue.add(anonymous(1));
    queue.add(anonymous(2));
    expect(takeAll(queue)).toEqual([anonymous(1), anonymous(2)]);
  });

  it("U2 L10 stays bounded and loses no count when a flood varies everything it can", () => {
    const queue = new AuditQueue(100);
    for (let i = 0; i < 50_000; i++) {
      queue.add(anonymous(i, { peer: `2001:db8::${i}`, method: `/made.up/${i}`, rule: `rule ${i}` }));
    }
    expect(queue.size).toBeLessThanOrEqual(101);
    const entries = takeAll(queue);
    expect(calls(entries)).toBe(50_000);
    expect(entries.at(-1)).toMatchObject({
      method: "other",
      peer: "other",
      rule: "other",
      status: "UNAUTHENTICATED",
    });
  });

  it("U2 never lets anonymous entries push out an identified one, before or after", () => {
    const queue = new AuditQueue(100);
    for (let i = 0; i < 50; i++) expect(queue.add(identified(i))).toBe(true);
    for (let i = 0; i < 10_000; i++) queue.add(anonymous(i, { peer: `192.0.2.${i % 256}` }));
    for (let i = 50; i < 100; i++) expect(queue.add(identified(i))).toBe(true);
    const ids = takeAll(queue).map(({ id }) => id);
    expect(ids.filter((id) => id.startsWith("identified"))).toHaveLength(100);
  });

  it("U2 drops an identified entry only where its own lane is full", () => {
    const queue = new AuditQueue(3);
    expect([1, 2, 3, 4].map((i) => queue.add(identified(i)))).toEqual([true, true, true, false]);
    queue.take(1);
    expect(queue.add(identified(5))).toBe(true);
  });

  it("U2 keeps single entries again once a flood was worked off", () => {
    const queue = new AuditQueue(4);
    for (let i = 0; i < 100; i++) queue.add(anonymous(i));
    takeAll(queue);
    queue.add(anonymous(100));
    queue.add(anonymous(101));
    expect(takeAll(queue)).toEqual([anonymous(100), anonymous(101)]);
  });
});
