/**
 * A checked expression as something to evaluate. What a caller can make it cost is counted: steps of loops and calls of
 * functions, more for long texts and lists. Functions of the library that are not linear, or not those of CEL as its other
 * implementations have them, are replaced.
 */
import type { CelFunc, CelInput, CelValue, celEnv } from "@bufbuild/cel";
import type { Registry } from "@bufbuild/protobuf";
import { accessFunctions, membershipFunctions } from "./access.ts";
import { bufbuild, type Expr } from "./bufbuild.ts";
import { ownFunctions } from "./functions.ts";

/** Of one evaluation: a few tens of milliseconds at most. */
export const maxSteps = 100_000;

/** Names that no expression can have: those of the calls that the checker puts into loops. */
export const loopCalls: { readonly steps: string; readonly list: string; readonly append: string } = {
  steps: "@steps",
  list: "@list",
  append: "@append",
};

/** True, false, or whatever else came of it. Throws where it is an error, or took too many steps. */
export type Evaluate = (values: Record<string, CelInput>, requestBytes: number) => CelValue;

export function evaluation(expr: Expr, registry: Registry): Evaluate {
  const { cel } = bufbuild();
  const steps = new Steps();
  const standard = cel.celEnv({
    funcs: [...ownFunctions(), ...membershipFunctions()],
    ...compiledOnce(),
  }).funcs;
  const funcs = [
    ...[...standard].map((each) => counted(each, steps)),
    ...accessFunctions(() => steps.takeRequest()),
    ...loopFunctions(steps),
  ];
  const env = cel.celEnv({ registry, funcs });
  const run = cel.plan(env, expr);
  return (values, requestBytes) => {
    steps.begin(requestBytes);
    const result = run(values);
    if (steps.spent) throw new Error(`it needs more than ${maxSteps} steps for this request`);
    if (cel.isCelError(result)) throw new Error(withoutValues(result.message));
    return result;
  };
}

/** The library shows values of the request behind a colon, and what is thrown here is logged. Our own functions show none. */
function withoutValues(message: string): string {
  return /^(?:int|uint|double|bool|timestamp|duration|no such overload): /.test(message)
    ? message
    : message.replace(/:.*$/s, "");
}

type CelEnvOptions = NonNullable<Parameters<typeof celEnv>[0]>;

/** The patterns of a condition stand in its text, so there are few. */
function compiledOnce(): Pick<CelEnvOptions, "re2"> {
  const { re2 } = bufbuild();
  if (re2 === undefined) return {};
  const matchers = new Map<string, ReturnType<typeof re2.compile>>();
  return {
    re2: {
      compile(pattern) {
        const matcher = matchers.get(pattern) ?? re2.compile(pattern);
        matchers.set(pattern, matcher);
        return matcher;
      },
    },
  };
}

class Steps {
  #left = 0;
  #requestSteps = 0;

  begin(requestBytes: number): void {
    this.#left = maxSteps;
    this.#requestSteps = requestBytes / 64;
  }

  /** An error is no more than one operand of an "or": that the steps are spent is asked at the end too. */
  get spent(): boolean {
    return this.#left < 0;
  }

  take(count: number): void {
    this.#left -= count;
    if (this.spent) throw new Error("too many steps");
  }

  takeRequest(): void {
    this.take(1 + this.#requestSteps);
  }

  /** What it takes at most to read a value once. */
  costOf(value: CelValue): number {
    if (typeof value === "string" || value instanceof Uint8Array) return value.length / 64;
    if (typeof value !== "object" || value === null) return 0;
    const { cel } = bufbuild();
    if (cel.isCelUint(value)) return 0;
    // A list within a message may be long in itself, or in what its elements hold.
    return cel.isCelList(value) ? value.size + this.#requestSteps : this.#requestSteps;
  }
}

function counted(inner: CelFunc, steps: Steps): CelFunc {
  const { cel } = bufbuild();
  const call = (target: CelValue | undefined, args: readonly CelValue[]): CelValue => {
    let cost = target === undefined ? 1 : 1 + steps.costOf(target);
    for (const arg of args) cost += steps.costOf(arg);
    steps.take(cost * costFactor(inner));
    const result = inner.call(0, target, [...args]);
    if (result === undefined) throw new Error(`no such overload: ${inner.id}`);
    if (cel.isCelError(result)) throw result;
    return result;
  };
  return inner.target === undefined
    ? cel.celFunc(inner.name, inner.arguments, inner.result, (...args: CelValue[]) => call(undefined, args))
    : cel.celMethod(
        inner.name,
        inner.target,
        inner.arguments,
        inner.result,
        function (this: CelValue, ...args: CelValue[]) {
          return call(this, args);
        },
      );
}

/** A regular expression takes longer for a character than a comparison, for some patterns some hundred times. */
function costFactor({ name }: CelFunc): number {
  return name === "matches" ? 256 : 1;
}

/** Lists that a loop makes grow in place: the library's would be a chain of lists of one. */
function loopFunctions(steps: Steps): readonly CelFunc[] {
  const { cel } = bufbuild();
  const { DYN, INT } = cel.CelScalar;
  const growing = new WeakMap<object, CelInput[]>();
  return [
    cel.celFunc(loopCalls.steps, [DYN, INT], DYN, (range, body) => {
      const size = cel.isCelList(range) || cel.isCelMap(range) ? range.size : 0;
      steps.take(size * Number(body));
      return range;
    }),
    cel.celFunc(loopCalls.list, [], cel.listType(DYN), () => {
      const array: CelInput[] = [];
      const list = cel.celList(array);
      growing.set(list, array);
      return list;
    }),
    cel.celFunc(loopCalls.append, [cel.listType(DYN), DYN], cel.listType(DYN), (list, element) => {
      growing.get(list)?.push(element);
      return list;
    }),
  ];
}
