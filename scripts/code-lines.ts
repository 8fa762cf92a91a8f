/**
 * Counts the lines of code of `src/`, in total and by folder: `npm run lines`. A line counts if any part of a token stands
 * on it; blank lines and comments do not count, wherever they stand. The files are formatted (`npm run lint` sees to
 * that), so they are counted as they are. `npm run lines -- <folder>` counts another folder.
 */
import { readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** How many lines of the source hold code. */
export function codeLines(source: string): number {
  const file = ts.createSourceFile("counted.ts", source, ts.ScriptTarget.Latest);
  const lines = new Set<number>();
  // Through the parser, which alone can tell a regular expression from a division.
  const visit = (node: ts.Node): void => {
    // Its doc comment is a child of a declaration.
    if (ts.isJSDoc(node)) return;
    const children = node.getChildren(file);
    for (const child of children) visit(child);
    if (children.length > 0 || node.getStart(file) === node.end) return;
    const first = file.getLineAndCharacterOfPosition(node.getStart(file)).line;
    const last = file.getLineAndCharacterOfPosition(node.end).line;
    for (let line = first; line <= last; line++) lines.add(line);
  };
  visit(file);
  const texts = source.split(/\r?\n/);
  // A template may go over blank lines.
  return [...lines].filter((line) => texts[line]?.trim() !== "").length;
}

/** Lines of code by folder, and by the files beside the folders, for the `.ts` files in and below `folder`. */
export function linesByFolder(folder: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const path of ts.sys.readDirectory(folder, [".ts"], [], ["**/*"])) {
    const [place = ""] = relative(folder, dirname(path)).split("/");
    const name = place === "" ? relative(folder, path) : `${place}/`;
    counts.set(name, (counts.get(name) ?? 0) + codeLines(readFileSync(path, "utf8")));
  }
  return new Map([...counts].sort(([a], [b]) => a.localeCompare(b)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const counts = linesByFolder(resolve(process.argv[2] ?? join(root, "src")));
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  for (const [name, count] of [...counts, ["total", total] as const])
    console.log(`${String(count).padStart(7)}  ${name}`);
}
