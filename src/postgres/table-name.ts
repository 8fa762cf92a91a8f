// The names of tables that users give. They stand in statements, quoted: nothing but names gets there.
import { z } from "zod";
import { ConfigError } from "../grpc/errors.ts";

/** PostgreSQL cuts names after 63 bytes; those of what belongs to a table are longer than the table's. */
const namePattern = /^(?:([a-z_][a-z0-9_]{0,49})\.)?([a-z_][a-z0-9_]{0,49})$/;

function problemWith(name: string, example: string): string | undefined {
  return namePattern.test(name)
    ? undefined
    : `expected the name of a table, such as "${example}" or "auth.${example}": lower-case letters, digits ` +
        "and underscores, at most 50 of them";
}

/** The shape of the option `table`. */
export function tableName(standard: string): z.ZodDefault<z.ZodString> {
  return z
    .string()
    .superRefine((name, context) => {
      const message = problemWith(name, standard);
      if (message !== undefined) context.addIssue({ code: "custom", message, input: name });
    })
    .default(standard);
}

export interface TableName {
  /** Without its schema, not quoted. */
  readonly table: string;
  /** A name in the table's schema, quoted. */
  qualified(name: string): string;
}

/** `option` is for the error: `postgresApiKeyStore.table`. */
export function tableNameOf(name: string, option: string, example: string): TableName {
  const [, schema, table] = namePattern.exec(name) ?? [];
  if (table === undefined) throw new ConfigError(`${option}: ${problemWith(name, example)}`);
  return {
    table,
    qualified: (part) => (schema === undefined ? `"${part}"` : `"${schema}"."${part}"`),
  };
}
