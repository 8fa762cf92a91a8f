import { X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import {
  developmentCertificates,
  developmentClientId,
  writeDevelopmentCertificates,
} from "../../src/testing/development-certificates.ts";
import { loadKeyPair } from "../../src/tls/load-pem.ts";
import { describeCertificate } from "../../src/tls/peer-certificate.ts";

let directory: string;

beforeEach(async () => {
  directory = join(await mkdtemp(join(tmpdir(), "palisade-certs-")), "certs-dev");
});

afterEach(async () => {
  vi.useRealTimers();
  await rm(join(directory, ".."), { recursive: true });
});

async function certificate(name: string): Promise<X509Certificate> {
  return new X509Certificate(await readFile(join(directory, name)));
}

describe("O4 development certificates", () => {
  it("O4 are written all at once, keys readable by their owner only, and no key of a CA", async () => {
    const written = await writeDevelopmentCertificates(directory);
    expect([...written].sort()).toEqual([...developmentCertificates].sort());
    expect((await readdir(directory)).sort()).toEqual([...developmentCertificates].sort());
    for (const name of developmentCertificates.filter((file) => file.endsWith(".key"))) {
      expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600);
    }
    expect(developmentCertificates.filter((name) => name.includes("ca.key"))).toEqual([]);
  });

  it.each<readonly [what: string, attempt: () => Promise<unknown>, problem: string]>([
    [
      "a misspelt option",
      () => writeDevelopmentCertificates(directory, { renews: "always" } as never),
      'writeDevelopmentCertificates.renews: unknown option; did you mean "renew"?',
    ],
    [
      "another time to renew",
      () => writeDevelopmentCertificates(directory, { renew: "allways" as never }),
      'writeDevelopmentCertificates.renew: expected one of "when-needed", "always"; did you mean "always"?',
    ],
    [
      "no directory",
      () => writeDevelopmentCertificates(undefined as never),
      "writeDevelopmentCertificates: directory: expected the path of a directory",
    ],
  ])("O4 %s is a ConfigError, and nothing is written", async (_what, attempt, problem) => {
    await expect(attempt()).rejects.toThrow(new ConfigError(problem));
    await expect(readdir(directory)).rejects.toThrow("ENOENT");
  });

  it("O4 are what their names say", async () => {
    await writeDevelopmentCertificates(directory);
    const [ca, foreignCa] = [await certificate("ca.crt"), await certificate("foreign-ca.crt")];
    for (const side of ["server", "client"] as const) {
      const paths = { cert: join(directory, `${side}.crt`), key: join(directory, `${side}.key`) };
      expect(() => loadKeyPair(paths, "tls", side)).not.toThrow();
      expect((await certificate(`${side}.crt`)).verify(ca.publicKey)).toBe(true);
      expect((await certificate(`expired-${side}.crt`)).verify(ca.publicKey)).toBe(true);
      expect(Date.parse((await certificate(`expired-${side}.crt`)).validTo)).toBeLessThan(Date.now());
      expect((await certificate(`foreign-${side}.crt`)).verify(ca.publicKey)).toBe(false);
      expect((await certificate(`foreign-${side}.crt`)).verify(foreignCa.publicKey)).toBe(true);
    }
    const server = await certificate("server.crt");
    for (const host of ["localhost", "orders.internal"]) expect(server.checkHost(host)).toBe(host);
    for (const address of ["127.0.0.1", "::1"]) expect(server.checkIP(address)).toBe(address);
    expect(describeCertificate(await certificate("client.crt"))).toMatchObject({
      name: developmentClientId,
      commonName: "client",
    });
  });

  it("O4 are left alone while they are good, unless told otherwise", async () => {
    await writeDevelopmentCertificates(directory);
    const before = await readFile(join(directory, "ca.crt"), "utf8");
    expect(await writeDevelopmentCertificates(directory)).toEqual([]);
    expect(await readFile(join(directory, "ca.crt"), "utf8")).toBe(before);
    expect(await writeDevelopmentCertificates(directory, { renew: "always" })).toHaveLength(14);
    expect(await readFile(join(directory, "ca.crt"), "utf8")).not.toBe(before);
  });

  const spoiled: readonly [what: string, spoil: () => Promise<void>][] = [
    ["one is missing", () => rm(join(directory, "foreign-client.key"))],
    ["one is broken", () => writeFile(join(directory, "server.crt"), "half of i")],
    [
      "they are of two makings",
      async () => {
        const ca = await readFile(join(directory, "ca.crt"));
        await writeDevelopmentCertificates(directory, { renew: "always" });
        await writeFile(join(directory, "ca.crt"), ca);
      },
    ],
    [
      "they end within a day",
      async () => {
        vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 364.5 * 86_400_000 });
      },
    ],
  ];

  it.each(spoiled)("O4 are all made anew where %s", async (_what, spoil) => {
    await writeDevelopmentCertificates(directory);
    await spoil();
    expect(await writeDevelopmentCertificates(directory)).toHaveLength(14);
  });
});
