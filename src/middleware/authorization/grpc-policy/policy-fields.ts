// Reads the members of a policy's objects, as forgiving as Go's JSON is about their names and as strict about their types.
import { Buffer } from "node:buffer";
import { didYouMean } from "../../../config/nearest-name.ts";

/** The members of one object by their names. */
export type Fields = ReadonlyMap<string, unknown>;

/** Reads what must have a certain type. Go takes `null` for what is left out, and names of members in any case. */
export class FieldReader {
  readonly #problems: string[];

  constructor(problems: string[]) {
    this.#problems = problems;
  }

  /** Members that are not `known` are a problem: what an older reader would pass over may be what keeps somebody out. */
  object(value: unknown, where: string, known: readonly string[]): Fields {
    const fields = new Map<string, unknown>();
    if (value === undefined || value === null) return fields;
    if (!isObject(value)) {
      this.#problems.push(`${where === "" ? "the policy" : where}: expected an object, not ${kindOf(value)}`);
      return fields;
    }
    for (const [written, member] of Object.entries(value)) {
      const name = foldedName(written);
      const at = where === "" ? written : `${where}.${written}`;
      if (!known.includes(name))
        this.#problems.push(
          `${at}: no such field${didYouMean(written, known) || `; there are ${known.join(", ")}`}`,
        );
      else if (fields.has(name))
        this.#problems.push(`${at}: stands twice in one object, written differently; keep one of them`);
      else fields.set(name, member);
    }
    return fields;
  }

  /** Empty where it is left out. */
  text(fields: Fields, name: string, where: string): string {
    const value = fields.get(name) ?? "";
    if (typeof value === "string") return wellFormed(value);
    this.#problems.push(`${pathTo(where, name)}: expected text in quotes, not ${kindOf(value)}`);
    return "";
  }

  /** Empty where it is left out. */
  list(fields: Fields, name: string, where: string): readonly unknown[] {
    const value = fields.get(name) ?? [];
    if (Array.isArray(value)) return value;
    this.#problems.push(`${pathTo(where, name)}: expected a list, not ${kindOf(value)}; write [ ] around it`);
    return [];
  }

  texts(fields: Fields, name: string, where: string): readonly string[] {
    return this.list(fields, name, where).map((value, i) => {
      if (typeof value === "string") return wellFormed(value);
      const advice = value === null ? '; write "" for the empty text, or take it out' : "";
      this.#problems.push(
        `${pathTo(where, name)}[${i}]: expected text in quotes, not ${kindOf(value)}${advice}`,
      );
      return "";
    });
  }

  flag(fields: Fields, name: string, where: string): boolean {
    const value = fields.get(name) ?? false;
    if (typeof value === "boolean") return value;
    this.#problems.push(`${pathTo(where, name)}: expected true or false, not ${kindOf(value)}`);
    return false;
  }
}

function pathTo(where: string, name: string): string {
  return where === "" ? name : `${where}.${name}`;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  return typeof value === "string" ? "text" : `a ${typeof value}`;
}

/** Go's JSON compares names by simple case folding; of all letters two beside the ASCII ones fold into ASCII. */
function foldedName(name: string): string {
  return name
    .replaceAll("\u017F", "s")
    .replaceAll("\u212A", "k")
    .replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** Half a surrogate pair is a replacement character, in Go and on the wire. */
function wellFormed(text: string): string {
  return Buffer.from(text, "utf8").toString("utf8");
}
