// The whole policy to read: who may call which method, under which conditions.
import { isHealthProbe, type MethodInfo } from "../../grpc/method.ts";
import { asHtml } from "./access-matrix-page.ts";
import { asMarkdown, asText } from "./access-matrix-renderings.ts";
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
  /**
   * One HTML page that needs nothing besides itself, no file and no network, to search and to print. Its own script is the
   * only one that it runs; without scripts it shows every row.
   */
  toHtml(): string;
}

/** The policy in force, as far as it can be read. */
export interface ReadablePolicy {
  readonly roles?: readonly string[] | undefined;
  forMethod(path: string): MethodPolicy | undefined;
}

export function accessMatrix(methods: readonly MethodInfo[], policy: ReadablePolicy): AccessMatrix {
  const roles = Object.freeze([...(policy.roles ?? [])]);
  const rows = Object.freeze(methods.map((method) => Object.freeze(readMethod(method, policy).access)));
  return Object.freeze({
    roles,
    methods: rows,
    toText: () => asText(roles, rows),
    toMarkdown: () => asMarkdown(roles, rows),
    toHtml: () => asHtml(roles, rows),
  });
}

/** What the policy says about one method. */
export interface ReadMethod {
  readonly access: MethodAccess;
  /** Absent where no rule is about it. */
  readonly policy?: MethodPolicy;
  /** Absent where only a call can tell. */
  readonly rule?: ReadableRule;
}

export function readMethod(method: MethodInfo, whole: ReadablePolicy): ReadMethod {
  const row = { method: method.path, kind: method.kind };
  if (isHealthProbe(method)) return { access: { ...row, ...open, access: "probe" } };
  const policy = whole.forMethod(method.path);
  if (policy === undefined) return { access: { ...row, ...open, access: "denied" } };
  const rule = readableRule(policy);
  if (policy.access === "public") {
    const named = rule === undefined ? {} : { rule: rule.rule };
    return { access: { ...row, ...open, access: "public", ...named }, policy };
  }
  return rule === undefined
    ? { access: { ...row, ...open, access: "run-time" }, policy }
    : { access: { ...row, ...checked(rule) }, policy, rule };
}

/** What an authorizer of one's own cannot tell must not keep a server from starting. */
function readableRule(policy: MethodPolicy): ReadableRule | undefined {
  try {
    return policy.describe?.();
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
