// What strangers cause is told apart by few words, said once in a period, and counted to the end (C8, L10).
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { refusedBelowReporter } from "../../src/server/refused-below-reporter.ts";
import { keptLog } from "../harness/secured.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const reporter = (logger = keptLog()) => ({
  ...refusedBelowReporter(logger.logger, { metrics: false }),
  lines: logger.lines,
});

describe("what is refused before there is a call", () => {
  it("C8 is told apart by reason, address and detail", () => {
    const { report, lines } = reporter();
    for (let i = 0; i < 3; i++) {
      report("certificate", "192.0.2.1", "INVALID_PURPOSE");
      report("certificate", "192.0.2.1", "CERT_HAS_EXPIRED");
      report("certificate", "192.0.2.2", "CERT_HAS_EXPIRED");
      report("tls_handshake", "192.0.2.1", "CERT_HAS_EXPIRED");
    }
    expect(lines.map(({ reason, peer, detail, left_out }) => [reason, peer, detail, left_out])).toEqual([
      ["certificate", "192.0.2.1", "INVALID_PURPOSE", 0],
      ["certificate", "192.0.2.1", "CERT_HAS_EXPIRED", 0],
      ["certificate", "192.0.2.2", "CERT_HAS_EXPIRED", 0],
      ["tls_handshake", "192.0.2.1", "CERT_HAS_EXPIRED", 0],
    ]);
  });

  it("C8 is counted to the end of the period, though nothing comes after it, and then no more", () => {
    const { report, lines } = reporter();
    for (let i = 0; i < 5; i++) report("certificate", "192.0.2.1", "INVALID_PURPOSE");
    expect(lines).toHaveLength(1);
    vi.advanceTimersByTime(10_000);
    expect(lines).toHaveLength(2);
    expect(lines[1]).toMatchObject({
      level: 40,
      reason: "certificate",
      peer: "192.0.2.1",
      detail: "INVALID_PURPOSE",
      left_out: 4,
    });
    vi.advanceTimersByTime(100_000);
    expect(lines).toHaveLength(2);
    report("certificate", "192.0.2.1", "INVALID_PURPOSE");
    expect(lines[2]).toMatchObject({ left_out: 0 });
  });

  it("C8 a logger that throws ends nothing", () => {
    const { logger } = keptLog();
    const warn = vi.spyOn(logger, "warn");
    const { report, close } = refusedBelowReporter(logger, { metrics: false });
    report("certificate", "192.0.2.1", "INVALID_PURPOSE");
    warn.mockImplementation(() => {
      throw new Error("the disk is full");
    });
    report("certificate", "192.0.2.1", "INVALID_PURPOSE");
    expect(() => vi.advanceTimersByTime(10_000)).not.toThrow();
    expect(() => report("certificate", "192.0.2.1", "INVALID_PURPOSE")).not.toThrow();
    report("certificate", "192.0.2.1", "INVALID_PURPOSE");
    expect(close).not.toThrow();
    expect(warn).toHaveBeenCalledTimes(4);
  });

  it("L10 is bounded: a client that chooses its error codes makes one line, a crowd of strangers a thousand and one", () => {
    const { report, lines, close } = reporter();
    for (let code = 0; code < 5_000; code++)
      report("http2_error", "192.0.2.1", `Session closed with error code ${code}`);
    expect(lines).toHaveLength(1);
    for (let i = 0; i < 5_000; i++) report("tls_handshake", `2001:db8::${i.toString(16)}`, "ECONNRESET");
    expect(lines).toHaveLength(1 + 999 + 1);
    close();
    const total = lines.reduce((sum, line) => sum + Number(line["left_out"]), 0);
    expect(total + lines.length - 2).toBe(10_000);
    expect(lines).toHaveLength(1 + 999 + 1 + 2);
  });
});
