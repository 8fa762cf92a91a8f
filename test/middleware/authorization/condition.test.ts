// A rule's `when` that is a condition: read for each method at start, shown in the access matrix and in denials (Z4).
import { describe, expect, it } from "vitest";
import { PolicyError } from "../../../src/grpc/errors.ts";
import { methodInfo } from "../../../src/grpc/method.ts";
import { accessMatrix } from "../../../src/middleware/authorization/access-matrix.ts";
import type { Condition, When } from "../../../src/middleware/authorization/condition.ts";
import { type RbacPolicy, rbac } from "../../../src/middleware/authorization/rbac.ts";
import { callFrom } from "../ended-call.ts";

const get = methodInfo("/orders.v1.Orders/GetOrder", "unary", true);
const cancel = methodInfo("/orders.v1.Orders/CancelOrder", "unary", true);

function condition(compile: (path: string) => When): Condition {
  return { text: "request.owner == principal.subject", compile: ({ path }) => compile(path) };
}

function compiled(when: Condition, rulePath: string): RbacPolicy {
  return rbac({ rules: { [rulePath]: { when } } }).compile([get, cancel]);
}

const alice = callFrom();

describe("Z4 a condition in place of a function", () => {
  it("Z4 is compiled once for each method that its rule decides, and asked of each message", () => {
    const policy = compiled(
      condition((path) => (_call, request) => request === path),
      "/orders.v1.Orders/*",
    );
    const ask = (path: string, request: unknown): unknown =>
      policy.methods.get(path)?.decideMessage?.(alice, request);
    expect(ask(get.path, get.path)).toMatchObject({ effect: "allow" });
    expect(ask(get.path, cancel.path)).toEqual({
      effect: "deny",
      rule: "/orders.v1.Orders/*",
      reason: "the condition on the request (when: request.owner == principal.subject) does not hold",
    });
    expect(ask(cancel.path, cancel.path)).toMatchObject({ effect: "allow" });
  });

  it("Z4 is told in the access matrix", () => {
    const policy = compiled(
      condition(() => () => true),
      "/orders.v1.Orders/*",
    );
    expect(accessMatrix([get], policy).methods[0]?.conditions).toEqual([
      "request.owner == principal.subject",
    ]);
  });

  it.each([undefined, null, true, {}])(
    "Z4 one that makes %j of itself is a problem, and never a rule without a condition",
    (made) => {
      const own: Condition = { text: "x", compile: () => made as unknown as When };
      expect(() => compiled(own, get.path)).toThrow(
        /GetOrder: when: compile of the condition returned no function/,
      );
    },
  );

  it("Z4 its problems are problems of the policy, each with the rule's path and, under a wildcard, the method", () => {
    const unfit = condition((path) => {
      throw new PolicyError([`no field owner in ${path}`, "not a bool"]);
    });
    const problemsUnder = (rulePath: string): unknown => {
      try {
        return compiled(unfit, rulePath);
      } catch (error) {
        return error instanceof PolicyError ? error.problems : error;
      }
    };
    expect(problemsUnder("/orders.v1.Orders/*")).toEqual([
      "/orders.v1.Orders/*: when: /orders.v1.Orders/GetOrder: no field owner in /orders.v1.Orders/GetOrder",
      "/orders.v1.Orders/*: when: /orders.v1.Orders/GetOrder: not a bool",
      "/orders.v1.Orders/*: when: /orders.v1.Orders/CancelOrder: no field owner in /orders.v1.Orders/CancelOrder",
      "/orders.v1.Orders/*: when: /orders.v1.Orders/CancelOrder: not a bool",
    ]);
    expect(problemsUnder(get.path)).toEqual([
      `${cancel.path}: no rule; add one, or a wildcard that covers it`,
      `${get.path}: when: no field owner in ${get.path}`,
      `${get.path}: when: not a bool`,
    ]);
  });

  it("Z4 an error that is no problem of the policy stops the start as it is", () => {
    const broken = condition(() => {
      throw new TypeError("broken");
    });
    expect(() => compiled(broken, "/*")).toThrow(TypeError);
  });

  it.each([[{ text: "true" }], [{ compile: () => () => true }], [null], ["request.owner == 'a'"]])(
    "Z4 what is neither function nor condition is refused: %j",
    (when) => {
      expect(() => rbac({ rules: { "/*": { when: when as never } } })).toThrow(
        "rbac.rules./*.when: expected a function of the call and the request that returns true or false, or a condition such as cel(…)",
      );
    },
  );
});
