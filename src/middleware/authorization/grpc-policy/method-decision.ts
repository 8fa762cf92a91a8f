// A policy applied to the registered methods: what each decides for a call, and what it looks like to whoever reads it.
import type { CallContext } from "../../../chain/context.ts";
import { isHealthProbe, type MethodInfo } from "../../../grpc/method.ts";
import type { Decision, MethodPolicy, Policy, ReadableRule } from "../authorizer.ts";
import { isAudited } from "./audit-options.ts";
import { CallHeaders } from "./call-headers.ts";
import { callerNames } from "./caller-names.ts";
import type { ParsedPolicy, PolicyRule } from "./policy-text.ts";
import { CompiledRule, RuleIndex } from "./rule-index.ts";
import { describeMatch, matchesText, type TextMatch } from "./text-match.ts";

/** Rules in order, and what each of them decides. Methods with the same rules share it. */
interface Rules {
  readonly rules: readonly PolicyRule[];
  readonly index: RuleIndex;
  readonly decisions: readonly Decision[];
}

export function applyPolicy(policy: ParsedPolicy, methods: readonly MethodInfo[]): Policy {
  const denyRulesFor = rulesByPath(policy, "deny");
  const allowRulesFor = rulesByPath(policy, "allow");
  const compiled = new Map(
    methods.map(({ path }) => [path, new PolicyOfMethod(policy, denyRulesFor(path), allowRulesFor(path))]),
  );
  const closed = methods
    .filter((method) => !isHealthProbe(method) && compiled.get(method.path)?.allows === false)
    .map(({ path }) => `${path}: no allow rule is about it, so every call is denied`);
  return Object.freeze({
    warnings: [...policy.warnings, ...deadRules(policy, methods), ...closed],
    forMethod: (path: string) => compiled.get(path)?.policy,
  });
}

/** The policy may be shared by many services: a rule for another one is no mistake here. */
function deadRules({ denyRules, allowRules }: ParsedPolicy, methods: readonly MethodInfo[]): string[] {
  return [...denyRules, ...allowRules]
    .filter(({ paths }) => paths.length > 0)
    .filter(({ paths }) => !methods.some(({ path }) => paths.some((match) => matchesText(match, path))))
    .map(({ where }) => `${where}: none of its paths matches a method of this server`);
}

function rulesByPath(policy: ParsedPolicy, effect: "allow" | "deny"): (path: string) => Rules {
  const all = (effect === "allow" ? policy.allowRules : policy.denyRules).map((rule, place) => ({
    place,
    compiled: new CompiledRule(rule),
    decision: decisionOf(policy, effect, rule),
  }));
  const shared = new Map<string, Rules>();
  return (path) => {
    const about = all.filter(({ compiled }) => compiled.isAbout(path));
    const key = about.map(({ place }) => place).join();
    const known = shared.get(key);
    if (known !== undefined) return known;
    const made = {
      rules: about.map(({ compiled }) => compiled.rule),
      index: new RuleIndex(about.map(({ compiled }) => compiled)),
      decisions: about.map(({ decision }) => decision),
    };
    shared.set(key, made);
    return made;
  };
}

/** gRFC A43 and A59 name a rule `<policy>_<rule>`. */
function ruleName(policy: ParsedPolicy, rule: PolicyRule): string {
  return `${policy.name}_${rule.name}`;
}

function decisionOf(policy: ParsedPolicy, effect: "allow" | "deny", rule: PolicyRule): Decision {
  const reason = effect === "allow" ? "an allow rule matches the call" : "a deny rule matches the call";
  return withAudit(policy, { effect, rule: ruleName(policy, rule), reason });
}

function withAudit(
  { auditCondition }: ParsedPolicy,
  decision: Exclude<Decision, { readonly effect: "none" }>,
): Decision {
  const audit = isAudited(auditCondition, decision.effect);
  return Object.freeze(audit === undefined ? decision : { ...decision, audit });
}

class PolicyOfMethod {
  /** A plain object, so that `{ ...policy, decideMessage }` keeps this one's answer. */
  readonly policy: MethodPolicy = Object.freeze<MethodPolicy>({
    access: "checked",
    decide: (call) => this.#decide(call),
    describe: () => this.#describe(),
  });
  readonly #policy: ParsedPolicy;
  readonly #deny: Rules;
  readonly #allow: Rules;
  readonly #asksForNames: boolean;
  readonly #noMatch: Decision;
  readonly #unreadable: Decision;

  constructor(policy: ParsedPolicy, deny: Rules, allow: Rules) {
    this.#policy = policy;
    this.#deny = deny;
    this.#allow = allow;
    this.#asksForNames = deny.index.asksForNames || allow.index.asksForNames;
    this.#noMatch = withAudit(policy, {
      effect: "deny",
      rule: policy.name,
      reason: "no allow rule matches the call",
    });
    this.#unreadable = withAudit(policy, {
      effect: "deny",
      rule: policy.name,
      reason: "the names in the caller's certificate cannot be read, and rules ask for them",
    });
  }

  /** Can any call be allowed, as far as the path tells? */
  get allows(): boolean {
    return this.#allow.rules.length > 0;
  }

  #decide(call: CallContext): Decision {
    const names = callerNames(call.peer);
    if (names === undefined && this.#asksForNames) return this.#unreadable;
    const headers = new CallHeaders(call);
    return (
      firstDecision(this.#deny, names ?? [], headers) ??
      firstDecision(this.#allow, names ?? [], headers) ??
      this.#noMatch
    );
  }

  #describe(): ReadableRule {
    return {
      rule: this.#policy.name,
      // A policy of this kind knows certificates, not roles.
      roles: [],
      conditions: [
        ...this.#deny.rules.map((rule) => `denied by ${this.#inWords(rule)}`),
        ...(this.allows
          ? this.#allow.rules.map((rule) => `allowed by ${this.#inWords(rule)}`)
          : ["denied: no allow rule is about it"]),
      ].reduce<string[]>(boundedList, []),
    };
  }

  #inWords(rule: PolicyRule): string {
    const conditions = [
      ...(rule.principals.length === 0
        ? []
        : [`a name of the caller's certificate: ${listed(rule.principals)}`]),
      ...rule.headers.map(({ key, written }) => `header ${key}: ${listed(written)}`),
    ];
    return `${ruleName(this.#policy, rule)}${conditions.length === 0 ? ", always" : ` where ${conditions.join(" and ")}`}`;
  }
}

function firstDecision(
  { index, decisions }: Rules,
  names: readonly string[],
  headers: CallHeaders,
): Decision | undefined {
  return decisions[index.first(names, headers)];
}

/** How much of a long list stands in one cell of the matrix. */
const maxListed = 8;

function listed(matches: readonly TextMatch[]): string {
  const shown = matches.slice(0, maxListed).map(describeMatch).join(" or ");
  return matches.length > maxListed ? `${shown} or ${matches.length - maxListed} more` : shown;
}

const maxRulesInWords = 20;

function boundedList(list: string[], each: string, place: number, all: readonly string[]): string[] {
  if (place < maxRulesInWords) list.push(each);
  else if (place === maxRulesInWords) list.push(`${all.length - maxRulesInWords} more rules`);
  return list;
}
