import { Metadata } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { AuditEntry } from "../../../../src/middleware/audit/audit-entry.ts";
import { mtls } from "../../../../src/middleware/authentication/mtls.ts";
import { optional } from "../../../../src/middleware/authentication/optional.ts";
import { grpcPolicy } from "../../../../src/middleware/authorization/grpc-policy/grpc-policy.ts";
import { invoke, kinds, paths } from "../../../harness/kinds.ts";
import { eventually, type Secured, secured } from "../../../harness/secured.ts";

const policy = {
  name: "kinds",
  deny_rules: [{ name: "no-interns", request: { headers: [{ key: "x-team", values: ["a,b"] }] } }],
  allow_rules: [{ name: "client", source: { principals: ["spiffe://test.example/*"] } }],
};

/** `x-team` twice: two fields, which Node joins with a comma and a blank. */
const twoFields = new Metadata();
twoFields.add("x-team", "a");
twoFields.add("x-team", "b");

describe("Z6 a server with a gRPC authorization policy", () => {
  let wall: Secured;

  beforeAll(async () => {
    wall = await secured({ authentication: mtls(), authorization: grpcPolicy({ policy }) });
  });
  afterAll(() => wall?.close());

  it.each(kinds)(
    "%s calls: lets in whom an allow rule names, and tells nobody else why not",
    async (kind) => {
      expect(await invoke(wall.client(), kind)).toMatchObject({ name: "OK" });
      const stranger = await wall.world.ca.issue({ uris: ["spiffe://other.example/x"], usage: "client" });
      expect(await invoke(wall.clientWith(stranger), kind)).toMatchObject({
        name: "PERMISSION_DENIED",
        details: "permission denied",
      });
      const entry = await wall.auditEntry(
        ({ caller, method }) => caller?.subject === "spiffe://other.example/x" && method === paths[kind],
      );
      expect(entry).toMatchObject({
        decision: "deny",
        rule: "kinds",
        reason: "no allow rule matches the call",
      });
    },
  );

  it.each(kinds)("%s calls: a deny rule sees several fields as one value, without blanks", async (kind) => {
    expect(await invoke(wall.client(), kind, { metadata: twoFields })).toMatchObject({
      name: "PERMISSION_DENIED",
    });
    expect(await invoke(wall.client(), kind, { metadata: { "x-team": "a, b" } })).toMatchObject({
      name: "OK",
    });
    const denied = await wall.auditEntry(
      ({ rule, method }) => rule === "kinds_no-interns" && method === paths[kind],
    );
    expect(denied.reason).toBe("a deny rule matches the call");
  });

  it("shows it in the access matrix", () => {
    const row = wall.server.accessMatrix().methods.find(({ method }) => method === paths.unary);
    expect(row).toMatchObject({
      access: "restricted",
      rule: "kinds",
      conditions: [
        'denied by kinds_no-interns where header x-team: "a,b"',
        'allowed by kinds_client where a name of the caller\'s certificate: starts with "spiffe://test.example/"',
      ],
    });
  });
});

describe("Z6 a header that nobody verified", () => {
  it("is not there for a policy", async () => {
    await using wall = await secured({
      authentication: mtls(),
      authorization: grpcPolicy({
        policy: {
          name: "p",
          allow_rules: [{ name: "r", request: { headers: [{ key: "x-user-id", values: ["*"] }] } }],
        },
      }),
    });
    expect(await invoke(wall.client(), "unary", { metadata: { "x-user-id": "ada" } })).toMatchObject({
      name: "PERMISSION_DENIED",
    });
  });
});

describe("Z6 the audit conditions of a gRPC authorization policy", () => {
  it.each([
    ["NONE", []],
    ["ON_DENY", ["deny"]],
    ["ON_ALLOW", ["allow"]],
    ["ON_DENY_AND_ALLOW", ["allow", "deny"]],
  ])("%s: records %j", async (condition, expected) => {
    await using wall = await secured({
      authentication: optional(mtls()),
      authorization: grpcPolicy({
        policy: {
          name: "p",
          deny_rules: [{ name: "never", request: { paths: [paths.bidi_stream] } }],
          allow_rules: [{ name: "everybody" }],
          audit_logging_options: { audit_condition: condition, audit_loggers: [{ name: "stdout_logger" }] },
        },
      }),
    });
    const client = wall.client();
    expect(await invoke(client, "unary")).toMatchObject({ name: "OK" });
    expect(await invoke(client, "bidi_stream")).toMatchObject({ name: "PERMISSION_DENIED" });
    await eventually(
      () => wall.lines.filter((line) => line["grpc_code"] !== undefined).length === 2,
      "the log lines of both calls",
    );
    // Writes what waits, so that what is not there will not come.
    await wall.server.shutdown({ graceMs: 0 });
    expect(wall.audit.map(({ decision }: AuditEntry) => decision).sort()).toEqual(expected);
  });
});
