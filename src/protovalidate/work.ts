/**
 * What it takes at most to check one message, in steps of about a microsecond, worked out before the library checks it: the
 * library has no limit of its own, and takes some microseconds for each value, and more where rules loop.
 */
import type { ExpressionCost } from "./expression.ts";

/** What the rules of a value cost. */
export interface ValueWork {
  /** For each such value. */
  readonly steps: number;
  /** For each character of a text, or byte. */
  readonly stepsPerCharacter: number;
  readonly expressions: readonly ExpressionCost[];
  /** The message that the value is, with rules in it or not. */
  readonly message: MessageWork | undefined;
}

export interface FieldWork {
  /** The name in the decoded message. */
  readonly name: string;
  readonly kind: "one" | "list" | "map";
  /** Of the list or map as a whole. */
  readonly whole: ValueWork;
  /** Of the value, or of each value of the list or map. */
  readonly value: ValueWork;
  readonly key: ValueWork;
}

export interface MessageWork {
  steps: number;
  fields: readonly FieldWork[];
  expressions: readonly ExpressionCost[];
}

/** What a value holds: itself, and what is in it. */
export interface Size {
  readonly values: number;
  readonly characters: number;
}

export class TooMuchWork extends Error {}

/** What it takes. Throws `TooMuchWork` as soon as it is more than `maxSteps`. */
export function stepsFor(message: object, work: MessageWork, maxSteps: number): number {
  const walk = new Walk(maxSteps);
  walk.message(message, work, 0);
  return walk.steps;
}

class Walk {
  steps = 0;
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  #take(steps: number): void {
    this.steps += steps;
    // As a question that is false for what is no number.
    if (!(this.steps <= this.#most)) throw new TooMuchWork();
  }

  message(message: object, { steps, fields, expressions }: MessageWork, depth: number): Size {
    // The library writes the path to each message anew.
    this.#take(steps + depth / 32);
    let values = 1;
    let characters = 0;
    for (const field of fields) {
      const value: unknown = Reflect.get(message, field.name);
      if (value === undefined || value === null) continue;
      const size = this.#field(value, field, depth);
      values += size.values;
      characters += size.characters;
    }
    const size = { values, characters };
    for (const expression of expressions) this.#take(costOf(expression, size));
    return size;
  }

  #field(value: unknown, { kind, whole, value: work, key }: FieldWork, depth: number): Size {
    if (kind === "one") return this.#value(value, work, depth);
    if (typeof value !== "object" || value === null) return nothing;
    const size = Array.isArray(value)
      ? this.#elements(value, work, depth)
      : joined(
          this.#elements(Object.keys(value), key, depth),
          this.#elements(Object.values(value), work, depth),
        );
    this.#ruled(size, whole);
    return size;
  }

  #elements(elements: readonly unknown[], work: ValueWork, depth: number): Size {
    if (isFree(work) && typeof elements[0] !== "object") return sizeOfPlain(elements);
    let size = nothing;
    for (const element of elements) size = joined(size, this.#value(element, work, depth));
    return size;
  }

  #value(value: unknown, work: ValueWork, depth: number): Size {
    const size =
      work.message !== undefined && typeof value === "object" && value !== null
        ? this.message(value, work.message, depth + 1)
        : sizeOf(value);
    this.#ruled(size, work);
    return size;
  }

  #ruled(size: Size, { steps, stepsPerCharacter, expressions }: ValueWork): void {
    this.#take(steps + stepsPerCharacter * size.characters);
    for (const expression of expressions) this.#take(costOf(expression, size));
  }
}

function isFree({ steps, stepsPerCharacter, expressions, message }: ValueWork): boolean {
  return steps === 0 && stepsPerCharacter === 0 && expressions.length === 0 && message === undefined;
}

const nothing: Size = { values: 0, characters: 0 };
const one: Size = { values: 1, characters: 0 };

function joined(a: Size, b: Size): Size {
  return { values: a.values + b.values, characters: a.characters + b.characters };
}

/** Of numbers, bools or texts, which may be millions. */
function sizeOfPlain(elements: readonly unknown[]): Size {
  let characters = 0;
  if (typeof elements[0] === "string")
    for (const element of elements) characters += typeof element === "string" ? element.length : 0;
  return { values: elements.length, characters };
}

/** Of a value without rules of its own. */
function sizeOf(root: unknown): Size {
  if (typeof root === "string" || root instanceof Uint8Array) return { values: 1, characters: root.length };
  if (typeof root !== "object" || root === null) return one;
  const waiting: unknown[] = [root];
  let values = 0;
  let characters = 0;
  for (let value = waiting.pop(); value !== undefined; value = waiting.pop()) {
    values += 1;
    if (typeof value === "string" || value instanceof Uint8Array) characters += value.length;
    else if (typeof value === "object" && value !== null)
      for (const part of Object.values(value)) if (part !== undefined) waiting.push(part);
  }
  return { values, characters };
}

/** How many nodes of an expression are evaluated in a step. */
const nodesPerStep = 10;
/** How many characters most functions read in a step, with room for those that make a new text. */
const charactersPerStep = 64;

export function costOf(
  { nodes, loops, matches, perCharacter, pairs, splits }: ExpressionCost,
  { values: held, characters }: Size,
): number {
  const values = splits ? held + characters : held;
  const text = characters / charactersPerStep;
  const steps = nodes / nodesPerStep;
  let cost = 2 + steps;
  if (loops > 0) cost += steps * values ** loops + text * values ** (loops - 1);
  if (matches > 0) cost += perCharacter * characters * values ** (matches - 1);
  if (pairs > 0) cost += text ** 2 * values ** (pairs - 1);
  return cost;
}
