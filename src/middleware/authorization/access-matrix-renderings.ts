// An access matrix as a text table, as Markdown, and as one HTML page.
import type { MethodAccess } from "./method-access.ts";

interface Table {
  readonly headers: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

const title = "Access matrix";

/** What the cells under a role mean. */
const legend: readonly string[] = [
  "yes: the role is enough, inherited roles and permissions included",
  "with permissions: it is enough together with the permissions that it does not grant",
  "no: it is not enough",
  "?: decided at run time",
];

function table(roles: readonly string[], methods: readonly MethodAccess[]): Table {
  return {
    headers: [
      "method",
      "kind",
      "access",
      ...roles.map((role) => `role ${printable(role)}`),
      "permissions",
      "schemes",
      "conditions",
      "rule",
    ],
    rows: methods.map((method) =>
      [
        method.method,
        method.kind,
        method.access,
        ...roles.map((role) => cell(method, role)),
        method.permissions.join(", "),
        method.schemes.join(", "),
        method.conditions.join("; "),
        method.rule ?? "",
      ].map(printable),
    ),
  };
}

function cell(method: MethodAccess, role: string): string {
  switch (method.access) {
    case "probe":
    case "public":
      return "yes";
    case "authenticated":
      return method.permissions.length === 0 ? "yes" : "with permissions";
    case "run-time":
      return "?";
    case "denied":
      return "no";
    case "restricted":
      if (method.roles.includes(role)) return "yes";
      return method.rolesWithPermissions.includes(role) ? "with permissions" : "no";
  }
}

/** Control and formatting characters (line ends, right-to-left overrides) would make a table say what it does not. */
function printable(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
}

export function asText(roles: readonly string[], methods: readonly MethodAccess[]): string {
  const { headers, rows } = table(roles, methods);
  const all = [headers, ...rows];
  const widths = headers.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const lines = all.map((row) =>
    row
      .map((text, column) => (text === "" ? "-" : text).padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return `${[...lines, "", ...legend].join("\n")}\n`;
}

export function asMarkdown(roles: readonly string[], methods: readonly MethodAccess[]): string {
  const { headers, rows } = table(roles, methods);
  const line = (cells: readonly string[]): string => `| ${cells.map(markdownText).join(" | ")} |`;
  const rule = `|${headers.map(() => "---|").join("")}`;
  return `${[`# ${title}`, "", line(headers), rule, ...rows.map(line), "", ...legend.map((each) => `- ${each}`)].join("\n")}\n`;
}

/** Everything that Markdown or HTML in it would read as more than text. */
function markdownText(text: string): string {
  return text.replaceAll(/[\\`*_[\]<>|&~#!]/g, "\\$&");
}

const style = `body{font:14px system-ui,sans-serif;margin:2rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse}th,td{border:1px solid #d0d7de;padding:.3rem .6rem;text-align:left}
thead th{background:#f3f5f7;position:sticky;top:0}tbody th{font-family:ui-monospace,monospace;font-weight:400}
.yes{background:#dff5e3}.maybe{background:#fff4d6}.open{background:#ffe3e0;font-weight:600}`;

export function asHtml(roles: readonly string[], methods: readonly MethodAccess[]): string {
  const { headers, rows } = table(roles, methods);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title>
<style>
${style}
</style>
</head>
<body>
<h1>${title}</h1>
<p>${methods.length} methods, ${roles.length} roles.</p>
<table>
<thead><tr>${headers.map((each) => `<th scope="col">${htmlText(each)}</th>`).join("")}</tr></thead>
<tbody>
${rows.map(htmlRow).join("\n")}
</tbody>
</table>
<ul>
${legend.map((each) => `<li>${htmlText(each)}</li>`).join("\n")}
</ul>
</body>
</html>
`;
}

function htmlRow([method = "", ...cells]: readonly string[]): string {
  return `<tr><th scope="row">${htmlText(method)}</th>${cells.map(htmlCell).join("")}</tr>`;
}

const classes: ReadonlyMap<string, string> = new Map([
  ["yes", "yes"],
  ["with permissions", "maybe"],
  ["run-time", "maybe"],
  ["?", "maybe"],
  ["public", "open"],
]);

function htmlCell(text: string): string {
  const name = classes.get(text);
  return `<td${name === undefined ? "" : ` class="${name}"`}>${htmlText(text)}</td>`;
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function htmlText(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => entities[character] ?? "");
}
