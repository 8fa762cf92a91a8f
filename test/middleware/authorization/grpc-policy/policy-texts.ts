// Texts of policies that are refused, and of odd ones that are not: for our parser, and for grpc-go's beside it.

export interface RefusedText {
  readonly what: string;
  readonly text: string;
  /** Where the message says that the mistake is, and what it says to do. */
  readonly says: readonly string[];
  /** grpc-go accepts it: there is a reason not to, in docs/authorization/grpc-policy.md. */
  readonly stricter?: true;
}

const policyWith = (fields: object): string =>
  JSON.stringify({ name: "p", allow_rules: [{ name: "a" }], ...fields });
const ruleWith = (fields: object): string => policyWith({ allow_rules: [{ name: "a", ...fields }] });
const headerWith = (header: unknown): string => ruleWith({ request: { headers: [header] } });
const auditWith = (options: unknown): string => policyWith({ audit_logging_options: options });

export const refusedTexts: readonly RefusedText[] = [
  { what: "no text", text: "", says: ["not JSON"] },
  { what: "no JSON", text: "{name: p}", says: ["not JSON"] },
  { what: "a comma too many", text: '{"name":"p","allow_rules":[{"name":"a"},]}', says: ["not JSON"] },
  { what: "half a file", text: policyWith({}).slice(0, -5), says: ["not JSON"] },
  { what: "a comment", text: `// ours\n${policyWith({})}`, says: ["not JSON"] },
  { what: "a byte order mark", text: `\uFEFF${policyWith({})}`, says: ["not JSON", "byte order mark"] },
  { what: "null", text: "null", says: ["name: is missing", "allow_rules: is missing"] },
  { what: "a list", text: `[${policyWith({})}]`, says: ["the policy: expected an object, not a list"] },
  { what: "a text", text: '"p"', says: ["the policy: expected an object, not text"] },
  { what: "nothing in it", text: "{}", says: ["name: is missing", "give the policy a name"] },
  {
    what: "an unknown field",
    text: policyWith({ alow_rules: [] }),
    says: ['alow_rules: no such field; did you mean "allow_rules"?'],
  },
  {
    what: "a name of another type",
    text: policyWith({ name: 7 }),
    says: ["name: expected text in quotes, not a number"],
  },
  { what: "an empty name", text: policyWith({ name: "" }), says: ["name: is missing or empty"] },
  {
    what: "no allow rules",
    text: '{"name":"p","deny_rules":[{"name":"d"}]}',
    says: ["allow_rules: is missing or empty", "write a deny rule"],
  },
  {
    what: "an empty list of allow rules",
    text: policyWith({ allow_rules: [] }),
    says: ["allow_rules: is missing or empty"],
  },
  {
    what: "allow rules that are null",
    text: policyWith({ allow_rules: null }),
    says: ["allow_rules: is missing or empty"],
  },
  {
    what: "allow rules that are an object",
    text: policyWith({ allow_rules: { name: "a" } }),
    says: ["allow_rules: expected a list, not an object", "write [ ]"],
  },
  {
    what: "deny rules that are an object",
    text: policyWith({ deny_rules: {} }),
    says: ["deny_rules: expected a list"],
  },
  {
    what: "a rule without a name",
    text: policyWith({ deny_rules: [{ name: "d" }, {}] }),
    says: ["deny_rules[1].name: is missing or empty", "give the rule a name"],
  },
  {
    what: "a rule that is null",
    text: policyWith({ allow_rules: [null] }),
    says: ["allow_rules[0].name: is missing"],
  },
  {
    what: "a rule that is a text",
    text: policyWith({ allow_rules: ["a"] }),
    says: ["allow_rules[0]: expected an object, not text"],
  },
  {
    what: "an unknown field of a rule",
    text: ruleWith({ sources: {} }),
    says: ['allow_rules[0].sources: no such field; did you mean "source"?'],
  },
  {
    what: "an unknown field of a source",
    text: ruleWith({ source: { principal: ["a"] } }),
    says: ['allow_rules[0] "a": source.principal: no such field; did you mean "principals"?'],
  },
  {
    what: "an unknown field of a request",
    text: ruleWith({ request: { methods: ["a"] } }),
    says: ['allow_rules[0] "a": request.methods: no such field'],
  },
  {
    what: "a source that is a list",
    text: ruleWith({ source: [] }),
    says: ['allow_rules[0] "a": source: expected an object'],
  },
  {
    what: "principals that are a text",
    text: ruleWith({ source: { principals: "*" } }),
    says: ['allow_rules[0] "a": source.principals: expected a list, not text; write [ ]'],
  },
  {
    what: "a principal that is a number",
    text: ruleWith({ source: { principals: [1] } }),
    says: ["source.principals[0]: expected text in quotes, not a number"],
  },
  {
    what: "a path that is a list",
    text: ruleWith({ request: { paths: [["/a"]] } }),
    says: ["request.paths[0]: expected text in quotes, not a list"],
  },
  {
    what: "headers that are an object",
    text: ruleWith({ request: { headers: {} } }),
    says: ["request.headers: expected a list"],
  },
  {
    what: "a header without a key",
    text: headerWith({ values: ["a"] }),
    says: ["request.headers[0].key: is missing or empty"],
  },
  {
    what: "a header that is null",
    text: headerWith(null),
    says: ["request.headers[0].key: is missing or empty"],
  },
  {
    what: "a header without values",
    text: headerWith({ key: "k" }),
    says: ['request.headers[0].values: is missing or empty; write ["*"]'],
  },
  {
    what: "a header with an empty list of values",
    text: headerWith({ key: "k", values: [] }),
    says: ["request.headers[0].values: is missing or empty"],
  },
  {
    what: "an unknown field of a header",
    text: headerWith({ key: "k", values: ["a"], value: "b" }),
    says: ["request.headers[0].value: no such field"],
  },
  ...[
    ":method",
    ":path",
    ":authority",
    "grpc-timeout",
    "GRPC-Encoding",
    "host",
    "Host",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "TE",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "Proxy-Authorİzation",
  ].map((key) => ({
    what: `the header ${key}`,
    text: headerWith({ key, values: ["*"] }),
    says: [
      `allow_rules[0] "a": request.headers[0].key: ${JSON.stringify(key)} cannot be matched`,
      "compare another header",
    ],
  })),
  {
    what: "audit options that are a list",
    text: auditWith([]),
    says: ["audit_logging_options: expected an object"],
  },
  {
    what: "an unknown audit condition",
    text: auditWith({ audit_condition: "ON_DENYS" }),
    says: ["audit_logging_options.audit_condition: expected one of NONE", 'did you mean "ON_DENY"?'],
  },
  {
    what: "an audit condition in small letters",
    text: auditWith({ audit_condition: "on_deny" }),
    says: ["audit_logging_options.audit_condition"],
  },
  {
    what: "an unknown audit field",
    text: auditWith({ condition: "NONE" }),
    says: ["audit_logging_options.condition: no such field"],
  },
  {
    what: "a logger without a name",
    text: auditWith({ audit_loggers: [{ config: {} }] }),
    says: ["audit_logging_options.audit_loggers[0].name: is missing"],
  },
  {
    what: "an unknown logger",
    text: auditWith({ audit_loggers: [{ name: "syslog" }] }),
    says: ['audit_loggers[0].name: no such logger here: "syslog"', '"is_optional": true'],
  },
  {
    what: "an optional logger with nothing behind the slash",
    text: auditWith({ audit_loggers: [{ name: "x/", is_optional: true }] }),
    says: ["audit_loggers[0].name: is missing or empty"],
  },
  {
    what: "a logger's flag as text",
    text: auditWith({ audit_loggers: [{ name: "stdout_logger", is_optional: "true" }] }),
    says: ["is_optional: expected true or false, not text"],
  },
  {
    what: "a logger's configuration as text",
    text: auditWith({ audit_loggers: [{ name: "stdout_logger", config: "abc" }] }),
    says: ["audit_loggers[0].config: expected an object"],
  },
  {
    what: "an unknown field of a logger",
    text: auditWith({ audit_loggers: [{ name: "stdout_logger", level: 1 }] }),
    says: ["audit_loggers[0].level: no such field"],
  },
  {
    what: "a field twice",
    text: '{"name":"p","allow_rules":[{"name":"a"}],"name":"q"}',
    says: ["name: stands twice in one object; keep one"],
    stricter: true,
  },
  {
    what: "a field twice, once with an escape",
    text: '{"name":"p","allow_rules":[{"name":"a","source":{"principals":["b"]},"sourc\\u0065":{}}]}',
    says: ["allow_rules[0].source: stands twice"],
    stricter: true,
  },
  {
    what: "a field twice, in another case",
    text: '{"name":"p","allow_rules":[{"name":"a"}],"Name":"q"}',
    says: ["Name: stands twice in one object, written differently"],
    stricter: true,
  },
  { what: "something behind it", text: `${policyWith({})} {}`, says: ["not JSON"], stricter: true },
  {
    what: "a principal that is null",
    text: ruleWith({ source: { principals: [null] } }),
    says: ["source.principals[0]: expected text in quotes, not null", 'write ""'],
    stricter: true,
  },
];

/** Odd, and good. */
export const acceptedTexts: readonly (readonly [what: string, text: string])[] = [
  ["the smallest", policyWith({})],
  ["white space", ` \n${policyWith({}).replaceAll(",", " ,\t\r\n")}\n `],
  ["null for what is left out", policyWith({ deny_rules: null, audit_logging_options: null })],
  [
    "null for what is left out of a rule",
    ruleWith({ source: null, request: { paths: null, headers: null } }),
  ],
  ["names in another case", '{"NAME":"p","Allow_Rules":[{"nAme":"a","Source":{"PRINCIPALS":["*"]}}]}'],
  [
    "a letter that folds into one of a name",
    '{"name":"p","allow_rule\u017F":[{"name":"a"}],"deny_rules":[{"name":"d","reque\u017Ft":{"headers":[{"\u212Aey":"k","values":["a"]}]}}]}',
  ],
  ["empty lists", ruleWith({ source: { principals: [] }, request: { paths: [], headers: [] } })],
  ["no deny rules in the list", policyWith({ deny_rules: [] })],
  ["two rules of one name", policyWith({ deny_rules: [{ name: "d" }, { name: "d" }] })],
  ["a header that nobody can send", headerWith({ key: "no header", values: ["*"] })],
  ["a header grpc without a dash", headerWith({ key: "grpcx", values: ["*"] })],
  ["stars", ruleWith({ source: { principals: ["**", "*a*", "a*b"] } })],
  ["half a surrogate pair", '{"name":"\\ud800","allow_rules":[{"name":"a"}]}'],
  ["no audit options in the object", auditWith({})],
  ["audit options that are null", auditWith({ audit_condition: null, audit_loggers: null })],
  ["a logger of another host", auditWith({ audit_loggers: [{ name: "host/stdout_logger" }] })],
  [
    "an unknown logger that is optional",
    auditWith({ audit_loggers: [{ name: "syslog", is_optional: true, config: { a: [1, { b: null }] } }] }),
  ],
  [
    "a logger whose configuration is null",
    auditWith({ audit_loggers: [{ name: "stdout_logger", config: null, is_optional: null }] }),
  ],
];
