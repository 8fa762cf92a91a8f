// An issuer whose lists may be anything: what a good one would never sign, too.
import { Buffer } from "node:buffer";
import { randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { createRequire } from "node:module";
import type * as X509 from "@peculiar/x509";

const load = createRequire(import.meta.url);
// The one finds its parts through the other, which therefore comes first.
load("reflect-metadata");
export const x509 = load("@peculiar/x509") as typeof X509;

export interface Issuer {
  readonly certificate: X509Certificate;
  readonly pem: string;
  /** A certificate that it issues. Its distribution points are URIs. */
  issue(options?: IssueOptions): Promise<X509Certificate>;
  /** DER. */
  list(options?: ListOptions): Promise<Buffer>;
}

export interface IssueOptions {
  readonly serialNumber?: string;
  readonly distributionPoints?: readonly string[];
  readonly isAuthority?: boolean;
}

export interface ListOptions {
  readonly revoked?: readonly (X509Certificate | string)[];
  readonly thisUpdate?: Date;
  readonly nextUpdate?: Date;
  readonly number?: number;
  readonly withoutKeyId?: boolean;
  readonly extensions?: readonly X509.Extension[];
  readonly entryExtensions?: readonly X509.Extension[];
  readonly hash?: string;
  /** In the name of the issuer, by another key. */
  readonly by?: webcrypto.CryptoKeyPair;
}

type Kind = "ec" | "rsa" | "pss" | "ed25519";

const algorithms: Readonly<Record<Kind, { readonly key: object; readonly sign: (hash: string) => object }>> =
  {
    ec: { key: { name: "ECDSA", namedCurve: "P-256" }, sign: (hash) => ({ name: "ECDSA", hash }) },
    rsa: { key: rsa("RSASSA-PKCS1-v1_5"), sign: (hash) => ({ name: "RSASSA-PKCS1-v1_5", hash }) },
    pss: { key: rsa("RSA-PSS"), sign: (hash) => ({ name: "RSA-PSS", hash, saltLength: 32 }) },
    ed25519: { key: { name: "Ed25519" }, sign: () => ({ name: "Ed25519" }) },
  };

function rsa(name: string): object {
  return { name, modulusLength: 2_048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
}

export function newKeys(kind: Kind = "ec"): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithms[kind].key as never, true, ["sign", "verify"]) as never;
}

export interface IssuerOptions {
  readonly kind?: Kind;
  readonly name?: string;
  readonly usages?: X509.KeyUsageFlags;
  readonly keys?: webcrypto.CryptoKeyPair;
}

const dayMs = 86_400_000;

export async function newIssuer({
  kind = "ec",
  name = "Lists CA",
  usages,
  keys: given,
}: IssuerOptions = {}): Promise<Issuer> {
  const keys = given ?? (await newKeys(kind));
  const sign = (hash = "SHA-256") => algorithms[kind].sign(hash) as never;
  const subject = nameOf(name);
  const allowed = usages ?? x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign;
  const made = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: `01${randomBytes(8).toString("hex")}`,
      name: subject,
      notBefore: new Date(Date.now() - dayMs),
      notAfter: new Date(Date.now() + 365 * dayMs),
      keys,
      signingAlgorithm: sign(),
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(allowed, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto as never),
      ],
    },
    webcrypto as never,
  );
  const certificate = new X509Certificate(Buffer.from(made.rawData));
  return {
    certificate,
    pem: certificate.toString(),
    async issue({ serialNumber, distributionPoints, isAuthority = false } = {}) {
      const own = await newKeys();
      const issued = await x509.X509CertificateGenerator.create(
        {
          serialNumber: serialNumber ?? `01${randomBytes(8).toString("hex")}`,
          subject: nameOf("leaf"),
          issuer: subject,
          notBefore: new Date(Date.now() - dayMs),
          notAfter: new Date(Date.now() + 30 * dayMs),
          publicKey: own.publicKey,
          signingKey: keys.privateKey,
          signingAlgorithm: sign(),
          extensions: [
            new x509.BasicConstraintsExtension(isAuthority, undefined, true),
            ...(distributionPoints === undefined
              ? []
              : [new x509.CRLDistributionPointsExtension([...distributionPoints])]),
          ],
        },
        webcrypto as never,
      );
      return new X509Certificate(Buffer.from(issued.rawData));
    },
    async list({
      revoked = [],
      thisUpdate = new Date(),
      nextUpdate,
      number,
      withoutKeyId = false,
      extensions = [],
      entryExtensions = [],
      hash,
      by = keys,
    } = {}) {
      const made = await x509.X509CrlGenerator.create(
        {
          issuer: subject,
          thisUpdate,
          ...(nextUpdate === undefined ? {} : { nextUpdate }),
          signingAlgorithm: sign(hash),
          signingKey: by.privateKey,
          entries: revoked.map((each) => ({
            serialNumber: typeof each === "string" ? each : each.serialNumber,
            revocationDate: new Date(),
            extensions: [...entryExtensions],
          })),
          extensions: [
            ...(withoutKeyId
              ? []
              : [
                  await x509.AuthorityKeyIdentifierExtension.create(
                    keys.publicKey,
                    false,
                    webcrypto as never,
                  ),
                ]),
            ...(number === undefined
              ? []
              : [extension("2.5.29.20", false, [0x02, 0x02, number >> 8, number & 0xff])]),
            ...extensions,
          ],
        },
        webcrypto as never,
      );
      return Buffer.from(made.rawData);
    },
  };
}

export function extension(oid: string, critical: boolean, value: readonly number[] | Buffer): X509.Extension {
  return new x509.Extension(oid, critical, Uint8Array.from(value));
}

/** DER: a value of up to 16 MiB under a tag. */
export function der(tag: number, ...contents: readonly (Buffer | string | number)[]): Buffer {
  const body = Buffer.concat(
    contents.map((each) =>
      typeof each === "number"
        ? Buffer.from([each])
        : typeof each === "string"
          ? Buffer.from(each, "latin1")
          : each,
    ),
  );
  const { length } = body;
  const bytes = [length >> 16, (length >> 8) & 0xff, length & 0xff];
  const shortest = bytes.slice(bytes.findIndex((byte) => byte !== 0));
  const head = length < 128 ? [length] : [0x80 | shortest.length, ...shortest];
  return Buffer.concat([Buffer.from([tag, ...head]), body]);
}

export function pemOf(list: Buffer, label = "X509 CRL"): string {
  const lines = list.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** A list that nobody signed. */
export function unsigned(entries: number): Buffer {
  const time = der(0x17, "250101000000Z");
  const algorithm = der(0x30, der(0x06, Buffer.from("2a8648ce3d040302", "hex")));
  const revoked = Array.from({ length: entries }, (_, n) =>
    der(0x30, der(0x02, 0x01, n >> 16, (n >> 8) & 0xff, n & 0xff), time),
  );
  const tbs = der(0x30, der(0x02, 0x01), algorithm, der(0x30), time, der(0x30, Buffer.concat(revoked)));
  return der(0x30, tbs, algorithm, der(0x03, 0x00));
}

export interface MadeCertificate {
  readonly name: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly pem: string;
  /** PKCS #8, PEM. */
  readonly key: string;
  readonly certificate: X509Certificate;
}

export interface CertificateOptions {
  readonly name: string;
  /** Undefined: signed with its own key. */
  readonly by?: Pick<MadeCertificate, "name" | "keys"> | undefined;
  readonly keys?: webcrypto.CryptoKeyPair;
  readonly isAuthority?: boolean;
  readonly days?: readonly [from: number, to: number];
}

/** Any certificate, also one that no authority would issue. EC P-256. */
export async function certify({
  name,
  by,
  keys: given,
  isAuthority = false,
  days = [-1, 30],
}: CertificateOptions): Promise<MadeCertificate> {
  const keys = given ?? (await newKeys());
  const made = await x509.X509CertificateGenerator.create(
    {
      serialNumber: `01${randomBytes(8).toString("hex")}`,
      subject: nameOf(name),
      issuer: nameOf(by?.name ?? name),
      notBefore: new Date(Date.now() + days[0] * dayMs),
      notAfter: new Date(Date.now() + days[1] * dayMs),
      publicKey: keys.publicKey,
      signingKey: (by?.keys ?? keys).privateKey,
      signingAlgorithm: algorithms.ec.sign("SHA-256") as never,
      extensions: [new x509.BasicConstraintsExtension(isAuthority, undefined, true)],
    },
    webcrypto as never,
  );
  const certificate = new X509Certificate(Buffer.from(made.rawData));
  const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  return {
    name,
    keys,
    pem: certificate.toString(),
    key: `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n`,
    certificate,
  };
}

/** A list by an authority of `certify`, PEM. */
export async function revoking(
  { name, keys }: MadeCertificate,
  revoked: readonly MadeCertificate[],
): Promise<string> {
  const made = await x509.X509CrlGenerator.create(
    {
      issuer: nameOf(name),
      thisUpdate: new Date(),
      signingAlgorithm: algorithms.ec.sign("SHA-256") as never,
      signingKey: keys.privateKey,
      entries: revoked.map(({ certificate }) => ({ serialNumber: certificate.serialNumber })),
    },
    webcrypto as never,
  );
  return pemOf(Buffer.from(made.rawData));
}

function nameOf(name: string): X509.Name {
  return new x509.Name([{ CN: [{ utf8String: name }] }]);
}
