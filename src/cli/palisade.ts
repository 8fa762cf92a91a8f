#!/usr/bin/env node
// The `palisade` command.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { issueApiKey } from "../middleware/authentication/memory-api-key-store.ts";
import { writeDevelopmentCertificates } from "../testing/development-certificates.ts";

const usage = `usage: palisade certs [directory] [--force]
       palisade api-key --owner <name> [--role <name>]... [--permission <resource:action>]... [--tenant <name>]
                        [--id <name>] [--days <number>]
       palisade --version

  certs   fills a directory (default: certs-dev) with development certificates: a CA, a server and a client, and ones
          that must be refused (expired, from a foreign CA). What is there and valid is left alone; --force makes all anew.
          Needs the packages @peculiar/x509 and reflect-metadata. Not for production.
  api-key issues an API key: on standard output the key, which is shown this once, and on the next line the record for the
          file of fileApiKeyStore, which holds only the key's digest. --days: when it expires; without, never.`;

const dayMs = 86_400_000;

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
  if (command === "api-key") return issue(args.slice(1));
  if (args.length === 1 && (command === "--version" || command === "version")) return version();
  return certificates(args);
}

function version(): number {
  // Two folders up from here, in the package as in its source.
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  console.log(version);
  return 0;
}

/** Two lines, so that `read -r key; read -r record` takes them apart. */
function issue(args: string[]): number {
  const { values } = parseArgs({
    args,
    options: {
      owner: { type: "string" },
      id: { type: "string" },
      role: { type: "string", multiple: true },
      permission: { type: "string", multiple: true },
      tenant: { type: "string" },
      days: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const { owner, id, role, permission, tenant, days } = values;
  if (owner === undefined) {
    console.error("palisade api-key: --owner is missing: give the name of the client that will use the key");
    return 2;
  }
  const { key, record } = issueApiKey({
    owner,
    ...(id === undefined ? {} : { id }),
    ...(role === undefined ? {} : { roles: role }),
    ...(permission === undefined ? {} : { permissions: permission }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(days === undefined ? {} : { expiresAt: endOf(days) }),
  });
  console.log(`${key}\n${JSON.stringify(record)}`);
  return 0;
}

function endOf(days: string): number {
  if (!/^[1-9]\d{0,4}$/.test(days)) {
    throw new Error(`palisade api-key: --days ${days}: expected a whole number of days, from 1 to 99999`);
  }
  return Date.now() + Number(days) * dayMs;
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
