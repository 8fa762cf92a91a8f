import { expect, it } from "vitest";
import { randomUuid } from "../../src/chain/random-uuid.ts";

it("makes UUIDs of version 4, each once (RFC 9562 section 5.4)", () => {
  const made = Array.from({ length: 10_000 }, randomUuid);
  expect(new Set(made).size).toBe(made.length);
  for (const id of made)
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

it("leaves no digit but the version to anything but chance", () => {
  const made = Array.from({ length: 2_000 }, randomUuid);
  for (const place of Array.from({ length: 36 }, (_, at) => at)) {
    const seen = new Set(made.map((id) => id[place]));
    const possible = [8, 13, 18, 23, 14].includes(place) ? 1 : place === 19 ? 4 : 16;
    expect([place, seen.size]).toEqual([place, possible]);
  }
});
