// What a revocation list may be, what it must not be, and for whom it speaks (T7).
import { Buffer } from "node:buffer";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { CertificateList } from "../../src/crl/certificate-list.ts";
import { fieldsOf } from "../../src/crl/issuing-certificate.ts";
import { RevocationLists } from "../../src/crl/revocation-lists.ts";
import { DerError } from "../../src/tls/der.ts";
import { cpuMs } from "../harness/cpu-time.ts";
import { der, extension, type Issuer, newIssuer, newKeys, unsigned, x509 } from "./lists.ts";

const dayMs = 86_400_000;

let issuer: Issuer;
let good: X509Certificate;
let bad: X509Certificate;

beforeAll(async () => {
  issuer = await newIssuer();
  [good, bad] = await Promise.all([issuer.issue(), issuer.issue()]);
});

function statusOf(lists: readonly Buffer[], chain: readonly X509Certificate[]): string {
  const read = lists.map((list) => ({ list: new CertificateList(list), path: "ca.crl" }));
  return new RevocationLists(read).statusOf(chain).status;
}

function problemOf(list: Buffer): string {
  try {
    new CertificateList(list);
    return "none";
  } catch (error) {
    if (!(error instanceof DerError)) throw error;
    return error.message;
  }
}

describe("T7 what lists say", () => {
  it.each(["ec", "rsa", "pss", "ed25519"] as const)("T7 lists signed with %s", async (kind) => {
    const own = await newIssuer({ kind });
    const [mine, other] = [await own.issue(), await own.issue()];
    const list = await own.list({ revoked: [mine] });
    expect(statusOf([list], [mine, own.certificate])).toBe("revoked");
    expect(statusOf([list], [other, own.certificate])).toBe("unrevoked");
  });

  it.each([20, 48])("T7 lists of an OpenSSL CA with an RSA-PSS key and a salt of %d bytes", (salt) => {
    const { ca, lists } = opensslCa([
      "-algorithm",
      "RSA-PSS",
      "-pkeyopt",
      "rsa_keygen_bits:2048",
      "-pkeyopt",
      "rsa_pss_keygen_md:sha256",
      "-pkeyopt",
      "rsa_pss_keygen_mgf1_md:sha256",
      "-pkeyopt",
      `rsa_pss_keygen_saltlen:${salt}`,
    ]);
    expect(statusOf([lists], [ca.gone, ca.root])).toBe("revoked");
    expect(statusOf([lists], [ca.ok, ca.root])).toBe("unrevoked");
  });

  it("T7 serial numbers are compared as numbers: a leading zero byte, small and long ones", async () => {
    const serialNumbers = ["01", "7f", "0080", "00ff", "0100", "00ffffffffffffffffffffffffffffffffffffff"];
    const certificates = await Promise.all(
      serialNumbers.map((serialNumber) => issuer.issue({ serialNumber })),
    );
    for (const [index, certificate] of certificates.entries()) {
      const others = serialNumbers.filter((_, other) => other !== index);
      const chain = [certificate, issuer.certificate];
      expect(statusOf([await issuer.list({ revoked: [certificate] })], chain)).toBe("revoked");
      expect(statusOf([await issuer.list({ revoked: others })], chain)).toBe("unrevoked");
    }
  });

  it("T7 the root is not looked for on its own list", async () => {
    expect(statusOf([await issuer.list({ revoked: [issuer.certificate] })], [good, issuer.certificate])).toBe(
      "unrevoked",
    );
    expect(statusOf([], [issuer.certificate])).toBe("unrevoked");
  });
});

/** Who has no say over a certificate of `issuer`. */
const strangers: readonly [who: string, list: () => Promise<Buffer>][] = [
  [
    "another name, with the same key",
    async () => {
      const keys = await newKeys();
      const [first, second] = [
        await newIssuer({ keys, name: "One" }),
        await newIssuer({ keys, name: "Two" }),
      ];
      issuer = first;
      good = await first.issue();
      return second.list();
    },
  ],
  ["the same name, with another key", async () => (await newIssuer()).list()],
  ["the issuer's name and key identifier, by another key", async () => issuer.list({ by: await newKeys() })],
  [
    "a key that may not sign lists",
    async () => {
      const own = await newIssuer({ usages: x509.KeyUsageFlags.keyCertSign });
      issuer = own;
      good = await own.issue();
      return own.list();
    },
  ],
];

describe("T7 who speaks for an issuer", () => {
  it.each(strangers)("T7 a list of %s determines nothing", async (_who, make) => {
    const before = [issuer, good] as const;
    try {
      const list = await make();
      expect(statusOf([list], [good, issuer.certificate])).toBe("undetermined");
    } finally {
      [issuer, good] = before;
    }
  });

  it("T7 a signature that was changed in any byte, and a list changed in any byte, determine nothing", async () => {
    const list = await issuer.list({ revoked: [bad] });
    const chain = [good, issuer.certificate];
    expect(statusOf([list], chain)).toBe("unrevoked");
    for (let index = 0; index < list.length; index += 1) {
      for (const bit of [0x01, 0x80]) {
        const changed = Buffer.from(list);
        changed[index] = (changed[index] ?? 0) ^ bit;
        const status = problemOf(changed) === "none" ? statusOf([changed], chain) : "undetermined";
        expect([index, bit, status]).toEqual([index, bit, "undetermined"]);
      }
    }
  });
});

const ids = {
  delta: "2.5.29.27",
  point: "2.5.29.28",
  certificateIssuer: "2.5.29.29",
  reason: "2.5.29.21",
} as const;
const distributionPoint = (...contents: readonly Buffer[]) => [
  extension(ids.point, true, der(0x30, ...contents)),
];
const fullName = (text: string): Buffer => der(0xa0, der(0xa0, der(0x86, text)));

/** RFC 5280 section 5.2: lists that say less than they seem to, and lists of which nobody knows what they say. */
const refusedLists: readonly [what: string, list: () => Promise<Buffer>, problem: RegExp][] = [
  ["a delta list", () => issuer.list({ extensions: [extension(ids.delta, true, [2, 1, 1])] }), /delta/],
  [
    "a delta list that does not call it critical",
    () => issuer.list({ extensions: [extension(ids.delta, false, [2, 1, 1])] }),
    /delta/,
  ],
  ["an indirect list", () => issuer.list({ extensions: distributionPoint(der(0x84, 0xff)) }), /indirect/],
  [
    "an entry of another issuer",
    () =>
      issuer.list({
        revoked: [bad],
        entryExtensions: [extension(ids.certificateIssuer, true, der(0x30, der(0x86, "x")))],
      }),
    /indirect/,
  ],
  [
    "an entry of another issuer that does not call it critical",
    () =>
      issuer.list({
        revoked: [bad],
        entryExtensions: [extension(ids.certificateIssuer, false, der(0x30, der(0x86, "x")))],
      }),
    /indirect/,
  ],
  [
    "a critical extension that nobody knows",
    () => issuer.list({ extensions: [extension("1.2.3.4", true, [5, 0])] }),
    /critical/,
  ],
  [
    "a critical extension of an entry that nobody knows",
    () => issuer.list({ revoked: [bad], entryExtensions: [extension("1.2.3.4", true, [5, 0])] }),
    /critical/,
  ],
  [
    "a list for some reasons",
    () => issuer.list({ extensions: distributionPoint(der(0x83, 0x01, 0x40)) }),
    /reasons/,
  ],
  [
    "a list of attribute certificates",
    () => issuer.list({ extensions: distributionPoint(der(0x85, 0xff)) }),
    /attribute/,
  ],
  [
    "a list for nobody",
    () => issuer.list({ extensions: distributionPoint(der(0x81, 0xff), der(0x82, 0xff)) }),
    /no certificate/,
  ],
  [
    "a distribution point relative to its issuer",
    () => issuer.list({ extensions: distributionPoint(der(0xa0, der(0xa1, Buffer.alloc(0)))) }),
    /full name/,
  ],
  [
    "the same extension twice",
    () => issuer.list({ extensions: [extension("1.2.3", false, [5, 0]), extension("1.2.3", false, [5, 0])] }),
    /twice/,
  ],
  ["a signature with SHA-1", () => sha1List(), /signatureAlgorithm/],
  [
    "a number longer than 20 bytes",
    () => issuer.list({ extensions: [extension("2.5.29.20", false, der(2, Buffer.alloc(21, 1)))] }),
    /20 bytes/,
  ],
];

/** The signature itself is not reached. */
async function sha1List(): Promise<Buffer> {
  const list = await (await newIssuer({ kind: "rsa" })).list();
  const sha256 = Buffer.from("2a864886f70d01010b", "hex");
  const sha1 = Buffer.from("2a864886f70d010105", "hex");
  const changed = Buffer.from(list);
  for (let at = changed.indexOf(sha256); at !== -1; at = changed.indexOf(sha256, at + 1))
    sha1.copy(changed, at);
  return changed;
}

const malformed: readonly [what: string, change: (list: Buffer) => Buffer, problem: RegExp][] = [
  ["nothing", () => Buffer.alloc(0), /missing/],
  [
    "two algorithms of signature, one of them not signed",
    (list) => {
      const changed = Buffer.from(list);
      const sha256 = Buffer.from("2a8648ce3d040302", "hex");
      Buffer.from("2a8648ce3d040303", "hex").copy(changed, changed.lastIndexOf(sha256));
      return changed;
    },
    /not the algorithm/,
  ],
  ["something after it", (list) => Buffer.concat([list, Buffer.from([0])]), /follows/],
  ["an end that is missing", (list) => list.subarray(0, -1), /cut off/],
  ["a length without an end", () => Buffer.from([0x30, 0x80, 0, 0]), /not DER/],
  ["a length of five bytes", () => Buffer.from([0x30, 0x85, 1, 0, 0, 0, 0]), /not DER/],
  ["a length longer than needed", () => Buffer.from([0x30, 0x81, 0x01, 0x05]), /shortest/],
  ["a length past the end", () => Buffer.from([0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]), /cut off/],
  ["a certificate", () => Buffer.from(good.raw), /./],
];

describe("T7 lists that are not used", () => {
  it.each(refusedLists)("T7 %s", async (_what, list, problem) => {
    expect(problemOf(await list())).toMatch(problem);
  });

  it.each(malformed)("T7 %s", async (_what, change, problem) => {
    expect(problemOf(change(await issuer.list()))).toMatch(problem);
  });

  it("T7 cut off anywhere", async () => {
    const list = await issuer.list({ revoked: [bad], number: 7, nextUpdate: new Date(Date.now() + dayMs) });
    for (let length = 0; length < list.length; length += 1)
      expect(problemOf(list.subarray(0, length))).not.toBe("none");
  });
});

describe("T7 lists for a part of the certificates (RFC 5280 section 6.3.3)", () => {
  const points: readonly [
    what: string,
    of: readonly string[] | undefined,
    contents: () => Buffer,
    expected: string,
  ][] = [
    [
      "for a distribution point that the certificate has",
      ["http://a"],
      () => fullName("http://a"),
      "unrevoked",
    ],
    ["for one of several", ["http://b", "http://a"], () => fullName("http://a"), "unrevoked"],
    ["for another one", ["http://b"], () => fullName("http://a"), "undetermined"],
    ["for one whose name begins alike", ["http://a/1"], () => fullName("http://a/"), "undetermined"],
    ["for one, where the certificate has none", undefined, () => fullName("http://a"), "undetermined"],
    ["for users, and it is one", undefined, () => der(0x81, 0xff), "unrevoked"],
    ["for authorities, and it is none", undefined, () => der(0x82, 0xff), "undetermined"],
  ];

  it.each(points)("T7 %s", async (_what, of, contents, expected) => {
    const certificate = await issuer.issue(of === undefined ? {} : { distributionPoints: of });
    const list = await issuer.list({ extensions: distributionPoint(contents()) });
    expect(statusOf([list], [certificate, issuer.certificate])).toBe(expected);
  });

  it("T7 a list for authorities speaks of an intermediate", async () => {
    const intermediate = await issuer.issue({ isAuthority: true });
    const chain = [intermediate, issuer.certificate];
    const authorities = distributionPoint(der(0x82, 0xff));
    expect(statusOf([await issuer.list({ extensions: authorities })], chain)).toBe("unrevoked");
    expect(statusOf([await issuer.list({ extensions: distributionPoint(der(0x81, 0xff)) })], chain)).toBe(
      "undetermined",
    );
    expect(statusOf([await issuer.list({ extensions: authorities, revoked: [intermediate] })], chain)).toBe(
      "revoked",
    );
  });

  it("T7 what one of several lists revokes is revoked", async () => {
    const certificate = await issuer.issue({ distributionPoints: ["http://a", "http://b"] });
    const lists = [
      await issuer.list({ extensions: distributionPoint(fullName("http://a")) }),
      await issuer.list({ extensions: distributionPoint(fullName("http://b")), revoked: [certificate] }),
    ];
    expect(statusOf(lists, [certificate, issuer.certificate])).toBe("revoked");
  });
});

describe("T7 lists as others make and read them", () => {
  it("T7 lists that OpenSSL makes are read as OpenSSL reads them", () => {
    const { ca, lists } = opensslCa(["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    expect(statusOf([lists], [ca.ok, ca.root])).toBe("unrevoked");
    expect(statusOf([lists], [ca.gone, ca.root])).toBe("revoked");
  });

  it("T7 every serial number that another reader finds, and no other", async () => {
    const serialNumbers = Array.from({ length: 300 }, (_, n) =>
      (n * 7_919 + 1).toString(16).padStart(10, "0"),
    );
    const made = await issuer.list({
      revoked: serialNumbers,
      number: 9,
      nextUpdate: new Date(Date.now() + dayMs),
    });
    const list = new CertificateList(made);
    const theirs = new x509.X509Crl(new Uint8Array(made)).entries.map(({ serialNumber }) => serialNumber);
    expect(list.size).toBe(theirs.length);
    for (const serialNumber of theirs) {
      const certificate = await issuer.issue({ serialNumber });
      expect(list.revokes(fieldsOf(certificate).serialNumber)).toBe(true);
      if (Number.parseInt(serialNumber, 16) > 7_919 * 20) break;
    }
  });

  it("T7 a long list is read in a time that grows with its length alone", () => {
    const timeFor = (entries: number): number => {
      const list = unsigned(entries);
      const before = cpuMs();
      expect(new CertificateList(list).size).toBe(entries);
      return cpuMs() - before;
    };
    timeFor(10_000);
    // A quadratic reader takes a hundred times as long.
    expect(timeFor(200_000)).toBeLessThan((200 * Math.max(timeFor(20_000), 1)) / 4);
  });
});

interface OpensslCa {
  readonly ca: Readonly<Record<"root" | "ok" | "gone", X509Certificate>>;
  /** DER. Revokes `gone`. */
  readonly lists: Buffer;
}

/** A CA by OpenSSL's command line, with a key of this kind. */
function opensslCa(kind: readonly string[]): OpensslCa {
  const directory = mkdtempSync(join(tmpdir(), "palisade-openssl-"));
  const openssl = (...args: readonly string[]): void => {
    execFileSync("openssl", args, { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
  };
  const certificate = (file: string): X509Certificate =>
    new X509Certificate(readFileSync(join(directory, file)));
  try {
    const own =
      "database = index.txt\ndefault_md = sha256\ncrl_extensions = ext\ndefault_crl_days = 30\ncrlnumber = number\n";
    const extensions = "[ext]\nauthorityKeyIdentifier = keyid:always\nissuerAltName = DNS:ca.example\n";
    writeFileSync(join(directory, "ca.cnf"), `[ca]\ndefault_ca = own\n[own]\n${own}${extensions}`);
    writeFileSync(join(directory, "number"), "1000\n");
    openssl("genpkey", ...kind, "-out", "ca.key");
    const usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    openssl(
      "req",
      "-x509",
      "-key",
      "ca.key",
      "-sha256",
      "-out",
      "ca.crt",
      "-subj",
      "/C=DE/O=Example/CN=CA",
      ...usage,
    );
    for (const [name, serial] of [
      ["ok", "0x80"],
      ["gone", "0x81"],
    ] as const) {
      openssl(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        `${name}.key`,
        "-out",
        `${name}.csr`,
        "-subj",
        `/CN=${name}`,
      );
      openssl(
        "x509",
        "-req",
        "-in",
        `${name}.csr`,
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-sha256",
        "-set_serial",
        serial,
        "-out",
        `${name}.crt`,
      );
    }
    const entry = "R\t491231235959Z\t250101000000Z,keyCompromise\t81\tunknown\t/CN=gone\n";
    writeFileSync(join(directory, "index.txt"), entry);
    openssl("ca", "-config", "ca.cnf", "-gencrl", "-cert", "ca.crt", "-keyfile", "ca.key", "-out", "ca.crl");
    openssl("crl", "-in", "ca.crl", "-outform", "DER", "-out", "ca.der");
    return {
      ca: { root: certificate("ca.crt"), ok: certificate("ok.crt"), gone: certificate("gone.crt") },
      lists: readFileSync(join(directory, "ca.der")),
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
