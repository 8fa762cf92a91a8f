// The pages of the documentation, and the code blocks on them.
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve, sep } from "node:path";

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
  /** The file that it is, where the line above ends with the file's name and a colon. */
  readonly file?: string;
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

/** With those in folders below it. */
function markdownIn(folder: string): readonly string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => `${folder}/${name.replaceAll(sep, "/")}`)
    .sort();
}

/** Output and commands are no files. */
const notFiles: ReadonlySet<string> = new Set(["text", "sh"]);

function fileNamed(before: string, language: string): { readonly file?: string } {
  const [, file] = /`([\w-]+(?:\.[\w-]+)+)`[^`\n]*:\s*$/.exec(before) ?? [];
  return file === undefined || notFiles.has(language) ? {} : { file };
}

/** Comments in code are no headings. */
function withoutCode(text: string): string {
  return text.replace(/^ *(`{3,})[\s\S]*?^ *\1$/gm, "");
}

export function blocksOf({ path, text }: Page): readonly Block[] {
  return [...text.matchAll(/^ *(`{3,})(.*)\n([\s\S]*?)^ *\1$/gm)].map((match) => {
    const before = text.slice(0, match.index);
    return {
      page: path,
      heading: [...withoutCode(before).matchAll(/^#+ (.+)$/gm)].at(-1)?.[1] ?? "",
      language: match[2] ?? "",
      ...fileNamed(before, match[2] ?? ""),
      line: before.split("\n").length + 1,
      code: match[3] ?? "",
    };
  });
}
