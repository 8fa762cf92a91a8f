// One certificate revocation list (RFC 5280 section 5): complete and direct, as gRFC A69 uses them. Whatever else a list may be
// is refused when it is read, so that nobody takes silence of a part for the word of the whole.
import { Buffer } from "node:buffer";
import { createHash, type KeyObject, type X509Certificate } from "node:crypto";
import {
  contextTag,
  DerError,
  type DerExtension,
  DerReader,
  extensionsIn,
  integerOf,
  isTimeNext,
  only,
  primitiveContextTag,
  tags,
  takeTime,
} from "../tls/der.ts";
import { type CertificateFields, fullNamesIn } from "./issuing-certificate.ts";
import { signatureCheck } from "./list-signature.ts";

const extensionIds = {
  cRLNumber: "551d14",
  deltaCRLIndicator: "551d1b",
  issuingDistributionPoint: "551d1c",
  authorityKeyIdentifier: "551d23",
} as const;

/** RFC 5280 section 5.3: entries of indirect lists, and of delta lists. */
const certificateIssuer = "551d1d";

/** Read by this file, or without meaning for it where they are not critical. */
const understood: ReadonlySet<string> = new Set(Object.values(extensionIds));

/** Which certificates a list speaks of (RFC 5280 section 5.2.5). */
interface Scope {
  readonly of: "all" | "authorities" | "others";
  /** The list is for certificates with one of these distribution points. Undefined: for all. */
  readonly points: ReadonlySet<string> | undefined;
}

/** One issuer may have several certificates, for one key or another; more than these are verified again. */
const maxVerdicts = 100;

export class CertificateList {
  /** The issuer's name: DER, in hexadecimal. */
  readonly issuer: string;
  /** The issuer's name and what the list is for: lists that agree in it may follow one another. */
  readonly subject: string;
  readonly thisUpdate: number;
  /** Tells one list from another. */
  readonly digest: string;
  /** When the next list is to be expected. Undefined: the list does not say. */
  readonly nextUpdate: number | undefined;
  readonly #number: bigint | undefined;
  readonly #revoked: ReadonlySet<string>;
  readonly #scope: Scope;
  readonly #signedBy: (key: KeyObject) => boolean;
  /** What came of it, by the fingerprint of the issuer's certificate: each connection brings objects of its own. */
  readonly #verdicts: Map<string, boolean> = new Map();
  /** The last key that the signature was verified with. */
  #verifiedWith: KeyObject | undefined = undefined;

  /** Throws `DerError` for what is no list, and for what is none that can be used. */
  constructor(der: Buffer) {
    this.digest = createHash("sha256").update(der).digest("base64");
    const list = new DerReader(only(der, tags.sequence, "the list"));
    const signed = list.takeWhole(tags.sequence, "tbsCertList");
    const algorithm = list.take(tags.sequence, "signatureAlgorithm");
    const bits = list.take(tags.bitString, "signatureValue");
    list.end("the list");
    if (bits[0] !== 0) throw new DerError("signatureValue: not a whole number of bytes");
    // Nothing of the file is kept but what is needed: a list may have many megabytes.
    const check = signatureCheck(algorithm);
    const signature = Buffer.from(bits.subarray(1));
    const bytes = Buffer.from(signed);
    this.#signedBy = (key) => check(bytes, signature, key);

    const tbs = new DerReader(only(signed, tags.sequence, "tbsCertList"));
    const version = tbs.takeOptional(tags.integer, "version");
    if (version !== undefined && version.toString("hex") !== "01") throw new DerError("version: not 2");
    if (!tbs.take(tags.sequence, "signature").equals(algorithm))
      throw new DerError("signature: not the algorithm that the list is signed with");
    this.issuer = tbs.takeWhole(tags.sequence, "issuer").toString("hex");
    this.thisUpdate = takeTime(tbs, "thisUpdate");
    this.nextUpdate = isTimeNext(tbs) ? takeTime(tbs, "nextUpdate") : undefined;
    const entries = tbs.takeOptional(tags.sequence, "revokedCertificates");
    this.#revoked = entries === undefined ? new Set() : serialNumbersIn(entries);
    const contents = tbs.takeOptional(contextTag(0), "crlExtensions");
    tbs.end("tbsCertList");
    const extensions = byId(contents === undefined ? [] : extensionsIn(contents, "crlExtensions"));
    refuseUnknown(extensions.values(), understood, "the list");
    if (extensions.has(extensionIds.deltaCRLIndicator))
      throw new DerError("a delta list, which says only what changed; give complete lists");
    const number = extensions.get(extensionIds.cRLNumber);
    this.#number = number === undefined ? undefined : numberIn(number.value);
    const point = extensions.get(extensionIds.issuingDistributionPoint);
    this.#scope = point === undefined ? { of: "all", points: undefined } : scopeOf(point.value);
    this.subject = `${this.issuer} ${point?.value.toString("hex")}`;
  }

  /** RFC 5280 section 6.3.3 (b): is the list for certificates like this one? */
  covers({ isAuthority, distributionPoints }: CertificateFields): boolean {
    const { of, points } = this.#scope;
    if (of !== "all" && isAuthority !== (of === "authorities")) return false;
    if (points === undefined) return true;
    return [...points].some((point) => distributionPoints?.has(point) === true);
  }

  /** Is the serial number on it? As `integerOf` gives it. */
  revokes(serialNumber: string): boolean {
    return this.#revoked.has(serialNumber);
  }

  get size(): number {
    return this.#revoked.size;
  }

  /** `issuer`: of a chain that was verified. */
  isSignedBy(issuer: X509Certificate): boolean {
    let verdict = this.#verdicts.get(issuer.fingerprint256);
    if (verdict === undefined) {
      const key = keyOf(issuer);
      verdict = key !== undefined && this.isSignedWith(key);
      if (this.#verdicts.size >= maxVerdicts) this.#verdicts.clear();
      this.#verdicts.set(issuer.fingerprint256, verdict);
    }
    return verdict;
  }

  isSignedWith(key: KeyObject): boolean {
    const verdict = this.#signedBy(key);
    if (verdict) this.#verifiedWith = key;
    return verdict;
  }

  get verifiedWith(): KeyObject | undefined {
    return this.#verifiedWith;
  }

  /** Did the key that this one was verified with sign that one? */
  hasKeyOf(other: CertificateList): boolean {
    return this.#verifiedWith !== undefined && other.isSignedWith(this.#verifiedWith);
  }

  /** By number where both have one (RFC 5280 section 5.2.3), else by time. */
  isOlderThan(other: CertificateList): boolean {
    if (this.#number !== undefined && other.#number !== undefined && this.#number !== other.#number)
      return this.#number < other.#number;
    return this.thisUpdate < other.thisUpdate;
  }
}

/** Undefined where OpenSSL does not know its type. */
function keyOf(issuer: X509Certificate): KeyObject | undefined {
  try {
    return issuer.publicKey;
  } catch {
    return undefined;
  }
}

function serialNumbersIn(contents: Buffer): ReadonlySet<string> {
  const serialNumbers = new Set<string>();
  const entries = new DerReader(contents);
  while (!entries.done) {
    const entry = new DerReader(entries.take(tags.sequence, "an entry"));
    serialNumbers.add(integerOf(entry.take(tags.integer, "userCertificate"), "userCertificate"));
    // When it was revoked decides nothing.
    entry.take(entry.nextTag === tags.utcTime ? tags.utcTime : tags.generalizedTime, "revocationDate");
    if (!entry.done) {
      const extensions = extensionsIn(
        entry.takeWhole(tags.sequence, "crlEntryExtensions"),
        "crlEntryExtensions",
      );
      entry.end("an entry");
      if (extensions.some(({ id }) => id === certificateIssuer)) throw indirect();
      refuseUnknown(extensions, new Set(), "an entry");
    }
  }
  return serialNumbers;
}

/** RFC 5280 section 5.2: a list with a critical extension that is not understood must not be used. */
function refuseUnknown(extensions: Iterable<DerExtension>, known: ReadonlySet<string>, where: string): void {
  for (const { id, critical } of extensions) {
    if (critical && !known.has(id))
      throw new DerError(`${where} has a critical extension that is not supported (${id})`);
  }
}

function byId(extensions: readonly DerExtension[]): ReadonlyMap<string, DerExtension> {
  return new Map(extensions.map((extension) => [extension.id, extension]));
}

function numberIn(value: Buffer): bigint {
  const hex = integerOf(only(value, tags.integer, "cRLNumber"), "cRLNumber");
  // RFC 5280 section 5.2.3: at most 20 bytes, which leaves no room for slow arithmetic either.
  if (hex.length > 40) throw new DerError("cRLNumber: longer than 20 bytes");
  return BigInt(`0x${hex}`);
}

function indirect(): DerError {
  return new DerError("an indirect list, with entries of other issuers; give a list of each issuer's own");
}

function scopeOf(value: Buffer): Scope {
  const what = "issuingDistributionPoint";
  const reader = new DerReader(only(value, tags.sequence, what));
  const name = reader.takeOptional(contextTag(0), what);
  const flag = (number: number): boolean => {
    const bits = reader.takeOptional(primitiveContextTag(number), what);
    return bits !== undefined && !(bits.length === 1 && bits[0] === 0);
  };
  const others = flag(1);
  const authorities = flag(2);
  const reasons = reader.takeOptional(primitiveContextTag(3), what);
  const isIndirect = flag(4);
  const attributes = flag(5);
  reader.end(what);
  if (isIndirect) throw indirect();
  if (attributes || reasons !== undefined)
    throw new DerError(
      "a list for attribute certificates, or for some reasons alone; give one for all reasons",
    );
  if (others && authorities) throw new DerError(`${what}: for no certificate at all`);
  const points = name === undefined ? undefined : new Set(fullNamesIn(name));
  if (points?.size === 0) throw new DerError(`${what}: without a full name, which is not supported`);
  return { of: others ? "others" : authorities ? "authorities" : "all", points };
}
