import "reflect-metadata";
import { Buffer } from "node:buffer";
import { webcrypto } from "node:crypto";
import { type JsonAttributeObject, Name, X509CertificateGenerator } from "@peculiar/x509";
import { describe, expect, it } from "vitest";
import { subjectAttributes, subjectText } from "../../src/tls/certificate-subject.ts";

/** Its parts one after the other, as texts or with their type in ASN.1. */
type Subject = readonly Readonly<Record<string, readonly (string | JsonAttributeObject)[]>>[];

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

async function derWith(subject: Subject): Promise<Buffer> {
  const keys = await webcrypto.subtle.generateKey(algorithm, false, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: "01",
    subject: new Name(subject as ConstructorParameters<typeof Name>[0]),
    issuer: "CN=CA",
    notBefore: new Date(0),
    notAfter: new Date(4_000_000_000_000),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
  });
  return Buffer.from(certificate.rawData);
}

async function textOf(subject: Subject): Promise<string | undefined> {
  const attributes = subjectAttributes(await derWith(subject));
  return attributes && subjectText(attributes);
}

const email = "1.2.840.113549.1.9.1";

describe("Z6 the subject of a certificate, as Go writes it", () => {
  it.each<readonly [what: string, subject: Subject, text: string]>([
    ["nothing", [], ""],
    ["a common name", [{ CN: ["orders"] }], "CN=orders"],
    [
      "from the name to the country, whatever the order",
      [
        { CN: ["orders"] },
        { OU: ["Shop"] },
        { C: ["DE"] },
        { O: ["Example"] },
        { L: ["Köln"] },
        { ST: ["NW"] },
      ],
      "CN=orders,OU=Shop,O=Example,L=Köln,ST=NW,C=DE",
    ],
    ["values of one type together", [{ OU: ["a"] }, { CN: ["x"] }, { OU: ["b"] }], "CN=x,OU=a+OU=b"],
    ["the last common name alone", [{ CN: ["first"] }, { CN: ["last"] }], "CN=last"],
    [
      "special characters behind a backslash",
      [{ CN: [{ utf8String: ' a,b+"c"\\<d>; ' }] }],
      'CN=\\ a\\,b\\+\\"c\\"\\\\\\<d\\>\\;\\ ',
    ],
    ["a # at the start alone", [{ CN: [{ utf8String: "#a#" }] }], "CN=\\#a#"],
    [
      "other types last, as DER",
      [{ [email]: ["ops@x.example"] }, { CN: ["x"] }],
      `CN=x,${email}=#0c0d6f707340782e6578616d706c65`,
    ],
    [
      "what a PrintableString can hold as one",
      [{ "2.5.4.12": ["Dr"] }, { "1.2.3.4": ["a b"] }],
      "1.2.3.4=#1303612062,2.5.4.12=#13024472",
    ],
  ])("%s", async (_, subject, text) => {
    expect(await textOf(subject)).toBe(text);
  });

  it.each<readonly [what: string, type: string]>([
    ["UTF8String", "utf8String"],
    ["PrintableString", "printableString"],
    ["IA5String", "ia5String"],
    ["BMPString", "bmpString"],
  ])("from a %s", async (_, type) => {
    expect(await textOf([{ CN: [{ [type]: "orders" }] }])).toBe("CN=orders");
  });

  it("of a long value, whose length takes two bytes", () => {
    expect(subjectText([{ type: "1.2.3.4", value: "a".repeat(200) }])).toBe(
      `1.2.3.4=#1381c8${"61".repeat(200)}`,
    );
  });

  it("is none where there is no certificate, or half of one", async () => {
    const der = await derWith([{ CN: ["orders"] }]);
    for (const bytes of [Buffer.alloc(0), Buffer.from("no certificate"), der.subarray(0, 60)])
      expect(subjectAttributes(bytes)).toBeUndefined();
  });
});
