// The subject of a certificate as Go's crypto/x509/pkix writes it: the form that gRPC authorization policies compare with.
import { contextTag, DerReader, only, tags } from "./der.ts";

/** One part of a distinguished name: `2.5.4.3` and `orders`. */
export interface NameAttribute {
  /** An object identifier, in numbers with dots. */
  readonly type: string;
  readonly value: string;
}

const commonName = "2.5.4.3";
const serialNumber = "2.5.4.5";

/** In the order in which Go puts them into a sequence, which it then writes from the end. */
const named: ReadonlyMap<string, string> = new Map([
  ["2.5.4.6", "C"],
  ["2.5.4.8", "ST"],
  ["2.5.4.7", "L"],
  ["2.5.4.9", "STREET"],
  ["2.5.4.17", "POSTALCODE"],
  ["2.5.4.10", "O"],
  ["2.5.4.11", "OU"],
  [commonName, "CN"],
  [serialNumber, "SERIALNUMBER"],
]);

/** Of these Go keeps the last value alone, and none where that is empty. */
const single: ReadonlySet<string> = new Set([commonName, serialNumber]);

/**
 * As `Name.String()` of Go writes it: `CN=orders,OU=shop,O=Example,C=DE`. The order of the certificate does not matter but
 * among values of one type, which stand together (`OU=a+OU=b`); other types come last, as `1.2.3=#` and DER in hexadecimal.
 */
export function subjectText(attributes: readonly NameAttribute[]): string {
  const others = attributes
    .filter(({ type }) => !named.has(type))
    .map(({ type, value }) => `${type}=#${derText(value)}`);
  const known = [...named].flatMap(([type, name]) => {
    const all = attributes.filter((attribute) => attribute.type === type).map(({ value }) => value);
    const values = single.has(type) ? all.slice(-1).filter((value) => value !== "") : all;
    return values.length === 0 ? [] : [values.map((value) => `${name}=${escaped(value)}`).join("+")];
  });
  return [...others, ...known].reverse().join(",");
}

/** RFC 4514 section 2.4, as Go applies it. */
function escaped(value: string): string {
  return value.replace(/[,+"\\<>;]|^[ #]| $/g, "\\$&");
}

const printable = /^[A-Za-z0-9'()+,\-./ :=?]*$/;

/** A string in DER, in hexadecimal: a PrintableString where that can hold it, else a UTF8String. */
function derText(value: string): string {
  const contents = Buffer.from(value, "utf8");
  const tag = printable.test(value) ? 0x13 : 0x0c;
  return Buffer.concat([Buffer.from([tag, ...derLength(contents.length)]), contents]).toString("hex");
}

function derLength(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
}

/** The attributes of a certificate's subject, in their order; undefined where Go could not read them. `der`: the certificate. */
export function subjectAttributes(der: Buffer): readonly NameAttribute[] | undefined {
  try {
    return attributesIn(subjectOf(der));
  } catch {
    return undefined;
  }
}

/** RFC 5280 section 4.1: version, serial number, signature, issuer, validity, subject. */
function subjectOf(der: Buffer): Buffer {
  const certificate = new DerReader(only(der, tags.sequence, "certificate"));
  const signed = new DerReader(certificate.take(tags.sequence, "signed part"));
  signed.takeOptional(contextTag(0), "version");
  signed.take(tags.integer, "serial number");
  signed.take(tags.sequence, "signature");
  signed.take(tags.sequence, "issuer");
  signed.take(tags.sequence, "validity");
  return signed.take(tags.sequence, "subject");
}

function attributesIn(subject: Buffer): readonly NameAttribute[] | undefined {
  const attributes: NameAttribute[] = [];
  const sets = new DerReader(subject);
  while (!sets.done) {
    const set = new DerReader(sets.take(0x31, "relative name"));
    while (!set.done) {
      const attribute = new DerReader(set.take(tags.sequence, "attribute"));
      const type = objectIdentifier(attribute.take(tags.oid, "attribute type"));
      const tag = attribute.nextTag ?? 0;
      const value = decoded(tag, attribute.take(tag, "attribute value"));
      if (value === undefined) return undefined;
      attributes.push({ type, value });
    }
  }
  return attributes;
}

function objectIdentifier(contents: Buffer): string {
  const numbers: number[] = [];
  let number = 0;
  for (const byte of contents) {
    number = number * 128 + (byte & 0x7f);
    if (byte >= 0x80) continue;
    numbers.push(number);
    number = 0;
  }
  const [first = 0, ...rest] = numbers;
  const root = Math.min(2, Math.floor(first / 40));
  return [root, first - 40 * root, ...rest].join(".");
}

/** The string types that Go reads. T61String is taken for Latin-1, as there. */
function decoded(tag: number, contents: Buffer): string | undefined {
  switch (tag) {
    case 0x0c:
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(contents);
    case 0x12:
    case 0x13:
    case 0x14:
    case 0x16:
      return contents.toString("latin1");
    case 0x1e:
      return contents.length % 2 === 0 ? bmpText(contents) : undefined;
    default:
      return undefined;
  }
}

/** UCS-2, high byte first, with or without a zero behind it. */
function bmpText(contents: Buffer): string {
  return Buffer.from(contents).swap16().toString("utf16le").replace(/\0$/, "");
}
