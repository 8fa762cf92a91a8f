import { Writable } from "node:stream";
import { status } from "@grpc/grpc-js";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { StatusError } from "../../src/grpc/errors.ts";
import { describeError } from "../../src/observability/error-description.ts";

describe("describeError", () => {
  it("U4 gives type, message, stack, code and cause", () => {
    const cause = Object.assign(new TypeError("connect refused"), { code: "ECONNREFUSED" });
    const description = describeError(new StatusError(status.UNAVAILABLE, "away", { cause }));
    expect(description).toMatchObject({
      type: "StatusError",
      message: "away",
      code: 14,
      cause: { type: "TypeError", message: "connect refused", code: "ECONNREFUSED" },
    });
    expect(description.stack).toContain("error-description.test.ts");
  });

  it("U4 leaves out what the error carries besides", () => {
    const error = Object.assign(new Error("Request failed with status code 401"), {
      config: { headers: { "x-tenant": "hunter2" } },
      response: { data: "hunter2" },
      details: "hunter2",
    });
    expect(JSON.stringify(describeError(error))).not.toContain("hunter2");
  });

  /** As node-postgres throws it. */
  const duplicate = {
    code: "23505",
    detail: "Key (email)=(ada@example.com) already exists.",
    schema: "public",
    table: "accounts",
    constraint: "accounts_email_key",
  };

  it("U4 names the constraint and the table of a database's error, and leaves out the detail, which holds data", () => {
    const error = Object.assign(new Error("duplicate key value"), duplicate);
    const description = describeError(new Error("could not save", { cause: error }));
    expect(description.cause).toMatchObject({
      code: "23505",
      table: "accounts",
      constraint: "accounts_email_key",
    });
    expect(JSON.stringify(description)).not.toContain("ada@example.com");
  });

  it.each<readonly [string, object]>([
    ["of an error that is no database's", { ...duplicate, code: "E_HTTP" }],
    ["that no schema gave", { ...duplicate, table: "ada@example.com", constraint: "Key (email)=(ada)" }],
    ["that are no text", { ...duplicate, table: { name: "accounts" }, constraint: 7 }],
    ["without end", { ...duplicate, table: "t".repeat(500), constraint: "c".repeat(500) }],
  ])("U4 leaves out a table and a constraint %s", (_what, carried) => {
    const description = describeError(Object.assign(new Error("x"), carried));
    expect(description).not.toHaveProperty("table");
    expect(description).not.toHaveProperty("constraint");
  });

  it("U4 removes secrets from message, stack, causes and names", () => {
    const cause = new Error("login: password=hunter2");
    const error = new Error("GET https://bob:hunter2@x.example", { cause });
    error.name = "token=hunter2";
    expect(error.stack).toContain("hunter2");
    expect(JSON.stringify(describeError(error))).not.toContain("hunter2");
  });

  it("U4 keeps secrets out of a pino line, whose serializer joins causes", () => {
    let line = "";
    const sink = new Writable({
      write(chunk: Uint8Array, _encoding, done) {
        line += Buffer.from(chunk).toString();
        done();
      },
    });
    const error = new RangeError("outer", { cause: new Error("password=hunter2") });
    pino(sink).error({ err: describeError(error) });
    const { err } = JSON.parse(line) as { err: unknown };
    expect(err).toMatchObject({ type: "RangeError", message: "outer: password=[redacted]" });
    expect(line).not.toContain("hunter2");
  });

  it("U4 can leave out the stacks", () => {
    const description = describeError(new Error("a", { cause: new Error("b") }), { stack: false });
    expect(JSON.stringify(description)).toBe(
      '{"type":"Error","message":"a","cause":{"type":"Error","message":"b"}}',
    );
  });

  it.each([
    ["a string", "broken", { type: "string", message: "broken" }],
    ["undefined", undefined, { type: "undefined", message: "undefined" }],
    ["null", null, { type: "null", message: "null" }],
    ["a symbol", Symbol("broken"), { type: "symbol", message: "Symbol(broken)" }],
    [
      "a status object",
      { code: 5, details: "no such order" },
      { type: "Object", message: "no such order", code: 5 },
    ],
    ["an object without a prototype", Object.create(null), { type: "object", message: "" }],
  ])("U4 describes %s that was thrown", (_name, thrown, expected) => {
    expect(describeError(thrown)).toMatchObject(expected);
  });

  it("U4 describes the errors inside an AggregateError, a few of them", () => {
    const errors = Array.from({ length: 50 }, (_, i) => new Error(`connect 192.0.2.${i}`));
    const { aggregateErrors } = describeError(new AggregateError(errors));
    expect(aggregateErrors?.map((each) => each.message)).toEqual([
      "connect 192.0.2.0",
      "connect 192.0.2.1",
      "connect 192.0.2.2",
    ]);
  });

  it("U4 survives circles, depth, throwing getters and revoked proxies", () => {
    const circle = new Error("circle");
    circle.cause = new Error("inner", { cause: circle });
    expect(describeError(circle).cause?.cause).toBeUndefined();

    let deep = new Error("0");
    for (let i = 1; i < 1_000; i++) deep = new Error(String(i), { cause: deep });
    let depth = 0;
    for (let each = describeError(deep).cause; each !== undefined; each = each.cause) depth += 1;
    expect(depth).toBe(5);

    const hostile = {
      get message(): string {
        throw new Error("no message for you");
      },
      get cause(): Error {
        throw new Error("no cause for you");
      },
    };
    expect(describeError(hostile)).toMatchObject({ type: "Object", message: "" });

    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expect(describeError(proxy)).toMatchObject({ type: "object", message: "" });
  });

  it("U4 is bounded in size, whatever was thrown", () => {
    let error = new AggregateError([new Error("e ".repeat(1_000_000))], "m ".repeat(1_000_000));
    for (let i = 0; i < 10; i++)
      error = new AggregateError([error, error], "m ".repeat(100_000), { cause: error });
    error.stack = "s ".repeat(1_000_000);
    expect(JSON.stringify(describeError(error)).length).toBeLessThan(300_000);
  });
});
