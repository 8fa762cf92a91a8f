// `npm run example:auth` starts the three services, makes the calls of the demo and prints what came of each.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { clientTls, makeCertificates } from "../orders/certificates.ts";

await makeCertificates();
// The keys are fetched over https, and Node reads the roots that it trusts beside its own when it starts.
const child = spawn(
  process.execPath,
  [...process.execArgv, fileURLToPath(new URL("demo.ts", import.meta.url))],
  { stdio: "inherit", env: { ...process.env, NODE_EXTRA_CA_CERTS: clientTls.ca } },
);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
const [code] = await once(child, "exit");
process.exitCode = code ?? 1;
