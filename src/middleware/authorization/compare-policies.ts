// Two policies side by side: who may call what under the one and not under the other.
import { PolicyError } from "../../grpc/errors.ts";
import type { MethodInfo } from "../../grpc/method.ts";
import { type ReadMethod, readMethod } from "./access-matrix.ts";
import type { Authorizer, Policy } from "./authorizer.ts";
import type { ChangeDirection, PolicyChange, PolicyComparison } from "./policy-change.ts";
import { changesAsMarkdown, changesAsText } from "./policy-comparison-renderings.ts";
import {
  type Allowed,
  atRunTime,
  type Difference,
  differencesOf,
  mayFreely,
  mayNot,
  messageCheck,
  type Standing,
  standingUnder,
} from "./standing.ts";

/** The methods of each side, where they differ: a method was added, or removed. */
export interface MethodsOfPolicies {
  readonly before: readonly MethodInfo[];
  readonly after: readonly MethodInfo[];
}

/**
 * Who gains and who loses what when `after` takes the place of `before`. Both are compiled against `methods`, or each against
 * the methods of its own time. `methodsOf(OrdersService)` gives the methods of a service.
 *
 * What only a call can tell is not compared: a rule without `describe`, and two different functions (`when`), are
 * `changed`. So are two conditions with different texts. A rule that moved to another path without letting in anybody else is no change.
 *
 * @throws {PolicyError} where a policy does not fit its methods; each problem says which policy.
 * @example
 * const comparison = comparePolicies(rbac(before), rbac(after), methodsOf(OrdersService));
 * if (comparison.counts.gained > 0) console.log(comparison.toMarkdown());
 */
export function comparePolicies(
  before: Authorizer,
  after: Authorizer,
  methods: readonly MethodInfo[] | MethodsOfPolicies,
): PolicyComparison {
  const sides = "before" in methods ? methods : { before: methods, after: methods };
  const changes = Object.freeze(changesBetween(before, after, sides));
  const count = (direction: ChangeDirection): number =>
    changes.filter((change) => change.direction === direction).length;
  const counts = Object.freeze({ gained: count("gained"), lost: count("lost"), changed: count("changed") });
  return Object.freeze({
    isEmpty: changes.length === 0,
    counts,
    changes,
    toText: () => changesAsText(changes, counts),
    toMarkdown: () => changesAsMarkdown(changes, counts),
  });
}

function changesBetween(
  before: Authorizer,
  after: Authorizer,
  methods: MethodsOfPolicies,
): readonly PolicyChange[] {
  const problems: string[] = [];
  const was = sideOf(before, methods.before, (problem) => problems.push(`before: ${problem}`));
  const is = sideOf(after, methods.after, (problem) => problems.push(`after: ${problem}`));
  if (problems.length > 0) throw new PolicyError(problems);
  // Compiled twice, even one policy may have other functions.
  if (before === after && methods.before === methods.after) return [];
  const parties = partiesOf([...new Set([...was.roles, ...is.roles])]);
  const paths = new Set([...is.methods.keys(), ...was.methods.keys()]);
  return [...paths].flatMap((path) => {
    const [methodBefore, methodAfter] = [was.methods.get(path), is.methods.get(path)];
    return parties.flatMap((party) =>
      differencesOf(standingOf(methodBefore, party), standingOf(methodAfter, party)).map((difference) =>
        Object.freeze({
          ...withNote(difference, party, [was, is]),
          ...party,
          method: path,
          accessBefore: methodBefore?.access.access ?? "absent",
          accessAfter: methodAfter?.access.access ?? "absent",
        }),
      ),
    );
  });
}

/** One policy, compiled and read. */
interface Side {
  readonly roles: readonly string[];
  readonly methods: ReadonlyMap<string, ReadMethod>;
}

function sideOf(
  authorizer: Authorizer,
  methods: readonly MethodInfo[],
  report: (problem: string) => void,
): Side {
  let policy: Policy;
  try {
    policy = authorizer.compile(methods);
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    error.problems.forEach(report);
    return { roles: [], methods: new Map() };
  }
  return {
    roles: policy.roles ?? [],
    methods: new Map(methods.map((method) => [method.path, readMethod(method, policy)])),
  };
}

type Party = Pick<PolicyChange, "party" | "role">;

function partiesOf(roles: readonly string[]): readonly Party[] {
  return [
    { party: "everybody" },
    { party: "verified" },
    ...roles.map((role) => ({ party: "role", role }) as const),
  ];
}

function standingOf(method: ReadMethod | undefined, { party, role }: Party): Standing {
  if (method === undefined) return mayNot;
  const { access, policy, rule } = method;
  const message = policy?.decideMessage;
  switch (access.access) {
    case "probe":
      return mayFreely;
    case "public":
      return message === undefined ? mayFreely : onCheckOf(message);
    case "denied":
      return mayNot;
    default:
      // Without a credential nobody passes a rule that is checked, whatever the policy would answer.
      if (party === "everybody" || policy === undefined) return mayNot;
      return rule === undefined ? atRunTime(policy.decide) : standingUnder(rule, role, message);
  }
}

/** An authorizer of one's own may look at the messages of a public method. */
function onCheckOf(message: object): Allowed {
  return { ...mayFreely, words: [messageCheck], functions: [message] };
}

function withNote(difference: Difference, { role }: Party, sides: readonly Side[]): Difference {
  if (role === undefined || difference.note !== undefined) return difference;
  const isKnown = sides.every(({ roles }) => roles.includes(role));
  return isKnown ? difference : { ...difference, note: "only one of the policies knows this role" };
}
