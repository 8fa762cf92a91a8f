// What a rule is about: one method, one service, one package, or everything; and which of these is the most specific.

import { didYouMean, nearestName } from "../../config/nearest-name.ts";
import { healthServiceName, type MethodInfo } from "../../grpc/method.ts";

/** The path of a rule about every method. */
export const everyMethod = "/*";

type Scope = "method" | "service" | "package" | "everything";

/** Undefined for what is no rule path. */
export function scopeOf(rulePath: string): Scope | undefined {
  if (rulePath === everyMethod) return "everything";
  if (/^\/[^\s/*]+\/\*$/.test(rulePath)) return "service";
  if (/^\/[^\s/*]+\.\*$/.test(rulePath)) return "package";
  return /^\/[^\s/*]+\/[^\s*]+$/.test(rulePath) ? "method" : undefined;
}

/**
 * The paths under which a rule about the method may stand, the most specific first:
 * `/orders.v1.Orders/GetOrder`, `/orders.v1.Orders/*`, `/orders.v1.*`, `/orders.*`, `/*`.
 */
export function rulePathsFor(method: MethodInfo): readonly string[] {
  const parts = method.service.split(".").slice(0, -1);
  const packages = parts.map((_, index) => `/${parts.slice(0, parts.length - index).join(".")}.*`);
  return [method.path, `/${method.service}/*`, ...packages, everyMethod];
}

/**
 * `; did you mean "…"?`. Services and methods are compared each by itself: paths of one service are alike for most of
 * their length, whatever the methods' names are.
 */
function nearestPath(rulePath: string, known: Iterable<string>): string {
  const [service, method] = partsOf(rulePath);
  const near = [...known].filter((path) => {
    const [otherService, otherMethod] = partsOf(path);
    return isNear(service, otherService) && isNear(method, otherMethod);
  });
  return didYouMean(rulePath, near);
}

function partsOf(path: string): readonly [service: string, method: string] {
  const slash = path.lastIndexOf("/");
  return slash <= 0 ? [path, ""] : [path.slice(0, slash), path.slice(slash + 1)];
}

function isNear(name: string, other: string): boolean {
  return name === other || nearestName(name, [other]) !== undefined;
}

const noService = "; no service is registered: call addService before listen()";

/** Why the rule matches no method, with the nearest path that would. */
export function explainNoMatch(rulePath: string, methods: readonly MethodInfo[]): string {
  const scope = scopeOf(rulePath);
  const known = new Set(methods.flatMap(rulePathsFor));
  if (known.has(rulePath))
    return `${rulePath}: covers only health probes, which need no credentials; remove it`;
  known.delete(everyMethod);
  const alike = [...known].filter((path) => scopeOf(path) === scope);
  const isAnyThere = methods.some(({ service }) => service !== healthServiceName);
  const near = nearestPath(rulePath, alike) || (scope === "method" ? "" : didYouMean(rulePath, known));
  const hint = isAnyThere ? near || "; remove it, or register its service" : noService;
  switch (scope) {
    case "method":
      return `${rulePath}: no such method${hint}`;
    case "service":
      return `${rulePath}: no method of such a service${hint}`;
    case "package":
      return `${rulePath}: no method in such a package${hint}`;
    case "everything":
      return `${rulePath}: no method is registered; call addService before listen()`;
    case undefined:
      return `${rulePath || '""'}: not a path; write /pkg.Service/Method, /pkg.Service/*, /pkg.* or /*${isAnyThere ? near : noService}`;
  }
}
