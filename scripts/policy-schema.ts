// Writes the JSON Schema of the file of `rbacFile` into the package, from the schema that the file is checked with.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { rbacFileSchema } from "../src/middleware/authorization/rbac.ts";

const schema = z.toJSONSchema(rbacFileSchema, { io: "input", unrepresentable: "any" });

writeFileSync(
  fileURLToPath(new URL("../dist/rbac.schema.json", import.meta.url)),
  `${JSON.stringify({ title: "Policy of rbacFile (grpc-palisade)", ...schema }, null, 2)}\n`,
);
