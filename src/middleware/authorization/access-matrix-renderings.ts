// An access matrix as a text table and as Markdown.
import type { MethodAccess } from "./method-access.ts";
import { markdownLines, type Table, textLines } from "./printable-table.ts";

export const title = "Access matrix";

/** What the cells under a role mean. */
export const legend: readonly string[] = [
  "yes: the role is enough, inherited roles and permissions included",
  "with permissions: it is enough together with the permissions that it does not grant",
  "no: it is not enough",
  "?: decided at run time",
];

export function matrixTable(roles: readonly string[], methods: readonly MethodAccess[]): Table {
  return {
    headers: [
      "method",
      "kind",
      "access",
      ...roles.map((role) => `role ${role}`),
      "permissions",
      "schemes",
      "conditions",
      "rule",
    ],
    rows: methods.map((method) => [
      method.method,
      method.kind,
      method.access,
      ...roles.map((role) => cell(method, role)),
      method.permissions.join(", "),
      method.schemes.join(", "),
      method.conditions.join("; "),
      method.rule ?? "",
    ]),
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

export function asText(roles: readonly string[], methods: readonly MethodAccess[]): string {
  return `${[...textLines(matrixTable(roles, methods)), "", ...legend].join("\n")}\n`;
}

export function asMarkdown(roles: readonly string[], methods: readonly MethodAccess[]): string {
  const lines = markdownLines(matrixTable(roles, methods));
  return `${[`# ${title}`, "", ...lines, "", ...legend.map((each) => `- ${each}`)].join("\n")}\n`;
}
