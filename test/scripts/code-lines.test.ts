// The size of the sources, as it is compared with its bar.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { codeLines, linesByFolder } from "../../scripts/code-lines.ts";

/** The lines that count end with a `§`, which is inside of a token or a comment. */
const fixture = `#!/usr/bin/env node
// A comment.
import { a } from "a"; // §

/** A comment
 * of three lines. */
export const url = "https://example.test"; // §
/** A comment. */ export const shown = "/** no comment"; // §
const no = 'not /* a comment'; // §
const pattern = /[/]*\\/\\/"/; // §
const part = a / 2; /* §
 behind code */
/* in front of code */ call(part); // §
call( // §
  // Between arguments.
  /* Between arguments. */
  part, // §
); // §
const text = \`
// no comment, but text \${part /* a comment */ + 1}

/* no comment */ \`; // §

if (part > 1) { // §

  call(); // §
} // §
/* The end. */
`;

it("counts the lines that hold code, and no comment and no blank line", () => {
  const marked = fixture.split("\n").filter((line) => line.includes("§")).length;
  // The two lines of the template whose marks would be its text.
  expect(codeLines(fixture)).toBe(marked + 2);
});

it.each([
  ["nothing", "", 0],
  ["a comment alone", "// one\n\n/* two */\n", 0],
  ["a line without its end", "a();", 1],
  ["the ends of lines of another system", "a();\r\n\r\n// b\r\nc();\r\n", 2],
])("counts %s", (_what, source, lines) => {
  expect(codeLines(source)).toBe(lines);
});

it("adds up the files of each folder, with those below it", () => {
  const folder = mkdtempSync(join(tmpdir(), "code-lines-"));
  try {
    mkdirSync(join(folder, "b/c"), { recursive: true });
    for (const [file, text] of [
      ["a.ts", "a();\n"],
      ["b/one.ts", "// No code.\nb();\n"],
      ["b/c/two.ts", "c();\nd();\n"],
      ["b/notes.md", "no code\n"],
    ] as const)
      writeFileSync(join(folder, file), text);
    expect([...linesByFolder(folder)]).toEqual([
      ["a.ts", 1],
      ["b/", 3],
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
