// The whole policy to read: who may call which method, under which conditions.
import { isHealthProbe, type MethodInfo } from "../../grpc/method.ts";
import { asHtml, asMarkdown, asText } from "./access-matrix-renderings.ts";
import type { MethodPolicy, ReadableRule } from "./authorizer.ts";
import type { MethodAccess } from "./method-access.ts";

/** Every registered method, the policy's roles, and who may call what. */
export interface AccessMatrix {
  /** The policy's roles: the columns. Empty where the policy knows no roles, or does not tell. */
  readonly roles: readonly string[];
  /** In the order of registration: the rows. */
  readonly methods: readonly MethodAccess[];
  /** A table for a terminal. */
  toText(): string;
  /** A GitHub-flavoured Markdown table, for a repository or a wiki. */
  toMarkdown(): string;
  /** One HTML page that needs nothing besides itself: no script, no file, no network. */
  toHtml(): string;
}

/** The policy in force, as far as it can be read. */
export interface ReadablePolicy {
  readonly roles?: readonly string[] | undefined;
  forMethod(path: string): MethodPolicy | undefined;
}

export function accessMatrix(methods: readonly MethodInfo[], policy: ReadablePolicy): AccessMatrix {
  const roles = Object.freeze([...(policy.roles ?? [])]);
  const rows = Object.freeze(methods.map((method) => Object.freeze(accessOf(method, policy))));
  return Object.freeze({
    roles,
    methods: rows,
    toText: () => asText(roles, rows),
    toMarkdown: () => asMarkdown(roles, rows),
    toHtml: () => asHtml(roles, rows),
  });
}

function accessOf(method: MethodInfo, policy: ReadablePolicy): MethodAccess {
  const row = { method: method.path, kind: method.kind };
  if (isHealthProbe(method)) return { ...row, ...open, access: "probe" };
  const rule = policy.forMethod(method.path);
  if (rule === undefined) return { ...row, ...open, access: "denied" };
  const readable = readableRule(rule);
  if (rule.access === "public") {
    return { ...row, ...open, access: "public", ...(readable === undefined ? {} : { rule: readable.rule }) };
  }
  return readable === undefined ? { ...row, ...open, access: "run-time" } : { ...row, ...checked(readable) };
}

/** What an authorizer of one's own cannot tell must not keep a server from starting. */
function readableRule(rule: MethodPolicy): ReadableRule | undefined {
  try {
    return rule.describe?.();
  } catch {
    return undefined;
  }
}

/** Nothing is demanded; or nobody could say what. */
const open = Object.freeze({
  roles: [],
  rolesWithPermissions: [],
  permissions: [],
  schemes: [],
  conditions: [],
});

function checked(readable: ReadableRule): Omit<MethodAccess, "method" | "kind"> {
  const {
    rule,
    roles,
    rolesWithPermissions = [],
    permissions = [],
    schemes = [],
    conditions = [],
  } = readable;
  const demands = { permissions, schemes, conditions };
  if (roles === "every verified caller") {
    return { access: "authenticated", rule, roles: [], rolesWithPermissions: [], ...demands };
  }
  return { access: "restricted", rule, roles, rolesWithPermissions, ...demands };
}

/** The numbers of a matrix, for one log line at start. Those by access add up to `methods`. */
export interface AccessSummary {
  readonly methods: number;
  /** Health probes, which are open to everybody. */
  readonly probes: number;
  readonly public: number;
  readonly authenticated: number;
  readonly restricted: number;
  readonly decided_at_run_time: number;
  readonly denied: number;
  /** For each role, how many restricted methods it may call by itself. */
  readonly by_role: Readonly<Record<string, number>>;
}

export function summaryOf({ roles, methods }: AccessMatrix): AccessSummary {
  const count = (access: MethodAccess["access"]): number =>
    methods.filter((method) => method.access === access).length;
  return {
    methods: methods.length,
    probes: count("probe"),
    public: count("public"),
    authenticated: count("authenticated"),
    restricted: count("restricted"),
    decided_at_run_time: count("run-time"),
    denied: count("denied"),
    by_role: Object.fromEntries(
      roles.map((role) => [role, methods.filter((method) => method.roles.includes(role)).length]),
    ),
  };
}
