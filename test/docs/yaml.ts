// Parsed YAML, looked at by path.
import { equal } from "node:assert/strict";
import { parseAllDocuments } from "yaml";

/** The documents of a text, each as plain values. Throws where it is no YAML. */
export function documentsIn(text: string): readonly unknown[] {
  return parseAllDocuments(text).map((document) => {
    equal(document.errors.join("\n"), "");
    return document.toJS() as unknown;
  });
}

/** What stands at a path; undefined where nothing does. */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (inner, name) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, name) : undefined),
    value,
  );
}

/** The elements of the list at a path; none where there is no list. */
export function listAt(value: unknown, ...path: readonly (string | number)[]): readonly unknown[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found : [];
}
