import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { type MethodInfo, methodInfo } from "../../../src/grpc/method.ts";
import { type AccessMatrix, accessMatrix } from "../../../src/middleware/authorization/access-matrix.ts";
import { allowAuthenticated } from "../../../src/middleware/authorization/allow-authenticated.ts";
import type { Policy } from "../../../src/middleware/authorization/authorizer.ts";
import { type RbacOptions, rbac } from "../../../src/middleware/authorization/rbac.ts";
import { hostileNames } from "./hostile-names.ts";

const orders: readonly MethodInfo[] = [
  methodInfo("/orders.v1.Orders/GetOrder", "unary", true),
  methodInfo("/orders.v1.Orders/ListOrders", "server_stream", true),
  methodInfo("/orders.v1.Orders/Refund", "unary", true),
  methodInfo("/orders.v1.Orders/Ping", "unary", true),
  methodInfo("/orders.v1.Orders/Whoami", "unary", true),
];

const policy: RbacOptions = {
  roles: {
    viewer: { permissions: ["order:read"] },
    support: {},
    admin: { permissions: ["*"], inherits: ["support"] },
  },
  rules: {
    "/orders.v1.Orders/GetOrder": { permissions: ["order:read"] },
    "/orders.v1.Orders/*": { roles: ["admin"], schemes: ["jwt"] },
    "/orders.v1.Orders/Refund": {
      roles: ["support"],
      permissions: ["order:refund"],
      schemes: ["jwt", "mtls"],
    },
    "/orders.v1.Orders/Ping": "public",
    "/orders.v1.Orders/Whoami": "authenticated",
  },
};

const health = methodInfo("/grpc.health.v1.Health/Check", "unary", true);

function matrixOf(options: RbacOptions, methods: readonly MethodInfo[] = orders): AccessMatrix {
  return accessMatrix([...methods, health], rbac(options).compile(methods));
}

describe("Z3 the access matrix", () => {
  it("as data: every method, its rule, who may call it and under which conditions", () => {
    const matrix = matrixOf(policy);
    expect(matrix.roles).toEqual(["viewer", "support", "admin"]);
    const nothing = { roles: [], rolesWithPermissions: [], permissions: [], schemes: [], conditions: [] };
    expect(matrix.methods).toEqual([
      {
        ...nothing,
        method: "/orders.v1.Orders/GetOrder",
        kind: "unary",
        access: "restricted",
        rule: "/orders.v1.Orders/GetOrder",
        roles: ["viewer", "admin"],
        permissions: ["order:read"],
      },
      {
        ...nothing,
        method: "/orders.v1.Orders/ListOrders",
        kind: "server_stream",
        access: "restricted",
        rule: "/orders.v1.Orders/*",
        roles: ["admin"],
        schemes: ["jwt"],
      },
      {
        ...nothing,
        method: "/orders.v1.Orders/Refund",
        kind: "unary",
        access: "restricted",
        rule: "/orders.v1.Orders/Refund",
        roles: ["admin"],
        rolesWithPermissions: ["support"],
        permissions: ["order:refund"],
        schemes: ["jwt", "mtls"],
      },
      {
        ...nothing,
        method: "/orders.v1.Orders/Ping",
        kind: "unary",
        access: "public",
        rule: "/orders.v1.Orders/Ping",
      },
      {
        ...nothing,
        method: "/orders.v1.Orders/Whoami",
        kind: "unary",
        access: "authenticated",
        rule: "/orders.v1.Orders/Whoami",
      },
      { ...nothing, method: "/grpc.health.v1.Health/Check", kind: "unary", access: "probe" },
    ]);
    expect(JSON.parse(JSON.stringify(matrix))).toEqual({ roles: matrix.roles, methods: matrix.methods });
  });

  it("says exactly what the policy then decides, for every method and role", () => {
    const compiled = rbac(policy).compile(orders);
    const { methods, roles } = matrixOf(policy);
    for (const { method, access, roles: allowed, schemes } of methods) {
      if (access === "probe") continue;
      for (const role of roles) {
        for (const scheme of ["jwt", "api-key"]) {
          const principal = {
            subject: "x",
            kind: "user",
            scheme,
            roles: new Set([role]),
            permissions: new Set<string>(),
            claims: {},
          } as const;
          const decision = compiled.forMethod(method)?.decide({ principal } as never);
          const expected =
            access === "public" ||
            ((access === "authenticated" || allowed.includes(role)) &&
              (schemes.length === 0 || schemes.includes(scheme)));
          expect({ method, role, scheme, effect: (decision as { effect: string }).effect }).toEqual({
            method,
            role,
            scheme,
            effect: expected ? "allow" : "deny",
          });
        }
      }
    }
  });

  it("as text", () => {
    expect(
      matrixOf(policy).toText(),
    ).toBe(`method                        kind           access         role viewer  role support      role admin  permissions   schemes    conditions  rule
/orders.v1.Orders/GetOrder    unary          restricted     yes          no                yes         order:read    -          -           /orders.v1.Orders/GetOrder
/orders.v1.Orders/ListOrders  server_stream  restricted     no           no                yes         -             jwt        -           /orders.v1.Orders/*
/orders.v1.Orders/Refund      unary          restricted     no           with permissions  yes         order:refund  jwt, mtls  -           /orders.v1.Orders/Refund
/orders.v1.Orders/Ping        unary          public         yes          yes               yes         -             -          -           /orders.v1.Orders/Ping
/orders.v1.Orders/Whoami      unary          authenticated  yes          yes               yes         -             -          -           /orders.v1.Orders/Whoami
/grpc.health.v1.Health/Check  unary          probe          yes          yes               yes         -             -          -           -

yes: the role is enough, inherited roles and permissions included
with permissions: it is enough together with the permissions that it does not grant
no: it is not enough
?: decided at run time
`);
  });

  it("as Markdown", () => {
    expect(matrixOf(policy).toMarkdown()).toBe(String.raw`# Access matrix

| method | kind | access | role viewer | role support | role admin | permissions | schemes | conditions | rule |
|---|---|---|---|---|---|---|---|---|---|
| /orders.v1.Orders/GetOrder | unary | restricted | yes | no | yes | order:read |  |  | /orders.v1.Orders/GetOrder |
| /orders.v1.Orders/ListOrders | server\_stream | restricted | no | no | yes |  | jwt |  | /orders.v1.Orders/\* |
| /orders.v1.Orders/Refund | unary | restricted | no | with permissions | yes | order:refund | jwt, mtls |  | /orders.v1.Orders/Refund |
| /orders.v1.Orders/Ping | unary | public | yes | yes | yes |  |  |  | /orders.v1.Orders/Ping |
| /orders.v1.Orders/Whoami | unary | authenticated | yes | yes | yes |  |  |  | /orders.v1.Orders/Whoami |
| /grpc.health.v1.Health/Check | unary | probe | yes | yes | yes |  |  |  |  |

- yes: the role is enough, inherited roles and permissions included
- with permissions: it is enough together with the permissions that it does not grant
- no: it is not enough
- ?: decided at run time
`);
  });

  it("Z3 as one HTML page that needs nothing besides itself", () => {
    const html = matrixOf(policy).toHtml();
    expect(html).toContain(
      '<tr data-access="restricted"><th scope="row">/orders.v1.Orders/Refund</th><td>unary</td><td>restricted</td>' +
        '<td class="shut">no</td><td class="maybe">with permissions</td><td class="yes">yes</td><td>order:refund</td>' +
        "<td>jwt, mtls</td><td></td><td>/orders.v1.Orders/Refund</td></tr>",
    );
    expect(html).toMatch(/^<!doctype html>\n<html lang="en">/);
    expect(html).not.toMatch(/<link|<img|<script |@import|url\(|https?:| on\w+=| style=/);
    // Without its script every row is there, and nothing that only a script could serve.
    expect(html.match(/<tr data-access="[a-z-]+">/g)).toHaveLength(6);
    expect(html).toMatch(/<form [^>]*hidden>/);
  });

  it("Z3 the page allows its own script and its own style by their hashes, and nothing else", () => {
    const html = matrixOf(policy).toHtml();
    const hashOf = (tag: string): string => {
      const [, text = ""] = new RegExp(`<${tag}>([^]*?)</${tag}>`).exec(html) ?? [];
      expect(text.length).toBeGreaterThan(1_000);
      return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
    };
    expect(html.match(/<script/g)).toHaveLength(1);
    expect(html.match(/<style/g)).toHaveLength(1);
    expect(html).toContain(
      `content="default-src 'none'; style-src ${hashOf("style")}; script-src ${hashOf("script")}; base-uri 'none'; form-action 'none'"`,
    );
    // A name cannot make another text that is allowed: the script is the same for every policy.
    const [, script] = html.split("<script>");
    expect(matrixOf({ rules: { "/*": "authenticated" } }).toHtml()).toContain(`<script>${script}`);
    expect(script).not.toMatch(/innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function/);
  });

  it("Z3 the page labels what can be set, and says what each cell belongs to", () => {
    const html = matrixOf(policy).toHtml();
    for (const [, control = ""] of html.matchAll(/(<(?:input|select)[^>]*>)/g))
      expect(html).toMatch(new RegExp(`<label[^>]*>[^<]*${control}|<label[^>]*>${control}[^<]+`));
    expect(html.match(/<th(?=[ >])/g)).toHaveLength(html.match(/<th scope="(?:col|row)"/g)?.length ?? 0);
    expect(html).toContain('role="status"');
    expect(html).toContain("<caption>");
    expect(html).toContain("6 methods, 3 roles. public: 1, probe: 1, authenticated: 1, restricted: 3.");
  });

  it.each(hostileNames)("a role named %j stays text, in HTML and in Markdown", (name) => {
    const matrix = matrixOf({
      roles: { [name]: {} },
      rules: { "/orders.v1.Orders/*": { roles: [name], schemes: [name] } },
    });
    const plain = matrixOf({
      roles: { role: {} },
      rules: { "/orders.v1.Orders/*": { roles: ["role"], schemes: ["role"] } },
    });
    const tags = (html: string): readonly string[] =>
      html.replaceAll(/ data-role="[^"<>]*"/g, " data-role").match(/<[^>]*>/g) ?? [];
    expect(tags(matrix.toHtml())).toEqual(tags(plain.toHtml()));
    expect(unescapeHtml(matrix.toHtml())).toContain(name);
    const bars = (markdown: string): readonly number[] =>
      markdown.split("\n").map((line) => line.match(/(?<!\\)(?:\\\\)*\|/g)?.length ?? 0);
    expect(bars(matrix.toMarkdown())).toEqual(bars(plain.toMarkdown()));
    expect(matrix.toMarkdown()).not.toMatch(/(?<!\\)(?:\\\\)*[<[`*_]/);
    expect(matrix.toMarkdown().replaceAll(/\\([\\`*_[\]<>|&~#!])/g, "$1")).toContain(name);
  });

  it("line ends and invisible characters of an authorizer of one's own are shown, not obeyed", () => {
    const text = "one\n/fake.Row/Method  yes\u202e";
    const own: Policy = {
      roles: [text],
      forMethod: () => ({
        access: "checked",
        decide: () => ({ effect: "none" }),
        describe: () => ({ rule: text, roles: [text], conditions: [text] }),
      }),
    };
    const matrix = accessMatrix(orders.slice(0, 1), own);
    const lines = matrix.toText().split("\n");
    expect(lines[0]).toContain("one\\u{a}/fake.Row/Method  yes\\u{202e}");
    expect(lines[2]).toBe("");
    expect(
      matrix
        .toMarkdown()
        .split("\n")
        .filter((line) => line.startsWith("|")),
    ).toHaveLength(3);
  });

  it("Z3 a scheme or a permission named like an answer is not painted as one", () => {
    const html = matrixOf({ rules: { "/*": { schemes: ["yes"], permissions: ["a:public"] } } }).toHtml();
    expect(html).toContain("<td>a:public</td><td>yes</td>");
  });

  it("allowAuthenticated: every verified caller may call everything", () => {
    const { methods } = accessMatrix(orders, allowAuthenticated().compile(orders));
    expect(new Set(methods.map(({ access, rule }) => `${access} ${rule}`))).toEqual(
      new Set(["authenticated allow-authenticated"]),
    );
  });

  it.each([
    undefined,
    () => {
      throw new Error("cannot tell");
    },
  ])(
    "an authorizer that cannot say is decided at run time; a method that it does not know is denied",
    (describe) => {
      const matrix = accessMatrix(orders, {
        forMethod: (path) =>
          path.endsWith("GetOrder")
            ? {
                access: "checked",
                decide: () => ({ effect: "allow", rule: "r" }),
                ...(describe === undefined ? {} : { describe }),
              }
            : undefined,
      });
      expect(matrix.methods.map(({ access }) => access)).toEqual([
        "run-time",
        "denied",
        "denied",
        "denied",
        "denied",
      ]);
    },
  );
});

function unescapeHtml(html: string): string {
  return html
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'")
    .replaceAll("&amp;", "&");
}
