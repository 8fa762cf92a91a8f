// Writes docs/options.md: every option there is, from the schemas that check them and the doc comments that explain them.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chapters, type Group } from "./options/groups.ts";
import { type Row, type Walk, walk } from "./options/rows.ts";
import { PublicTypes } from "./options/types.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
export const page = "docs/options.md";

const opening = `# Options

<!-- Made by npm run docs:options from the schemas and the doc comments. Change those. -->

Every option, what it may be, and what it is when you leave it out. A \`*\` in a path stands for a name of yours. What is
required inside of an option is so only where you give that option. An option that is not here is refused with a
\`ConfigError\` that names it. \`serverCredentials\` takes the server's \`tls\`; \`startSecuredServer\` takes the server's
options, all but \`tls\`.
`;

/** The page, as it must be. @throws Error with everything that the code does not say, or says in two ways. */
export function optionPage(): string {
  const types = new PublicTypes(root);
  const groups = chapters.flatMap((chapter) => chapter.groups);
  const walks = new Map(groups.map((group) => [group, walk(group, types)]));
  const problems = [...walks.values()].flatMap((each) => each.problems);
  if (problems.length > 0) throw new Error(`${page} cannot be made:\n${problems.join("\n")}`);
  const rowsOf = (name: string): readonly Row[] =>
    [...walks].flatMap(([{ of }, { rows }]) => (of === name ? rows : []));

  const section = (group: Group, { rows, foreign }: Walk): string => {
    const { of: elsewhere, under } = group.as ?? {};
    const prefix = under === undefined ? "" : `${under}.`;
    const told = elsewhere === undefined ? [] : rowsOf(elsewhere);
    const alike = rows.filter((row) =>
      told.some((other) => isSame({ ...row, path: prefix + row.path }, other)),
    );
    const others = rows.filter((row) => !alike.includes(row));
    const parts = [`### \`${group.of}\``];
    if (elsewhere !== undefined) {
      const place = `[\`${elsewhere}\`](#${anchor(elsewhere)})${under === undefined ? "" : ` under \`${under}\``}`;
      parts.push(`As in ${place}: ${names(alike)}.`);
    }
    if (others.length > 0) parts.push(table(others));
    for (const [path, keys] of elsewhere === undefined ? foreign : []) {
      parts.push(`\`${path}\` takes these, whose meaning is grpc-js's own: ${keys.map(tick).join(", ")}.`);
    }
    return parts.join("\n\n");
  };

  const body = chapters.map(({ title, groups: own }) =>
    [
      `## ${title}`,
      ...[...walks].flatMap(([group, each]) => (own.includes(group) ? section(group, each) : [])),
    ].join("\n\n"),
  );
  return `${[opening.trim(), ...body].join("\n\n")}\n`;
}

function isSame(one: Row, other: Row): boolean {
  return one.path === other.path && one.shape === other.shape && one.unlessGiven === other.unlessGiven;
}

/** An option by itself where all of it is alike; of `limits` only some are. */
function names(rows: readonly Row[]): string {
  const told = rows.map(({ path }) => (path.startsWith("limits.") ? path : (path.split(".")[0] ?? path)));
  return [...new Set(told)].map(tick).join(", ");
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(({ path, shape, unlessGiven, meaning }) =>
    [tick(path), shape, unlessGiven, meaning].map(cell).join(" | "),
  );
  return ["option | may be | left out | meaning", "--- | --- | --- | ---", ...lines]
    .map((line) => `| ${line} |`)
    .join("\n");
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function tick(text: string): string {
  return `\`${text}\``;
}

function anchor(heading: string): string {
  return heading.toLowerCase().replace(/[^\w-]/g, "");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(join(root, page), optionPage());
