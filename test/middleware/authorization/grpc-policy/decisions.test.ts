import { describe, expect, it } from "vitest";
import type { Call } from "../../../../src/chain/context.ts";
import { methodInfo } from "../../../../src/grpc/method.ts";
import type { Decision, Policy } from "../../../../src/middleware/authorization/authorizer.ts";
import type { CallHeaders } from "../../../../src/middleware/authorization/grpc-policy/call-headers.ts";
import { grpcPolicy } from "../../../../src/middleware/authorization/grpc-policy/grpc-policy.ts";
import type { PolicyRule } from "../../../../src/middleware/authorization/grpc-policy/policy-text.ts";
import { CompiledRule, RuleIndex } from "../../../../src/middleware/authorization/grpc-policy/rule-index.ts";
import type { TextMatch } from "../../../../src/middleware/authorization/grpc-policy/text-match.ts";
import {
  callOf,
  inForce,
  naivelyAllows,
  Random,
  randomCall,
  randomMethods,
  randomPaths,
  randomPolicy,
  type SeenCall,
  type WrittenPolicy,
  type WrittenRule,
} from "./naive.ts";

function compiled(policy: WrittenPolicy): Policy {
  return grpcPolicy({ policy: JSON.stringify(policy) }).compile(randomMethods);
}

function decide(policy: Policy, call: Call): Decision | Promise<Decision> | undefined {
  return policy.forMethod(call.method.path)?.decide(call);
}

function allows(policy: Policy, call: Call): boolean {
  const decision = decide(policy, call);
  return decision !== undefined && "effect" in decision && decision.effect === "allow";
}

describe("Z6 the policy of a method", () => {
  const open = compiled({ name: "p", allow_rules: [{ name: "all" }] });
  const [method] = randomMethods;
  const seen: SeenCall = randomCall(new Random(1));

  it("is a plain object: whoever wraps it keeps its answer", () => {
    const own = open.forMethod(method?.path ?? "");
    if (own === undefined) throw new Error("no policy");
    expect({ ...own, decideMessage: () => ({ effect: "none" }) }.decide(callOf(seen))).toMatchObject({
      effect: "allow",
      rule: "p_all",
    });
    expect({ ...own }.describe?.()).toMatchObject({ rule: "p" });
  });

  it("L11 asks a rule once, however many names of a caller bring it up", () => {
    let asked = 0;
    const headers = {
      get: () => {
        asked += 1;
        return undefined;
      },
    } as unknown as CallHeaders;
    const starts = (text: string): TextMatch => ({ kind: "prefix", text });
    const rule = {
      name: "r",
      where: "r",
      principals: [starts("n")],
      paths: [],
      headers: [{ key: "x-a", written: [], matches: [starts("a"), starts("b")] }],
    } as unknown as PolicyRule;
    const index = new RuleIndex([new CompiledRule(rule)]);
    expect(
      index.first(
        Array.from({ length: 1_000 }, (_, n) => `n${n}`),
        headers,
      ),
    ).toBe(Number.POSITIVE_INFINITY);
    expect(asked).toBe(1);
  });
});

const seeds = Array.from({ length: 300 }, (_, seed) => seed + 1);

describe("Z6 a gRPC authorization policy decides", () => {
  it("as its rules say when they are read one by one, for 300 random policies and 12,000 calls", () => {
    let allowed = 0;
    for (const seed of seeds) {
      const random = new Random(seed);
      const written = randomPolicy(random);
      const policy = compiled(written);
      for (let i = 0; i < 40; i++) {
        const seen = randomCall(random);
        const expected = naivelyAllows(inForce(written), seen);
        expect(allows(policy, callOf(seen)), JSON.stringify({ seed, written, seen })).toBe(expected);
        if (expected) allowed += 1;
      }
    }
    // The comparison would say nothing about policies that always say the same.
    expect(allowed).toBeGreaterThan(2_000);
    expect(allowed).toBeLessThan(10_000);
  });

  it("the same with hundreds of rules, which are found by index", () => {
    for (const seed of seeds.slice(0, 15)) {
      const random = new Random(seed);
      const written = { ...randomPolicy(random, 400), deny_rules: randomPolicy(random, 4).allow_rules };
      const policy = compiled(written);
      for (let i = 0; i < 40; i++) {
        const seen = randomCall(random);
        expect(allows(policy, callOf(seen)), JSON.stringify({ seed, seen })).toBe(
          naivelyAllows(inForce(written), seen),
        );
      }
    }
  });

  it("no where no rule says yes: without rules about it a method is closed, and warned of", () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const policy = compiled({
        name: "p",
        allow_rules: [{ name: "elsewhere", request: { paths: ["/other.Service/*"] } }],
      });
      const call = callOf(randomCall(random));
      expect(decide(policy, call)).toEqual({
        effect: "deny",
        rule: "p",
        reason: "no allow rule matches the call",
      });
      expect(policy.warnings).toEqual([
        'allow_rules[0] "elsewhere": none of its paths matches a method of this server',
        ...randomPaths.map((path) => `${path}: no allow rule is about it, so every call is denied`),
      ]);
    }
  });

  it("no where a deny rule says no, whatever the allow rules say", () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const written = randomPolicy(random);
      const open = compiled({ ...written, allow_rules: [{ name: "everybody" }] });
      for (let i = 0; i < 20; i++) {
        const seen = randomCall(random);
        const denied = !naivelyAllows({ ...inForce(written), allow_rules: [{ name: "everybody" }] }, seen);
        expect(allows(open, callOf(seen)), JSON.stringify({ seed, written, seen })).toBe(!denied);
        if (denied) expect(allows(compiled(written), callOf(seen))).toBe(false);
      }
    }
  });

  it("monotonously: one more allow rule takes nothing away, one more deny rule allows nothing more", () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const written = inForce(randomPolicy(random));
      const [extra] = randomPolicy(random).allow_rules as readonly [WrittenRule, ...WrittenRule[]];
      const rule = { ...extra, name: "one more" };
      const before = compiled(written);
      const moreAllowed = compiled({ ...written, allow_rules: [rule, ...written.allow_rules] });
      const moreDenied = compiled({ ...written, deny_rules: [rule, ...(written.deny_rules ?? [])] });
      for (let i = 0; i < 20; i++) {
        const call = callOf(randomCall(random));
        if (allows(before, call)) expect(allows(moreAllowed, call)).toBe(true);
        if (allows(moreDenied, call)) expect(allows(before, call)).toBe(true);
      }
    }
  });
});

const orders = { uris: ["spiffe://shop.example/orders"], dnsNames: ["orders.example"], subject: "CN=orders" };
const get: SeenCall = { path: "/shop.v1.Orders/Get", certificate: orders, headers: [] };

/** One rule, and whether it matches the call `get` with these changes. */
const rows: readonly (readonly [
  what: string,
  rule: Omit<WrittenRule, "name">,
  call: Partial<SeenCall>,
  matches: boolean,
])[] = [
  ["a rule without conditions", {}, {}, true],
  [
    "empty lists are no conditions",
    { source: { principals: [] }, request: { paths: [], headers: [] } },
    {},
    true,
  ],
  ["an exact principal", { source: { principals: ["spiffe://shop.example/orders"] } }, {}, true],
  ["another one", { source: { principals: ["spiffe://shop.example/order"] } }, {}, false],
  ["in another case", { source: { principals: ["SPIFFE://shop.example/orders"] } }, {}, false],
  ["a start", { source: { principals: ["spiffe://shop.example/*"] } }, {}, true],
  ["an end", { source: { principals: ["*/orders"] } }, {}, true],
  ["presence", { source: { principals: ["*"] } }, {}, true],
  ["a wildcard in the middle is none", { source: { principals: ["spiffe://*/orders"] } }, {}, false],
  ["of two wildcards the first is a letter", { source: { principals: ["*hop.example*"] } }, {}, false],
  ["a DNS name where there is a URI", { source: { principals: ["orders.example"] } }, {}, false],
  ["a subject where there is a URI", { source: { principals: ["CN=orders"] } }, {}, false],
  [
    "a DNS name where there is no URI",
    { source: { principals: ["orders.example"] } },
    { certificate: { ...orders, uris: [] } },
    true,
  ],
  [
    "the second DNS name",
    { source: { principals: ["b.example"] } },
    { certificate: { uris: [], dnsNames: ["a.example", "b.example"] } },
    true,
  ],
  [
    "the second URI",
    { source: { principals: ["urn:b"] } },
    { certificate: { uris: ["urn:a", "urn:b"], dnsNames: [] } },
    true,
  ],
  [
    "the subject where there is nothing else",
    { source: { principals: ["CN=orders"] } },
    { certificate: { ...orders, uris: [], dnsNames: [] } },
    true,
  ],
  [
    "presence of a name with a line end, as grpc-go's regular expression",
    { source: { principals: ["*"] } },
    { certificate: { uris: [], dnsNames: [], subject: "CN=a\nb" } },
    false,
  ],
  [
    "no certificate is the empty name",
    { source: { principals: [""] } },
    { path: get.path, certificate: undefined },
    true,
  ],
  ["no certificate is not present", { source: { principals: ["*"] } }, { certificate: undefined }, false],
  [
    "no TLS is no name at all",
    { source: { principals: ["", "*"] } },
    { certificate: undefined, secure: false },
    false,
  ],
  ["the path", { request: { paths: ["/shop.v1.Orders/Get"] } }, {}, true],
  ["a start of the path", { request: { paths: ["/shop.v1.Orders/*"] } }, {}, true],
  ["an end of the path", { request: { paths: ["*/Get"] } }, {}, true],
  ["another path", { request: { paths: ["/shop.v1.Orders/List", "/shop.v1.Orders/G"] } }, {}, false],
  [
    "a header",
    { request: { headers: [{ key: "x-team", values: ["a"] }] } },
    { headers: [["x-team", "a"]] },
    true,
  ],
  [
    "its name in any case",
    { request: { headers: [{ key: "X-Team", values: ["a"] }] } },
    { headers: [["x-team", "a"]] },
    true,
  ],
  ["a header that is not there", { request: { headers: [{ key: "x-team", values: ["*", ""] }] } }, {}, false],
  [
    "an empty one is there",
    { request: { headers: [{ key: "x-team", values: [""] }] } },
    { headers: [["x-team", ""]] },
    true,
  ],
  [
    "and is not present",
    { request: { headers: [{ key: "x-team", values: ["*"] }] } },
    { headers: [["x-team", ""]] },
    false,
  ],
  [
    "several fields are one value with commas, without blanks",
    { request: { headers: [{ key: "x-team", values: ["a,b"] }] } },
    {
      headers: [
        ["x-team", "a"],
        ["x-stage", "z"],
        ["x-team", "b"],
      ],
    },
    true,
  ],
  [
    "and not each by itself",
    { request: { headers: [{ key: "x-team", values: ["a", "b"] }] } },
    {
      headers: [
        ["x-team", "a"],
        ["x-team", "b"],
      ],
    },
    false,
  ],
  [
    "a value with a blank behind the comma is another",
    { request: { headers: [{ key: "x-team", values: ["a,b"] }] } },
    { headers: [["x-team", "a, b"]] },
    false,
  ],
  [
    "all headers",
    {
      request: {
        headers: [
          { key: "x-team", values: ["a"] },
          { key: "x-stage", values: ["*"] },
        ],
      },
    },
    { headers: [["x-team", "a"]] },
    false,
  ],
];

describe("Z6 a rule of a gRPC authorization policy matches", () => {
  it.each(rows)("%s", (_, rule, change, matches) => {
    const call = { ...get, ...change };
    const allow = compiled({ name: "p", allow_rules: [{ name: "r", ...rule }] });
    const deny = compiled({
      name: "p",
      deny_rules: [{ name: "r", ...rule }],
      allow_rules: [{ name: "everybody" }],
    });
    expect(decide(allow, callOf(call))).toMatchObject(
      matches ? { effect: "allow", rule: "p_r" } : { effect: "deny", rule: "p" },
    );
    expect(decide(deny, callOf(call))).toMatchObject(
      matches ? { effect: "deny", rule: "p_r" } : { effect: "allow", rule: "p_everybody" },
    );
  });

  it("binary headers by their bytes", () => {
    const policy = compiled({
      name: "p",
      allow_rules: [{ name: "r", request: { headers: [{ key: "x-bin", values: ["é*"] }] } }],
    });
    const withBytes = (...bytes: readonly string[]): Call => {
      const call = callOf(get);
      for (const each of bytes) call.metadata.add("x-bin", Buffer.from(each, "utf8"));
      return call;
    };
    expect(allows(policy, withBytes("é"))).toBe(true);
    expect(allows(policy, withBytes("éa", "b"))).toBe(true);
    expect(allows(policy, withBytes("a", "é"))).toBe(false);
  });

  it("no caller whose certificate has names that cannot be read, and lets no deny rule miss it", () => {
    const unreadable = { ...get, certificate: { uris: [], dnsNames: [] } };
    const allow = compiled({ name: "p", allow_rules: [{ name: "r", source: { principals: ["*", ""] } }] });
    const deny = compiled({
      name: "p",
      deny_rules: [{ name: "r", source: { principals: ["spiffe://bad.example/x"] } }],
      allow_rules: [{ name: "everybody" }],
    });
    for (const policy of [allow, deny])
      expect(decide(policy, callOf(unreadable))).toMatchObject({ effect: "deny", rule: "p" });
    const anybody = compiled({ name: "p", allow_rules: [{ name: "everybody" }] });
    expect(allows(anybody, callOf(unreadable))).toBe(true);
  });

  it("no caller whose certificate was lost while the connection was open, as if it had none", () => {
    const policy = compiled({ name: "p", allow_rules: [{ name: "r", source: { principals: [""] } }] });
    const call = callOf({ path: get.path, headers: [] });
    expect(allows(policy, call)).toBe(true);
    const lost: Call = Object.create(call, { peer: { value: { ...call.peer, certificateLost: true } } });
    expect(decide(policy, lost)).toMatchObject({ effect: "deny", rule: "p" });
  });

  it("a header that a middleware removed no more", () => {
    const policy = compiled({
      name: "p",
      allow_rules: [{ name: "r", request: { headers: [{ key: "x-user-id", values: ["*"] }] } }],
    });
    const call = callOf({ ...get, headers: [["x-user-id", "ada"]] });
    expect(allows(policy, call)).toBe(true);
    call.metadata.remove("x-user-id");
    expect(allows(policy, call)).toBe(false);
  });

  it("what the transport keeps to itself, as grpc-go does", () => {
    const policy = compiled({
      name: "p",
      allow_rules: [
        { name: "r", request: { headers: [{ key: "content-type", values: ["application/grpc*"] }] } },
      ],
    });
    const call = callOf({ ...get, headers: [["content-type", "application/grpc+proto"]] });
    call.metadata.remove("content-type");
    expect(allows(policy, call)).toBe(true);
  });
});

describe("Z6 the audit options of a gRPC authorization policy", () => {
  const decisionsWith = (options: unknown): readonly unknown[] => {
    const policy = compiled({
      name: "p",
      deny_rules: [{ name: "d", request: { paths: ["*/Refund"] } }],
      allow_rules: [{ name: "a", request: { paths: ["*/Get", "*/Refund"] } }],
      audit_logging_options: options,
    });
    return ["/shop.v1.Orders/Get", "/shop.v1.Orders/Refund", "/shop.v1.Orders/List"].map((path) => {
      const decision = decide(policy, callOf({ ...get, path }));
      return decision !== undefined && "audit" in decision ? decision.audit : undefined;
    });
  };

  it.each([
    [undefined, undefined, undefined],
    [null, undefined, undefined],
    [{}, false, false],
    [{ audit_condition: "" }, false, false],
    [{ audit_condition: "NONE" }, false, false],
    [{ audit_condition: "ON_DENY" }, false, true],
    [{ audit_condition: "ON_ALLOW" }, true, false],
    [
      { audit_condition: "ON_DENY_AND_ALLOW", audit_loggers: [{ name: "stdout_logger", config: {} }] },
      true,
      true,
    ],
  ])("%j: what is allowed %s, what is denied %s", (options, allowed, denied) => {
    expect(decisionsWith(options)).toEqual([allowed, denied, denied]);
  });
});

describe("Z3 a gRPC authorization policy can be read", () => {
  it("with its conditions in words", () => {
    const policy = compiled({
      name: "p",
      deny_rules: [{ name: "never", request: { paths: ["/admin.v1.Panel/*"] } }],
      allow_rules: [
        { name: "all" },
        {
          name: "eu",
          source: { principals: ["spiffe://a/*", "*/b", "", "*"] },
          request: { headers: [{ key: "X-Team", values: ["é"] }] },
        },
      ],
    });
    expect(policy.forMethod("/admin.v1.Panel/Reset")?.describe?.()).toEqual({
      rule: "p",
      roles: [],
      conditions: [
        "denied by p_never, always",
        "allowed by p_all, always",
        'allowed by p_eu where a name of the caller\'s certificate: starts with "spiffe://a/" or ends with "/b" or "" or is not empty and header x-team: "é"',
      ],
    });
    expect(policy.forMethod("/shop.v1.Orders/Get")?.access).toBe("checked");
    expect(policy.forMethod("/not.Registered/At")).toBeUndefined();
  });

  it("in a bounded length", () => {
    const policy = compiled({
      name: "p",
      allow_rules: Array.from({ length: 500 }, (_, i) => ({
        name: `r${i}`,
        source: { principals: Array.from({ length: 100 }, (__, j) => `spiffe://x/${i}/${j}`) },
      })),
    });
    const conditions = policy.forMethod("/shop.v1.Orders/Get")?.describe?.().conditions ?? [];
    expect(conditions).toHaveLength(21);
    expect(conditions.join().length).toBeLessThan(10_000);
    expect(conditions.at(-1)).toBe("480 more rules");
  });

  it("Z2 warns of what it accepts and is probably a mistake", () => {
    const policy = compiled({
      name: "p",
      allow_rules: [
        { name: "r", request: { paths: ["/other/*"] } },
        { name: "r", source: { principals: ["spiffe://*/x"] } },
        {
          name: "h",
          request: {
            headers: [
              { key: "x user", values: ["*"] },
              { key: "X-User-Id", values: ["*"] },
            ],
          },
        },
      ],
    });
    expect(policy.warnings).toEqual([
      expect.stringContaining('allow_rules[1] "r": a * in the middle'),
      expect.stringContaining('allow_rules[2] "h": no call has a header "x user"'),
      expect.stringContaining('allow_rules[2] "h": x-user-id is removed'),
      expect.stringContaining('allow_rules[0] "r": has no effect, as in gRPC: allow_rules[1] "r"'),
    ]);
  });

  it("Z2 leaves health probes out of the warnings: the policy does not decide about them", () => {
    const check = methodInfo("/grpc.health.v1.Health/Check", "unary", true);
    const policy = grpcPolicy({
      policy: { name: "p", allow_rules: [{ name: "r", request: { paths: ["/shop*"] } }] },
    }).compile([...randomMethods.filter(({ path }) => path.startsWith("/shop")), check]);
    expect(policy.warnings).toEqual([]);
  });
});
