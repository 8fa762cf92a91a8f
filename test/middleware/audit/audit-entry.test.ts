import { status } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { recordDecision } from "../../../src/chain/context.ts";
import { anonymousPrincipal } from "../../../src/chain/principal.ts";
import { methodInfo } from "../../../src/grpc/method.ts";
import { texts } from "../../../src/grpc/status.ts";
import { auditEntry, isLeftOut, laneOf } from "../../../src/middleware/audit/audit-entry.ts";
import { alice, callFrom, outcomeOf } from "../ended-call.ts";

describe("auditEntry", () => {
  it("U1 records exactly who, what, decision and outcome", () => {
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const call = callFrom({
      principal: alice,
      actor: { ...alice, subject: "gateway", kind: "service", scheme: "mtls" },
      metadata: { traceparent: `00-${traceId}-b7ad6b7169203331-01`, authorization: "Bearer hunter2" },
    });
    recordDecision(call, { effect: "allow", rule: "orders-read" });
    expect(auditEntry(call, outcomeOf())).toEqual({
      time: new Date(call.startedAt).toISOString(),
      id: call.id,
      caller: { subject: "alice", kind: "user", scheme: "jwt", issuer: "https://id.example", tenant: "acme" },
      actor: {
        subject: "gateway",
        kind: "service",
        scheme: "mtls",
        issuer: "https://id.example",
        tenant: "acme",
      },
      method: "/orders.v1.Orders/GetOrder",
      peer: "192.0.2.7",
      status: "OK",
      durationMs: 12.346,
      decision: "allow",
      rule: "orders-read",
      endedBy: "handler",
      traceId,
    });
  });

  it("U1 Z9 records a denial with its rule and reason", () => {
    const call = callFrom({ principal: alice });
    recordDecision(call, { effect: "deny", rule: "orders-write", reason: "needs order:write" });
    const outcome = outcomeOf({ code: status.PERMISSION_DENIED, endedBy: "layer", layer: "authorization" });
    expect(auditEntry(call, outcome)).toMatchObject({
      status: "PERMISSION_DENIED",
      decision: "deny",
      rule: "orders-write",
      reason: "needs order:write",
      endedBy: "layer",
    });
  });

  it("U1 records a refusal by any other layer as a denial by that layer", () => {
    const stranger = callFrom();
    const unauthenticated = outcomeOf({
      code: status.UNAUTHENTICATED,
      endedBy: "layer",
      layer: "authentication",
      details: texts.expiredCredentials,
      delivered: false,
    });
    expect(auditEntry(stranger, unauthenticated)).toMatchObject({
      caller: null,
      decision: "deny",
      rule: "authentication",
      reason: "expired credentials",
      delivered: false,
    });

    const allowed = callFrom({ principal: alice });
    recordDecision(allowed, { effect: "allow", rule: "orders-read" });
    const invalid = outcomeOf({ code: status.INVALID_ARGUMENT, endedBy: "layer", layer: "validation" });
    expect(auditEntry(allowed, invalid)).toMatchObject({ decision: "deny", rule: "validation" });
  });

  it("Z6 leaves out what a policy decided and asks not to record, and nothing else", () => {
    const layer = { endedBy: "layer", code: status.PERMISSION_DENIED } as const;
    const decided = (effect: "allow" | "deny", audit?: boolean) => {
      const call = callFrom({ principal: alice });
      recordDecision(call, { effect, rule: "p_r", ...(audit === undefined ? {} : { audit }) });
      return call;
    };
    expect(isLeftOut(decided("allow", false), outcomeOf())).toBe(true);
    expect(isLeftOut(decided("deny", false), outcomeOf({ ...layer, layer: "authorization" }))).toBe(true);
    for (const audit of [true, undefined]) {
      expect(isLeftOut(decided("allow", audit), outcomeOf())).toBe(false);
      expect(isLeftOut(decided("deny", audit), outcomeOf({ ...layer, layer: "authorization" }))).toBe(false);
    }
    // Refused by somebody else, whatever the policy said.
    for (const effect of ["allow", "deny"] as const)
      expect(isLeftOut(decided(effect, false), outcomeOf({ ...layer, layer: "validation" }))).toBe(false);
    expect(isLeftOut(decided("allow", false), outcomeOf({ ...layer, layer: "authorization" }))).toBe(false);
    expect(isLeftOut(callFrom(), outcomeOf())).toBe(false);
  });

  it("U1 records calls that nobody decided about as that", () => {
    const health = callFrom({ method: methodInfo("/grpc.health.v1.Health/Check", "unary", true) });
    expect(auditEntry(health, outcomeOf())).toMatchObject({ decision: "none", rule: null, caller: null });
  });

  it("U1 never records what a status text, a claim or a cause says", () => {
    const call = callFrom({
      principal: { ...alice, claims: { ssn: "hunter2" } },
      metadata: { "x-note": "hunter2" },
    });
    const outcome = outcomeOf({
      code: status.INVALID_ARGUMENT,
      endedBy: "layer",
      layer: "own",
      details: "no order hunter2",
      cause: new Error("hunter2"),
    });
    expect(JSON.stringify(auditEntry(call, outcome))).not.toContain("hunter2");
  });

  it("U1 bounds what callers can choose, and takes secrets out of it", () => {
    const long = "x".repeat(10_000);
    const call = callFrom({
      method: methodInfo(`/x/token=hunter2/${long}`, "unary", false),
      principal: { ...alice, subject: long, issuer: long, tenant: long, scheme: long },
    });
    recordDecision(call, { effect: "deny", rule: long, reason: `password=hunter2 ${long}` });
    const json = JSON.stringify(auditEntry(call, outcomeOf()));
    expect(json.length).toBeLessThan(3_000);
    expect(json).not.toContain("hunter2");
  });

  it("U2 takes only a verified caller who is not anonymous for identified", () => {
    const outcome = outcomeOf();
    expect(laneOf(auditEntry(callFrom({ principal: alice }), outcome))).toBe("identified");
    expect(laneOf(auditEntry(callFrom({ principal: anonymousPrincipal }), outcome))).toBe("anonymous");
    expect(laneOf(auditEntry(callFrom(), outcome))).toBe("anonymous");
  });
});
