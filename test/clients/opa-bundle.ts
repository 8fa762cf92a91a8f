// Makes test/opa/bundle.tar.gz anew, after a policy in test/opa/policies has changed: `npx tsx test/clients/opa-bundle.ts`.
import { fileURLToPath } from "node:url";
import { buildBundle, opaProgram } from "./opa.ts";

await buildBundle(await opaProgram(), fileURLToPath(new URL("../opa/bundle.tar.gz", import.meta.url)));
