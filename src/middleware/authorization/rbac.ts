// Role-based access control: which role or permission each method needs, checked against the methods at start-up.
import { z } from "zod";
import { grantForms, isConcretePermission } from "../../chain/permission.ts";
import { didYouMean } from "../../config/nearest-name.ts";
import { parseOptions } from "../../config/options.ts";
import { ConfigError, PolicyError } from "../../grpc/errors.ts";
import { isHealthProbe, type MethodInfo } from "../../grpc/method.ts";
import type { Authorizer, CallerSchemes, Policy } from "./authorizer.ts";
import { type Condition, isCondition, type When } from "./condition.ts";
import {
  type ActorRequirement,
  type MethodRule,
  methodRule,
  type Requirement,
  type Rule,
} from "./method-rule.ts";
import { LookedUpRoles, type RoleLookup, roleLookupSchema } from "./role-lookup.ts";
import { type RoleDefinition, Roles } from "./roles.ts";
import { explainNoMatch, rulePathsFor } from "./rule-path.ts";
import type { ProtoRules } from "./rules-from-proto.ts";

export interface RbacOptions {
  /** The roles by name. Every role that a rule or another role names must be here. Default: none. */
  readonly roles?: Readonly<Record<string, RoleDefinition>> | undefined;
  /**
   * The rules by what they are about. The most specific one alone decides; the order does not matter:
   * - `/pkg.Service/Method`: this method;
   * - `/pkg.Service/*`: every method of this service;
   * - `/pkg.*`: every service in this package and in the packages below it (the longest package wins);
   * - `/*`: every method.
   */
  readonly rules: Readonly<Record<string, Rule>>;
  /**
   * Rules that stand in the .proto: `rulesFromProto(OrdersService)`. Where `rules` has one for the same path, that one counts, and
   * `listen()` warns of it. Default: none.
   */
  readonly protoRules?: ProtoRules | undefined;
  /**
   * Where further roles of a verified caller come from, such as a table of users: a function of the principal, or that and how
   * long its answers count. Asked where the roles and permissions of the credential do not suffice; what it answers is added
   * to them, for this policy alone. Default: the credential's roles are all.
   */
  readonly roleLookup?: RoleLookup | undefined;
}

/** The compiled policy: the rule of each method, to ask and to read. */
export interface RbacPolicy extends Policy {
  readonly methods: ReadonlyMap<string, MethodRule>;
  readonly roles: readonly string[];
  readonly warnings: readonly string[];
}

export interface RbacAuthorizer extends Authorizer {
  compile(methods: readonly MethodInfo[], callers?: CallerSchemes): RbacPolicy;
}

/** Names stand in log lines and in error texts: printable, and without space at the ends, where nobody sees it. */
const name = z
  .string()
  .regex(
    /^[^\s\p{Cc}](?:[^\p{Cc}]*[^\s\p{Cc}])?$/u,
    "expected a name of printable characters, without spaces at its ends",
  );
const names = z.array(name).min(1, "expected at least one; remove the key to demand nothing");

/** What editors show beside a policy file. */
const demands = {
  roles: names
    .optional()
    .meta({ description: "Any one of these roles, or a role that inherits one of them" }),
  permissions: names.optional().meta({ description: "All of these permissions: resource:action" }),
  schemes: names
    .optional()
    .meta({ description: "Verified in any one of these ways: jwt, api-key, mtls, introspection, …" }),
};

const actor = z.union(
  [
    z.literal("any"),
    z.strictObject(demands).refine(demandsSomething, {
      error:
        'expected at least one of roles, permissions, schemes; write "any" to demand no more than an actor',
    }),
  ],
  { error: 'expected "any", or what it must have, such as { schemes: ["mtls"] }' },
);

const condition = z.custom<When | Condition>(
  (value) => typeof value === "function" || isCondition(value),
  "expected a function of the call and the request that returns true or false, or a condition such as cel(…)",
);

const atLeastOne =
  'expected at least one of roles, permissions, schemes, actor, when; write "authenticated" to allow every verified caller';

const requirement = z
  .strictObject({ ...demands, actor: actor.optional(), when: condition.optional() })
  .refine(demandsAnything, atLeastOne);

const text = 'expected an expression as text, such as "request.owner == principal.subject"';

/** A file has no functions: a condition is its text there. */
const requirementInFile = z
  .strictObject({
    ...demands,
    actor: actor.optional(),
    when: z
      .string(text)
      .regex(/\S/, `${text}; remove the key to demand nothing of the request`)
      .optional()
      .meta({
        description:
          "A condition on each request message, as text: an expression in CEL where the option condition of rbacFile is cel",
      }),
  })
  .refine(demandsAnything, atLeastOne);

function demandsAnything(rule: RuleWithDemands): boolean {
  return rule.actor !== undefined || rule.when !== undefined || demandsSomething(rule);
}

interface RuleWithDemands extends ActorRequirement {
  readonly actor?: unknown;
  readonly when?: unknown;
}

function demandsSomething(rule: ActorRequirement): boolean {
  return rule.roles !== undefined || rule.permissions !== undefined || rule.schemes !== undefined;
}

const words = ["public", "authenticated"] as const;

const ruleError: z.core.$ZodErrorMap = ({ input }) =>
  `expected "public", "authenticated", or a demand such as { roles: ["admin"] }${typeof input === "string" ? didYouMean(input, words) : ""}`;

const rules = z
  .record(z.string(), z.union([z.enum(words), requirement], { error: ruleError }))
  .superRefine(refusePublicWildcards);

const rulesInFile = z
  .record(z.string(), z.union([z.enum(words), requirementInFile], { error: ruleError }))
  .superRefine(refusePublicWildcards);

function refusePublicWildcards(all: Readonly<Record<string, unknown>>, ctx: z.RefinementCtx): void {
  for (const [path, rule] of Object.entries(all)) {
    if (rule === "public" && path.includes("*")) {
      ctx.addIssue({
        code: "custom",
        path: [path],
        message: '"public" is not allowed on a wildcard path; list each public method',
      });
    }
  }
}

const role = z.strictObject({
  permissions: z
    .array(z.string())
    .optional()
    .meta({ description: `What the role grants: ${grantForms}` }),
  inherits: z
    .array(z.string())
    .optional()
    .meta({ description: "Roles whose permissions it has too, and as which it counts" }),
});

const roles = z
  .record(name, role, {
    error: ({ code }) =>
      code === "invalid_key"
        ? "expected a role name of printable characters, without spaces at its ends"
        : undefined,
  })
  .default({});

/** The shape of `rbac`'s options. */
export const rbacSchema: z.ZodType<{
  readonly roles: NonNullable<RbacOptions["roles"]>;
  readonly rules: RbacOptions["rules"];
  readonly protoRules?: ProtoRules | undefined;
  readonly roleLookup?: z.output<typeof roleLookupSchema> | undefined;
}> = z.strictObject({
  roles,
  rules,
  protoRules: rules.optional(),
  roleLookup: roleLookupSchema.optional(),
});

/** A rule as it stands in a file. */
export type RuleInFile =
  | Exclude<Rule, Requirement>
  | (Omit<Requirement, "when"> & { readonly when?: string | undefined });

/** What `rbacFile` takes from its file. */
export const rbacFileSchema: z.ZodType<{
  readonly $schema?: string | undefined;
  readonly roles: NonNullable<RbacOptions["roles"]>;
  readonly rules: Readonly<Record<string, RuleInFile>>;
}> = z.strictObject({
  $schema: z.string().optional(),
  roles: roles.meta({ description: "The roles by name" }),
  rules: rulesInFile.meta({
    description:
      "The rules by what they are about: /pkg.Service/Method, /pkg.Service/*, /pkg.* or /*; the most specific one alone decides",
  }),
});

/**
 * Role-based access control for each method, denying by default.
 *
 * A rule is `"public"` (nobody has to say who they are; never on a wildcard), `"authenticated"` (every identified
 * caller), or a demand of which every part that is given must hold: `roles` (any one of them, inheritance counts),
 * `permissions` (all of them, from the credential itself or from the caller's roles), `schemes` (any one of them), and
 * `actor`, the application that speaks for the caller: `"any"`, or the same three demanded of it. `when`, a function of the
 * call and of each request message, or a condition such as `cel("…")`, is asked after all of them: the rule of an owner, say.
 * An anonymous caller satisfies only `"public"`. Roles of a caller that the policy does not name grant nothing.
 *
 * A required permission that no role grants is no mistake: a credential may carry it. Where a role grants one whose name is
 * near, the server warns of it.
 *
 * Health probes (`Check` and `Watch` of `grpc.health.v1.Health`) are open without a rule and cannot be closed by one.
 *
 * @throws {ConfigError} for options of the wrong shape, at once.
 * @throws {PolicyError} from `compile`, so when the server starts, listing every rule that matches no method, every
 * method without a rule, every unknown role, circle of inheritance and malformed permission, every condition that does not fit
 * its method, and every scheme and actor that no authenticator of the server brings, where the authenticators tell.
 *
 * @example
 * rbac({
 *   roles: {
 *     viewer: { permissions: ["order:read"] },
 *     admin: { permissions: ["*"], inherits: ["viewer"] },
 *   },
 *   rules: {
 *     "/orders.v1.Orders/GetOrder": { permissions: ["order:read"] },
 *     "/orders.v1.Orders/*": { roles: ["admin"], schemes: ["jwt"] },
 *     "/orders.v1.Orders/RefundOrder": { permissions: ["order:refund"], actor: { schemes: ["mtls"] } },
 *     "/orders.v1.Orders/CancelOrder": {
 *       permissions: ["order:write"],
 *       when: (call, request: { owner: string }) => request.owner === call.principal?.subject,
 *     },
 *     "/orders.v1.Orders/Ping": "public",
 *   },
 * });
 */
export function rbac(options: RbacOptions): RbacAuthorizer {
  const parsed = parseOptions(rbacSchema, options, "rbac");
  refusePrototypeKey(options.roles, "rbac.roles");
  refusePrototypeKey(options.rules, "rbac.rules");
  const roleDefinitions = new Map(Object.entries(parsed.roles));
  const ruleTable = new Map(Object.entries<Rule>({ ...parsed.protoRules, ...parsed.rules }));
  const replaced = Object.keys(parsed.protoRules ?? {}).filter((path) => Object.hasOwn(parsed.rules, path));
  const lookedUp = parsed.roleLookup === undefined ? undefined : new LookedUpRoles(parsed.roleLookup);
  return Object.freeze({
    name: "rbac",
    compile: (methods: readonly MethodInfo[], callers: CallerSchemes = {}) =>
      compile({ roles: new Roles(roleDefinitions), table: ruleTable, replaced, lookedUp, methods, callers }),
  });
}

/** zod passes over a key `__proto__` in silence; a role or rule that is passed over is a hole. */
export function refusePrototypeKey(table: object | undefined, where: string): void {
  if (table !== undefined && Object.hasOwn(table, "__proto__")) {
    throw new ConfigError(`${where}.__proto__: this name cannot be used; choose another`);
  }
}

interface CompileParts {
  readonly roles: Roles;
  readonly table: ReadonlyMap<string, Rule>;
  /** The paths of rules that take the place of one in the .proto. */
  readonly replaced: readonly string[];
  readonly lookedUp: LookedUpRoles | undefined;
  readonly methods: readonly MethodInfo[];
  readonly callers: CallerSchemes;
}

function compile({ roles, table, replaced, lookedUp, methods, callers }: CompileParts): RbacPolicy {
  const compiled = new Map<string, MethodRule>();
  const undecided: string[] = [];
  const unfit = new Set<string>();
  const matched = new Set<string>();
  for (const method of methods) {
    const rulePaths = rulePathsFor(method).filter((path) => table.has(path));
    // A wildcard around a health probe has no effect on it, so the probe does not bring the wildcard to life.
    for (const path of rulePaths) if (path === method.path || !isHealthProbe(method)) matched.add(path);
    const decided = decidingRule(method, rulePaths[0], table);
    if (decided === undefined)
      undecided.push(`${method.path}: no rule; add one, or a wildcard that covers it`);
    else {
      const ask = conditionFor(method, decided, unfit);
      compiled.set(method.path, methodRule(decided.rulePath, decided.rule, { roles, ask, lookedUp }));
    }
  }
  const problems = [
    ...[...table.keys()].filter((path) => !matched.has(path)).map((path) => explainNoMatch(path, methods)),
    ...undecided,
    ...unfit,
    ...[...table].flatMap(([path, rule]) => problemsOfRule(path, rule, roles)),
    ...[...table].flatMap(([path, rule]) => problemsOfCallers(path, rule, callers)),
    ...methods.flatMap((method) => problemsOfProbe(method, table)),
    ...roles.problems(),
    ...caseTwins(roles, table),
  ];
  if (problems.length > 0) throw new PolicyError(problems);
  return Object.freeze({
    methods: compiled,
    roles: roles.names,
    warnings: [
      ...replaced.map((path) => `${path}: the rule in code takes the place of the one in the .proto`),
      ...[...table].flatMap(([path, rule]) => warningsOfRule(path, rule, roles)),
    ],
    forMethod: (path: string) => compiled.get(path),
  });
}

interface DecidingRule {
  readonly rulePath: string;
  readonly rule: Rule;
}

function decidingRule(
  method: MethodInfo,
  rulePath: string | undefined,
  table: ReadonlyMap<string, Rule>,
): DecidingRule | undefined {
  if (isHealthProbe(method)) return { rulePath: "health probe", rule: "public" };
  const rule = rulePath === undefined ? undefined : table.get(rulePath);
  return rulePath === undefined || rule === undefined ? undefined : { rulePath, rule };
}

/** What is asked of each request message; `problems` are added to. */
function conditionFor(
  method: MethodInfo,
  { rulePath, rule }: DecidingRule,
  problems: Set<string>,
): When | undefined {
  const when = typeof rule === "string" ? undefined : rule.when;
  if (typeof when !== "object") return when;
  const about = rulePath === method.path ? "" : `${method.path}: `;
  try {
    const ask: unknown = when.compile(method);
    if (isFunction(ask)) return ask;
    problems.add(
      `${rulePath}: when: ${about}compile of the condition returned no function; return what is asked`,
    );
    return undefined;
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    for (const problem of error.problems) problems.add(`${rulePath}: when: ${about}${problem}`);
    return undefined;
  }
}

/** A condition of one's own, in plain JavaScript, may return anything. */
function isFunction(value: unknown): value is When {
  return typeof value === "function";
}

/** A rule that would have no effect must not look as if it had. */
function problemsOfProbe(method: MethodInfo, table: ReadonlyMap<string, Rule>): string[] {
  const rule = table.get(method.path);
  if (!isHealthProbe(method) || rule === undefined || rule === "public") return [];
  return [`${method.path}: health probes need no credentials; remove this rule`];
}

function problemsOfRule(path: string, rule: Rule, roles: Roles): string[] {
  if (typeof rule === "string") return [];
  const { actor } = rule;
  return [
    ...problemsOfDemand(path, rule, roles),
    ...(typeof actor === "object" ? problemsOfDemand(`${path}: actor`, actor, roles) : []),
  ];
}

function problemsOfDemand(path: string, rule: ActorRequirement, roles: Roles): string[] {
  const unknown = (rule.roles ?? [])
    .filter((role) => !roles.has(role))
    .map((role) => `${path}: ${roles.explainUnknown(role)}`);
  const malformed = (rule.permissions ?? [])
    .filter((permission) => !isConcretePermission(permission))
    .map(
      (permission) =>
        `${path}: malformed permission ${JSON.stringify(permission)}; a rule needs resource:action, without wildcards`,
    );
  return [...unknown, ...malformed];
}

/** A demand that nobody can meet is a closed door that looks like a rule. */
function problemsOfCallers(path: string, rule: Rule, { schemes, actorSchemes }: CallerSchemes): string[] {
  if (typeof rule === "string") return [];
  return [
    ...problemsOfSchemes(path, rule.schemes, schemes),
    ...problemsOfActor(`${path}: actor`, rule.actor, actorSchemes),
  ];
}

function problemsOfActor(
  where: string,
  actor: "any" | ActorRequirement | undefined,
  known: readonly string[] | undefined,
): string[] {
  if (actor === undefined) return [];
  if (known?.length === 0)
    return [
      `${where}: no authenticator of this server verifies an actor; use allOf({ principal, actor }), or remove the condition`,
    ];
  return actor === "any" ? [] : problemsOfSchemes(where, actor.schemes, known);
}

function problemsOfSchemes(
  where: string,
  wanted: readonly string[] | undefined,
  known: readonly string[] | undefined,
): string[] {
  if (wanted === undefined || known === undefined) return [];
  return wanted
    .filter((scheme) => !known.includes(scheme))
    .map((scheme) => {
      const there =
        known.length === 0
          ? "this server has no authenticator that verifies callers"
          : `there are ${known.join(", ")}`;
      return `${where}: no authenticator has the scheme ${scheme}${didYouMean(scheme, known) || `; ${there}`}`;
    });
}

/** A permission that no role grants may stand in credentials; near one that a role grants, it is probably misspelt. */
function warningsOfRule(path: string, rule: Rule, roles: Roles): string[] {
  if (typeof rule === "string") return [];
  const granted = roles.grants();
  const warningsOf = (where: string, permissions: readonly string[]): string[] =>
    permissions
      .filter((permission) => roles.demanded(permission).grantedBy.length === 0)
      .map((permission) => [permission, didYouMean(permission, granted)] as const)
      .filter(([, hint]) => hint !== "")
      .map(([permission, hint]) => `${where}: no role grants permission ${permission}${hint}`);
  return [
    ...warningsOf(path, rule.permissions ?? []),
    ...warningsOf(`${path}: actor`, permissionsOfActor(rule.actor)),
  ];
}

/** Names that differ only in case are one name mistyped: `Admin` beside `admin`, `Order:read` beside `order:read`. */
function caseTwins(roles: Roles, table: ReadonlyMap<string, Rule>): string[] {
  const granted = roles
    .grantsByRole()
    .flatMap(([role, permissions]) => permissions.map((one) => [one, `roles.${role}.permissions`] as const));
  const required = [...table].flatMap(([path, rule]) =>
    typeof rule === "string"
      ? []
      : [...(rule.permissions ?? []), ...permissionsOfActor(rule.actor)].map((one) => [one, path] as const),
  );
  return [
    ...twinsAmong(
      "role",
      roles.names.map((role) => [role, `roles.${role}`]),
    ),
    ...twinsAmong("permission", [...granted, ...required]),
  ];
}

function permissionsOfActor(actor: "any" | ActorRequirement | undefined): readonly string[] {
  return typeof actor === "object" ? (actor.permissions ?? []) : [];
}

/** One line for each pair of names, with the places where they stand first. */
function twinsAmong(what: string, all: readonly (readonly [name: string, where: string])[]): string[] {
  const first = new Map<string, readonly [name: string, where: string]>();
  const problems = new Map<string, string>();
  for (const [one, where] of all) {
    const folded = one.toLowerCase();
    const [other, otherWhere] = first.get(folded) ?? [one, where];
    if (!first.has(folded)) first.set(folded, [other, otherWhere]);
    if (other === one || problems.has(one)) continue;
    problems.set(
      one,
      `${where}: ${what} ${one} differs only in case from ${other} (${otherWhere}); use one of them`,
    );
  }
  return [...problems.values()];
}
