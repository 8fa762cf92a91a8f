// What metrics say of the revocation lists that a server uses (T7, U5).
import { Buffer } from "node:buffer";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { crlFiles } from "../../src/crl/index.ts";
import { followMeterProvider } from "../../src/observability/instruments.ts";
import { createCertificateAuthority } from "../../src/testing/certificate-authority.ts";
import { type KeptMetrics, keepMetrics } from "../harness/kept-metrics.ts";
import { eventually, keptLog, type LogLine, type Secured, secured, theWorld } from "../harness/secured.ts";

const dayMs = 86_400_000;
const inDays = (days: number): Date => new Date(Date.now() + days * dayMs);

let directory: string;
let kept: KeptMetrics;
let lines: LogLine[];
const ca = await createCertificateAuthority({ name: "Clients CA" });
const other = await createCertificateAuthority({ name: "Another CA" });

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "palisade-crl-"));
  kept = keepMetrics();
});

afterEach(async () => {
  await kept.close();
  await rm(directory, { recursive: true, force: true });
});

async function put(name: string, contents: string): Promise<void> {
  await writeFile(join(directory, `.${name}`), contents);
  await rename(join(directory, `.${name}`), join(directory, name));
}

async function serverWithLists(metrics = true): Promise<Secured> {
  const log = keptLog();
  lines = log.lines;
  const { server } = await theWorld();
  return secured({
    tls: {
      cert: Buffer.from(server.cert),
      key: Buffer.from(server.key),
      clientCa: Buffer.from(ca.caPem),
      crl: crlFiles({ paths: [directory], logger: log.logger }),
    },
    metrics,
  });
}

const until = (text: string): Promise<unknown> =>
  eventually(() => lines.some(({ msg }) => msg?.includes(text) === true), `"${text}" in the log`);

/** In whole days. */
async function days(name: string): Promise<readonly number[]> {
  return (await kept.points(name)).map(({ value }) => Math.round(value));
}

async function reloads(): Promise<{ readonly taken: number; readonly refused: number }> {
  const points = await kept.points("palisade.crl.reloads");
  const of = (result: string): number =>
    points.find(({ attributes }) => (attributes as { readonly result?: unknown }).result === result)?.value ??
    0;
  return { taken: of("taken"), refused: of("refused") };
}

describe("T7 U5 the lists that a server uses", () => {
  it("T7 U5 are measured: the age of the oldest, and when the first is due, also after a change", async () => {
    await put("a.crl", await ca.revocationList({ thisUpdate: inDays(-10), nextUpdate: inDays(20) }));
    await put("b.crl", await other.revocationList({ thisUpdate: inDays(-3), nextUpdate: inDays(-2) }));
    const wall = await serverWithLists();
    expect(await days("palisade.crl.age")).toEqual([10]);
    expect(await days("palisade.crl.days_left")).toEqual([-2]);
    await put("b.crl", await other.revocationList({ thisUpdate: inDays(-1), nextUpdate: inDays(5) }));
    await until("the revocation lists changed");
    expect(await days("palisade.crl.age")).toEqual([10]);
    expect(await days("palisade.crl.days_left")).toEqual([5]);
    await wall.close();
    // Nobody uses them any more. An SDK goes on with what it read last, so another one is asked.
    await kept.close();
    kept = keepMetrics();
    followMeterProvider();
    expect(await days("palisade.crl.age")).toEqual([]);
    expect(await days("palisade.crl.days_left")).toEqual([]);
  });

  it("T7 U5 changes are counted, and those that cannot be used", async () => {
    await put("a.crl", await ca.revocationList());
    await using _ = await serverWithLists();
    const { taken, refused } = await reloads();
    await put("a.crl", await ca.revocationList({ revoked: [other.caPem] }));
    await until("the revocation lists changed");
    expect(await reloads()).toEqual({ taken: taken + 1, refused });
    await put("a.crl", "no list");
    await until("some revocation lists cannot be used");
    expect(await reloads()).toEqual({ taken: taken + 1, refused: refused + 1 });
  });

  it("T7 U5 are not measured for a server with `metrics: false`", async () => {
    await put("a.crl", await ca.revocationList());
    await using _ = await serverWithLists(false);
    expect(await kept.points("palisade.crl.age")).toEqual([]);
    expect(await kept.points("palisade.crl.reloads")).toEqual([]);
  });
});
