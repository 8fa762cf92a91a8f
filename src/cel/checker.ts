/**
 * Checks an expression against the types of its variables, as the CEL language definition says ("Gradual Type Checking"), and
 * makes of it what is evaluated: names of enumerations become their numbers, loops count their steps. What only an evaluation
 * can know passes.
 */
import type { Registry } from "@bufbuild/protobuf";
import { didYouMean } from "../config/nearest-name.ts";
import { accessCalls } from "./access.ts";
import { bufbuild, type Expr, type Parsed } from "./bufbuild.ts";
import { loopCalls } from "./evaluation.ts";
import { functions, methods, operatorName, type Signature } from "./signatures.ts";
import { anyMessage, common, fits, listOf, nameOf, type Type, typeOfField, types } from "./types.ts";

/** How many loops (`all`, `exists`, `map`, …) may stand within one another. */
export const maxLoopDepth = 3;
export const maxNodes = 500;
/** How deep an expression may be nested. */
export const maxDepth = 50;

type Scope = ReadonlyMap<string, Type>;

interface Checked {
  readonly type: Type;
  readonly expr: Expr;
}

export interface CheckedExpression extends Checked {
  readonly problems: readonly string[];
}

/** The whole must be a bool, or what may be one. */
export function check(parsed: Parsed, variables: Scope, registry: Registry): CheckedExpression {
  const checker = new Checker(parsed, registry);
  const whole = parsed.expr;
  if (whole === undefined) throw new Error("the parser gave no expression");
  const { type, expr } = checker.check(whole, variables);
  if (!fits(type, types.bool)) checker.tell(whole, `the condition is ${nameOf(type)}, not bool`);
  return { type, expr, problems: checker.problems };
}

const unknown: Type = types.dyn;

class Checker {
  readonly problems: string[] = [];
  readonly #positions: Readonly<Record<string, number>>;
  readonly #registry: Registry;
  #depth = 0;
  #tooDeep = false;
  #loops = 0;
  #nodes = 0;

  constructor({ sourceInfo }: Parsed, registry: Registry) {
    this.#positions = sourceInfo?.positions ?? {};
    this.#registry = registry;
  }

  tell({ id }: Expr, problem: string): void {
    const at = this.#positions[String(id)];
    this.problems.push(at === undefined ? problem : `${problem} (at character ${at + 1})`);
  }

  #wrong(expr: Expr, problem: string): Checked {
    this.tell(expr, problem);
    return { type: unknown, expr };
  }

  check(expr: Expr, scope: Scope): Checked {
    this.#nodes += 1;
    if (this.#nodes === maxNodes + 1) this.tell(expr, `the condition has more than ${maxNodes} parts`);
    if (this.#nodes > maxNodes) return { type: unknown, expr };
    if (this.#depth === maxDepth) {
      if (!this.#tooDeep) this.tell(expr, `the condition is nested more than ${maxDepth} deep`);
      this.#tooDeep = true;
      return { type: unknown, expr };
    }
    this.#depth += 1;
    const checked = this.#checkKind(expr, scope);
    this.#depth -= 1;
    return checked;
  }

  #checkKind(expr: Expr, scope: Scope): Checked {
    const { exprKind } = expr;
    switch (exprKind.case) {
      case "constExpr":
        return this.#constant(expr);
      case "identExpr":
        return this.#variable(expr, exprKind.value.name, scope);
      case "selectExpr":
        return this.#selection(expr, scope);
      case "callExpr":
        return this.#call(expr, scope);
      case "listExpr":
        return this.#list(expr, scope);
      case "structExpr":
        return this.#map(expr, scope);
      case "comprehensionExpr":
        return this.#loop(expr, scope);
      default:
        return this.#wrong(expr, "this part cannot be read");
    }
  }

  #constant(expr: Expr): Checked {
    const kind = expr.exprKind.case === "constExpr" ? expr.exprKind.value.constantKind : undefined;
    switch (kind?.case) {
      case "boolValue":
        return { type: types.bool, expr };
      case "int64Value":
        if (BigInt.asIntN(64, kind.value) !== kind.value)
          return this.#wrong(expr, `${kind.value} is more than an int holds; write ${kind.value}u`);
        return { type: types.int, expr };
      case "uint64Value":
        if (BigInt.asUintN(64, kind.value) !== kind.value)
          return this.#wrong(expr, `${kind.value}u is more than a uint holds`);
        return { type: types.uint, expr };
      case "doubleValue":
        return { type: types.double, expr };
      case "stringValue":
        return { type: types.string, expr };
      case "bytesValue":
        return { type: types.bytes, expr };
      case "nullValue":
        return { type: types.null, expr };
      default:
        return this.#wrong(expr, "this part cannot be read");
    }
  }

  #variable(expr: Expr, name: string, scope: Scope): Checked {
    const type = scope.get(name);
    if (type !== undefined) return { type, expr };
    return this.#wrong(expr, `there is no variable ${name}${didYouMean(name, scope.keys())}`);
  }

  #selection(expr: Expr, scope: Scope): Checked {
    if (expr.exprKind.case !== "selectExpr") return { type: unknown, expr };
    const { operand, field, testOnly } = expr.exprKind.value;
    if (operand === undefined) return this.#wrong(expr, "this part cannot be read");
    const enumeration = testOnly ? undefined : this.#enumValue(expr, scope);
    if (enumeration !== undefined) return enumeration;
    const of = this.check(operand, scope);
    const type = this.#fieldOf(expr, of.type, field);
    const read = charged(expr, of);
    if (testOnly)
      return { type: types.bool, expr: call(expr, accessCalls.has, [read, textExpr(expr, field)]) };
    const from = of.type.kind === "dyn" ? call(expr, accessCalls.fields, [read]) : read;
    const made = withKind(expr, { case: "selectExpr", value: { ...expr.exprKind.value, operand: from } });
    return { type, expr: made };
  }

  #fieldOf(expr: Expr, of: Type, field: string): Type {
    switch (of.kind) {
      case "dyn":
        return types.dyn;
      case "map":
        if (!fits(of.key, types.string)) break;
        this.#knownKey(expr, of.keys, field);
        return of.value;
      case "object": {
        const type = of.fields.get(field);
        if (type !== undefined) return type;
        this.tell(expr, `${of.name} has no field ${field}${nearestOf(field, [...of.fields.keys()])}`);
        return unknown;
      }
      case "message": {
        const found = of.message.fields.find(({ name }) => name === field);
        if (found !== undefined) return typeOfField(found);
        const names = of.message.fields.map(({ name }) => name);
        this.tell(expr, `${of.message.typeName} has no field ${field}${nearestOf(field, names)}`);
        return unknown;
      }
      default:
        break;
    }
    this.tell(expr, `${nameOf(of)} has no fields, so no ${field}`);
    return unknown;
  }

  #knownKey(expr: Expr, keys: readonly string[] | undefined, key: string): void {
    if (keys === undefined || keys.includes(key)) return;
    this.tell(
      expr,
      `${key} is not among the names of the option metadata${didYouMean(key, keys) || `; add it: celWith({ metadata: [${JSON.stringify(key)}] })`}`,
    );
  }

  /** `orders.v1.State.OPEN`, where `orders` is no variable. */
  #enumValue(expr: Expr, scope: Scope): Checked | undefined {
    const path = pathOf(expr);
    if (path === undefined || scope.has(path[0] ?? "")) return undefined;
    const typeName = path.slice(0, -1).join(".");
    const enumeration = this.#registry.getEnum(typeName);
    if (enumeration === undefined) {
      const [first = ""] = path;
      if (this.#registry.getMessage(path.join(".")) === undefined && path.length < 3)
        return this.#wrong(expr, `there is no variable ${first}${didYouMean(first, scope.keys())}`);
      return this.#wrong(expr, `there is no variable ${first}, and no enumeration ${typeName}`);
    }
    const name = path.at(-1) ?? "";
    const value = enumeration.values.find((each) => each.name === name);
    if (value === undefined) {
      const names = enumeration.values.map((each) => each.name);
      return this.#wrong(expr, `${typeName} has no value ${name}${didYouMean(name, names)}`);
    }
    return { type: types.int, expr: integer(expr, value.number) };
  }

  #call(expr: Expr, scope: Scope): Checked {
    if (expr.exprKind.case !== "callExpr") return { type: unknown, expr };
    const { function: name, target, args } = asMethod(expr.exprKind.value);
    const on = target === undefined ? undefined : this.check(target, scope);
    const given = args.map((arg) => this.check(arg, scope));
    const isElement = name === "_[_]";
    const made = withKind(expr, {
      case: "callExpr",
      value: {
        ...expr.exprKind.value,
        function: isElement ? accessCalls.element : name,
        ...(on === undefined ? {} : { target: on.expr }),
        args: given.map((arg) => (isElement ? charged(expr, arg) : arg.expr)),
      },
    });
    const all = [...(on === undefined ? [] : [on]), ...given].map(({ type }) => type);
    if (name === "matches") this.#pattern(args.at(-1) ?? expr);
    if (name === "_[_]" && given[0]?.type.kind === "map") {
      const key = textOf(args[1]);
      if (key !== undefined) this.#knownKey(expr, given[0].type.keys, key);
    }
    return { type: this.#resultOf(expr, { name, isMethod: on !== undefined }, all), expr: made };
  }

  #resultOf(
    expr: Expr,
    { name, isMethod }: { readonly name: string; readonly isMethod: boolean },
    args: readonly Type[],
  ): Type {
    switch (name) {
      case "_&&_":
      case "_||_":
        for (const type of args)
          if (!fits(type, types.bool))
            this.tell(expr, `${operatorName(name)} cannot take ${nameOf(type)}; it takes bool`);
        return types.bool;
      case "_?_:_":
        return this.#choice(expr, args);
      case "_[_]":
        return this.#element(expr, args);
      default: {
        const known: ReadonlyMap<string, Signature> = isMethod ? methods : functions;
        const signature = known.get(name);
        if (signature !== undefined) {
          const outcome = signature(args);
          if ("type" in outcome) return outcome.type;
          this.tell(expr, outcome.problem);
          return unknown;
        }
        this.tell(expr, `there is no function ${name}${didYouMean(name, [...known.keys(), ...loopNames])}`);
        return unknown;
      }
    }
  }

  #choice(expr: Expr, [condition = unknown, a = unknown, b = unknown]: readonly Type[]): Type {
    if (!fits(condition, types.bool))
      this.tell(expr, `what stands before ? is ${nameOf(condition)}, not bool`);
    const type = common(a, b);
    if (type !== undefined) return type;
    this.tell(expr, `? gives either ${nameOf(a)} or ${nameOf(b)}; they must be of one type`);
    return unknown;
  }

  #element(expr: Expr, [of = unknown, index = unknown]: readonly Type[]): Type {
    if (of.kind === "list") {
      if (!fits(index, types.int)) this.tell(expr, `a list is read by int, not by ${nameOf(index)}`);
      return of.element;
    }
    if (of.kind === "map") {
      if (!fits(index, of.key)) this.tell(expr, `${nameOf(of)} is not read by ${nameOf(index)}`);
      return of.value;
    }
    if (of.kind !== "dyn")
      this.tell(expr, `${nameOf(of)} is neither a list nor a map, so […] cannot read it`);
    return unknown;
  }

  /** A pattern that a caller chose could be made to take long, and one that is none is found when the server starts. */
  #pattern(pattern: Expr): void {
    const text = textOf(pattern);
    if (text === undefined) {
      this.tell(pattern, "matches needs a pattern that stands in the condition as text");
      return;
    }
    if (text.length > maxPattern) {
      this.tell(pattern, `the pattern is longer than ${maxPattern} characters`);
      return;
    }
    const { cel } = bufbuild();
    const result = cel.run("''.matches(pattern)", { pattern: text });
    if (cel.isCelError(result)) this.tell(pattern, `the pattern is not RE2: ${result.message}`);
  }

  #list(expr: Expr, scope: Scope): Checked {
    if (expr.exprKind.case !== "listExpr") return { type: unknown, expr };
    const elements = expr.exprKind.value.elements.map((element) => this.check(element, scope));
    const made = withKind(expr, {
      case: "listExpr",
      value: { ...expr.exprKind.value, elements: elements.map((element) => element.expr) },
    });
    return { type: listOf(joint(elements.map(({ type }) => type))), expr: made };
  }

  #map(expr: Expr, scope: Scope): Checked {
    if (expr.exprKind.case !== "structExpr") return { type: unknown, expr };
    if (expr.exprKind.value.messageName !== "")
      return this.#wrong(expr, "a condition cannot make messages; compare their fields");
    const keys: Type[] = [];
    const values: Type[] = [];
    const entries = expr.exprKind.value.entries.map((entry) => {
      const { keyKind, value } = entry;
      if (keyKind.case !== "mapKey" || value === undefined) return entry;
      const key = this.check(keyKind.value, scope);
      const checked = this.check(value, scope);
      if (!keyTypes.some((type) => fits(key.type, type)))
        this.tell(keyKind.value, `a key of a map is int, uint, bool or string, not ${nameOf(key.type)}`);
      keys.push(key.type);
      values.push(checked.type);
      return { ...entry, keyKind: { case: "mapKey" as const, value: key.expr }, value: checked.expr };
    });
    const made = withKind(expr, { case: "structExpr", value: { ...expr.exprKind.value, entries } });
    return { type: { kind: "map", key: joint(keys), value: joint(values) }, expr: made };
  }

  /** The parser makes loops of `all`, `exists`, `exists_one`, `filter` and `map`, each in one form. */
  #loop(expr: Expr, scope: Scope): Checked {
    if (expr.exprKind.case !== "comprehensionExpr") return { type: unknown, expr };
    const loop = expr.exprKind.value;
    const { iterRange, accuInit, loopStep } = loop;
    if (iterRange === undefined || accuInit === undefined || loopStep === undefined)
      return this.#wrong(expr, "this part cannot be read");
    if (this.#loops === maxLoopDepth)
      return this.#wrong(expr, `more than ${maxLoopDepth} loops stand within one another`);
    const range = this.check(iterRange, scope);
    const within = new Map([...scope, [loop.iterVar, this.#iterated(expr, range.type)]]);
    const before = this.#nodes;
    this.#loops += 1;
    const step = this.#step(loopStep, within);
    this.#loops -= 1;
    const made = withKind(expr, {
      case: "comprehensionExpr",
      value: {
        ...loop,
        iterRange: call(expr, loopCalls.steps, [range.expr, integer(expr, 1 + this.#nodes - before)]),
        accuInit: accuInit.exprKind.case === "listExpr" ? call(expr, loopCalls.list, []) : accuInit,
        loopStep: step.expr,
      },
    });
    return { type: step.type, expr: made };
  }

  #iterated(expr: Expr, range: Type): Type {
    if (range.kind === "list") return range.element;
    if (range.kind === "map") return range.key;
    if (range.kind !== "dyn") this.tell(expr, `a loop needs a list or a map, not ${nameOf(range)}`);
    return unknown;
  }

  /** Its own part is checked, and what the parser put around it is kept. */
  #step(expr: Expr, scope: Scope): Checked {
    if (expr.exprKind.case !== "callExpr") return this.#wrong(expr, "this part cannot be read");
    const { function: name, args } = expr.exprKind.value;
    const [first, second, third] = args;
    if (first === undefined || second === undefined) return this.#wrong(expr, "this part cannot be read");
    switch (name) {
      case "_&&_":
      case "_||_":
        return { type: types.bool, expr: call(expr, name, [first, this.#test(second, scope)]) };
      case "_?_:_": {
        if (third === undefined) return this.#wrong(expr, "this part cannot be read");
        const test = this.#test(first, scope);
        const then = this.#step(second, scope);
        return { type: then.type, expr: call(expr, name, [test, then.expr, third]) };
      }
      case "_+_": {
        // `exists_one` counts, `filter` and `map` add an element.
        const [element] = second.exprKind.case === "listExpr" ? second.exprKind.value.elements : [];
        if (element === undefined) return { type: types.bool, expr };
        const added = this.check(element, scope);
        return { type: listOf(added.type), expr: call(expr, loopCalls.append, [first, added.expr]) };
      }
      default:
        return this.#wrong(expr, "this part cannot be read");
    }
  }

  #test(expr: Expr, scope: Scope): Expr {
    const test = this.check(expr, scope);
    if (!fits(test.type, types.bool)) this.tell(expr, `a loop tests ${nameOf(test.type)}, not bool`);
    return test.expr;
  }
}

/** The near name, or the first of those that there are. */
function nearestOf(name: string, names: readonly string[]): string {
  const listed = names.slice(0, maxListed).join(", ");
  return didYouMean(name, names) || `; it has ${listed}${names.length > maxListed ? " and others" : ""}`;
}

const maxListed = 8;
const maxPattern = 1_000;
const keyTypes: readonly Type[] = [types.int, types.uint, types.bool, types.string];
const loopNames: readonly string[] = ["has", "all", "exists", "exists_one", "filter", "map"];

function joint(all: readonly Type[]): Type {
  const [first = types.dyn, ...others] = all;
  return others.reduce<Type>((type, other) => common(type, other) ?? types.dyn, first);
}

/** A text that stands in the expression as such. */
function textOf(expr: Expr | undefined): string | undefined {
  const kind = expr?.exprKind.case === "constExpr" ? expr.exprKind.value.constantKind : undefined;
  return kind?.case === "stringValue" ? kind.value : undefined;
}

/** The names of `a.b.c`; undefined for anything else. */
function pathOf({ exprKind }: Expr): readonly string[] | undefined {
  if (exprKind.case === "identExpr") return [exprKind.value.name];
  if (exprKind.case !== "selectExpr" || exprKind.value.testOnly || exprKind.value.operand === undefined)
    return undefined;
  const parent = pathOf(exprKind.value.operand);
  return parent === undefined ? undefined : [...parent, exprKind.value.field];
}

function withKind(expr: Expr, exprKind: Expr["exprKind"]): Expr {
  return { ...expr, exprKind };
}

function call(at: Expr, name: string, args: Expr[]): Expr {
  return withKind(at, {
    case: "callExpr",
    value: { $typeName: "cel.expr.Expr.Call", function: name, args },
  });
}

/** An operand whose parts are read. */
function charged(at: Expr, { type, expr }: Checked): Expr {
  return type === anyMessage ? call(at, accessCalls.unpacked, [expr]) : expr;
}

type Call = Extract<Expr["exprKind"], { readonly case: "callExpr" }>["value"];

/** `matches(text, pattern)` is `text.matches(pattern)`. */
function asMethod(call: Call): Pick<Call, "function" | "target" | "args"> {
  const [text, ...rest] = call.args;
  if (call.function !== "matches" || call.target !== undefined || rest.length !== 1 || text === undefined)
    return call;
  return { function: call.function, target: text, args: rest };
}

function textExpr(at: Expr, value: string): Expr {
  return withKind(at, {
    case: "constExpr",
    value: { $typeName: "cel.expr.Constant", constantKind: { case: "stringValue", value } },
  });
}

function integer(at: Expr, value: number): Expr {
  return withKind(at, {
    case: "constExpr",
    value: {
      $typeName: "cel.expr.Constant",
      constantKind: { case: "int64Value", value: BigInt(value) },
    },
  });
}
