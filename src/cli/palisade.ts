#!/usr/bin/env node
// The `palisade` command.
import { parseArgs } from "node:util";

const usage = `usage: palisade certs [directory] [--force]

  certs   fills a directory (default: certs-dev) with development certificates: a CA, a server and a client, and ones
          that must be refused (expired, from a foreign CA). What is there and valid is left alone; --force makes all anew.
          Needs the packages @peculiar/x509 and reflect-metadata. Not for production.`;

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { force: { type: "boolean", default: false }, help: { type: "boolean", default: false } },
  });
  const [command, directory = "certs-dev", ...rest] = positionals;
  if (values.help) {
    console.log(usage);
    return 0;
  }
  if (command !== "certs" || rest.length > 0) {
    console.error(usage);
    return 2;
  }
  return writeCertificates(directory, values.force ? "always" : "when-needed");
}

async function writeCertificates(directory: string, renew: "always" | "when-needed"): Promise<number> {
  const { writeDevelopmentCertificates } = await loadTesting();
  const written = await writeDevelopmentCertificates(directory, { renew });
  if (written.length === 0) {
    console.log(`${directory}: the certificates are all there and valid; --force makes them anew`);
  }
  for (const name of written) console.log(`wrote ${directory}/${name}`);
  return 0;
}

async function loadTesting(): Promise<typeof import("../testing/development-certificates.ts")> {
  try {
    return await import("../testing/development-certificates.ts");
  } catch (cause) {
    if (!(cause instanceof Error && "code" in cause && cause.code === "ERR_MODULE_NOT_FOUND")) throw cause;
    throw new Error(
      "palisade certs needs two packages more: npm install --save-dev @peculiar/x509 reflect-metadata",
      { cause },
    );
  }
}
