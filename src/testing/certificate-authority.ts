// A throw-away certificate authority for tests, demos and development. Its key lives in memory and ends with it.
import { X509Certificate as NodeCertificate, randomBytes, webcrypto } from "node:crypto";
import type { Extension, JsonGeneralName, Name, X509Certificate } from "@peculiar/x509";
import { z } from "zod";
import { loadOptional } from "../config/optional-package.ts";
import { type Filled, parseOptions } from "../config/options.ts";

export interface CertificateAuthorityOptions {
  /** The common name of the CA. Default: `Palisade test CA`. */
  readonly name?: string | undefined;
}

/** What a certificate is for: its extended key usage. */
export type CertificateUsage = "server" | "client" | "both";

export interface CertificateRequest {
  /** The subject's common name. Several make a certificate whose name is ambiguous. Default: none. */
  readonly commonName?: string | readonly string[] | undefined;
  /** DNS names that it carries (SAN). Default: none. */
  readonly dnsNames?: readonly string[] | undefined;
  /** IP addresses that it carries (SAN). Default: none. */
  readonly ipAddresses?: readonly string[] | undefined;
  /** URIs that it carries (SAN); for a SPIFFE ID exactly one. Default: none. */
  readonly uris?: readonly string[] | undefined;
  /** When it begins to be valid. Default: five minutes ago, for clocks that differ. */
  readonly notBefore?: Date | undefined;
  /** When it ends. Default: `days` from now. */
  readonly notAfter?: Date | undefined;
  /** Its extended key usage. Default: `"both"`. */
  readonly usage?: CertificateUsage | undefined;
  /** How long it is valid from now, where `notAfter` is not given. Default: 30. */
  readonly days?: number | undefined;
}

export interface IssuedCertificate {
  /** PEM; followed by the intermediates, where there are some. */
  readonly cert: string;
  /** The private key: PKCS #8, PEM, not encrypted. */
  readonly key: string;
  /** SHA-256 of the certificate's DER form: hexadecimal, upper case, colons between bytes. */
  readonly fingerprint256: string;
}

export interface RevocationListRequest {
  /** The certificates that it revokes: PEM, the first of each. Default: none. */
  readonly revoked?: readonly string[] | undefined;
  /** When it was made. Default: now. */
  readonly thisUpdate?: Date | undefined;
  /** When the next one is to be expected. Default: in 30 days. */
  readonly nextUpdate?: Date | undefined;
}

export interface CertificateAuthority {
  /** The root certificate, PEM: what the other side is told to trust. The same for an intermediate of it. */
  readonly caPem: string;
  /** Issues a certificate with a new EC P-256 key. */
  issue(request?: CertificateRequest): Promise<IssuedCertificate>;
  /** An authority that this one vouches for. What it issues carries the chain up to the root. */
  intermediate(options?: CertificateAuthorityOptions): Promise<CertificateAuthority>;
  /** A list of the certificates that this authority revokes (CRL), PEM: what `crlFiles` of `grpc-palisade/crl` reads. */
  revocationList(request?: RevocationListRequest): Promise<string>;
}

/** The request with its defaults. */
interface ParsedRequest {
  readonly commonName?: string | readonly string[] | undefined;
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly uris: readonly string[];
  readonly notBefore?: Date | undefined;
  readonly notAfter?: Date | undefined;
  readonly usage: CertificateUsage;
  readonly days: number;
}

export const authoritySchema: z.ZodType<Filled<CertificateAuthorityOptions>> = z.strictObject({
  name: z.string().min(1).default("Palisade test CA"),
});

export const requestSchema: z.ZodType<ParsedRequest> = z.strictObject({
  commonName: z.union([z.string().min(1), z.array(z.string().min(1))]).optional(),
  dnsNames: z.array(z.string()).default([]),
  ipAddresses: z.array(z.union([z.ipv4(), z.ipv6()])).default([]),
  uris: z.array(z.string()).default([]),
  notBefore: z.date().optional(),
  notAfter: z.date().optional(),
  usage: z.enum(["server", "client", "both"]).default("both"),
  days: z.number().positive().default(30),
});

export const revocationListSchema: z.ZodType<{
  readonly revoked: readonly string[];
  readonly thisUpdate?: Date | undefined;
  readonly nextUpdate?: Date | undefined;
}> = z.strictObject({
  revoked: z.array(z.string()).default([]),
  thisUpdate: z.date().optional(),
  nextUpdate: z.date().optional(),
});

const keyAlgorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const dayMs = 24 * 60 * 60 * 1_000;

let loaded: typeof import("@peculiar/x509") | undefined;

/** Loaded when the first certificate is made: a token issuer alone does not need it. */
function x509(): typeof import("@peculiar/x509") {
  loaded ??= loadX509();
  return loaded;
}

function loadX509(): typeof import("@peculiar/x509") {
  const needed = {
    neededBy: "making certificates (palisade certs, grpc-palisade/testing)",
    install: "--save-dev @peculiar/x509 reflect-metadata",
  };
  // The one finds its parts through the other, which therefore comes first.
  loadOptional("reflect-metadata", needed);
  return loadOptional("@peculiar/x509", needed) as typeof import("@peculiar/x509");
}

/** Certificate and key that sign, with the intermediates that lead to the root, nearest first. */
interface Signer {
  readonly certificate: X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly chain: readonly X509Certificate[];
}

/**
 * Makes a certificate authority with a key of its own, which is never written anywhere.
 *
 * @example
 * const ca = await createCertificateAuthority();
 * const server = await ca.issue({ dnsNames: ["localhost"], usage: "server" });
 */
export async function createCertificateAuthority(
  options: CertificateAuthorityOptions = {},
): Promise<CertificateAuthority> {
  const { name } = parseOptions(authoritySchema, options, "createCertificateAuthority");
  const keys = await newKeys(false);
  const certificate = await x509().X509CertificateGenerator.createSelfSigned(
    {
      ...authorityFields(),
      name: subjectName([name]),
      keys,
      extensions: [
        ...authorityExtensions(),
        await x509().SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return authority({ certificate, keys, chain: [] }, pemOf(certificate));
}

function authority(signer: Signer, caPem: string): CertificateAuthority {
  return Object.freeze({
    caPem,
    issue: (request: CertificateRequest = {}) => issue(signer, parseOptions(requestSchema, request, "issue")),
    intermediate: async (options: CertificateAuthorityOptions = {}) => {
      const { name } = parseOptions(
        authoritySchema,
        { name: "Palisade test intermediate CA", ...options },
        "intermediate",
      );
      return authority(await issueIntermediate(signer, name), caPem);
    },
    revocationList: async (request: RevocationListRequest = {}) => {
      const { revoked, thisUpdate, nextUpdate } = parseOptions(
        revocationListSchema,
        request,
        "revocationList",
      );
      const list = await x509().X509CrlGenerator.create(
        {
          issuer: signer.certificate.subjectName,
          signingAlgorithm: keyAlgorithm,
          signingKey: signer.keys.privateKey,
          thisUpdate: thisUpdate ?? new Date(),
          nextUpdate: nextUpdate ?? new Date(Date.now() + 30 * dayMs),
          entries: revoked.map((pem) => ({ serialNumber: new NodeCertificate(pem).serialNumber })),
          extensions: [
            await x509().AuthorityKeyIdentifierExtension.create(signer.keys.publicKey, false, webcrypto),
          ],
        },
        webcrypto,
      );
      return `${x509().PemConverter.encode(list.rawData, "X509 CRL")}\n`;
    },
  });
}

async function issueIntermediate(signer: Signer, name: string): Promise<Signer> {
  const keys = await newKeys(false);
  const certificate = await sign(signer, keys.publicKey, {
    ...authorityFields(),
    subject: subjectName([name]),
    extensions: authorityExtensions(),
  });
  return { certificate, keys, chain: [certificate, ...signer.chain] };
}

async function issue(signer: Signer, request: ParsedRequest): Promise<IssuedCertificate> {
  const keys = await newKeys(true);
  const certificate = await sign(signer, keys.publicKey, {
    serialNumber: newSerialNumber(),
    subject: subjectName([request.commonName ?? []].flat()),
    notBefore: request.notBefore ?? new Date(Date.now() - 5 * 60_000),
    notAfter: request.notAfter ?? new Date(Date.now() + request.days * dayMs),
    extensions: [
      new (x509().BasicConstraintsExtension)(false, undefined, true),
      new (x509().KeyUsagesExtension)(x509().KeyUsageFlags.digitalSignature, true),
      new (x509().ExtendedKeyUsageExtension)(extendedUsages(request.usage)),
      ...alternativeNames(request),
    ],
  });
  const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  return Object.freeze({
    cert: [certificate, ...signer.chain].map(pemOf).join(""),
    key: `${x509().PemConverter.encode(pkcs8, "PRIVATE KEY")}\n`,
    fingerprint256: new NodeCertificate(new Uint8Array(certificate.rawData)).fingerprint256,
  });
}

interface CertificateFields {
  readonly serialNumber: string;
  readonly subject: Name;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly extensions: readonly Extension[];
}

async function sign(
  signer: Signer,
  publicKey: webcrypto.CryptoKey,
  fields: CertificateFields,
): Promise<X509Certificate> {
  return x509().X509CertificateGenerator.create(
    {
      ...fields,
      issuer: signer.certificate.subjectName,
      publicKey,
      signingKey: signer.keys.privateKey,
      signingAlgorithm: keyAlgorithm,
      extensions: [
        ...fields.extensions,
        await x509().SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
        await x509().AuthorityKeyIdentifierExtension.create(signer.keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
}

function authorityFields(): {
  readonly serialNumber: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly signingAlgorithm: typeof keyAlgorithm;
} {
  return {
    serialNumber: newSerialNumber(),
    // Long before and after now: certificates that are already expired, or not valid yet, are issued too.
    notBefore: new Date(Date.now() - 3_650 * dayMs),
    notAfter: new Date(Date.now() + 3_650 * dayMs),
    signingAlgorithm: keyAlgorithm,
  };
}

function authorityExtensions(): readonly Extension[] {
  return [
    new (x509().BasicConstraintsExtension)(true, undefined, true),
    new (x509().KeyUsagesExtension)(x509().KeyUsageFlags.keyCertSign | x509().KeyUsageFlags.cRLSign, true),
  ];
}

function alternativeNames(request: ParsedRequest): readonly Extension[] {
  const names: JsonGeneralName[] = [
    ...request.dnsNames.map((value) => ({ type: "dns" as const, value })),
    ...request.ipAddresses.map((value) => ({ type: "ip" as const, value })),
    ...request.uris.map((value) => ({ type: "url" as const, value })),
  ];
  // RFC 5280 section 4.2.1.6: critical where the subject is empty, because nothing else names anybody.
  return names.length === 0
    ? []
    : [new (x509().SubjectAlternativeNameExtension)(names, request.commonName === undefined)];
}

function extendedUsages(usage: CertificateUsage): string[] {
  const { serverAuth, clientAuth } = x509().ExtendedKeyUsage;
  if (usage === "both") return [serverAuth, clientAuth];
  return [usage === "server" ? serverAuth : clientAuth];
}

/** Each value as it is: a plain string would be read as RFC 4514 text, with quotes and escapes. */
function subjectName(commonNames: readonly string[]): Name {
  return new (x509().Name)(commonNames.map((value) => ({ CN: [{ utf8String: value }] })));
}

/** 128 random bits after a first byte that makes the number positive and its length fixed (RFC 5280 section 4.1.2.2). */
function newSerialNumber(): string {
  return `01${randomBytes(16).toString("hex")}`;
}

async function newKeys(extractable: boolean): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(keyAlgorithm, extractable, ["sign", "verify"]);
}

/** With a line break at its end, so that certificates can be put one after the other. */
function pemOf(certificate: X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}
