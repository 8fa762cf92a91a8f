// The forwarded client certificate, read: what is believed of it, and every way to forge it.
import { beforeAll, describe, expect, it } from "vitest";
import type { Peer } from "../../src/grpc/peer.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
  type IssuedCertificate,
} from "../../src/testing/certificate-authority.ts";
import {
  forwardedCertificate,
  forwardedPeers,
  hasUnreadableCertificate,
} from "../../src/tls/forwarded-certificate.ts";
import { expectRelativeCost } from "../harness/relative-cost.ts";

const hash = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";
const by = "By=spiffe://mesh.example/orders";
const good = `${by};Hash=${hash};Subject="CN=Test Client,OU=Orders,C=US";URI=spiffe://mesh.example/caller`;

describe("T8 the forwarded certificate", () => {
  it("T8 is the last element: URI before DNS name before CN, with the fingerprint", () => {
    expect(forwardedCertificate(good)).toEqual({
      forwarded: true,
      name: "spiffe://mesh.example/caller",
      uris: ["spiffe://mesh.example/caller"],
      dnsNames: [],
      commonName: "Test Client",
      subject: "CN=Test Client,OU=Orders,C=US",
      serialNumber: "",
      issuer: "",
      fingerprint256: hash.toUpperCase().match(/../g)?.join(":"),
      notBefore: Number.NEGATIVE_INFINITY,
      notAfter: Number.POSITIVE_INFINITY,
    });
  });

  const named: readonly [what: string, header: string, name: string | undefined][] = [
    ["keys in any case", `hash=${hash};uri=spiffe://a`, "spiffe://a"],
    ["white space around elements and pairs", `${good} , Hash=${hash} ; URI=spiffe://b`, "spiffe://b"],
    ["the last of two elements", `Hash=${hash};URI=spiffe://a,Hash=${hash};URI=spiffe://b`, "spiffe://b"],
    ["a DNS name where there is no URI", `Hash=${hash};URI=;DNS=a.example;DNS=b.example`, "a.example"],
    ["the CN where there is neither", `Hash=${hash};Subject="CN=orders,O=Example"`, "orders"],
    ["a CN with an escaped comma", `Hash=${hash};Subject="O=x,CN=a\\, b"`, "a, b"],
    ["a CN with escaped UTF-8", `Hash=${hash};Subject="CN=caf\\C3\\A9"`, "café"],
    ["a value in quotes", `Hash="${hash}";URI="spiffe://a?x=1,2;3"`, "spiffe://a?x=1,2;3"],
    ["nobody where there is only a hash", `Hash=${hash}`, undefined],
    ["nobody where two URIs are named", `Hash=${hash};URI=spiffe://a;URI=spiffe://b`, undefined],
    ["nobody where two CNs are named", `Hash=${hash};Subject="CN=a,CN=b"`, undefined],
    ["nobody where a CN hides behind a plus", `Hash=${hash};Subject="CN=a+CN=b"`, undefined],
    ["nobody where a CN is inside another value", `Hash=${hash};Subject="O=x\\,CN=admin"`, undefined],
    ["nobody in OpenSSL's slash form", `Hash=${hash};Subject="/C=US/CN=admin"`, undefined],
    ["nobody where the CN has control characters", `Hash=${hash};Subject="CN=admin\\00"`, undefined],
    ["nobody where By names somebody", `By=spiffe://admin;Hash=${hash}`, undefined],
  ];

  it.each(named)("T8 names %s", (_what, header, name) => {
    const certificate = forwardedCertificate(header);
    expect(certificate).toBeDefined();
    expect(certificate?.name).toBe(name);
  });

  const forged: readonly [what: string, header: string][] = [
    ["an empty header", ""],
    ["an empty last element", `${good},`],
    ["no pairs", "spiffe://admin"],
    ["no hash", "URI=spiffe://admin"],
    ["a hash that is none", "Hash=admin;URI=spiffe://admin"],
    ["a short hash", `Hash=${hash.slice(2)};URI=spiffe://admin`],
    ["two hashes", `Hash=${hash};Hash=${hash};URI=spiffe://admin`],
    ["two subjects", `Hash=${hash};Subject="CN=a";Subject="CN=admin"`],
    ["a quote that a caller left open", `By=x;Subject="a,${good}`],
    ["a quote that turns inside and outside around", `URI=spiffe://admin;X="a,${good};DNS="b"`],
    ["an escaped quote before the proxy's", `Subject="a\\,${good}`],
    ["text behind a closing quote", `Hash=${hash};Subject="CN=a"admin`],
    ["a quote in a plain value", `Hash=${hash};URI=spiffe://a"b`],
    ["a key without a value sign", `Hash=${hash};admin`],
    ["a key with other characters", `Hash=${hash};U RI=spiffe://admin`],
    ["a certificate that is none", `Hash=${hash};Cert="admin"`],
    ["a certificate with broken encoding", `Hash=${hash};Cert="%E0%A4%A"`],
    ["two commas", `${good},,Hash=${hash}`],
  ];

  it.each(forged)("T8 %s is not believed", (_what, header) => {
    expect(forwardedCertificate(header)).toBeUndefined();
  });

  it.each(['"', "a=", 'a="\\', "a=b;", "\\", " ", 'Subject="CN='])(
    "T8 a long header of open ends, %j, is read in time that grows with its length alone",
    (part) => {
      const short = part.repeat(2_048 / part.length);
      const long = part.repeat(16_384 / part.length);
      // Eight times as long; with its square it would be 64 times.
      expectRelativeCost(
        () => forwardedCertificate(long),
        () => forwardedCertificate(short),
        24,
      );
    },
  );
});

describe("T8 the whole certificate, where it is forwarded", () => {
  let ca: CertificateAuthority;
  let issued: IssuedCertificate;

  beforeAll(async () => {
    ca = await createCertificateAuthority({ name: "Mesh CA" });
    issued = await ca.issue({ uris: ["spiffe://mesh.example/whole"], usage: "client" });
  });

  const header = ({ cert, fingerprint256 }: IssuedCertificate, more = ""): string =>
    `Hash=${fingerprint256.replaceAll(":", "")};Cert="${encodeURIComponent(cert)}"${more}`;

  it("T8 decides alone, with issuer, serial number and end", () => {
    const read = forwardedCertificate(header(issued, ";URI=spiffe://admin"));
    expect(read).toMatchObject({
      forwarded: true,
      name: "spiffe://mesh.example/whole",
      uris: ["spiffe://mesh.example/whole"],
      issuer: "CN=Mesh CA",
      fingerprint256: issued.fingerprint256,
    });
    expect(read?.notAfter).toBeLessThan(Number.POSITIVE_INFINITY);
  });

  it("T8 is not believed with another's hash", async () => {
    const other = await ca.issue({ commonName: "other" });
    expect(forwardedCertificate(header({ ...issued, fingerprint256: other.fingerprint256 }))).toBeUndefined();
  });

  it("T8 is not believed once it has expired", async () => {
    const expired = await ca.issue({
      commonName: "late",
      notBefore: new Date(Date.now() - 7_200_000),
      notAfter: new Date(Date.now() - 3_600_000),
    });
    const peer = forwardedPeers()(connection, header(expired));
    expect(peer.certificate).toBeUndefined();
    expect(hasUnreadableCertificate(peer)).toBe(true);
  });
});

const connection: Peer = { address: "127.0.0.1", port: 1, secure: false, certificate: undefined };

describe("T8 the peer of a call", () => {
  it("T8 is the connection's where nothing is forwarded", () => {
    const peer = forwardedPeers()(connection, undefined);
    expect(peer).toBe(connection);
    expect(hasUnreadableCertificate(peer)).toBe(false);
  });

  it("T8 has the same certificate for the same header, and another for another", () => {
    const peerOf = forwardedPeers();
    const [a, b] = [peerOf(connection, good), peerOf(connection, good)];
    expect(a.certificate).toBe(b.certificate);
    expect(a.certificate?.name).toBe("spiffe://mesh.example/caller");
    expect(peerOf(connection, `Hash=${hash};URI=spiffe://b`).certificate?.name).toBe("spiffe://b");
    expect(a).toMatchObject({ address: "127.0.0.1", port: 1, secure: false });
  });

  it("L10 remembers no more headers than it may", () => {
    const peerOf = forwardedPeers();
    const first = peerOf(connection, good).certificate;
    for (let i = 0; i < 300; i++) peerOf(connection, `Hash=${hash};URI=spiffe://${i}`);
    expect(peerOf(connection, good).certificate).not.toBe(first);
  });
});
