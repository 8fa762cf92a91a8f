#!/usr/bin/env node
// The `palisade` command.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { writeDevelopmentCertificates } from "../testing/development-certificates.ts";
import { apiKeyCommand } from "./api-key.ts";
import { policyCommand } from "./policy.ts";

const usage = `usage: palisade certs [directory] [--force]
       palisade api-key issue|list|revoke|rotate|setup …
       palisade policy check|matrix|diff …
       palisade --version

  certs   fills a directory (default: certs-dev) with development certificates: a CA, a server and a client, and ones
          that must be refused (expired, from a foreign CA). What is there and valid is left alone; --force makes all anew.
          Needs the packages @peculiar/x509 and reflect-metadata. Not for production.
  api-key issues, lists, revokes and rotates API keys in a file, Redis or PostgreSQL: palisade api-key --help
  policy  checks a policy against .proto files, shows who may call what, and what a new policy changes: palisade policy --help`;

main(process.argv.slice(2)).then(
  (exitCode) => {
    process.exitCode = exitCode;
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  },
);

async function main(args: string[]): Promise<number> {
  const [command] = args;
  if (command === "api-key") return apiKeyCommand(args.slice(1));
  if (command === "policy") return policyCommand(args.slice(1));
  if (args.length === 1 && (command === "--version" || command === "version")) return version();
  return certificates(args);
}

function version(): number {
  // Two folders up from here, in the package as in its source.
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  console.log(version);
  return 0;
}

async function certificates(args: string[]): Promise<number> {
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
  const written = await writeDevelopmentCertificates(directory, { renew });
  if (written.length === 0) {
    console.log(`${directory}: all certificates exist and are valid; --force replaces them`);
  }
  for (const name of written) console.log(`wrote ${directory}/${name}`);
  return 0;
}
