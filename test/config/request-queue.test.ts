// Whose request is next where only so many run at once.
import { describe, expect, it } from "vitest";
import { QueueFull, RequestQueue } from "../../src/config/request-queue.ts";

const never = new AbortController().signal;

/** A queue of one place that is taken, and what has run since. */
function taken(maxQueued: number) {
  const queue = new RequestQueue({ maxConcurrent: 1, maxQueued });
  let release = (): void => {};
  const first = queue.run(never, () => new Promise<void>((resolve) => (release = resolve)));
  const ran: string[] = [];
  const add = (name: string, signal = never): Promise<string> =>
    queue
      .run(signal, async () => void ran.push(name), name.slice(0, 1))
      .then(
        () => "ran",
        (error: unknown) => (error instanceof QueueFull ? "full" : `${String(error)}`),
      );
  const releaseFirst = (): Promise<void> => {
    release();
    return first;
  };
  return { ran, add, releaseFirst };
}

describe("a queue of requests", () => {
  it.each([
    ["one caller's in the order in which they came", ["a1", "a2", "a3"], ["a1", "a2", "a3"]],
    ["callers in turns", ["a1", "a2", "a3", "b1", "c1", "b2"], ["a1", "b1", "c1", "a2", "b2", "a3"]],
    ["a caller that comes back behind the others", ["a1", "b1", "a2"], ["a1", "b1", "a2"]],
  ])("lets %s", async (_, added, expected) => {
    const { ran, add, releaseFirst } = taken(10);
    const all = added.map((name) => add(name));
    await releaseFirst();
    expect(await Promise.all(all)).toEqual(added.map(() => "ran"));
    expect(ran).toEqual(expected);
  });

  it.each([
    ["the newest of the caller with the most leaves", ["a1", "a2", "a3"], "b1", ["a1", "b1", "a2"], "a3"],
    ["nobody leaves for a caller that has as many", ["a1", "a2", "b1"], "b2", ["a1", "b1", "a2"], "b2"],
    ["nobody leaves for more of the same caller", ["a1", "a2", "a3"], "a4", ["a1", "a2", "a3"], "a4"],
    ["nobody leaves for a new caller where each has one", ["a1", "b1", "c1"], "d1", ["a1", "b1", "c1"], "d1"],
  ])("where it is full, %s", async (_, added, last, expected, refused) => {
    const { ran, add, releaseFirst } = taken(3);
    const all = [...added, last].map(async (name) => [name, await add(name)] as const);
    await releaseFirst();
    const answers = await Promise.all(all);
    expect(answers.filter(([, answer]) => answer !== "ran")).toEqual([[refused, "full"]]);
    expect(ran).toEqual(expected);
  });

  it("holds no place for a request whose signal aborts before its turn", async () => {
    const { ran, add, releaseFirst } = taken(1);
    const gone = new AbortController();
    const left = add("a1", gone.signal);
    gone.abort(new Error("gone"));
    expect(await left).toBe("Error: gone");
    const next = add("b1");
    await releaseFirst();
    expect(await next).toBe("ran");
    expect(ran).toEqual(["b1"]);
  });

  it("runs nothing for a request that is over before it comes", async () => {
    const { ran, add, releaseFirst } = taken(1);
    expect(await add("a1", AbortSignal.abort(new Error("over")))).toBe("Error: over");
    const next = add("b1");
    await releaseFirst();
    expect(await next).toBe("ran");
    expect(ran).toEqual(["b1"]);
  });

  it("gives the place of a task that fails to the next", async () => {
    const queue = new RequestQueue({ maxConcurrent: 1, maxQueued: 1 });
    const failed = queue.run(never, () => Promise.reject(new Error("failed")));
    const next = queue.run(never, () => Promise.resolve("ran"));
    await expect(failed).rejects.toThrow("failed");
    expect(await next).toBe("ran");
    expect(await queue.run(never, () => Promise.resolve("again"))).toBe("again");
  });
});
