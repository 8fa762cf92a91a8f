// The pages of the documentation, and the code blocks on them.
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

export const root: string = resolve(import.meta.dirname, "../..");

export interface Page {
  readonly path: string;
  readonly text: string;
}

export interface Block {
  readonly page: string;
  /** The heading that it stands under. */
  readonly heading: string;
  readonly language: string;
  /** Of the first line of code, counted from 1. */
  readonly line: number;
  readonly code: string;
}

export const pages: readonly Page[] = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  ...markdownIn("docs"),
].map((path) => ({
  path,
  text: readFileSync(join(root, path), "utf8"),
}));

function markdownIn(folder: string): readonly string[] {
  return readdirSync(join(root, folder))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `${folder}/${name}`);
}

export function blocksOf({ path, text }: Page): readonly Block[] {
  return [...text.matchAll(/^ *(`{3,})(.*)\n([\s\S]*?)^ *\1$/gm)].map((match) => {
    const before = text.slice(0, match.index);
    return {
      page: path,
      heading: [...before.matchAll(/^#+ (.+)$/gm)].at(-1)?.[1] ?? "",
      language: match[2] ?? "",
      line: before.split("\n").length + 1,
      code: match[3] ?? "",
    };
  });
}
