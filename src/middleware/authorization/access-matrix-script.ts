// The script of the access matrix's page: it filters rows and marks columns. It is one fixed text, so that the page can name
// its hash and no other script runs; it reads names from the page and writes them back as text alone.

export const script = `"use strict";
const byId = (id) => document.getElementById(id);
const controls = byId("controls");
const search = byId("search");
const access = byId("access");
const role = byId("role");
const only = byId("only");
const status = byId("status");
const headers = [...document.querySelectorAll("thead th")];
const rows = [...document.querySelectorAll("tbody tr")].map((row) => ({ row, cells: [...row.cells] }));
const roles = headers.flatMap((header, column) => header.dataset.role === undefined ? [] : [{ column, name: header.dataset.role }]);
const isOpen = (cell) => cell.textContent !== "no";
for (const each of rows) {
  const ofRoles = new Set(roles.map(({ column }) => column));
  const told = each.cells.filter((_, column) => !ofRoles.has(column)).map((cell) => cell.textContent);
  const allowed = roles.filter(({ column }) => isOpen(each.cells[column])).map(({ name }) => name);
  each.text = [...told, ...allowed].join("\\n").toLowerCase();
}
function show() {
  const words = search.value.toLowerCase().split(/\\s+/).filter((word) => word !== "");
  const chosen = role.value === "" ? undefined : Number(role.value);
  only.disabled = chosen === undefined;
  let shown = 0;
  for (const { row, cells, text } of rows) {
    const isShown = words.every((word) => text.includes(word)) &&
      (access.value === "" || row.dataset.access === access.value) &&
      (chosen === undefined || !only.checked || isOpen(cells[chosen]));
    row.hidden = !isShown;
    if (isShown) shown += 1;
  }
  const marked = new Set(roles.filter(({ column, name }) =>
    column === chosen || words.some((word) => word.length > 1 && name.toLowerCase().includes(word))).map(({ column }) => column));
  headers.forEach((header, column) => header.classList.toggle("marked", marked.has(column)));
  for (const { cells } of rows) cells.forEach((cell, column) => cell.classList.toggle("marked", marked.has(column)));
  const filters = [
    ...(words.length === 0 ? [] : ["search: " + search.value.trim()]),
    ...(access.value === "" ? [] : ["access: " + access.value]),
    ...(chosen === undefined || !only.checked ? [] : ["what " + headers[chosen].textContent + " may call"]),
  ];
  status.textContent = filters.length === 0
    ? "All " + rows.length + " methods are shown."
    : shown + " of " + rows.length + " methods are shown (" + filters.join("; ") + ").";
}
controls.addEventListener("input", show);
controls.addEventListener("submit", (event) => event.preventDefault());
controls.addEventListener("reset", () => setTimeout(show));
controls.hidden = false;
show();
`;
