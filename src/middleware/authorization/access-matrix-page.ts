// An access matrix as one HTML page, to search and to print. It loads nothing, and shows every row where scripts are off.
import { createHash } from "node:crypto";
import { legend, matrixTable, title } from "./access-matrix-renderings.ts";
import { script } from "./access-matrix-script.ts";
import type { MethodAccess } from "./method-access.ts";
import { printable } from "./printable-table.ts";

const style = `:root{color-scheme:light}
body{font:14px/1.45 system-ui,sans-serif;margin:1.5rem 2rem;color:#1b1f24;background:#fff}
h1{font-size:1.5rem;margin:0 0 .4rem}p{margin:.4rem 0}
.controls{display:flex;flex-wrap:wrap;gap:.6rem 1.2rem;align-items:end;margin:1rem 0}
.controls[hidden]{display:none}
.controls label{display:flex;flex-direction:column;font-weight:600;font-size:.85rem}
.controls label.beside{flex-direction:row;align-items:center;gap:.4rem;padding-bottom:.45rem}
input[type=search],select,button{font:inherit;font-weight:400;padding:.35rem .5rem;border:1px solid #59636e;border-radius:4px;background:#fff;color:inherit}
input[type=search]{min-width:20rem}select{max-width:16rem}
:focus-visible{outline:2px solid #0550ae;outline-offset:1px}
table{border-collapse:separate;border-spacing:0;border-top:1px solid #c4ccd4;border-left:1px solid #c4ccd4}
caption{text-align:left;padding:.3rem 0}
th,td{border-right:1px solid #c4ccd4;border-bottom:1px solid #c4ccd4;padding:.3rem .6rem;text-align:left;vertical-align:top;background:#fff;max-width:20rem;overflow-wrap:break-word}
thead th{background:#eef1f4;position:sticky;top:0;z-index:2;border-bottom:2px solid #59636e}
tbody th{font-family:ui-monospace,monospace;font-weight:400;position:sticky;left:0;z-index:1;max-width:26rem}
thead th:first-child{left:0;z-index:3}
tr[hidden]{display:none}
tbody tr:hover>*{background:#eef1f4}
tbody .yes{background:#dff5e3;font-weight:600}tbody .maybe{background:#fff1c7;font-style:italic}
tbody .open{background:#ffdcd7;font-weight:700}tbody .shut{color:#59636e}
.marked{box-shadow:inset 2px 0 #0550ae,inset -2px 0 #0550ae}thead .marked{background:#cfe3ff}
.legend{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:1rem 0}
.legend dt{font-weight:600}.legend dd{margin:0}
@page{size:landscape;margin:12mm}
@media print{
body{margin:0;font-size:8pt}.controls{display:none}
thead{display:table-header-group}thead th,tbody th{position:static}tr{break-inside:avoid}
tbody th,td:last-child{overflow-wrap:anywhere;min-width:32mm}
th,td{padding:2pt 3pt;max-width:none;border-color:#59636e}table{border-color:#59636e;width:100%}
tbody .yes,tbody .maybe,tbody .open,thead th{print-color-adjust:exact;-webkit-print-color-adjust:exact}
tbody .open{border-left:3pt double #1b1f24}
}`;

/** A page of its own, so its policy names the two texts that it brings, and forbids the rest. */
const contentSecurityPolicy = `default-src 'none'; style-src ${hashOf(style)}; script-src ${hashOf(script)}; base-uri 'none'; form-action 'none'`;

function hashOf(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}

/** As they are listed in the filter, the most open one first. */
const accesses = ["public", "probe", "authenticated", "restricted", "run-time", "denied"] as const;

const accessLegend: Readonly<Record<MethodAccess["access"], string>> = {
  public: "no credentials are needed; one that is presented is verified",
  probe: "a health probe, open to everybody",
  authenticated: "every verified caller",
  restricted: "verified callers with a role or permissions",
  "run-time": "only the policy knows, when it is asked",
  denied: "nobody: no rule is about it",
};

export function asHtml(roles: readonly string[], methods: readonly MethodAccess[]): string {
  const { headers, rows } = matrixTable(roles, methods);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${contentSecurityPolicy}">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>${style}</style>
</head>
<body>
<h1>${title}</h1>
<p>${methods.length} methods, ${roles.length} roles. ${countsOf(methods)}.</p>
${controls(roles, methods)}
<p id="status" role="status"></p>
<table>
<caption>Which role may call which method, and what it must bring besides</caption>
<thead><tr>${headers.map((header, column) => headerCell(header, roles[column - leading])).join("")}</tr></thead>
<tbody>
${rows.map((row, index) => tableRow(row, { access: methods[index]?.access, roles: roles.length })).join("\n")}
</tbody>
</table>
<h2>Legend</h2>
<dl class="legend">
${legend.map((line) => definition(line.split(": "))).join("\n")}
${accesses.map((access) => definition([access, accessLegend[access]])).join("\n")}
</dl>
<script>${script}</script>
</body>
</html>
`;
}

/** The columns before those of the roles: method, kind, access. */
const leading = 3;

function countsOf(methods: readonly MethodAccess[]): string {
  return accesses
    .map((access) => [access, countOf(methods, access)] as const)
    .filter(([, count]) => count > 0)
    .map(([access, count]) => `${access}: ${count}`)
    .join(", ");
}

function countOf(methods: readonly MethodAccess[], access: MethodAccess["access"]): number {
  return methods.filter((method) => method.access === access).length;
}

/** Hidden until the script runs: without it they would do nothing. */
function controls(roles: readonly string[], methods: readonly MethodAccess[]): string {
  const inUse = accesses.filter((access) => countOf(methods, access) > 0);
  const option = (value: string, text: string): string =>
    `<option value="${value}">${htmlText(text)}</option>`;
  return `<form id="controls" class="controls" autocomplete="off" hidden>
<label>Search<input type="search" id="search" placeholder="method, role or permission"></label>
<label>Access<select id="access">${[option("", "all"), ...inUse.map((access) => option(access, access))].join("")}</select></label>
<label>Role<select id="role">${[option("", "none"), ...roles.map((role, index) => option(`${index + leading}`, role))].join("")}</select></label>
<label class="beside"><input type="checkbox" id="only">Only what this role may call</label>
<button type="reset">Show all</button>
</form>`;
}

function headerCell(text: string, role: string | undefined): string {
  const data = role === undefined ? "" : ` data-role="${htmlText(role)}"`;
  return `<th scope="col"${data}>${htmlText(text)}</th>`;
}

interface RowParts {
  readonly access: MethodAccess["access"] | undefined;
  /** How many. */
  readonly roles: number;
}

function tableRow(
  [method = "", kind = "", ...cells]: readonly string[],
  { access, roles }: RowParts,
): string {
  const last = cells.map((text, index) => cell(text, index <= roles));
  return `<tr data-access="${access}"><th scope="row">${htmlText(method)}</th>${cell(kind, false)}${last.join("")}</tr>`;
}

const classes: ReadonlyMap<string, string> = new Map([
  ["yes", "yes"],
  ["with permissions", "maybe"],
  ["run-time", "maybe"],
  ["?", "maybe"],
  ["public", "open"],
  ["no", "shut"],
]);

/** Only the cells of the access and of the roles mean what their text says: a scheme may be named "yes". */
function cell(text: string, hasMeaning: boolean): string {
  const name = hasMeaning ? classes.get(text) : undefined;
  return `<td${name === undefined ? "" : ` class="${name}"`}>${htmlText(text)}</td>`;
}

function definition([term = "", meaning = ""]: readonly string[]): string {
  return `<dt>${htmlText(term)}</dt><dd>${htmlText(meaning)}</dd>`;
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function htmlText(text: string): string {
  return printable(text).replaceAll(/[&<>"']/g, (character) => entities[character] ?? "");
}
