/**
 * Types that hold one another (an expression holds groups, which hold expressions). @bufbuild/protovalidate 1.3 plans the rules of such
 * types while others are not planned yet, and loses some of those that stand deeper. The rules of the type that it begins with are
 * complete, so each message of such a type is checked by itself.
 */
import type { DescField, DescMessage } from "@bufbuild/protobuf";

/** What a message holds, itself included. */
export type TypesIn = (type: DescMessage) => ReadonlySet<DescMessage>;

/** A message of such a type, and where it stands: `filter.groups[0]`; empty for the request itself. */
export interface FoundMessage {
  readonly type: DescMessage;
  readonly message: object;
  readonly path: string;
}

export class CircularTypes {
  readonly #types: ReadonlySet<DescMessage>;
  readonly #leading: ReadonlySet<DescMessage>;

  /** Those among `types`. One that holds itself alone is planned well. */
  constructor(types: Iterable<DescMessage>, typesIn: TypesIn) {
    const all = [...types];
    const isCircular = (type: DescMessage): boolean =>
      [...typesIn(type)].some((held) => held !== type && typesIn(held).has(type));
    const circular = new Set(all.filter(isCircular));
    this.#types = circular;
    this.#leading = new Set(all.filter((type) => [...typesIn(type)].some((held) => circular.has(held))));
  }

  [Symbol.iterator](): Iterator<DescMessage> {
    return this.#types[Symbol.iterator]();
  }

  /** Every message of such a type within one of `type`. */
  *within(type: DescMessage, message: object, path = ""): Generator<FoundMessage> {
    if (this.#types.has(type)) yield { type, message, path };
    for (const field of type.fields) {
      if (field.message === undefined || !this.#leading.has(field.message)) continue;
      for (const [part, held] of heldBy(field, Reflect.get(message, field.localName)))
        yield* this.within(field.message, held, path === "" ? part : `${path}.${part}`);
    }
  }
}

/** By the name of the field, as a violation writes it. */
function heldBy({ name, fieldKind }: DescField, value: unknown): readonly (readonly [string, object])[] {
  if (typeof value !== "object" || value === null) return [];
  if (fieldKind === "message") return [[name, value]];
  const parts = Array.isArray(value)
    ? value.map((each: unknown, at) => [`${name}[${at}]`, each] as const)
    : // The key is the caller's, and is not repeated.
      Object.values(value).map((each: unknown) => [`${name}[…]`, each] as const);
  return parts.flatMap(([part, each]) =>
    typeof each === "object" && each !== null ? [[part, each] as const] : [],
  );
}
