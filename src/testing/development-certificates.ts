// The certificates of certs-dev/: everything that examples, demos and trials by hand need, good ones and bad ones.
import type { Buffer } from "node:buffer";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { parseOptions } from "../config/options.ts";
import { createCertificateAuthority } from "./certificate-authority.ts";

/** Every name that `writeDevelopmentCertificates` writes: the good ones, and those to be refused. */
export const developmentCertificates: readonly string[] = Object.freeze([
  "ca.crt",
  "server.crt",
  "server.key",
  "client.crt",
  "client.key",
  "expired-server.crt",
  "expired-server.key",
  "expired-client.crt",
  "expired-client.key",
  "foreign-ca.crt",
  "foreign-server.crt",
  "foreign-server.key",
  "foreign-client.crt",
  "foreign-client.key",
]);

/** The SPIFFE ID in the development client's certificate. */
export const developmentClientId = "spiffe://orders.example/client";

const dayMs = 24 * 60 * 60 * 1_000;
const validDays = 365;
const server = {
  commonName: "orders.internal",
  dnsNames: ["localhost", "orders.internal"],
  ipAddresses: ["127.0.0.1", "::1"],
  usage: "server",
} as const;
const client = { commonName: "client", uris: [developmentClientId], usage: "client" } as const;

export interface DevelopmentCertificatesOptions {
  /** `"when-needed"` keeps what is there, if nothing is missing or about to expire; `"always"` makes all anew. */
  readonly renew?: "when-needed" | "always" | undefined;
}

const directorySchema = z.string({ error: "expected the path of a directory" }).min(1);

const optionsSchema: z.ZodType<{ readonly renew: "when-needed" | "always" }> = z.strictObject({
  renew: z.enum(["when-needed", "always"]).default("when-needed"),
});

/**
 * Fills `directory` with a CA, certificates of a server and a client, and the same expired and from a foreign CA, valid
 * for a year. The private keys of the CAs are not kept, so all are made together or not at all: by default where one is
 * missing, or a good one ends within a day. Keys are readable by their owner only.
 *
 * @throws {ConfigError} for options that are wrong
 * @returns the names of the files written; none where those present are good
 */
export async function writeDevelopmentCertificates(
  directory: string,
  options: DevelopmentCertificatesOptions = {},
): Promise<readonly string[]> {
  parseOptions(directorySchema, directory, "writeDevelopmentCertificates: directory");
  const { renew } = parseOptions(optionsSchema, options, "writeDevelopmentCertificates");
  if (renew === "when-needed" && areUsable(directory)) return [];
  const files = await issueAll();
  mkdirSync(directory, { recursive: true });
  for (const [name, pem] of files) replaceFile(join(directory, name), pem);
  return files.map(([name]) => name);
}

async function issueAll(): Promise<readonly (readonly [name: string, pem: string])[]> {
  const [ca, foreignCa] = await Promise.all([
    createCertificateAuthority({ name: "Palisade development CA" }),
    createCertificateAuthority({ name: "Palisade foreign CA" }),
  ]);
  const good = { days: validDays };
  const expired = { notBefore: new Date(Date.now() - 30 * dayMs), notAfter: new Date(Date.now() - dayMs) };
  const pairs = await Promise.all([
    ca.issue({ ...server, ...good }).then(named("server")),
    ca.issue({ ...client, ...good }).then(named("client")),
    ca.issue({ ...server, ...expired }).then(named("expired-server")),
    ca.issue({ ...client, ...expired }).then(named("expired-client")),
    foreignCa.issue({ ...server, ...good }).then(named("foreign-server")),
    foreignCa.issue({ ...client, ...good }).then(named("foreign-client")),
  ]);
  return [["ca.crt", ca.caPem], ["foreign-ca.crt", foreignCa.caPem], ...pairs.flat()];
}

type Pair = readonly [readonly [string, string], readonly [string, string]];

function named(name: string): (issued: { readonly cert: string; readonly key: string }) => Pair {
  return ({ cert, key }) => [
    [`${name}.crt`, cert],
    [`${name}.key`, key],
  ];
}

/** Written beside and renamed, so that a server that watches the file never reads half of one. */
function replaceFile(path: string, pem: string): void {
  const mode = path.endsWith(".key") ? 0o600 : 0o644;
  const unfinished = `${path}.new`;
  writeFileSync(unfinished, pem, { mode });
  // The mode above holds only for a file that was not there.
  chmodSync(unfinished, mode);
  renameSync(unfinished, path);
}

/** All there, good for a day more, and of one making: a run that was cut short leaves files of two. */
function areUsable(directory: string): boolean {
  if (!developmentCertificates.every((name) => existsSync(join(directory, name)))) return false;
  const read = (name: string): Buffer => readFileSync(join(directory, name));
  try {
    const [ca, foreignCa] = [
      new X509Certificate(read("ca.crt")),
      new X509Certificate(read("foreign-ca.crt")),
    ];
    return developmentCertificates
      .filter((name) => name.endsWith(".key"))
      .map((name) => name.slice(0, -".key".length))
      .every((name) => {
        const certificate = new X509Certificate(read(`${name}.crt`));
        return (
          certificate.verify((name.startsWith("foreign-") ? foreignCa : ca).publicKey) &&
          certificate.checkPrivateKey(createPrivateKey(read(`${name}.key`))) &&
          (name.startsWith("expired-") || Date.parse(certificate.validTo) > Date.now() + dayMs)
        );
      });
  } catch {
    return false;
  }
}
