import { X509Certificate } from "node:crypto";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createCertificateAuthority } from "../../src/testing/certificate-authority.ts";
import { ExpiryWatch } from "../../src/tls/certificate-expiry.ts";
import { keptLog } from "../harness/secured.ts";

const hourMs = 3_600_000;

let soon: X509Certificate;
let later: X509Certificate;

beforeAll(async () => {
  const ca = await createCertificateAuthority();
  soon = new X509Certificate((await ca.issue({ commonName: "soon", days: 5 })).cert);
  later = new X509Certificate((await ca.issue({ commonName: "later", days: 30 })).cert);
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("T9 the warning ahead of a certificate's end", () => {
  it("T9 comes once a day for each certificate, and still when it has ended", () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { logger, lines } = keptLog();
    const watch = new ExpiryWatch({ logger, metrics: false });
    watch.use([
      { role: "server", certificate: soon },
      { role: "ca", certificate: later },
    ]);
    for (let i = 0; i < 10; i++) watch.check();
    expect(lines).toHaveLength(1);
    vi.setSystemTime(Date.now() + 23 * hourMs);
    watch.check();
    expect(lines).toHaveLength(1);
    vi.setSystemTime(Date.now() + 2 * hourMs);
    watch.check();
    expect(lines).toHaveLength(2);
    expect(lines.map((line) => line["hours_left"])).toEqual([119, 94]);
    vi.setSystemTime(Date.now() + 10 * 24 * hourMs);
    watch.check();
    expect(lines).toHaveLength(3);
    expect(lines[2]).toMatchObject({ msg: "a certificate has expired; renew it", role: "server" });
  });

  it("T9 ends with the certificate's use", () => {
    const { logger, lines } = keptLog();
    const watch = new ExpiryWatch({ logger, metrics: false });
    watch.use([{ role: "client", certificate: soon }]);
    watch.use([{ role: "client", certificate: later }]);
    watch.check();
    expect(lines).toHaveLength(1);
  });

  it("T9 is a process warning where there is no logger, and nothing where logging is off", () => {
    const warn = vi.spyOn(process, "emitWarning").mockReturnValue(undefined);
    new ExpiryWatch({ logger: false, metrics: false }).use([{ role: "client", certificate: soon }]);
    expect(warn).not.toHaveBeenCalled();
    new ExpiryWatch({ metrics: false }).use([{ role: "client", certificate: soon }]);
    expect(warn).toHaveBeenCalledWith(expect.stringContaining("role client"), {
      type: "PalisadeWarning",
      code: "PALISADE_CERTIFICATE",
    });
  });

  it("T9 a logger that throws ends nothing", () => {
    const { logger } = keptLog();
    vi.spyOn(logger, "warn").mockImplementation(() => {
      throw new Error("the disk is full");
    });
    expect(() =>
      new ExpiryWatch({ logger, metrics: false }).use([{ role: "client", certificate: soon }]),
    ).not.toThrow();
  });
});
