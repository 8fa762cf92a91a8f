import type { Client } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { invoke, kinds } from "../../harness/kinds.ts";
import { type Attacked, startAttacked } from "./attacked.ts";
import { misbehaviours } from "./misbehaviours.ts";

let attacked: Attacked;
let client: Client;

beforeAll(async () => {
  attacked = await startAttacked();
  client = attacked.client();
});

afterAll(async () => {
  client.close();
  expect(await attacked.stop()).toBe(0);
});

const table = Object.entries(misbehaviours).flatMap(([name, misbehaviour]) =>
  kinds.filter((kind) => misbehaviour.kinds.includes(kind)).map((kind) => ({ name, kind, ...misbehaviour })),
);

describe("C3 a handler that misbehaves neither ends the process nor leaves its caller waiting", () => {
  it.each(table)("$kind: $name", async ({ name, kind, expected, cancel }) => {
    const result = await invoke(client, kind, {
      metadata: { authorization: `Bearer ${attacked.token}`, "x-misbehaviour": name },
      messages: [{ text: "one" }, { text: "two" }],
      ...(cancel === true ? { onCall: (call) => call.on("metadata", () => call.cancel()) } : {}),
    });
    expect(attacked.state()).toBe("alive");
    // The caller's own deadline would mean that it was left waiting.
    expect(result.name).not.toBe("DEADLINE_EXCEEDED");
    if (expected !== "any") expect(result.name).toBe(expected);
    expect(result.details).not.toContain("secret");
    if (result.name === "INTERNAL") expect(result.details).toMatch(/^internal error \(id [0-9a-f-]{36}\)$/);

    // The process is the same one, and serves.
    const after = await invoke(client, kind, { metadata: { authorization: `Bearer ${attacked.token}` } });
    expect(after.name).toBe("OK");
  });
});
