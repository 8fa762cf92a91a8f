// Every call has an end, whatever the caller's grpc-timeout says (L6).
import type { OutgoingHttpHeaders } from "node:http2";
import { performance } from "node:perf_hooks";
import { describe, expect, it } from "vitest";
import { securityContext } from "../../src/chain/current-context.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { RawConnection } from "../harness/raw-http2.ts";
import { type SecuredOptions, secured } from "../harness/secured.ts";

type Handlers = NonNullable<SecuredOptions["handlers"]>;

interface HandlerCall {
  getDeadline(): Date | number;
  write(value: unknown): void;
  end(): void;
}

/** Answers with the milliseconds that are left, by grpc-js's word and by ours. */
const left = (call: HandlerCall): { readonly text: string } => {
  const here = Date.now();
  return { text: `${Number(call.getDeadline()) - here} ${securityContext(call).deadline - here}` };
};
const tellingLeft = {
  unary: (call: HandlerCall, callback: (error: null, value: unknown) => void) => callback(null, left(call)),
  clientStream: (call: HandlerCall, callback: (error: null, value: unknown) => void) =>
    callback(null, left(call)),
  serverStream: (call: HandlerCall) => {
    call.write(left(call));
    call.end();
  },
  bidiStream: (call: HandlerCall) => {
    call.write(left(call));
    call.end();
  },
} as unknown as Handlers;

const neverAnswering = {
  unary: (_call: unknown, _callback: unknown) => {},
  clientStream: (_call: unknown, _callback: unknown) => {},
  serverStream: (_call: unknown) => {},
  bidiStream: (_call: unknown) => {},
} as unknown as Handlers;

function leftIn(body: Buffer): readonly number[] {
  return (JSON.parse(body.subarray(5).toString()) as { text: string }).text.split(" ").map(Number);
}

/** Of the clock that deadlines are counted by and the one that time is measured with. */
const clocksApartMs = 50;

const malformed: readonly (readonly [string, string | string[]])[] = [
  ["no unit", "1"],
  ["a negative value", "-1S"],
  ["nine digits", "100000000S"],
  ["a unit that there is none", "1X"],
  ["a unit in the wrong case", "1s"],
  ["nothing", ""],
  ["no value", "S"],
  ["a space", "1 S"],
  ["something behind it", "1S; x"],
  ["a fraction", "1.5S"],
  ["an exponent", "1e3S"],
  ["a sign", "+1S"],
  ["hexadecimal digits", "0x1S"],
  ["Infinity", "InfinityS"],
  ["two fields", ["1S", "2S"]],
];

describe.each(kinds)("the grpc-timeout of a %s call", (kind) => {
  it.each(malformed)("L6 is refused with %s, and not sent back", async (_name, timeout) => {
    await using wall = await secured();
    await using raw = await RawConnection.open(wall);
    const answer = await raw.call(paths[kind], {
      headers: { ...(await wall.authorized()), "grpc-timeout": timeout },
    }).answer;
    expect(answer).toMatchObject({ name: "INVALID_ARGUMENT", details: "malformed grpc-timeout" });
    expect(wall.started).toEqual([]);
    expect(await wall.auditEntry(() => true)).toMatchObject({
      rule: "deadline",
      reason: "malformed grpc-timeout",
    });
  });

  /** The handler has `limit` left, but for what passed before it started. */
  async function expectLeft(raw: RawConnection, limit: number, headers: OutgoingHttpHeaders): Promise<void> {
    const before = performance.now();
    const answer = await raw.call(paths[kind], { headers }).answer;
    const passed = performance.now() - before;
    expect(answer.name).toBe("OK");
    for (const ms of leftIn(answer.body)) {
      expect(ms).toBeLessThanOrEqual(limit);
      expect(ms).toBeGreaterThan(limit - passed - clocksApartMs);
    }
  }

  const capped: readonly (readonly [string, string | undefined])[] = [
    ["none", undefined],
    ["what overflows 32 bits of milliseconds", "2592000S"],
    ["the longest hours", "99999999H"],
    ["the longest seconds", "99999999S"],
    ["more than the server allows", "2H"],
  ];
  it.each(capped)("L6 ends where the server's limit is: %s", async (_name, timeout) => {
    await using wall = await secured({ handlers: tellingLeft });
    await using raw = await RawConnection.open(wall);
    // A token that outlasts every limit: a call does not outlive its credential (A12).
    const credential = await wall.authorized({ exp: Math.floor(Date.now() / 1000) + 7200 });
    await expectLeft(raw, kind === "unary" ? 60_000 : 3_600_000, {
      ...credential,
      ...(timeout === undefined ? {} : { "grpc-timeout": timeout }),
    });
  });

  const units: readonly (readonly [string, number])[] = [
    ["30S", 30_000],
    ["00000030S", 30_000],
    ["30000m", 30_000],
    ["30000000u", 30_000],
  ];
  it.each(units)("L6 is the caller's where that is nearer: %s", async (timeout, expected) => {
    await using wall = await secured({ handlers: tellingLeft });
    await using raw = await RawConnection.open(wall);
    await expectLeft(raw, expected, { ...(await wall.authorized()), "grpc-timeout": timeout });
  });

  it.each(["0S", "0m", "0n", "1n"])("L6 starts no handler where no time is left: %s", async (timeout) => {
    // No check waits for anything: where one does, the call's timer ends it.
    await using wall = await secured({
      authentication: anonymous(),
      authorization: rbac({ rules: Object.fromEntries(kinds.map((each) => [paths[each], "public"])) }),
    });
    await using raw = await RawConnection.open(wall);
    expect(await raw.call(paths[kind], { headers: { "grpc-timeout": timeout } }).answer).toMatchObject({
      name: "DEADLINE_EXCEEDED",
      details: "deadline exceeded",
    });
    expect(wall.started).toEqual([]);
  });

  it("L6 is read to its last digit: 99999999n", async () => {
    await using wall = await secured({ handlers: neverAnswering });
    await using raw = await RawConnection.open(wall);
    const headers = { ...(await wall.authorized()), "grpc-timeout": "99999999n" };
    expect(await raw.call(paths[kind], { headers }).answer).toMatchObject({
      name: "DEADLINE_EXCEEDED",
      details: "deadline exceeded",
    });
  });

  it.each([
    ["the caller's deadline", { headers: { "grpc-timeout": "200m" }, deadline: {} }],
    [
      "the server's limit, before the caller's",
      { headers: { "grpc-timeout": "1H" }, deadline: { maxUnaryMs: 200, maxStreamMs: 200 } },
    ],
    [
      "the server's limit, where the caller has none",
      { headers: {}, deadline: { maxUnaryMs: 200, maxStreamMs: 200 } },
    ],
  ])("L6 ends a call that nobody answers: %s", async (_name, { headers, deadline }) => {
    await using wall = await secured({ handlers: neverAnswering, deadline });
    await using raw = await RawConnection.open(wall);
    // The first call of a server fetches the keys.
    await invoke(wall.client(), kind, { path: "/none", metadata: await wall.authorized() });
    const credential = await wall.authorized();
    const before = performance.now();
    const answer = await raw.call(paths[kind], { headers: { ...credential, ...headers }, keepOpen: true })
      .answer;
    const took = performance.now() - before;
    expect(answer).toMatchObject({ name: "DEADLINE_EXCEEDED", details: "deadline exceeded" });
    // Nor far later: another limit than this one would take an hour.
    expect(took).toBeGreaterThan(190);
    expect(await wall.auditEntry(({ status }) => status === "DEADLINE_EXCEEDED")).toMatchObject({
      endedBy: "deadline",
    });
  });

  it("L6 is required where that is asked for, and a health probe needs none", async () => {
    await using wall = await secured({ deadline: { required: true } });
    await using raw = await RawConnection.open(wall);
    const headers = await wall.authorized();
    expect(await raw.call(paths[kind], { headers }).answer).toMatchObject({
      name: "INVALID_ARGUMENT",
      details: "deadline required",
    });
    expect(
      await raw.call(paths[kind], { headers: { ...headers, "grpc-timeout": "10S" } }).answer,
    ).toMatchObject({
      name: "OK",
    });
    const probe = await raw.call("/grpc.health.v1.Health/Check", { body: Buffer.alloc(5) }).answer;
    expect(probe.name).toBe("OK");
  });
});
