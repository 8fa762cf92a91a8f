// What README.md and docs/ show: their code type-checks as it stands, their links lead somewhere.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { runNode } from "../harness/child-process.ts";
import { type Block, blocksOf, type Page, pages, root } from "./pages.ts";

/** Inside the checkout, so that packages resolve as for a reader who installed them; git ignores it. */
const workshop = mkdtempSync(join(root, ".doc-blocks-"));

function typeScriptOf(page: Page): readonly Block[] {
  return blocksOf(page).filter(({ language }) => language === "ts");
}

/** Each block is a module of its own, pushed down to the line that it has on its page: tsc then tells the page's lines. */
async function checkTypes(blocks: readonly Block[]): Promise<readonly string[]> {
  for (const { page, line, code } of blocks) {
    const file = join(workshop, `${page}.${line}.ts`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, "\n".repeat(line - 1) + code);
  }
  const config = {
    extends: "../tsconfig.json",
    compilerOptions: {
      moduleDetection: "force",
      noUnusedLocals: false,
      paths: { "grpc-palisade": ["../src/index.ts"], "grpc-palisade/*": ["../src/*/index.ts"] },
    },
    include: ["./**/*.ts"],
  };
  writeFileSync(join(workshop, "tsconfig.json"), JSON.stringify(config));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const { code, stdout } = await runNode([tsc, "-p", workshop, "--pretty", "false"], { cwd: workshop });
  const problems = stdout.split("\n").flatMap(problemIn);
  // A compiler that fails without a problem that we can read has checked nothing.
  return code !== 0 && problems.length === 0 ? [`tsc: ${code} ${stdout}`] : problems;
}

/** `docs/audit.md.12.ts(14,3): error TS…` becomes `docs/audit.md:14 error TS…`. */
function problemIn(line: string): readonly string[] {
  const place = /^(.+\.md)\.\d+\.ts\((\d+),\d+\): (.*)$/.exec(line);
  if (place !== null) return [`${place[1]}:${place[2]} ${place[3]}`];
  return /^\S.*error TS/.test(line) ? [line] : [];
}

/** As GitHub makes them from headings. */
function anchorsOf(text: string): ReadonlySet<string> {
  const headings = [...text.matchAll(/^#{1,6} (.+)$/gm)].map((match) => match[1] ?? "");
  return new Set(
    headings.map((h) =>
      h
        .toLowerCase()
        .replace(/[^\w\- ]/g, "")
        .replaceAll(" ", "-"),
    ),
  );
}

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly files: readonly string[];
};

/** Is this file in the published package? */
function isPacked(path: string): boolean {
  return manifest.files.some((packed) => path === packed || path.startsWith(`${packed}/`));
}

function deadLinksOf({ path, text }: Page): readonly string[] {
  const prose = text.replace(/^```[\s\S]*?^```$/gm, (block) => block.replace(/[^\n]/g, ""));
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap((match) => {
    const link = match[1] ?? "";
    if (/^[a-z]+:/.test(link)) return [];
    const line = prose.slice(0, match.index).split("\n").length;
    const [target = "", anchor] = link.split("#");
    const file = resolve(root, dirname(path), target);
    const missing = relative(root, file).startsWith("..") || !existsSync(file);
    if (target !== "" && missing) return [`${path}:${line} ${link}: no such file`];
    if (target !== "" && isPacked(path) && !isPacked(relative(root, file))) {
      return [`${path}:${line} ${link}: not in the package, as the page is`];
    }
    const linked = target === "" ? text : readFileSync(file, "utf8");
    if (anchor === undefined || anchorsOf(linked).has(anchor)) return [];
    return [`${path}:${line} ${link}: no such heading`];
  });
}

afterAll(() => rmSync(workshop, { recursive: true, force: true }));

describe("the documentation", () => {
  it("shows only TypeScript that type-checks as it stands", async () => {
    const blocks = pages.flatMap(typeScriptOf);
    expect(blocks.length).toBeGreaterThan(5);
    // Beside them one that is wrong, which must be found on its line: else nothing was checked.
    const wrong = {
      path: "wrong.md",
      text: 'Wrong:\n\n```ts\nimport { jwt } from "grpc-palisade";\njwt({ issuer: 7 });\n```\n',
    };
    const problems = await checkTypes([...blocks, ...typeScriptOf(wrong)]);
    expect(problems.filter((problem) => !problem.startsWith("wrong.md:5 "))).toEqual([]);
    expect(problems.length).toBeGreaterThan(0);
  });

  it("links only to what is there", () => {
    expect(pages.flatMap(deadLinksOf)).toEqual([]);
    const wrong = {
      path: "docs/wrong.md",
      text: "# Here\n\n[a](#here) [b](gone.md)\n[c](../README.md#gone) [d](../CONTRIBUTING.md)",
    };
    expect(deadLinksOf(wrong)).toEqual([
      "docs/wrong.md:3 gone.md: no such file",
      "docs/wrong.md:4 ../README.md#gone: no such heading",
      "docs/wrong.md:4 ../CONTRIBUTING.md: not in the package, as the page is",
    ]);
  });
});
