// Certificates and private keys from files or buffers, checked before anything starts: a server that cannot prove who
// it is should say so at start-up, with the option and the file, and not at its first handshake.
import { Buffer } from "node:buffer";
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { z } from "zod";
import { ConfigError } from "../grpc/errors.ts";

/** Where PEM text comes from: the path of a file (a relative one starts at the working directory), or its bytes. */
export type PemSource = string | Buffer;

/** Key and certificate of one side, which belong together. */
export interface KeyPair {
  /** The certificate, followed by the intermediates that lead to its root, as PEM. */
  readonly cert: Buffer;
  /** PEM, not encrypted. */
  readonly key: Buffer;
}

/** What a side proves with its certificate. RFC 5280 section 4.2.1.12: `serverAuth`, `clientAuth`. */
export type KeyPairUse = "server" | "client";

/** What is said where a source that must be there is not. */
export const expectedPem = "expected the path of a PEM file or a Buffer";

/** A source that must be there. */
export const neededPemSchema: z.ZodType<PemSource, PemSource> = pemSource("");

/** A source that may be left out. */
export const pemSourceSchema: z.ZodType<PemSource, PemSource> = pemSource(
  "; leave the option out where there is none",
);

/** A path or a Buffer. PEM text in a string is refused: the next step would take it for a path and show it. */
function pemSource(advice: string): z.ZodType<PemSource, PemSource> {
  return z
    .custom<PemSource>((value) => Buffer.isBuffer(value) || typeof value === "string", {
      error: ({ input }) =>
        `${expectedPem}${input === undefined ? ", but it is undefined; set the variable, or remove the option" : ""}${advice}`,
      abort: true,
    })
    .refine((value) => typeof value !== "string" || value.trim() !== "", { error: "the path is empty" })
    .refine((value) => typeof value !== "string" || !looksLikePem(value), {
      error: "this is PEM text, not a path; wrap it in Buffer.from(…)",
    });
}

function looksLikePem(text: string): boolean {
  return text.includes("-----BEGIN") || text.includes("\n");
}

/**
 * The bytes of `source`, which must hold PEM text. `where` names the option (`tls.cert`) for the error.
 * Throws `ConfigError` where the file cannot be read or holds no PEM.
 */
export function loadPem(source: PemSource, where: string): Buffer {
  const bytes = Buffer.isBuffer(source) ? source : readFile(source, where);
  if (blocks(bytes).length === 0) {
    throw new ConfigError(
      `${where}: ${describe(source)} contains no PEM text; expected blocks between -----BEGIN …----- and -----END …-----`,
    );
  }
  return bytes;
}

/**
 * Loads every part before it complains: whoever has three wrong files should not learn of them one by one.
 * Throws `ConfigError` with the problems of all parts.
 */
export function loadAll<Parts extends Readonly<Record<string, () => unknown>>>(
  parts: Parts,
): { readonly [Name in keyof Parts]: ReturnType<Parts[Name]> } {
  const loaded: Record<string, unknown> = {};
  const failures: ConfigError[] = [];
  for (const [name, load] of Object.entries(parts)) {
    try {
      loaded[name] = load();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      failures.push(error);
    }
  }
  const [first, ...others] = failures;
  if (first === undefined) return loaded as { readonly [Name in keyof Parts]: ReturnType<Parts[Name]> };
  if (others.length === 0) throw first;
  throw new ConfigError(
    failures.flatMap(({ problems }) => problems),
    { cause: new AggregateError(failures) },
  );
}

function readFile(path: string, where: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unreadable";
    throw new ConfigError(
      `${where}: cannot read ${path} (${code}): check the path, which starts at ${process.cwd()} where it is relative, ` +
        "and that this process may read the file",
      { cause },
    );
  }
}

/**
 * Certificates that are trusted as roots (one or more in a file), as PEM, each as it was checked here: OpenSSL stops in
 * silence at the first block that it cannot read, such as one that follows the last without a line break.
 * Throws `ConfigError` where there is none, or one that cannot be parsed.
 */
export function loadTrustedCertificates(source: PemSource, where: string): Buffer {
  const bytes = loadPem(source, where);
  return pemOf(parseCertificates(bytes, source, where));
}

/**
 * A certificate and its private key. Throws `ConfigError` where one is missing, of the wrong kind, encrypted, not a
 * pair, or where the certificate is not valid at this moment or not for this `use`. The options are `where.cert` and
 * `where.key`.
 */
export function loadKeyPair(sources: KeyPairSources, where: string, use: KeyPairUse): KeyPair {
  for (let attempt = 1; ; attempt++) {
    try {
      return readKeyPair(sources, where, use);
    } catch (error) {
      // Where a mount was swapped between the two files, both are there now, of one kind.
      if (attempt === maxAttempts) throw error;
    }
  }
}

/** One more would do for a mount that is swapped once. */
const maxAttempts = 5;

interface KeyPairSources {
  readonly cert: PemSource;
  readonly key: PemSource;
}

function readKeyPair(sources: KeyPairSources, where: string, use: KeyPairUse): KeyPair {
  const pem = loadAll({
    cert: () => loadPem(sources.cert, `${where}.cert`),
    key: () => loadPem(sources.key, `${where}.key`),
  });
  if (holds(pem.cert, "PRIVATE KEY") && !holds(pem.cert, "CERTIFICATE") && holds(pem.key, "CERTIFICATE"))
    throw new ConfigError(
      `${where}.cert and ${where}.key are swapped: ${describe(sources.cert)} contains the private key, and ` +
        `${describe(sources.key)} the certificate`,
    );
  const { chain, key } = loadAll({
    chain: () => parseCertificates(pem.cert, sources.cert, `${where}.cert`),
    key: () => parsePrivateKey(pem.key, sources.key, `${where}.key`),
  });
  const [leaf] = chain;
  if (!leaf.checkPrivateKey(key.object)) {
    throw new ConfigError(
      `${where}.key: ${describe(sources.key)} is not the private key of the first certificate in ` +
        `${describe(sources.cert)}; give the pair that was issued together, own certificate before intermediates`,
    );
  }
  checkValidity(leaf, sources.cert, `${where}.cert`);
  checkPurpose(leaf, use, sources.cert, `${where}.cert`);
  const pair: KeyPair = { cert: pemOf(chain), key: Buffer.from(`${key.text}\n`, "latin1") };
  checkUsable(pair, sources.cert, `${where}.cert`);
  return pair;
}

/** OpenSSL has its own view of what is strong enough to be used: key sizes and digests, by its security level. */
function checkUsable(pair: KeyPair, source: PemSource, where: string): void {
  try {
    createSecureContext({ cert: pair.cert, key: pair.key });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`${where}: OpenSSL refuses ${describe(source)} and its key: ${reason}`, { cause });
  }
}

function checkValidity(certificate: X509Certificate, source: PemSource, where: string): void {
  const now = Date.now();
  const { notBefore, notAfter } = validityOf(certificate);
  // Written so that a date that cannot be read (NaN) is refused too.
  if (!(now >= notBefore)) {
    throw new ConfigError(
      `${where}: ${describe(source)} is not valid before ${certificate.validFrom}; check this machine's clock, or ` +
        "the certificate",
    );
  }
  if (!(now <= notAfter)) {
    throw new ConfigError(
      `${where}: ${describe(source)} expired on ${certificate.validTo}; renew the certificate`,
    );
  }
}

const purposes: Readonly<Record<KeyPairUse, { readonly oid: string; readonly name: string }>> = {
  server: { oid: "1.3.6.1.5.5.7.3.1", name: "serverAuth" },
  client: { oid: "1.3.6.1.5.5.7.3.2", name: "clientAuth" },
};
const anyPurpose = "2.5.29.37.0";

function nameOf(usage: string): string {
  return Object.values(purposes).find(({ oid }) => oid === usage)?.name ?? usage;
}

/**
 * RFC 5280 section 4.2.1.12: a certificate that says what it is for must not be used for anything else, and the other side
 * of the handshake holds to that. One that does not say is for everything.
 */
function checkPurpose(certificate: X509Certificate, use: KeyPairUse, source: PemSource, where: string): void {
  // Node's name for the extended key usages; undefined where the certificate has none, whatever the type says.
  const usages: readonly string[] | undefined = certificate.keyUsage;
  const { oid, name } = purposes[use];
  if (usages === undefined || usages.includes(oid) || usages.includes(anyPurpose)) return;
  throw new ConfigError(
    `${where}: ${describe(source)} is not a certificate for a ${use}: its extended key usages (${usages.map(nameOf).join(", ")}) ` +
      `lack ${name}; give one that was issued for a ${use}`,
  );
}

/** From when until when a certificate is valid, in milliseconds since the epoch; NaN where a date cannot be read. */
export function validityOf(certificate: X509Certificate): {
  readonly notBefore: number;
  readonly notAfter: number;
} {
  return { notBefore: Date.parse(certificate.validFrom), notAfter: Date.parse(certificate.validTo) };
}

function parseCertificates(
  bytes: Buffer,
  source: PemSource,
  where: string,
): readonly [X509Certificate, ...X509Certificate[]] {
  const parsed = blocks(bytes)
    .filter(({ label }) => label === "CERTIFICATE")
    .map(({ text }, index) => parseCertificate(text, index + 1, source, where));
  const [first, ...rest] = parsed;
  if (first === undefined) {
    throw new ConfigError(
      `${where}: ${describe(source)} contains no certificate (found: ${labelsIn(bytes)})`,
    );
  }
  return [first, ...rest];
}

function parseCertificate(text: string, position: number, source: PemSource, where: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch (cause) {
    throw new ConfigError(
      `${where}: certificate ${position} in ${describe(source)} cannot be parsed; check that the file is complete`,
      { cause },
    );
  }
}

interface PrivateKey {
  readonly object: KeyObject;
  readonly text: string;
}

function parsePrivateKey(bytes: Buffer, source: PemSource, where: string): PrivateKey {
  const keys = blocks(bytes).filter(({ label }) => label.endsWith("PRIVATE KEY"));
  const [only] = keys;
  if (only === undefined) {
    throw new ConfigError(
      `${where}: ${describe(source)} contains no private key (found: ${labelsIn(bytes)})`,
    );
  }
  if (keys.length > 1) {
    throw new ConfigError(
      `${where}: ${describe(source)} contains ${keys.length} private keys; keep only the one in use`,
    );
  }
  if (only.label.startsWith("ENCRYPTED") || only.text.includes("Proc-Type: 4,ENCRYPTED")) {
    throw new ConfigError(
      `${where}: the private key in ${describe(source)} is encrypted; give it decrypted, readable by this process only`,
    );
  }
  try {
    return { object: createPrivateKey(only.text), text: only.text };
  } catch {
    // The cause is left out: what a parser says about a key may quote the key.
    throw new ConfigError(
      `${where}: the private key in ${describe(source)} cannot be parsed; check that the file is complete`,
    );
  }
}

/** The certificates in PEM text that was loaded and checked before; none where there is no text. */
export function certificatesIn(pem: Buffer | undefined): readonly X509Certificate[] {
  return pem === undefined ? [] : blocks(pem).map(({ text }) => new X509Certificate(text));
}

function pemOf(certificates: readonly X509Certificate[]): Buffer {
  return Buffer.from(certificates.map((certificate) => certificate.toString()).join(""), "latin1");
}

interface PemBlock {
  /** `CERTIFICATE`, `PRIVATE KEY`, … */
  readonly label: string;
  readonly text: string;
}

const pemBlock = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]+?-----END \1-----/g;

/** RFC 7468: what stands outside of the encapsulation boundaries is explanatory text. */
function blocks(bytes: Buffer): readonly PemBlock[] {
  const found: PemBlock[] = [];
  for (const match of bytes.toString("latin1").matchAll(pemBlock)) {
    const [text, label] = match;
    if (label !== undefined) found.push({ label, text });
  }
  return found;
}

function holds(bytes: Buffer, kind: "CERTIFICATE" | "PRIVATE KEY"): boolean {
  return blocks(bytes).some(({ label }) => label.endsWith(kind));
}

function labelsIn(bytes: Buffer): string {
  return blocks(bytes)
    .map(({ label }) => label)
    .join(", ");
}

function describe(source: PemSource): string {
  return Buffer.isBuffer(source) ? "the given Buffer" : source;
}
