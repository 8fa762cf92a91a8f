// Every option of a group: where it stands, what it may be, what it is when it is not given, and what it means.
import type ts from "typescript";
import type { z } from "zod";
import type { Group } from "./groups.ts";
import { code, entryOf, membersOf, number, type Presence, shapeOf, unwrap } from "./schema.ts";
import type { MemberType, PublicTypes } from "./types.ts";

export interface Row {
  /** `rateLimit.perPeer.points`; `*` stands for a name that the caller chooses. */
  readonly path: string;
  readonly shape: string;
  readonly unlessGiven: string;
  readonly meaning: string;
}

/** What stands in the code and cannot be told, because it is not said, or said in two ways. */
export type Problem = string;

export interface Walk {
  readonly rows: readonly Row[];
  /** Options of grpc-js that are accepted as they are, by where they stand. */
  readonly foreign: ReadonlyMap<string, readonly string[]>;
  readonly problems: readonly Problem[];
}

export function walk(group: Group, types: PublicTypes): Walk {
  const rows: Row[] = [];
  const foreign = new Map<string, readonly string[]>();
  const problems: Problem[] = [];

  const visit = (schema: z.ZodType, type: ts.Type, base: string): void => {
    for (const [name, member] of membersOf(schema)) {
      const path = base === "" ? name : `${base}.${name}`;
      const known = types.member(type, name);
      if (known === undefined) {
        problems.push(`${group.type}.${path}: the schema takes it, the type has no such member`);
        continue;
      }
      option(path, name, base === "" ? (group.parts?.[name] ?? member) : member, member, known);
    }
  };

  const option = (
    path: string,
    name: string,
    schema: z.ZodType,
    whole: z.ZodType,
    known: MemberType,
  ): void => {
    const { inner } = unwrap(schema);
    const isForeign = name === "channelOptions";
    const own = unwrap(whole).presence;
    const hasMembers = own.kind === "default" && isEmpty(own.value) && membersOf(inner).length > 0;
    const presence: Presence = hasMembers && !isForeign ? { kind: "members" } : own;
    const told = tell(`${group.type}.${path}`, known, presence, name);
    problems.push(...told.problems);
    if (presence.kind !== "members" || shapeOf(inner) !== "`{ … }`") {
      const shape = shapeOf(inner) ?? code(known.written).replaceAll('"', "").replaceAll("\\", '"');
      rows.push({ path, shape, unlessGiven: told.unlessGiven, meaning: told.meaning });
    }
    if (isForeign) {
      foreign.set(
        path,
        membersOf(inner).map(([key]) => key),
      );
      return;
    }
    visit(inner, known.type, path);
    const entry = entryOf(inner);
    const entryType = types.entry(known.type);
    if (entry !== undefined && entryType !== undefined) visit(entry, entryType, `${path}.*`);
  };

  visit(unwrap(group.schema).inner, types.named(group.type), "");
  return { rows, foreign, problems };
}

interface Told {
  readonly unlessGiven: string;
  readonly meaning: string;
  readonly problems: readonly Problem[];
}

/** The default from the schema; in the doc comment's words where the schema has no value for it. */
function tell(
  where: string,
  { doc, requiredWhen, chooses }: MemberType,
  presence: Presence,
  name: string,
): Told {
  const { meaning, words } = readDoc(doc);
  const said = (unlessGiven: string, ...problems: readonly Problem[]): Told => ({
    unlessGiven,
    meaning,
    problems: meaning === "" ? [...problems, `${where}: no doc comment says what it means`] : problems,
  });
  if (presence.kind === "members") {
    const problems =
      words === undefined ? [] : [`${where}: its doc comment has a default, which are its members' to have`];
    return said("on", ...problems);
  }
  if (requiredWhen !== undefined) {
    const problems = words === undefined ? [] : [`${where}: required, and its doc comment has a default`];
    return said(`required ${requiredWhen}`.trim(), ...problems);
  }
  if (presence.kind === "required") {
    return said("required", `${where}: required, and optional in its type`);
  }
  if (chooses) return said("none");
  if (words === undefined) return said("", `${where}: its doc comment does not end "Default: …."`);
  if (presence.kind === "absent" || typeof presence.value === "function") return said(words);
  if (agrees(words, presence.value)) return said(valueText(presence.value, name));
  return said(
    valueText(presence.value, name),
    `${where}: its doc comment says "Default: ${words}.", the schema ${JSON.stringify(presence.value)}`,
  );
}

/** Takes the sentence `Default: ….` out of a doc comment. */
export function readDoc(doc: string): { readonly meaning: string; readonly words: string | undefined } {
  const sentence = /(?:^|\s)Default:\s([\s\S]+?)\.(?=\s|$)/.exec(doc);
  const rest = sentence === null ? doc : doc.replace(sentence[0], "");
  const meaning = rest.trim().replace(/\n- /g, "<br>- ").replace(/\s+/g, " ");
  return { meaning, words: sentence?.[1]?.replace(/\s+/g, " ") };
}

/** Do the words say this value? Units and the words between numbers are free. */
export function agrees(words: string, value: unknown): boolean {
  const plain = words.replace(/[`"]/g, "");
  if (isEmpty(value)) return plain === "none";
  if (Array.isArray(value)) return plain === value.join(", ");
  if (typeof value === "object" || typeof value === "number") {
    const told = [...plain.matchAll(/(\d[\d,]*)( MiB)?/g)].map(
      ([, digits = "", mebi]) => Number(digits.replaceAll(",", "")) * (mebi === undefined ? 1 : 1024 * 1024),
    );
    return JSON.stringify(told) === JSON.stringify(numbersIn(value));
  }
  return plain === String(value);
}

function numbersIn(value: unknown): readonly unknown[] {
  return typeof value === "object" && value !== null ? Object.values(value) : [value];
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** The unit is in the option's name. */
function valueText(value: unknown, name: string): string {
  if (isEmpty(value)) return "none";
  if (Array.isArray(value)) return value.map(code).join(", ");
  if (typeof value === "number") return number(value) + unitOf(name);
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).map(([key, one]) => `${key}: ${JSON.stringify(one)}`);
    return `\`{ ${members.join(", ")} }\``;
  }
  return code(value);
}

function unitOf(name: string): string {
  if (name.endsWith("Ms")) return " ms";
  if (name.endsWith("Sec")) return " s";
  return name.endsWith("Bytes") ? " bytes" : "";
}
