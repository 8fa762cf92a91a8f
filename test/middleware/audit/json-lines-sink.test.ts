import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../../src/grpc/errors.ts";
import type { AuditEntry } from "../../../src/middleware/audit/audit-entry.ts";
import { jsonLinesSink } from "../../../src/middleware/audit/json-lines-sink.ts";

let directory: string;
let files = 0;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "audit-"));
});
afterAll(() => {
  rmSync(directory, { recursive: true });
});

function newPath(): string {
  files += 1;
  return join(directory, `audit-${files}.jsonl`);
}

function entry(id: string): AuditEntry {
  return {
    time: "2030-01-01T00:00:00.000Z",
    id,
    caller: null,
    method: "/orders.v1.Orders/GetOrder",
    peer: "192.0.2.7",
    status: "OK",
    durationMs: 1,
    decision: "none",
    rule: null,
    endedBy: "handler",
  };
}

function idsIn(path: string): unknown[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as AuditEntry).id);
}

const hostile = 'a"\\\u0001\n\u0085\u2028\u202e\u{1f600}é';
const whole: AuditEntry = {
  ...entry("1"),
  caller: { subject: "ada", kind: "user", scheme: "jwt", issuer: "https://id.example", tenant: "acme" },
};
const written: readonly (readonly [string, AuditEntry])[] = [
  ["nobody", entry("1")],
  ["somebody", whole],
  [
    "a caller that is kept",
    { ...whole, caller: Object.freeze({ subject: "ada", kind: "user", scheme: "jwt" }) },
  ],
  ["a trace", { ...whole, traceId: "ab".repeat(16) }],
  ["no rule", { ...whole, rule: null, decision: "none" }],
  [
    "more than most",
    {
      ...whole,
      delivered: false,
      reason: "why",
      dryRun: true,
      actor: { subject: "s", kind: "service", scheme: "mtls" },
    },
  ],
  ["many calls", { ...whole, count: 7, firstTime: "a", lastTime: "b" }],
  ["a field of somebody's own", { ...whole, more: { deep: [1] } } as AuditEntry],
  ["no duration", { ...whole, durationMs: Number.NaN }],
  [
    "hostile text everywhere",
    {
      ...whole,
      method: hostile,
      peer: hostile,
      rule: hostile,
      traceId: hostile,
      id: hostile,
      status: hostile,
      caller: { subject: hostile, kind: "user", scheme: hostile },
    },
  ],
];

it.each(written)("U1 an entry of %s is the JSON of that entry", async (_what, given) => {
  const path = newPath();
  const sink = jsonLinesSink({ path });
  await sink.write([given, given]);
  await sink.close?.();
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  expect(lines).toHaveLength(2);
  expect(lines[1]).toBe(lines[0]);
  expect(JSON.parse(lines[0] ?? "")).toEqual(JSON.parse(JSON.stringify(given)));
  expect(Object.keys(JSON.parse(lines[0] ?? "") as object)).toEqual(Object.keys(given));
  expect(lines[0]).not.toMatch(/[\p{Cc}\u2028\u2029\u202e]/u);
});

describe("jsonLinesSink", () => {
  it("U3 appends one JSON object a line, readable for the owner alone", async () => {
    const path = newPath();
    const sink = jsonLinesSink({ path });
    await sink.write([entry("1"), entry("2")]);
    await sink.write([entry("3")]);
    await sink.close?.();
    const text = readFileSync(path, "utf8");
    expect(text.endsWith("\n")).toBe(true);
    expect(
      text
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual(["1", "2", "3"].map(entry));
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("U3 appends to what is there", async () => {
    const path = newPath();
    writeFileSync(path, `${JSON.stringify(entry("old"))}\n`);
    const sink = jsonLinesSink({ path });
    await sink.write([entry("new")]);
    await sink.close?.();
    expect(idsIn(path)).toEqual(["old", "new"]);
    expect(readFileSync(path, "utf8")).not.toContain("\n\n");
  });

  it.each([
    ["a newline", "a\n{}\nb"],
    ["a carriage return", "a\r{}\rb"],
    ["a line separator", "a\u2028{}\u2028b"],
    ["a paragraph separator", "a\u2029{}b"],
    ["a next line control", "a\u0085{}b"],
    ["a form feed and a vertical tab", "a\f{}\vb"],
    ["a terminal escape", "a\u001b[2Kb\u009b2K"],
    ["a bidi override", "a\u202e{}b"],
    ["a lone surrogate", "a\ud800b"],
    ["quotes", 'a","decision":"allow'],
  ])("U3 lets no caller forge a line with %s", async (_name, method) => {
    const path = newPath();
    const sink = jsonLinesSink({ path });
    const forged: AuditEntry = {
      ...entry("1"),
      method,
      caller: { subject: method, kind: "user", scheme: "jwt", tenant: method },
    };
    await sink.write([forged, entry("2")]);
    await sink.close?.();
    const bytes = readFileSync(path, "utf8");
    expect(bytes.trimEnd().split(/[\n\r\f\v\u0085\u2028\u2029]/)).toHaveLength(2);
    expect(bytes.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\u2028\u2029\u202e]/u);
    expect(JSON.parse(bytes.split("\n")[0] ?? "")).toEqual(forged);
  });

  it("U3 ends a line that a crash left unfinished, so that it spoils no other", async () => {
    const path = newPath();
    writeFileSync(path, `${JSON.stringify(entry("whole"))}\n{"id":"torn","cal`);
    const sink = jsonLinesSink({ path });
    await sink.write([entry("after")]);
    await sink.close?.();
    const lines = readFileSync(path, "utf8").trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[1]).toBe('{"id":"torn","cal');
    expect(JSON.parse(lines[2] ?? "")).toEqual(entry("after"));
  });

  it("U3 goes on in a new file when logrotate renames the old one", async () => {
    const path = newPath();
    const sink = jsonLinesSink({ path });
    await sink.write([entry("1")]);
    renameSync(path, `${path}.1`);
    await sink.write([entry("2")]);
    await sink.write([entry("3")]);
    renameSync(path, `${path}.2`);
    writeFileSync(path, "", { mode: 0o600 });
    await sink.write([entry("4")]);
    await sink.close?.();
    expect([`${path}.1`, `${path}.2`, path].map(idsIn)).toEqual([["1"], ["2", "3"], ["4"]]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("U3 goes on at the start of a file that was truncated in place", async () => {
    const path = newPath();
    const sink = jsonLinesSink({ path });
    await sink.write([entry("1")]);
    truncateSync(path);
    await sink.write([entry("2")]);
    await sink.close?.();
    expect(readFileSync(path, "utf8")).toBe(`${JSON.stringify(entry("2"))}\n`);
  });

  it("U3 rejects where the file can no longer be opened, and recovers when it can", async () => {
    const home = join(directory, "moved");
    mkdirSync(home);
    const path = join(home, "audit.jsonl");
    const sink = jsonLinesSink({ path });
    await sink.write([entry("1")]);
    renameSync(home, `${home}.away`);
    await expect(sink.write([entry("2")])).rejects.toThrow("ENOENT");
    mkdirSync(home);
    await sink.write([entry("2")]);
    await sink.close?.();
    expect(idsIn(path)).toEqual(["2"]);
  });

  it("U3 keeps batches whole where two layers share the sink", async () => {
    const path = newPath();
    const sink = jsonLinesSink({ path });
    await Promise.all(Array.from({ length: 50 }, (_, i) => sink.write([entry(`${i} a`), entry(`${i} b`)])));
    await sink.close?.();
    expect(idsIn(path)).toEqual(Array.from({ length: 50 }, (_, i) => [`${i} a`, `${i} b`]).flat());
  });

  it("U3 refuses a path that it cannot open, when it is made", () => {
    const missing = join(directory, "missing", "audit.jsonl");
    expect(() => jsonLinesSink({ path: missing })).toThrow(ConfigError);
    expect(() => jsonLinesSink({ path: missing })).toThrow(/jsonLinesSink\.path: cannot open .*ENOENT/);
    expect(() => jsonLinesSink({ path: directory })).toThrow(/EISDIR/);
    expect(() => jsonLinesSink({ path: "" })).toThrow("jsonLinesSink.path: must name a file");
    expect(() => Reflect.apply(jsonLinesSink, undefined, [{ path: newPath(), mode: 0o644 }])).toThrow(
      "jsonLinesSink.mode: unknown option",
    );
  });
});
