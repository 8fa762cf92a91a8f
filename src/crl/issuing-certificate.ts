// What Node does not tell of a certificate: its names as they are written, its serial number, and whether its key may sign lists.
import { Buffer } from "node:buffer";
import type { X509Certificate } from "node:crypto";
import { contextTag, DerReader, extensionsIn, integerOf, only, tags } from "../tls/der.ts";

export interface CertificateFields {
  /** DER, in hexadecimal. */
  readonly subject: string;
  /** As `integerOf` gives it. */
  readonly serialNumber: string;
  /** RFC 5280 section 4.2.1.3: `cRLSign`, or no word on what the key is for. */
  readonly maySignLists: boolean;
  /** RFC 5280 section 4.2.1.9: may it issue certificates? */
  readonly isAuthority: boolean;
  /** RFC 5280 section 4.2.1.13: the full names of its distribution points, in hexadecimal; undefined where it has none. */
  readonly distributionPoints: ReadonlySet<string> | undefined;
}

const keyUsage = "551d0f";
const basicConstraints = "551d13";
const cRLDistributionPoints = "551d1f";
/** The seventh bit from the left (RFC 5280 section 4.2.1.3). */
const cRLSign = 0x02;

const known = new WeakMap<X509Certificate, CertificateFields>();

/** Throws `DerError` where it cannot be read. */
export function fieldsOf(certificate: X509Certificate): CertificateFields {
  let fields = known.get(certificate);
  if (fields === undefined) {
    fields = read(Buffer.from(certificate.raw));
    known.set(certificate, fields);
  }
  return fields;
}

function read(der: Buffer): CertificateFields {
  const outer = new DerReader(only(der, tags.sequence, "certificate"));
  const tbs = new DerReader(outer.take(tags.sequence, "tbsCertificate"));
  tbs.takeOptional(contextTag(0), "version");
  const serialNumber = integerOf(tbs.take(tags.integer, "serialNumber"), "serialNumber");
  tbs.take(tags.sequence, "signature");
  tbs.take(tags.sequence, "issuer");
  tbs.take(tags.sequence, "validity");
  const subject = tbs.takeWhole(tags.sequence, "subject").toString("hex");
  tbs.take(tags.sequence, "subjectPublicKeyInfo");
  tbs.takeOptional(0x81, "issuerUniqueID");
  tbs.takeOptional(0x82, "subjectUniqueID");
  const contents = tbs.takeOptional(contextTag(3), "extensions");
  const extensions = new Map(
    (contents === undefined ? [] : extensionsIn(contents, "extensions")).map(({ id, value }) => [id, value]),
  );
  const points = extensions.get(cRLDistributionPoints);
  return {
    subject,
    serialNumber,
    maySignLists: maySign(extensions.get(keyUsage)),
    isAuthority: mayIssue(extensions.get(basicConstraints)),
    distributionPoints: points === undefined ? undefined : namesOfPoints(points),
  };
}

function maySign(usage: Buffer | undefined): boolean {
  if (usage === undefined) return true;
  const bits = only(usage, tags.bitString, "keyUsage");
  // The first byte counts the unused bits at the end.
  return ((bits[1] ?? 0) & cRLSign) !== 0;
}

function mayIssue(constraints: Buffer | undefined): boolean {
  if (constraints === undefined) return false;
  const flag = new DerReader(only(constraints, tags.sequence, "basicConstraints")).takeOptional(
    tags.boolean,
    "cA",
  );
  return flag !== undefined && flag[0] !== 0;
}

function namesOfPoints(value: Buffer): ReadonlySet<string> {
  const names = new Set<string>();
  const points = new DerReader(only(value, tags.sequence, "cRLDistributionPoints"));
  while (!points.done) {
    const point = new DerReader(points.take(tags.sequence, "DistributionPoint"));
    const name = point.takeOptional(contextTag(0), "distributionPoint");
    // One with reasons or another issuer of its list speaks of lists that are not used here.
    if (name === undefined || !point.done) continue;
    for (const each of fullNamesIn(name)) names.add(each);
  }
  return names;
}

/** The `GeneralName`s of a `DistributionPointName`, in hexadecimal; none where it is relative to its issuer's name. */
export function fullNamesIn(distributionPointName: Buffer): readonly string[] {
  const choice = new DerReader(distributionPointName);
  const full = choice.takeOptional(contextTag(0), "fullName");
  if (full === undefined) return [];
  choice.end("distributionPoint");
  const list = new DerReader(full);
  const names: string[] = [];
  while (!list.done) names.push(list.takeWhole(list.nextTag ?? 0, "fullName").toString("hex"));
  return names;
}
