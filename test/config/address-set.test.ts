import { describe, expect, it } from "vitest";
import { addressProblem, addressSet } from "../../src/config/address-set.ts";

describe("T8 a list of addresses and networks", () => {
  const table: readonly [entries: readonly string[], address: string, has: boolean][] = [
    [["10.0.0.0/8"], "10.255.0.1", true],
    [["10.0.0.0/8"], "::ffff:10.255.0.1", true],
    [["10.0.0.0/8"], "11.0.0.1", false],
    [["127.0.0.6"], "127.0.0.6", true],
    [["127.0.0.6"], "127.0.0.7", false],
    [["fd00::/8"], "fd12::1", true],
    [["fd00::/8"], "fe80::1", false],
    [["::6"], "::6", true],
    [["0.0.0.0/0"], "unix", false],
    [["0.0.0.0/0"], "192.0.2.1", true],
    [["0.0.0.0/0"], "2001:db8::1", false],
    [["unix"], "unix", true],
    [["unix"], "127.0.0.1", false],
    [["10.0.0.0/8"], "unknown", false],
    [["10.0.0.0/8"], "", false],
  ];

  it.each(table)("T8 %j: is %s in it? %s", (entries, address, has) => {
    expect(addressSet(entries).has(address)).toBe(has);
  });

  it.each([
    "",
    "*",
    "10.0.0.0/33",
    "10.0.0",
    "fd00::/129",
    "10.0.0.0/",
    "10.0.0.0/8/8",
    "localhost",
    "fe80::1%eth0",
  ])('T8 "%s" is no entry', (entry) => {
    expect(addressProblem(entry)).toContain("is not an IP address");
    expect(() => addressSet([entry])).toThrow(TypeError);
  });
});
