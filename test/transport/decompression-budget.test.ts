import { describe, expect, it } from "vitest";
import { DecompressionBudget, type Room } from "../../src/transport/decompression-budget.ts";

interface Asked {
  readonly name: string;
  readonly room: Room;
}

/** Asks by name, and tells in which order the names got room. */
function asking(budget: DecompressionBudget) {
  const granted: string[] = [];
  const connections = new Map<string, object>();
  return {
    granted,
    /** The name begins with that of the connection: `a1` is of `a`. */
    ask(name: string, bytes: number): Asked {
      const connection = connections.get(name.charAt(0)) ?? {};
      connections.set(name.charAt(0), connection);
      return { name, room: budget.ask(connection, bytes, () => granted.push(name)) };
    },
    take: () => granted.splice(0).join(" "),
  };
}

describe("DecompressionBudget", () => {
  it("L4 gives room at once where there is some, and the difference back when the size is known", () => {
    const budget = new DecompressionBudget(100);
    const { ask, take } = asking(budget);
    const a = ask("a1", 50);
    const b = ask("b1", 50);
    ask("c1", 30);
    expect([take(), budget.heldBytes]).toEqual(["a1 b1", 100]);
    a.room.keep(10);
    expect([take(), budget.heldBytes]).toEqual(["c1", 90]);
    b.room.release();
    b.room.release();
    expect(budget.heldBytes).toBe(40);
  });

  it("L4 lets connections take turns, whatever one of them asks for", () => {
    const budget = new DecompressionBudget(10);
    const { ask, take } = asking(budget);
    const first = ask("x1", 10);
    const many = Array.from({ length: 5 }, (_, i) => ask(`a${i}`, 10));
    const others = [ask("b0", 10), ask("c0", 10), ask("b1", 10)];
    let last = first;
    const order: string[] = [];
    for (let i = 0; i < 8; i++) {
      take();
      last.room.release();
      const name = take();
      order.push(name);
      last = [...many, ...others].find((each) => each.name === name) ?? last;
    }
    expect(order.join(" ")).toBe("a0 b0 c0 a1 b1 a2 a3 a4");
    last.room.release();
    expect([budget.heldBytes, budget.size]).toEqual([0, 0]);
  });

  it("L4 leaves half of it to others, whatever one connection holds", () => {
    const budget = new DecompressionBudget(100);
    const { ask, take } = asking(budget);
    const held = ["a1", "a2", "a3", "a4", "a5", "a6", "a7"].map((name) => ask(name, 10));
    ask("b1", 50);
    expect(take()).toBe("a1 a2 a3 a4 a5 b1");
    held[0]?.room.release();
    expect(take()).toBe("a6");
  });

  it("L4 overtakes nobody who needs more", () => {
    const budget = new DecompressionBudget(100);
    const { ask, take } = asking(budget);
    const first = ask("a1", 50);
    ask("b1", 40);
    ask("c1", 50);
    ask("d1", 5);
    expect(take()).toBe("a1 b1");
    first.room.release();
    expect(take()).toBe("c1 d1");
  });

  it("L4 passes what alone is larger than the budget when nothing is being inflated, and keeps nobody waiting for long", () => {
    const budget = new DecompressionBudget(100);
    const { ask, take } = asking(budget);
    const unread = ask("a1", 20);
    unread.room.keep(20);
    const inflating = ask("b1", 20);
    const large = ask("c1", 500);
    ask("d1", 20);
    expect(take()).toBe("a1 b1");
    inflating.room.keep(20);
    // What is inflated and not taken keeps room, and does not keep it waiting.
    expect([take(), budget.heldBytes]).toEqual(["c1", 540]);
    large.room.release();
    expect([take(), budget.heldBytes]).toEqual(["d1", 60]);
  });

  it("L4 C11 forgets who ends while it waits", () => {
    const budget = new DecompressionBudget(10);
    const { ask, take } = asking(budget);
    const first = ask("a1", 10);
    const ended = [ask("b1", 10), ask("c1", 10)];
    ask("d1", 10);
    for (const { room } of ended) room.release();
    expect([take(), budget.size]).toEqual(["a1", 2]);
    first.room.release();
    expect(take()).toBe("d1");
  });

  it("L4 holds when room is given back, and asked for, while it is given", () => {
    const budget = new DecompressionBudget(10);
    const a = {};
    const b = {};
    let calls = 0;
    const again = (room: Room): void => {
      calls += 1;
      if (calls < 1_000) budget.ask(calls % 2 === 0 ? a : b, 10, again);
      room.release();
    };
    budget.ask(a, 10, again);
    expect([calls, budget.heldBytes, budget.size]).toEqual([1_000, 0, 0]);
  });
});
