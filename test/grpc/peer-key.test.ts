import { describe, expect, it } from "vitest";
import type { Peer, PeerCertificate } from "../../src/grpc/peer.ts";
import { addressKey, peerKey } from "../../src/grpc/peer-key.ts";

describe("L1 who is one peer", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::FFFF:192.0.2.1", "192.0.2.1"],
    ["::ffff:c000:0201", "192.0.2.1"],
    ["0:0:0:0:0:ffff:c000:201", "192.0.2.1"],
    ["0000:0000:0000:0000:0000:ffff:192.0.2.1", "192.0.2.1"],
    ["64:ff9b::192.0.2.1", "192.0.2.1"],
    ["::ffff:255.255.255.255", "255.255.255.255"],
    ["2001:db8:1:2::1", "2001:db8:1:2::/64"],
    ["2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"],
    ["2001:0DB8:0001:0002:0000:0000:0000:0001", "2001:db8:1:2::/64"],
    ["2001:db8:1:3::1", "2001:db8:1:3::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:db8::1:2:3:4:5", "2001:db8:0:1::/64"],
    ["1:2:3:4:5:6:7::", "1:2:3:4::/64"],
    ["::2:3:4:5:6:7:8", "0:2:3:4::/64"],
    ["2001:db8:1:2::192.0.2.1", "2001:db8:1:2::/64"],
    ["::1", "0:0:0:0::/64"],
    ["::", "0:0:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["fe80::2%25", "fe80:0:0:0::/64"],
    ["::fffe:192.0.2.1", "0:0:0:0::/64"],
    ["unix", "unix"],
    ["", ""],
    ["1.2.3.4.5", "1.2.3.4.5"],
    ["2001:db8::1::2", "2001:db8::1::2"],
  ];
  it.each(cases)("L1 counts %s as %s", (address, key) => {
    expect(addressKey(address)).toBe(key);
  });

  const certificate: PeerCertificate = {
    name: "spiffe://orders.example/client",
    uris: ["spiffe://orders.example/client"],
    dnsNames: [],
    commonName: undefined,
    serialNumber: "01",
    issuer: "CN=ca",
    fingerprint256: "AA:BB",
    notBefore: 0,
    notAfter: 1,
  };
  const peer = (address: string, verified: PeerCertificate | undefined): Peer => ({
    address,
    port: 1,
    secure: true,
    certificate: verified,
  });

  it("L1 counts a verified certificate, wherever it calls from", () => {
    expect(peerKey(peer("192.0.2.1", certificate))).toBe("cert:AA:BB");
    expect(peerKey(peer("192.0.2.2", certificate))).toBe("cert:AA:BB");
  });

  it("L1 counts the address where there is no certificate, and answers the same twice", () => {
    const one = peer("::ffff:192.0.2.1", undefined);
    expect(peerKey(one)).toBe("ip:192.0.2.1");
    expect(peerKey(one)).toBe("ip:192.0.2.1");
  });
});
