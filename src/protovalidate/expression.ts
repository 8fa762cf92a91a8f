/**
 * What is known of a rule in CEL before any message: names that do not exist, and how its cost grows with the value that it
 * reads. The library evaluates a rule without a limit, so what a caller can make it cost must be known beforehand.
 */
import type { DescField, DescMessage, Registry, ScalarType } from "@bufbuild/protobuf";
import { didYouMean } from "../config/nearest-name.ts";
import { type Expr, type Parsed, packages } from "./packages.ts";
import { patternProblem, stepsPerCharacterOf } from "./pattern.ts";

/**
 * How the cost of an expression grows with the value that `this` is: with `n` values and `t` characters in it, it takes no more
 * than about `nodes * n ** loops + t / 64 * n ** (loops - 1) + t * n ** (matches - 1) + (t / 64) ** 2 * n ** (pairs - 1)` steps. A
 * part whose level is 0 does not occur.
 */
export interface ExpressionCost {
  readonly nodes: number;
  /** Loops within one another, each over what the message holds; functions that read a text or a list count as one. */
  readonly loops: number;
  /** The same for regular expressions and addresses, which take longer for a character: `perCharacter` steps. */
  readonly matches: number;
  readonly perCharacter: number;
  /** The same for functions that may compare each character of a text with each one of another. */
  readonly pairs: number;
  /** Are there values made of a text, as many as it has characters? */
  readonly splits: boolean;
}

export interface ReadExpression {
  readonly cost: ExpressionCost;
  readonly problems: readonly string[];
}

/** What a value is, as far as names and costs depend on it. */
export type ValueType =
  | { readonly kind: "message"; readonly message: DescMessage }
  | { readonly kind: "list" | "map"; readonly of: ValueType }
  /** A number, a bool, an enumeration: compared at once. */
  | { readonly kind: "small" }
  /** A text or bytes. */
  | { readonly kind: "text" }
  | { readonly kind: "unknown" };

const unknown: ValueType = { kind: "unknown" };
const small: ValueType = { kind: "small" };
const text: ValueType = { kind: "text" };

export function typeOfMessage(message: DescMessage): ValueType {
  return message.typeName.startsWith("google.protobuf.") ? unknown : { kind: "message", message };
}

/** Of the field as a whole. */
export function typeOfField(field: DescField): ValueType {
  switch (field.fieldKind) {
    case "message":
      return typeOfMessage(field.message);
    case "list":
    case "map":
      return { kind: field.fieldKind, of: typeOfElement(field) };
    case "enum":
      return small;
    case "scalar":
      return typeOfScalar(field.scalar);
  }
}

/** Of an element of a list, or of a value of a map. */
export function typeOfElement(field: DescField & { readonly fieldKind: "list" | "map" }): ValueType {
  if (field.message !== undefined) return typeOfMessage(field.message);
  return field.enum === undefined ? typeOfScalar(field.scalar) : small;
}

export function typeOfScalar(scalar: ScalarType | undefined): ValueType {
  const { STRING, BYTES } = packages().protobuf.ScalarType;
  return scalar === STRING || scalar === BYTES ? text : small;
}

/** Made of the parsed text of one rule. Throws where it is no expression. */
export function readExpression(rule: string, type: ValueType, registry: Registry): ReadExpression {
  const parsed: Parsed = packages().cel.parse(rule);
  const reader = new Reader(registry);
  if (parsed.expr !== undefined)
    reader.read(parsed.expr, { variables: new Map([["this", type]]), innermost: undefined, depth: 0 });
  const { nodes, loops, matches, perCharacter, pairs, splits, problems } = reader;
  return { cost: { nodes, loops, matches, perCharacter, pairs, splits }, problems: [...new Set(problems)] };
}

interface Scope {
  readonly variables: ReadonlyMap<string, ValueType>;
  /** The variable of the innermost loop. */
  readonly innermost: string | undefined;
  /** How many loops over what the message holds are around this place. */
  readonly depth: number;
}

/** What the rules of a field say, and the time: the same for every message. */
const constants: ReadonlySet<string> = new Set(["rules", "rule", "now"]);

/** Functions of protovalidate, in addition to those of CEL and of its extension for strings. */
const ownFunctions: readonly string[] = [
  "isNan",
  "isInf",
  "isHostname",
  "isHostAndPort",
  "isEmail",
  "isIp",
  "isIpPrefix",
  "isUri",
  "isUriRef",
  "unique",
  "getField",
];

/** Operators that the planner knows by itself. */
const planned: readonly string[] = ["_&&_", "_||_", "_?_:_", "_[_]", "@not_strictly_false"];

/** Each character may be looked at several times, or by an automaton. */
const slowPerCharacter: ReadonlySet<string> = new Set(["matches", "isUri", "isUriRef"]);
const pairsOfCharacters: ReadonlySet<string> = new Set([
  "contains",
  "indexOf",
  "lastIndexOf",
  "replace",
  "split",
]);
/** They read no more of one value than the other has. */
const asShortest: ReadonlySet<string> = new Set(["_==_", "_!=_", "startsWith", "endsWith"]);
/** They take the same time for every value. */
const quick: ReadonlySet<string> = new Set([
  ...planned,
  "!_",
  "-_",
  "_<_",
  "_<=_",
  "_>_",
  "_>=_",
  "_+_",
  "_-_",
  "_*_",
  "_/_",
  "_%_",
  "isNan",
  "isInf",
  "charAt",
  "getField",
  "dyn",
  "type",
]);

/** Of a pattern that only the rule's fields tell. */
const stepsOfUnknownPattern = 8;

let known: ReadonlySet<string> | undefined;

function knownFunctions(): ReadonlySet<string> {
  const { cel, celStrings } = packages();
  known ??= new Set([
    ...planned,
    ...ownFunctions,
    ...[...cel.celEnv({ funcs: [...celStrings.strings] }).funcs].map(({ name }) => name),
  ]);
  return known;
}

class Reader {
  readonly problems: string[] = [];
  nodes = 0;
  loops = 0;
  matches = 0;
  perCharacter = 0;
  pairs = 0;
  splits = false;
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  read(expr: Expr, scope: Scope): ValueType {
    this.nodes += 1;
    const { exprKind } = expr;
    switch (exprKind.case) {
      case "constExpr":
        return unknown;
      case "identExpr":
        return this.#variable(exprKind.value.name, scope);
      case "selectExpr":
        return this.#selection(expr, scope);
      case "callExpr":
        return this.#call(expr, scope);
      case "listExpr":
        for (const element of exprKind.value.elements) this.read(element, scope);
        return unknown;
      case "structExpr":
        for (const { keyKind, value } of exprKind.value.entries) {
          if (keyKind.case === "mapKey") this.read(keyKind.value, scope);
          if (value !== undefined) this.read(value, scope);
        }
        return unknown;
      case "comprehensionExpr":
        return this.#loop(expr, scope);
      default:
        return unknown;
    }
  }

  #variable(name: string, { variables }: Scope): ValueType {
    const type = variables.get(name);
    if (type !== undefined) return type;
    if (!constants.has(name) && !this.#isName(name))
      this.problems.push(
        `there is no variable ${name}${didYouMean(name, [...variables.keys(), ...constants])}`,
      );
    return unknown;
  }

  /** A type of CEL, or how the name of a type of protobuf begins. */
  #isName(name: string): boolean {
    if (celTypes.has(name) || name.startsWith(".")) return true;
    for (const { typeName } of this.#registry)
      if (typeName === name || typeName.startsWith(`${name}.`)) return true;
    return false;
  }

  #selection(expr: Expr, scope: Scope): ValueType {
    if (expr.exprKind.case !== "selectExpr") return unknown;
    const { operand, field } = expr.exprKind.value;
    if (operand === undefined) return unknown;
    const of = this.read(operand, scope);
    if (of.kind === "map") return of.of;
    if (of.kind === "small" || of.kind === "text" || of.kind === "list")
      this.problems.push(`what stands before .${field} has no fields`);
    if (of.kind !== "message") return unknown;
    const found = of.message.fields.find(({ name }) => name === field);
    if (found !== undefined) return typeOfField(found);
    const names = of.message.fields.map(({ name }) => name);
    this.problems.push(`${of.message.typeName} has no field ${field}${didYouMean(field, names)}`);
    return unknown;
  }

  #call(expr: Expr, scope: Scope): ValueType {
    if (expr.exprKind.case !== "callExpr") return unknown;
    const { function: name, target, args } = expr.exprKind.value;
    if (!knownFunctions().has(name)) {
      this.problems.push(`there is no function ${name}${didYouMean(name, knownFunctions())}`);
      return unknown;
    }
    const operands = [...(target === undefined ? [] : [target]), ...args];
    const types = operands.map((each) => this.read(each, scope));
    this.#countCall(name, operands, { types, scope });
    const [first = unknown] = types;
    if (name === "_[_]") return first.kind === "list" || first.kind === "map" ? first.of : unknown;
    if (name === "_?_:_") return types[1] ?? unknown;
    return unknown;
  }

  #countCall(
    name: string,
    operands: readonly Expr[],
    { types, scope }: { readonly types: readonly ValueType[]; readonly scope: Scope },
  ): void {
    // Of two that are compared the shorter one counts.
    if (quick.has(name) || (asShortest.has(name) && types.some((type) => type.kind === "small"))) return;
    // A list is searched; what is looked for in it takes no more than what it holds.
    const read = name === "@in" ? operands.slice(1) : operands.filter((_, at) => !isQuick(name, types[at]));
    const roots = read.map((each) => rootOf(each)).filter((root) => root !== undefined);
    if (roots.length === 0) return;
    if (name === "split") this.splits = true;
    const levels = roots.map((root) => levelOf(root, scope));
    const level = asShortest.has(name) ? Math.min(...levels) : Math.max(...levels);
    if (slowPerCharacter.has(name)) {
      this.matches = Math.max(this.matches, level);
      this.perCharacter += name === "matches" ? this.#stepsOfPattern(operands[1]) : 1;
    } else if (pairsOfCharacters.has(name) && operands.slice(1).some((each) => rootOf(each) !== undefined)) {
      this.pairs = Math.max(this.pairs, level);
    } else if (name === "unique") {
      // Each element is compared with each other one.
      this.loops = Math.max(this.loops, level + 1);
    } else {
      this.loops = Math.max(this.loops, level);
    }
  }

  #stepsOfPattern(pattern: Expr | undefined): number {
    if (pattern === undefined) return 0;
    if (rootOf(pattern) !== undefined)
      this.problems.push("matches takes its pattern from the message; write the pattern into the rule");
    const { exprKind } = pattern;
    const kind = exprKind.case === "constExpr" ? exprKind.value.constantKind : undefined;
    if (kind?.case !== "stringValue") return stepsOfUnknownPattern;
    const problem = patternProblem(kind.value);
    if (problem !== undefined) this.problems.push(problem);
    return stepsPerCharacterOf(kind.value);
  }

  /** The parser makes loops of `all`, `exists`, `exists_one`, `filter` and `map`. */
  #loop(expr: Expr, scope: Scope): ValueType {
    if (expr.exprKind.case !== "comprehensionExpr") return unknown;
    const { iterVar, iterRange, accuVar, accuInit, loopCondition, loopStep, result } = expr.exprKind.value;
    if (iterRange === undefined) return unknown;
    const range = this.read(iterRange, scope);
    const root = rootOf(iterRange);
    // A list that a loop makes is a chain of lists of one, which each step walks through.
    const makesList = accuInit?.exprKind.case === "listExpr";
    const depth = (root === undefined ? scope.depth : levelOf(root, scope)) + (makesList ? 1 : 0);
    this.loops = Math.max(this.loops, depth);
    const within: Scope = {
      variables: new Map([
        ...scope.variables,
        [iterVar, range.kind === "list" ? range.of : unknown],
        [accuVar, unknown],
      ]),
      innermost: iterVar,
      depth,
    };
    for (const part of [accuInit, loopCondition, loopStep, result])
      if (part !== undefined) this.read(part, within);
    return makesList && isFilter(loopStep) ? range : unknown;
  }
}

/** The length of a list is known, that of a text is counted. */
function isQuick(name: string, type: ValueType | undefined): boolean {
  if (type?.kind === "small") return true;
  return name === "size" && (type?.kind === "list" || type?.kind === "map");
}

const celTypes: ReadonlySet<string> = new Set([
  "bool",
  "bytes",
  "double",
  "google",
  "int",
  "list",
  "map",
  "null_type",
  "string",
  "type",
  "uint",
]);

function isFilter(step: Expr | undefined): boolean {
  return step?.exprKind.case === "callExpr" && step.exprKind.value.function === "_?_:_";
}

/** Of all elements of the innermost loop together there is no more than the message holds. */
function levelOf(root: string, { innermost, depth }: Scope): number {
  return root === innermost ? Math.max(1, depth) : depth + 1;
}

/** The variable that a value is taken from. Undefined for what is the same for every message. */
function rootOf(expr: Expr): string | undefined {
  const { exprKind } = expr;
  switch (exprKind.case) {
    case "identExpr": {
      const { name } = exprKind.value;
      // A name that no author can write is what a loop adds up.
      return constants.has(name) || name.startsWith("@") ? undefined : name;
    }
    case "selectExpr":
      return exprKind.value.operand === undefined ? undefined : rootOf(exprKind.value.operand);
    case "comprehensionExpr":
      return exprKind.value.iterRange === undefined ? undefined : rootOf(exprKind.value.iterRange);
    case "callExpr": {
      const { target, args } = exprKind.value;
      return joint([...(target === undefined ? [] : [target]), ...args]);
    }
    case "listExpr":
      return joint(exprKind.value.elements);
    case "structExpr":
      return joint(exprKind.value.entries.flatMap(({ value }) => (value === undefined ? [] : [value])));
    default:
      return undefined;
  }
}

/** What is made of several variables belongs to none of them. */
function joint(parts: readonly Expr[]): string | undefined {
  const roots = new Set(parts.map((each) => rootOf(each)).filter((root) => root !== undefined));
  return roots.size > 1 ? "" : [...roots][0];
}
