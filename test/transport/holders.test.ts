import { describe, expect, it } from "vitest";
import { Holders } from "../../src/transport/holders.ts";

describe("Holders", () => {
  it("L10 knows who holds most and what each holds longest, as a walk over all of them would", () => {
    const holders = new Holders<number, number>();
    const held: (readonly [key: number, item: number])[] = [];
    let random = 1;
    const next = (below: number): number => {
      random = (random * 48_271) % 2_147_483_647;
      return random % below;
    };
    for (let item = 0; item < 5_000; item++) {
      // It grows, and then it shrinks.
      if (next(10) < (item < 2_500 ? 7 : 3)) {
        const key = next(20);
        holders.add(key, item);
        held.push([key, item]);
      } else {
        const [gone] = held.splice(next(Math.max(1, held.length)), 1);
        if (gone !== undefined) holders.remove(...gone);
      }
      const counts = Array.from({ length: 20 }, (_, key) => held.filter(([other]) => other === key).length);
      const greediest = holders.greediest();
      expect(holders.size).toBe(held.length);
      expect(greediest?.count ?? 0).toBe(Math.max(...counts));
      if (greediest === undefined) continue;
      expect(holders.countOf(greediest.key)).toBe(counts[greediest.key]);
      expect(holders.oldestOf(greediest.key)).toBe(held.find(([key]) => key === greediest.key)?.[1]);
    }
  });

  it("L10 forgets who holds nothing", () => {
    const holders = new Holders<string, object>();
    const item = {};
    holders.add("a", item);
    holders.add("a", item);
    expect([holders.size, holders.countOf("a")]).toEqual([1, 1]);
    holders.remove("a", item);
    holders.remove("a", item);
    holders.remove("b", item);
    expect([holders.size, holders.countOf("a"), holders.greediest(), holders.oldestOf("a")]).toEqual([
      0,
      0,
      undefined,
      undefined,
    ]);
  });
});
