/**
 * Finds protections in the sources by their markers, and takes one out. A marker is a comment, `protection: <id>`, in front
 * of a statement, a property, an element of a list or an expression: the largest one that begins right behind the comment.
 * What is found is replaced as a whole, so that renaming or moving what is in it does not matter.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

export interface Marker {
  readonly id: string;
  readonly file: string;
  /** The marked text: from its first character to the one behind its last. */
  readonly start: number;
  readonly end: number;
}

const marker = /\/[/*] protection: ([a-z0-9-]+)(?: \*\/|(?=\n))/g;

/** All markers of one file. */
export function markersIn(file: string, source: string): readonly Marker[] {
  const found = [...source.matchAll(marker)];
  if (found.length === 0) return [];
  const tree = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true);
  return found.map((match) => {
    const behind = match.index + match[0].length;
    const node = nodeBehind(tree, behind);
    const id = match[1] ?? "";
    if (node === undefined)
      throw new Error(`${file}: nothing that can be taken out follows the marker ${id}`);
    return { id, file, start: node.getStart(tree), end: node.end };
  });
}

/** All markers below `src/`, as git knows it. */
export function markersOf(root: string): readonly Marker[] {
  const files = execFileSync("git", ["ls-files", "--", "src"], { cwd: root, encoding: "utf8" });
  return files
    .trim()
    .split("\n")
    .filter((file) => file.endsWith(".ts"))
    .flatMap((file) => markersIn(file, readFileSync(join(root, file), "utf8")));
}

/** The source with the marked text replaced. */
export function without({ start, end }: Marker, source: string, replacement: string): string {
  return source.slice(0, start) + replacement + source.slice(end);
}

/** The largest node whose first token is the one behind `position`. */
function nodeBehind(tree: ts.SourceFile, position: number): ts.Node | undefined {
  let token = ts.getLeadingCommentRanges(tree.text, position)?.at(-1)?.end ?? position;
  while (/\s/.test(tree.text.charAt(token))) token += 1;
  let largest: ts.Node | undefined;
  const visit = (node: ts.Node): void => {
    if (largest !== undefined || token < node.pos || token >= node.end) return;
    if (node !== tree && node.kind !== ts.SyntaxKind.SyntaxList && node.getStart(tree) === token)
      largest = node;
    else ts.forEachChild(node, visit);
  };
  visit(tree);
  return largest;
}
