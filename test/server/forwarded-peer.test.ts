// Who calls, where a proxy stands between (L1): its word counts, and nobody else's.
import { Metadata } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { Peer } from "../../src/grpc/peer.ts";
import { forwardedPeer, type PeerOptions } from "../../src/server/forwarded-peer.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { RawConnection } from "../harness/raw-http2.ts";
import { secured } from "../harness/secured.ts";

function connection(address: string): Peer {
  return { address, port: 40_000, secure: true, certificate: undefined };
}

function addressOf(
  options: PeerOptions,
  from: string,
  headers: Record<string, string | readonly string[]>,
): string {
  const metadata = new Metadata();
  for (const [name, values] of Object.entries(headers))
    for (const value of [values].flat()) metadata.add(name, value);
  return forwardedPeer(options)(connection(from), metadata).address;
}

const proxies: PeerOptions = {
  trustedProxies: ["10.0.0.0/8", "2001:db8::/32"],
  addressFrom: "x-forwarded-for",
};

const attacks: readonly (readonly [string, string, string | readonly string[], string])[] = [
  ["its last address counts", "10.0.0.1", "203.0.113.9", "203.0.113.9"],
  ["what the caller wrote itself does not", "10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"],
  [
    "other proxies of ours are passed over",
    "10.0.0.1",
    "1.1.1.1, 203.0.113.9, 10.2.3.4, 10.9.9.9",
    "203.0.113.9",
  ],
  ["several headers are one list", "10.0.0.1", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"],
  ["a caller among the proxies", "10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"],
  ["IPv6", "2001:db8::1", "2a00::5", "2a00::5"],
  ["a port", "10.0.0.1", "203.0.113.9:4711", "203.0.113.9"],
  ["IPv6 with a port", "10.0.0.1", "[2a00::5]:4711", "2a00::5"],
  ["a proxy in the form that IPv6 gives it", "::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"],
  ["nobody else is believed", "203.0.113.1", "198.51.100.1", "203.0.113.1"],
  ["a neighbour of the network", "11.0.0.1", "198.51.100.1", "11.0.0.1"],
  ["a Unix socket", "unix", "198.51.100.1", "unix"],
  ["nonsense", "10.0.0.1", "unknown", "10.0.0.1"],
  ["nonsense at the end", "10.0.0.1", "203.0.113.9, _hidden", "10.0.0.1"],
  ["nonsense behind a proxy", "10.0.0.1", "203.0.113.9, x, 10.1.1.1", "10.0.0.1"],
  ["nothing", "10.0.0.1", "", "10.0.0.1"],
  ["an empty last entry", "10.0.0.1", "203.0.113.9,", "10.0.0.1"],
  ["a zone", "10.0.0.1", "fe80::1%eth0", "10.0.0.1"],
  ["a number that is none", "10.0.0.1", "203.0.113.999", "10.0.0.1"],
  ["a very long text", "10.0.0.1", "1".repeat(8000), "10.0.0.1"],
];

describe("L1 the peer behind a proxy", () => {
  it.each(attacks)("L1 x-forwarded-for: %s", (_what, from, header, expected) => {
    expect(addressOf(proxies, from, { "x-forwarded-for": header })).toBe(expected);
  });

  it("L1 hops counts places from the end, and too few are no answer", () => {
    const options = { ...proxies, hops: 2 };
    expect(addressOf(options, "10.0.0.1", { "x-forwarded-for": "1.1.1.1, 2.2.2.2, 3.3.3.3" })).toBe(
      "2.2.2.2",
    );
    expect(addressOf(options, "10.0.0.1", { "x-forwarded-for": "3.3.3.3" })).toBe("10.0.0.1");
  });

  it("L1 x-envoy-external-address is one address, or none", () => {
    const options: PeerOptions = { ...proxies, addressFrom: "x-envoy-external-address" };
    const name = "x-envoy-external-address";
    expect(addressOf(options, "10.0.0.1", { [name]: "203.0.113.9" })).toBe("203.0.113.9");
    expect(addressOf(options, "10.0.0.1", { [name]: ["1.1.1.1", "203.0.113.9"] })).toBe("10.0.0.1");
    expect(addressOf(options, "10.0.0.1", { "x-forwarded-for": "203.0.113.9" })).toBe("10.0.0.1");
    expect(addressOf(options, "203.0.113.1", { [name]: "1.1.1.1" })).toBe("203.0.113.1");
  });

  it.each(kinds)("L1 one hostile client behind a balancer does not block the others: %s", async (kind) => {
    await using wall = await secured({
      peer: { trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for" },
      rateLimit: { perPeer: { points: 2, durationSec: 600 } },
    });
    const balancer = wall.client();
    const good = await wall.authorized();
    const from = async (address: string): Promise<string> =>
      (await invoke(balancer, kind, { metadata: { ...good, "x-forwarded-for": address } })).details;
    expect([await from("192.0.2.66"), await from("192.0.2.66"), await from("192.0.2.66")]).toEqual([
      "OK",
      "OK",
      "rate limit exceeded",
    ]);
    expect(await from("192.0.2.7")).toBe("OK");
    expect(await wall.callLine(({ grpc_code }) => grpc_code === "RESOURCE_EXHAUSTED")).toMatchObject({
      peer: "192.0.2.66",
    });
    expect(await wall.auditEntry(({ status }) => status === "RESOURCE_EXHAUSTED")).toMatchObject({
      peer: "192.0.2.66",
    });
  });

  it.each<readonly [string, string | readonly string[], string]>([
    ["an illegal byte before the proxy's entry", "\xff, 192.0.2.66", "192.0.2.66"],
    ["a tab before it", "a\tb, 192.0.2.66", "192.0.2.66"],
    ["an illegal byte before a chain of proxies", "\xff, 192.0.2.66, 127.0.0.1", "192.0.2.66"],
    ["an illegal field before the proxy's own", ["\xff", "192.0.2.66"], "192.0.2.66"],
    ["an illegal byte in the address itself", "192.0.2.\xff66", "127.0.0.1"],
    ["an illegal entry behind it", "192.0.2.66, \xff", "127.0.0.1"],
  ])("L1 L8 x-forwarded-for with %s", async (_what, header, peer) => {
    await using wall = await secured({
      peer: { trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for" },
      rateLimit: { failedAuthentication: { points: 2, durationSec: 600 } },
    });
    await using proxy = await RawConnection.open(wall);
    const guess = async (n: number): Promise<string | undefined> => {
      const headers = { "x-forwarded-for": header as string, authorization: `Bearer guess${n}` };
      return (await proxy.call(paths.unary, { headers }).answer).details;
    };
    const told = [await guess(1), await guess(2), await guess(3)];
    expect(await wall.callLine(() => true)).toMatchObject({ peer });
    // Where nobody can tell who it is, each credential is counted by itself.
    const third = peer === "127.0.0.1" ? "invalid credentials" : "rate limit exceeded";
    expect(told).toEqual(["invalid credentials", "invalid credentials", third]);
  });

  it("L1 without the option a caller cannot choose its peer", async () => {
    await using wall = await secured({ rateLimit: { perPeer: { points: 1, durationSec: 600 } } });
    const client = wall.client();
    const good = await wall.authorized();
    await invoke(client, "unary", { metadata: { ...good, "x-forwarded-for": "192.0.2.1" } });
    expect(
      await invoke(client, "unary", { metadata: { ...good, "x-forwarded-for": "192.0.2.2" } }),
    ).toMatchObject({ details: "rate limit exceeded" });
  });
});
