// Policies, callers and calls for the comparison with grpc-go: one policy for each thing that a policy can say, and random ones.
import {
  Random,
  randomPolicy,
  type WrittenPolicy,
  type WrittenRule,
} from "../middleware/authorization/grpc-policy/naive.ts";

export interface Caller {
  readonly name: string;
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly subject?: readonly { readonly type: readonly number[]; readonly value: string }[];
  readonly noCertificate?: boolean;
}

const cn = (value: string): NonNullable<Caller["subject"]>[number] => ({ type: [2, 5, 4, 3], value });
const o = (value: string): NonNullable<Caller["subject"]>[number] => ({ type: [2, 5, 4, 10], value });
const ou = (value: string): NonNullable<Caller["subject"]>[number] => ({ type: [2, 5, 4, 11], value });

export const callers: readonly Caller[] = [
  { name: "none", noCertificate: true },
  {
    name: "orders",
    uris: ["spiffe://shop.example/orders"],
    dnsNames: ["orders.shop.example"],
    subject: [cn("orders")],
  },
  { name: "orders-eu", uris: ["spiffe://shop.example/orders/eu"] },
  { name: "two-uris", uris: ["spiffe://shop.example/admin", "urn:shop:Second"] },
  {
    name: "dns",
    dnsNames: ["orders.shop.example", "Alt.shop.example"],
    subject: [cn("spiffe://shop.example/admin")],
  },
  { name: "subject", subject: [cn("orders"), o("Shop")] },
  {
    name: "long-subject",
    subject: [
      { type: [1, 2, 840, 113549, 1, 9, 1], value: "ops@shop.example" },
      cn("first"),
      ou("eu"),
      { type: [2, 5, 4, 6], value: "DE" },
      { type: [2, 5, 4, 7], value: "Köln" },
      { type: [2, 5, 4, 8], value: "NW" },
      { type: [2, 5, 4, 9], value: "Hohe Str. 1" },
      { type: [2, 5, 4, 17], value: "50667" },
      { type: [2, 5, 4, 5], value: "42" },
      ou("orders"),
      o("Shop, Inc."),
      { type: [2, 5, 4, 12], value: "Dr" },
      { type: [0, 9, 2342, 19200300, 100, 1, 25], value: "example" },
      cn(' #last "one"+<b>;\\ '),
    ],
  },
  { name: "line-end", subject: [cn("a\nb")] },
  { name: "nobody", subject: [] },
  {
    name: "odd-uris",
    uris: [
      "SPIFFE://Shop.example/Mixed",
      "https://shop.example/a b%2Fc?q=a b#",
      "urn:Shop:x y",
      "https://shop.example/%7euser?#f g",
    ],
  },
];

/** What those names are for Go. */
const longSubject =
  'SERIALNUMBER=42,CN=\\ #last \\"one\\"\\+\\<b\\>\\;\\\\\\ ,OU=eu+OU=orders,O=Shop\\, Inc.,POSTALCODE=50667,STREET=Hohe Str. 1,L=Köln,ST=NW,C=DE,' +
  "0.9.2342.19200300.100.1.25=#13076578616d706c65,2.5.4.12=#13024472,1.2.840.113549.1.9.1=#0c106f70734073686f702e6578616d706c65";

/** Those that end in `/List` stream their response. */
export const paths: readonly string[] = [
  "/shop.v1.Orders/Get",
  "/shop.v1.Orders/List",
  "/shop.v1.Orders/Refund",
  "/shop.v1.Stock/Get",
  "/admin.v1.Panel/Reset",
];

export type Headers = readonly (readonly [key: string, value: string])[];

export const headerSets: readonly Headers[] = [
  [],
  [["x-team", "a"]],
  [
    ["x-team", "a"],
    ["x-team", "b"],
  ],
  [["x-team", "a,b"]],
  [["x-team", "a, b"]],
  [
    ["x-team", "b"],
    ["x-stage", "z"],
    ["x-team", "a"],
  ],
  [["x-team", ""]],
  [
    ["x-team", ""],
    ["x-team", ""],
  ],
  [
    ["x-team", "abc"],
    ["x-stage", "ab"],
    ["x-region", "bc"],
  ],
  [["x-key-bin", "é"]],
  [
    ["x-key-bin", "a"],
    ["x-key-bin", "b"],
  ],
  [
    ["cookie", "a=1"],
    ["cookie", "b=2"],
    ["from", "x"],
    ["from", "y"],
    ["set-cookie", "c"],
  ],
];

const always: WrittenRule = { name: "everybody" };
const allow = (rule: Omit<WrittenRule, "name">): WrittenPolicy => ({
  name: "p",
  allow_rules: [{ name: "r", ...rule }],
});
const deny = (rule: Omit<WrittenRule, "name">): WrittenPolicy => ({
  name: "p",
  deny_rules: [{ name: "r", ...rule }],
  allow_rules: [always],
});
const principals = (...all: readonly string[]): Omit<WrittenRule, "name"> => ({
  source: { principals: all },
});
const about = (...all: readonly string[]): Omit<WrittenRule, "name"> => ({ request: { paths: all } });
const header = (key: string, ...values: readonly string[]): Omit<WrittenRule, "name"> => ({
  request: { headers: [{ key, values }] },
});

const conditions: Readonly<Record<string, Omit<WrittenRule, "name">>> = {
  "no condition": {},
  "empty lists": { source: { principals: [] }, request: { paths: [], headers: [] } },
  "an exact URI": principals("spiffe://shop.example/orders"),
  "a start of URIs": principals("spiffe://shop.example/o*"),
  "an end of URIs": principals("*/eu", "*/orders"),
  "the second URI": principals("urn:shop:Second"),
  "a DNS name": principals("orders.shop.example"),
  "the second DNS name, in its case": principals("Alt.shop.example", "alt.shop.example"),
  "an end of DNS names": principals("*.shop.example"),
  "a subject": principals("CN=orders,O=Shop"),
  "a subject in another order": principals("O=Shop,CN=orders"),
  "a start of subjects": principals("CN=*"),
  "a long subject": principals(longSubject),
  "the end of a long subject": principals("*=#0c106f70734073686f702e6578616d706c65"),
  "a name in a subject that looks like a URI": principals(
    "CN=spiffe://shop.example/admin",
    "spiffe://shop.example/admin",
  ),
  "a subject with a line end": principals("CN=a\nb"),
  "any name": principals("*"),
  "no certificate or no name": principals(""),
  "anybody over TLS": principals("*", ""),
  "a wildcard in the middle": principals("spiffe://*/orders"),
  "wildcards at both ends": principals("*shop*", "**"),
  "odd URIs": principals("spiffe://Shop.example/Mixed"),
  "a URI with a blank": principals("https://shop.example/a%20b/c?q=a b"),
  "an opaque URI": principals("urn:Shop:x y"),
  "a URI with a fragment": principals("https://shop.example/%7euser?#f%20g"),
  "a URI as it is written in the certificate": principals(
    "SPIFFE://Shop.example/Mixed",
    "https://shop.example/a b%2Fc?q=a b#",
  ),
  "a path": about("/shop.v1.Orders/Get"),
  "a service": about("/shop.v1.Orders/*"),
  "an end of paths": about("*/Get", "*/Reset"),
  "any path": about("*"),
  "a path in another case": about("/shop.v1.orders/Get", "shop.v1.Orders/Get"),
  "a header": header("x-team", "a"),
  "a header with its name in capitals": header("X-TEAM", "a", "b"),
  "values with a comma": header("x-team", "a,b"),
  "values with a comma and a blank": header("x-team", "a, b"),
  "a start of values": header("x-team", "a*"),
  "an end of values": header("x-team", "*b"),
  "a header that is not empty": header("x-team", "*"),
  "a header that is empty": header("x-team", ""),
  "two empty fields": header("x-team", ","),
  "a binary header": header("x-key-bin", "é", "a,b"),
  "a binary header that is not empty": header("x-key-bin", "*"),
  "the user agent": header("user-agent", "grpc-go/*"),
  "the content type": header("content-type", "application/grpc"),
  "a header that nobody sends": header("x-none", "*", ""),
  "a header with an impossible name": header("x none", "*", ""),
  cookies: header("cookie", "a=1,b=2"),
  "a header of which Node keeps the first": header("from", "x,y"),
  "set-cookie": header("set-cookie", "c"),
  "all of several headers": {
    request: {
      headers: [
        { key: "x-team", values: ["ab*"] },
        { key: "x-stage", values: ["b", "ab"] },
        { key: "x-region", values: ["*c"] },
      ],
    },
  },
  "one header twice": {
    request: {
      headers: [
        { key: "x-team", values: ["a*"] },
        { key: "x-team", values: ["*b"] },
      ],
    },
  },
  "caller, path and header": {
    source: { principals: ["spiffe://shop.example/*"] },
    request: { paths: ["/shop.v1.Orders/*"], headers: [{ key: "x-team", values: ["a*"] }] },
  },
};

/** Which of them no call meets, in grpc-go neither: they look as if they could be met. */
export const neverMet: ReadonlySet<string> = new Set([
  "a subject in another order",
  "a wildcard in the middle",
  "wildcards at both ends",
  "a URI as it is written in the certificate",
  "a path in another case",
  "a header that nobody sends",
  "a header with an impossible name",
]);

/** By hand: each condition in an allow rule and in a deny rule, and what only several rules can say. */
export const writtenPolicies: readonly (readonly [what: string, policy: WrittenPolicy])[] = [
  ...Object.entries(conditions).flatMap(([what, rule]) => [
    [`allowed by ${what}`, allow(rule)] as const,
    [`denied by ${what}`, deny(rule)] as const,
  ]),
  [
    "the example of gRFC A43",
    {
      name: "example-policy",
      allow_rules: [
        {
          name: "admin-access",
          source: { principals: ["spiffe://shop.example/admin", "spiffe://shop.example/orders"] },
          request: { paths: ["/shop.v1.Orders/*"] },
        },
        {
          name: "dev-access",
          source: { principals: ["*", ""] },
          request: {
            paths: ["/shop.v1.Stock/Get", "/shop.v1.Orders/Get"],
            headers: [{ key: "x-team", values: ["a*"] }],
          },
        },
      ],
      deny_rules: [{ name: "deny-access", request: { paths: ["*/Refund"] } }],
    },
  ],
  [
    "two rules of one name, of which the last counts",
    {
      name: "p",
      deny_rules: [
        { name: "d", ...about("*") },
        { name: "d", ...about("*/Refund") },
      ],
      allow_rules: [{ name: "a", ...about("*/Get") }, { name: "a", ...about("*/List", "*/Refund") }, always],
    },
  ],
  [
    "one name in both lists",
    { name: "p", deny_rules: [{ name: "r", ...about("*/Reset") }], allow_rules: [{ name: "r" }] },
  ],
  [
    "audit options",
    {
      ...deny(about("*/Refund")),
      audit_logging_options: {
        audit_condition: "NONE",
        audit_loggers: [{ name: "stdout_logger", config: {}, is_optional: false }],
      },
    },
  ],
];

export const randomPolicies: readonly WrittenPolicy[] = Array.from({ length: 60 }, (_, seed) =>
  randomPolicy(new Random(4300 + seed)),
);

export interface PlannedCall {
  readonly caller: string;
  readonly path: string;
  readonly headers: Headers;
}

/** Every caller with every path, headers in turn; and every header set. Which ones depends on the policy's number. */
export function callsFor(policy: number): readonly PlannedCall[] {
  const random = new Random(policy + 1);
  const byCaller = callers.flatMap(({ name }) =>
    random.some(paths, 4).map((path) => ({ caller: name, path, headers: random.one(headerSets) })),
  );
  const byHeaders = headerSets.flatMap((headers) =>
    ["none", "orders", random.one(callers).name].map((caller) => ({
      caller,
      path: random.one(paths),
      headers,
    })),
  );
  return [
    ...callers.map(({ name }) => ({ caller: name, path: random.one(paths), headers: [] })),
    ...byCaller,
    ...byHeaders,
  ];
}
