// A gRPC authorization policy (gRFC A43, with A59's audit options) as it is written: checked, and brought into the form in which
// it is evaluated. What grpc-go refuses is refused.
import { type AuditCondition, parseAuditOptions } from "./audit-options.ts";
import { asHeaderBytes } from "./call-headers.ts";
import { FieldReader } from "./policy-fields.ts";
import { parsePolicyJson } from "./policy-json.ts";
import { parseTextMatch, type TextMatch } from "./text-match.ts";

export interface HeaderCondition {
  /** In lower case. */
  readonly key: string;
  /** As they are written, for whoever reads. */
  readonly written: readonly TextMatch[];
  /** For values of one byte a character. */
  readonly matches: readonly TextMatch[];
}

/** What is empty is not asked: a rule without any condition matches every call. */
export interface PolicyRule {
  readonly name: string;
  /** Where it stands: `deny_rules[2] "no-interns"`. */
  readonly where: string;
  /** Any of them. */
  readonly principals: readonly TextMatch[];
  /** Any of them. */
  readonly paths: readonly TextMatch[];
  /** All of them. */
  readonly headers: readonly HeaderCondition[];
}

export interface ParsedPolicy {
  readonly name: string;
  readonly denyRules: readonly PolicyRule[];
  readonly allowRules: readonly PolicyRule[];
  /** Undefined where the policy says nothing of audit. */
  readonly auditCondition: AuditCondition | undefined;
  /** What is accepted and probably a mistake. */
  readonly warnings: readonly string[];
}

export type PolicyText = { readonly policy: ParsedPolicy } | { readonly problems: readonly string[] };

/** Every problem at once, each led by where it stands. */
export function parsePolicyText(text: string): PolicyText {
  const json = parsePolicyJson(text);
  if ("problems" in json) return json;
  const problems: string[] = [];
  const reader = new FieldReader(problems);
  const policy = readPolicy(reader, json.value, problems);
  return problems.length > 0 ? { problems } : { policy };
}

function readPolicy(reader: FieldReader, value: unknown, problems: string[]): ParsedPolicy {
  const fields = reader.object(value, "", ["name", "deny_rules", "allow_rules", "audit_logging_options"]);
  const name = reader.text(fields, "name", "");
  if (name === "") problems.push("name: is missing or empty; give the policy a name");
  const warnings: string[] = [];
  const rulesIn = (list: "deny_rules" | "allow_rules"): readonly PolicyRule[] => {
    const read = reader
      .list(fields, list, "")
      .map((rule, place) => readRule(reader, rule, `${list}[${place}]`, problems));
    warnings.push(...read.flatMap(warningsOf), ...replacedIn(read));
    return lastOfEachName(read);
  };
  const denyRules = rulesIn("deny_rules");
  const allowRules = rulesIn("allow_rules");
  if (allowRules.length === 0 && !problems.some((problem) => problem.startsWith("allow_rules")))
    problems.push(
      'allow_rules: is missing or empty; gRPC refuses such a policy. To deny every call write a deny rule without conditions, { "name": "everybody" }, beside an allow rule',
    );
  return {
    name,
    denyRules,
    allowRules,
    auditCondition: parseAuditOptions(reader, fields.get("audit_logging_options"), problems),
    warnings,
  };
}

function readRule(reader: FieldReader, value: unknown, place: string, problems: string[]): PolicyRule {
  const fields = reader.object(value, place, ["name", "source", "request"]);
  const name = reader.text(fields, "name", place);
  if (name === "") problems.push(`${place}.name: is missing or empty; give the rule a name`);
  const where = name === "" ? place : `${place} ${JSON.stringify(name)}`;
  const source = reader.object(fields.get("source"), `${where}: source`, ["principals"]);
  const request = reader.object(fields.get("request"), `${where}: request`, ["paths", "headers"]);
  return {
    name,
    where,
    principals: reader.texts(source, "principals", `${where}: source`).map(parseTextMatch),
    paths: reader.texts(request, "paths", `${where}: request`).map(parseTextMatch),
    headers: reader
      .list(request, "headers", `${where}: request`)
      .map((header, i) => readHeader(reader, header, `${where}: request.headers[${i}]`, problems)),
  };
}

/** As grpc-go has them: what HTTP/2 or gRPC itself speaks of. */
const unsupportedKeys: ReadonlySet<string> = new Set([
  "host",
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

function readHeader(reader: FieldReader, value: unknown, where: string, problems: string[]): HeaderCondition {
  const fields = reader.object(value, where, ["key", "values"]);
  const given = reader.text(fields, "key", where);
  const key = lowerCase(given);
  if (key === "") problems.push(`${where}.key: is missing or empty; give the name of the header to compare`);
  else if (key.startsWith(":") || key.startsWith("grpc-") || unsupportedKeys.has(key))
    problems.push(
      `${where}.key: ${JSON.stringify(given)} cannot be matched: it belongs to HTTP/2 or to gRPC itself; compare another header, or use paths`,
    );
  const values = reader.texts(fields, "values", where);
  if (values.length === 0 && !problems.some((problem) => problem.startsWith(`${where}.values`)))
    problems.push(`${where}.values: is missing or empty; write ["*"] for any value`);
  return {
    key,
    written: values.map(parseTextMatch),
    matches: values.map((each) => parseTextMatch(asHeaderBytes(each))),
  };
}

/** Letter by letter, as Go does it: JavaScript makes two characters of a dotted capital I. */
function lowerCase(text: string): string {
  return text.replaceAll("\u0130", "i").toLowerCase();
}

/** Rules are kept by name, in gRPC too: of several with one name the last is in force. */
function lastOfEachName(rules: readonly PolicyRule[]): readonly PolicyRule[] {
  return [...new Map(rules.map((rule) => [rule.name, rule])).values()];
}

function replacedIn(rules: readonly PolicyRule[]): string[] {
  const last = new Map(rules.map((rule) => [rule.name, rule]));
  return rules
    .filter((rule) => last.get(rule.name) !== rule)
    .map(
      (rule) =>
        `${rule.where}: has no effect, as in gRPC: ${last.get(rule.name)?.where ?? ""} has the same name and takes its place; rename one of them`,
    );
}

const headerName = /^[0-9a-z_.-]+$/;

/** Headers that say who a caller is or forward its certificate. */
const unprovenKeys: ReadonlySet<string> = new Set(["x-user-id", "x-tenant-id", "x-forwarded-client-cert"]);

function warningsOf({ where, principals, paths, headers }: PolicyRule): string[] {
  const inTheMiddle = [...principals, ...paths, ...headers.flatMap(({ written }) => written)]
    .filter((match) => match.kind !== "presence" && match.text.includes("*"))
    .map(
      (match) =>
        `${where}: a * in the middle of a value stands for itself (${JSON.stringify(match)}); only one at its start or end is a wildcard`,
    );
  const keys = headers.flatMap(({ key }) => {
    if (!headerName.test(key))
      return [`${where}: no call has a header ${JSON.stringify(key)}; gRPC allows 0-9 a-z _ - . in a name`];
    if (unprovenKeys.has(key))
      return [
        `${where}: ${key} is removed from calls where nobody verified it (docs/authorization/grpc-policy.md), so the rule sees it only from trusted actors, if at all`,
      ];
    return [];
  });
  return [...inTheMiddle, ...keys];
}
