import { describe, expect, it } from "vitest";
import { StoreRequests } from "../../src/config/store-requests.ts";
import { hangMs, waitMs } from "../harness/time.ts";

const never = new Promise<never>(() => {});

describe("L10 requests to a shared store", () => {
  it("L10 are bounded, whatever callers ask for", async () => {
    const requests = new StoreRequests({ store: "Redis", timeoutMs: hangMs });
    let asked = 0;
    const ask = (): Promise<never> => {
      asked += 1;
      return never;
    };
    const failed: unknown[] = [];
    for (let n = 0; n < 2_000; n += 1) requests.send(ask).catch((error: unknown) => failed.push(error));
    await expect.poll(() => failed.length).toBe(2_000 - 1_032);
    expect(asked).toBe(32);
    expect(new Set(failed.map(String))).toEqual(new Set(["Error: too many requests wait for Redis already"]));
  });

  it("L10 that keep good keys good do not wait behind look-ups", async () => {
    const requests = new StoreRequests({ store: "Redis", timeoutMs: hangMs });
    for (let n = 0; n < 2_000; n += 1) requests.send(() => never).catch(() => {});
    expect(await requests.sendAhead(async () => "version")).toBe("version");
  });

  it("L10 are given up in their time, those that wait for their turn too, and then leave their places", async () => {
    const requests = new StoreRequests({ store: "Redis", timeoutMs: 50 });
    const ends: (() => void)[] = [];
    const hung = Array.from({ length: 40 }, () =>
      requests.send(() => new Promise<string>((resolve) => ends.push(() => resolve("late")))),
    );
    for (const each of hung) await expect(each).rejects.toThrow("Redis did not answer within 50 ms");
    expect(ends).toHaveLength(32);
    for (const end of ends) end();
    const again = new StoreRequests({ store: "Redis", timeoutMs: waitMs });
    expect(await again.send(async () => "answered")).toBe("answered");
    await expect.poll(() => requests.send(async () => "answered").catch(String)).toBe("answered");
  });
});
