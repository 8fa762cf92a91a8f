// What is written of each call: the audit record, the log line, the metrics; over real calls of every kind and ending.
import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { StatusError } from "../../src/grpc/errors.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import type { AuditEntry } from "../../src/middleware/audit/audit-entry.ts";
import type { AuditFailure } from "../../src/middleware/audit/audit-failures.ts";
import { jsonLinesSink } from "../../src/middleware/audit/json-lines-sink.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { type Meters, registerMeterProvider } from "../harness/meters.ts";
import { eventually, type Secured, type SecuredOptions, secured } from "../harness/secured.ts";
import { withTimeEnough } from "../harness/time.ts";
import { openWire } from "../harness/wire.ts";

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const traceparent = `00-${traceId}-00f067aa0ba902b7-01`;
/** Stands in payloads, metadata, claims and errors that nobody may find in a record. */
const secret = "correct-horse-battery";

interface Ending {
  readonly code: keyof typeof status;
  readonly options?: SecuredOptions;
  /** The first that is tried: the call has to get to its handler. */
  readonly deadlineMs?: number;
  readonly metadata: (wall: Secured) => Promise<Record<string, string>>;
  readonly path?: string;
  readonly level: number;
  readonly line?: Readonly<Record<string, unknown>>;
  readonly entry: Readonly<Partial<AuditEntry>>;
}

const everyHandler = (handler: unknown): SecuredOptions => ({
  handlers: {
    unary: handler,
    clientStream: handler,
    serverStream: handler,
    bidiStream: handler,
  } as unknown as UntypedServiceImplementation,
});

const known = async (wall: Secured): Promise<Record<string, string>> =>
  wall.authorized({ email: `${secret}@example.com` });

const endings: readonly Ending[] = [
  {
    code: "OK",
    metadata: known,
    level: 30,
    entry: { decision: "allow", rule: "/test.v1.Kinds/*", endedBy: "handler" },
  },
  {
    code: "UNAUTHENTICATED",
    metadata: async () => ({ authorization: `Bearer ${secret}` }),
    level: 40,
    line: { layer: "authentication", ended_by: "layer", principal: null },
    entry: {
      decision: "deny",
      rule: "authentication",
      reason: "invalid credentials",
      caller: null,
      endedBy: "layer",
    },
  },
  {
    code: "PERMISSION_DENIED",
    metadata: (wall) => wall.authorized({ roles: ["other"] }),
    level: 40,
    line: {
      layer: "authorization",
      ended_by: "layer",
      rule: "/test.v1.Kinds/*",
      reason: "needs role caller",
    },
    entry: { decision: "deny", rule: "/test.v1.Kinds/*", reason: "needs role caller", endedBy: "layer" },
  },
  {
    code: "UNIMPLEMENTED",
    metadata: known,
    path: "/test.v1.Kinds/Nothing",
    level: 30,
    line: { layer: "method", ended_by: "layer" },
    entry: { method: "/test.v1.Kinds/Nothing", decision: "deny", rule: "method", reason: "unknown method" },
  },
  {
    code: "NOT_FOUND",
    options: everyHandler(() => {
      throw new StatusError(status.NOT_FOUND, "no such thing");
    }),
    metadata: known,
    level: 30,
    entry: { decision: "allow", rule: "/test.v1.Kinds/*", endedBy: "handler" },
  },
  {
    code: "INTERNAL",
    options: everyHandler(() => {
      throw Object.assign(new Error(`login failed, password=${secret}`), {
        config: { headers: { cookie: secret } },
      });
    }),
    metadata: known,
    level: 50,
    line: { err: { type: "Error", message: "login failed, password=[redacted]" } },
    entry: { decision: "allow", rule: "/test.v1.Kinds/*", endedBy: "handler" },
  },
  {
    code: "DEADLINE_EXCEEDED",
    options: everyHandler(() => {}),
    deadlineMs: 400,
    metadata: known,
    level: 40,
    line: { ended_by: "deadline" },
    entry: { decision: "allow", endedBy: "deadline" },
  },
];

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "palisade-audit-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** A server that has had its call, and is closed. */
async function afterCall(kind: MethodKind, ending: Ending, more?: () => SecuredOptions): Promise<Secured> {
  const walls: Secured[] = [];
  await withTimeEnough(ending.deadlineMs ?? 10_000, async (ms) => {
    const deadline = ending.deadlineMs === undefined ? {} : { maxUnaryMs: ms, maxStreamMs: ms };
    const wall = await secured({ ...ending.options, deadline, ...more?.() });
    walls.push(wall);
    await call(wall, kind, ending);
    await wall.close();
    // Time was up before the checks were through.
    return ending.deadlineMs === undefined || wall.lines.some(({ principal }) => principal === "ada");
  });
  const last = walls.at(-1);
  if (last === undefined) throw new Error("no call was made");
  return last;
}

async function call(wall: Secured, kind: MethodKind, ending: Ending): Promise<void> {
  const result = await invoke(wall.client(), kind, {
    metadata: {
      ...(await ending.metadata(wall)),
      traceparent,
      "x-request-id": "req-7",
      "x-note": secret,
      cookie: secret,
    },
    messages: [{ text: secret }],
    ...(ending.path === undefined ? {} : { path: ending.path }),
  });
  expect(result.name).toBe(ending.code);
}

describe("a denial", () => {
  it("Z1 U3 names up to three roles that the policy does not know, cleaned, in log and audit, and not to the caller", async () => {
    await using wall = await secured();
    const roles = ["other", "calller", "a\u001b[2J\u202eb", "x".repeat(100), "fifth"];
    const result = await invoke(wall.client(), "unary", { metadata: await wall.authorized({ roles }) });
    expect(result).toMatchObject({ name: "PERMISSION_DENIED", details: "permission denied" });
    expect(JSON.stringify(result)).not.toContain("calller");
    const reason = `needs role caller; unknown roles: "calller", "a\\u001b[2J\ufffdb", "${"x".repeat(63)}…" and others`;
    expect(await wall.callLine(() => true)).toMatchObject({ reason });
    expect(await wall.auditEntry(() => true)).toMatchObject({ decision: "deny", reason });
  });
});

describe.each(kinds)("a %s call", (kind) => {
  it.each(endings)(
    "U1 U3 that ends with $code is one line in the audit file, with who, what and why",
    async (ending) => {
      const before = Date.now();
      let path = "";
      const wall = await afterCall(kind, ending, () => {
        path = join(directory, `${randomUUID()}.jsonl`);
        return { audit: { sinks: [jsonLinesSink({ path })] } };
      });
      const text = await readFile(path, "utf8");
      const entries = text
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as AuditEntry);
      expect(entries).toHaveLength(1);
      const [entry] = entries;
      expect(entry).toMatchObject({
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        caller: {
          subject: "ada",
          kind: "user",
          scheme: "jwt",
          issuer: wall.world.issuer.issuer,
          tenant: "acme",
        },
        method: paths[kind],
        peer: "127.0.0.1",
        status: ending.code,
        traceId,
        ...ending.entry,
      });
      expect(Date.parse(entry?.time ?? "")).toBeGreaterThanOrEqual(before);
      expect(Date.parse(entry?.time ?? "")).toBeLessThanOrEqual(Date.now());
      expect(entry?.durationMs).toBeGreaterThan(0);
      expect(entry).not.toHaveProperty("delivered");
      expect(text).not.toContain(secret);
      const [line] = wall.lines.filter((each) => each["grpc_code"] !== undefined);
      expect(line?.["call_id"]).toBe(entry?.id);
    },
  );

  it.each(endings)(
    "U4 that ends with $code is one log line at its end, and says nothing it must not",
    async (ending) => {
      const wall = await afterCall(kind, ending);
      const lines = wall.lines.filter((each) => each["grpc_code"] !== undefined);
      expect(lines).toHaveLength(1);
      expect(lines[0]).toMatchObject({
        level: ending.level,
        method: ending.path ?? paths[kind],
        duration_ms: expect.any(Number),
        grpc_code: ending.code,
        peer: "127.0.0.1",
        principal: "ada",
        request_id: "req-7",
        trace_id: traceId,
        ...ending.line,
      });
      expect(JSON.stringify(wall.lines)).not.toContain(secret);
    },
  );

  it("U4 C10 that its caller cancelled is CANCELLED by the caller, and not delivered", async () => {
    let arrived = false;
    await using wall = await secured(
      everyHandler(() => {
        arrived = true;
      }),
    );
    await invoke(wall.client(), kind, {
      metadata: await wall.authorized(),
      keepOpen: true,
      onCall: (started) => void eventually(() => arrived, "the handler").then(() => started.cancel()),
    });
    expect(await wall.callLine(() => true)).toMatchObject({
      level: 30,
      grpc_code: "CANCELLED",
      ended_by: "caller",
      delivered: false,
    });
    expect(await wall.auditEntry(() => true)).toMatchObject({
      status: "CANCELLED",
      endedBy: "caller",
      delivered: false,
      caller: { subject: "ada" },
    });
  });

  it("U4 with an unfit traceparent has no trace id", async () => {
    await using wall = await secured();
    const metadata = {
      ...(await wall.authorized()),
      traceparent: `00-${"0".repeat(32)}-00f067aa0ba902b7-01`,
    };
    await invoke(wall.client(), kind, { metadata });
    expect(await wall.callLine(() => true)).toMatchObject({ trace_id: null });
  });
});

describe.each(kinds)("U5 the metrics of %s calls", (kind) => {
  let meters: Meters;
  beforeEach(() => {
    meters = registerMeterProvider();
  });
  afterEach(() => meters.shutdown());

  const method = paths[kind].slice(1);

  it("U5 count starts by method, time ends by method and status, and count refusals by layer and status", async () => {
    await using wall = await secured();
    const client = wall.client();
    const good = await wall.authorized();
    const before = performance.now();
    const asked = [
      await invoke(client, kind, { metadata: good }),
      await invoke(client, kind, { metadata: good }),
      await invoke(client, kind),
      await invoke(client, kind, { metadata: await wall.authorized({ roles: ["other"] }) }),
      await invoke(client, kind, { metadata: good, path: `/made.up.Service/${secret}` }),
    ];
    expect(asked.map(({ name }) => name)).toEqual([
      "OK",
      "OK",
      "UNAUTHENTICATED",
      "PERMISSION_DENIED",
      "UNIMPLEMENTED",
    ]);
    await eventually(() => wall.lines.filter((line) => line["grpc_code"]).length === 5, "five lines");
    const seconds = (performance.now() - before) / 1000;

    const started = await meters.read("grpc.server.call.started");
    expect(started.unit).toBe("{call}");
    expect(byAttributes(started.points)).toEqual({
      [JSON.stringify({ "grpc.method": method })]: 4,
      [JSON.stringify({ "grpc.method": "other" })]: 1,
    });

    const duration = await meters.read("grpc.server.call.duration");
    expect(duration.unit).toBe("s");
    const counts = duration.points.map(({ attributes, value }) => ({
      attributes,
      value: (value as { readonly count: number }).count,
    }));
    expect(byAttributes(counts)).toEqual({
      [JSON.stringify({ "grpc.method": method, "grpc.status": "OK" })]: 2,
      [JSON.stringify({ "grpc.method": method, "grpc.status": "UNAUTHENTICATED" })]: 1,
      [JSON.stringify({ "grpc.method": method, "grpc.status": "PERMISSION_DENIED" })]: 1,
      [JSON.stringify({ "grpc.method": "other", "grpc.status": "UNIMPLEMENTED" })]: 1,
    });
    for (const { value } of duration.points) {
      const { sum } = value as { readonly sum: number };
      expect(sum).toBeGreaterThan(0);
      // Seconds, not milliseconds: one after the other, they took no longer than all this.
      expect(sum).toBeLessThan(seconds);
    }

    expect(byAttributes((await meters.read("palisade.rejections")).points)).toEqual({
      [JSON.stringify({ "grpc.status": "UNAUTHENTICATED", "palisade.layer": "authentication" })]: 1,
      [JSON.stringify({ "grpc.status": "PERMISSION_DENIED", "palisade.layer": "authorization" })]: 1,
      [JSON.stringify({ "grpc.status": "UNIMPLEMENTED", "palisade.layer": "method" })]: 1,
    });
  });

  it("U5 count what was refused below the chain", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall);
    for (let i = 0; i < 3; i++) {
      await wire.call({ path: paths[kind], headers: { "content-type": "application/json" } }).ended;
    }
    expect((await meters.read("palisade.connections.refused")).points).toEqual([
      { attributes: { reason: "content_type" }, value: 3 },
    ]);
    expect((await meters.read("grpc.server.call.started")).points).toEqual([]);
  });
});

/** In one order, whatever order the SDK gives. */
function byAttributes(
  points: readonly { readonly attributes: Readonly<Record<string, unknown>>; readonly value: unknown }[],
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    points.map(({ attributes, value }) => [
      JSON.stringify(Object.fromEntries(Object.entries(attributes).sort(([a], [b]) => a.localeCompare(b)))),
      value,
    ]),
  );
}

describe.each(kinds)("U2 audit and %s calls", (kind) => {
  it("U2 a sink that fails, throws or never answers changes nothing for the caller, and the others are served", async () => {
    const failures: AuditFailure[] = [];
    const written: AuditEntry[] = [];
    const wall = await secured({
      audit: {
        sinks: [
          { name: "rejects", write: () => Promise.reject(new Error("disk full")) },
          {
            name: "throws",
            write() {
              throw new Error("not even a promise");
            },
          },
          { name: "never", write: () => new Promise(() => {}), close: async () => {} },
          {
            name: "good",
            async write(entries) {
              written.push(...entries);
            },
          },
        ],
        onFailure(failure) {
          failures.push(failure);
          throw new Error("the listener fails too");
        },
      },
    });
    const client = wall.client();
    const metadata = await wall.authorized();
    for (let i = 0; i < 5; i++)
      expect(await invoke(client, kind, { metadata })).toMatchObject({ name: "OK" });
    await eventually(() => written.length === 5, "the good sink's entries");
    await eventually(
      () => ["rejects", "throws"].every((name) => failures.some(({ sink }) => sink === name)),
      "both failures",
    );
    expect(wall.lines.some(({ level, msg }) => level === 50 && /audit/.test(msg ?? ""))).toBe(true);
    for (const line of wall.lines.filter((each) => each["grpc_code"])) expect(line["grpc_code"]).toBe("OK");
    closing.push(wall.close());
  });
});

const closing: Promise<void>[] = [];
afterAll(() => Promise.all(closing));

describe("U2 a flood of strangers", () => {
  it("U2 is counted together, and pushes out nobody who is known", async () => {
    let release: (() => void) | undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let writes = 0;
    const written: AuditEntry[] = [];
    await using wall = await secured({
      rateLimit: { perPeer: false },
      audit: {
        queueLimit: 20,
        sinks: [
          {
            async write(entries) {
              writes += 1;
              if (writes === 1) await held;
              written.push(...entries);
            },
          },
        ],
      },
    });
    const client = wall.client();
    const metadata = await wall.authorized();
    await invoke(client, "unary", { metadata });
    await eventually(() => writes === 1, "a sink that stands still");
    for (let i = 0; i < 5; i++) {
      expect(await invoke(client, "unary", { metadata })).toMatchObject({ name: "OK" });
      await Promise.all(Array.from({ length: 60 }, () => invoke(client, "unary")));
    }
    release?.();
    const lines = await eventually(() => {
      const ended = wall.lines.filter((line) => line["grpc_code"]);
      return ended.reduce((sum, line) => sum + Number(line["left_out"] ?? 1), 0) === 306 && ended;
    }, "all lines, or what says how many were left out");
    expect(lines.length).toBeLessThan(60);
    expect(lines.filter((line) => line["principal"] === "ada")).toHaveLength(6);
    await eventually(
      () => written.reduce((sum, entry) => sum + (entry.count ?? 1), 0) === 306,
      "every call accounted for",
    );
    expect(written.filter(({ caller }) => caller?.subject === "ada")).toHaveLength(6);
    expect(written.length).toBeLessThan(60);
    expect(written.some(({ count }) => (count ?? 1) > 100)).toBe(true);
  });
});
