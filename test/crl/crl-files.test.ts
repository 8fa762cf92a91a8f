// Revocation lists in files that change: what is taken over, what stays, what is told (T7).
import type { Buffer } from "node:buffer";
import { execFileSync } from "node:child_process";
import type { X509Certificate } from "node:crypto";
import { mkdir, mkdtemp, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type CrlFilesOptions, crlFiles } from "../../src/crl/index.ts";
import { ConfigError } from "../../src/grpc/errors.ts";
import type { CertificateRevocations } from "../../src/tls/certificate-revocations.ts";
import { cpuMs } from "../harness/cpu-time.ts";
import { eventually, keptLog, type LogLine } from "../harness/secured.ts";
import { type Issuer, newIssuer, newKeys, pemOf, unsigned } from "./lists.ts";

const dayMs = 86_400_000;
const changed = "the revocation lists changed; they are now in use";
const refused = "some revocation lists cannot be used; the last good ones of their issuers stay in use";

let issuer: Issuer;
let other: Issuer;
let good: X509Certificate;
let bad: X509Certificate;
let others: X509Certificate;
let directory: string;
const stops: (() => void)[] = [];

beforeAll(async () => {
  [issuer, other] = await Promise.all([newIssuer(), newIssuer({ name: "Another CA" })]);
  [good, bad, others] = await Promise.all([issuer.issue(), issuer.issue(), other.issue()]);
});

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "palisade-crl-"));
});

afterEach(async () => {
  for (const stop of stops.splice(0)) stop();
  await rm(directory, { recursive: true, force: true });
});

async function put(name: string, contents: string | Buffer): Promise<void> {
  await writeFile(join(directory, `.${name}`), contents);
  await rename(join(directory, `.${name}`), join(directory, name));
}

interface Watched {
  readonly revocations: CertificateRevocations;
  readonly lines: readonly LogLine[];
  status(certificate?: X509Certificate, of?: Issuer): string;
  until(msg: string, times?: number): Promise<unknown>;
}

function watched(options: Partial<CrlFilesOptions> = {}): Watched {
  const { logger, lines } = keptLog();
  const revocations = crlFiles({ paths: [directory], logger, ...options });
  // As a server does.
  const stop = revocations.onChange?.(() => {});
  if (stop !== undefined) stops.push(stop);
  return {
    revocations,
    lines,
    status: (certificate = bad, of = issuer) => revocations.statusOf([certificate, of.certificate]).status,
    until: (msg, times = 1) =>
      eventually(() => lines.filter((line) => line.msg === msg).length >= times, `"${msg}" in the log`),
  };
}

const list = async (options: Parameters<Issuer["list"]>[0] = {}): Promise<string> =>
  pemOf(await issuer.list(options));

describe("T7 files as they may be", () => {
  const forms: readonly [what: string, contents: () => Promise<string | Buffer>][] = [
    ["PEM", () => list({ revoked: [bad] })],
    ["DER", () => issuer.list({ revoked: [bad] })],
    ["the other label of PEM", async () => pemOf(await issuer.list({ revoked: [bad] }), "CRL")],
    [
      "PEM with text around it, and line ends of Windows",
      async () => `# made today\r\n${(await list({ revoked: [bad] })).replaceAll("\n", "\r\n")}end`,
    ],
    [
      "several lists, the last of which counts",
      async () => pemOf(await other.list()) + (await list({ revoked: [bad] })),
    ],
    ["a list beside a certificate", async () => issuer.pem + (await list({ revoked: [bad] }))],
  ];

  it.each(forms)("T7 %s", async (_what, contents) => {
    await put("ca.crl", await contents());
    const files = watched();
    expect([files.status(bad), files.status(good)]).toEqual(["revoked", "unrevoked"]);
    const alone = watched({ paths: [join(directory, "ca.crl")] });
    expect(alone.status(bad)).toBe("revoked");
  });

  it("T7 certificates, directories and names with a dot in a directory are passed over", async () => {
    await put("ca.crl", await list({ revoked: [bad] }));
    await put("ca.crt", issuer.pem);
    await writeFile(join(directory, ".swap"), "half");
    await mkdir(join(directory, "old"));
    expect(watched().status(bad)).toBe("revoked");
  });

  it("T7 a mount of Kubernetes is read, and followed when it is swapped", async () => {
    const mount = async (version: string, text: string): Promise<void> => {
      await mkdir(join(directory, `..${version}`));
      await writeFile(join(directory, `..${version}`, "ca.crl"), text);
      await symlink(`..${version}`, join(directory, "..new"));
      await rename(join(directory, "..new"), join(directory, "..data"));
    };
    await mount("1", await list());
    await symlink(join("..data", "ca.crl"), join(directory, "ca.crl"));
    const files = watched();
    expect(files.status(bad)).toBe("unrevoked");
    await mount("2", await list({ revoked: [bad] }));
    await files.until(changed);
    expect(files.status(bad)).toBe("revoked");
  });
});

const wrongAtStart: readonly [
  what: string,
  files: () => Promise<Readonly<Record<string, string | Buffer>>>,
  problem: RegExp,
][] = [
  ["an empty directory", async () => ({}), /there is no revocation list in .*palisade-crl-/],
  [
    "a directory with certificates alone",
    async () => ({ "ca.crt": issuer.pem }),
    /there is no revocation list in .*palisade-crl-/,
  ],
  ["an empty file", async () => ({ "ca.crl": "" }), /ca\.crl: is no revocation list/],
  ["a text", async () => ({ "ca.crl": await list(), README: "lists" }), /README: is no revocation list/],
  ["a web page", async () => ({ "ca.crl": "<html>404</html>" }), /ca\.crl: is no revocation list/],
  [
    "PEM that is cut off",
    async () => ({ "ca.crl": (await list()).slice(0, 200) }),
    /ca\.crl: a block X509 CRL is cut off/,
  ],
  [
    "PEM whose base64 is cut off",
    async () => ({ "ca.crl": (await list()).replace(/\n.*\n-----END/, "\n-----END") }),
    /ca\.crl: .*cut off/,
  ],
  [
    "DER that is cut off",
    async () => ({ "ca.crl": (await issuer.list()).subarray(0, 100) }),
    /ca\.crl: .*cut off/,
  ],
  [
    "a private key",
    async () => ({
      "ca.crl": await list(),
      "ca.key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    }),
    /ca\.key: is no revocation list/,
  ],
];

describe("T7 what does not start", () => {
  it.each(wrongAtStart)("T7 %s", async (_what, files, problem) => {
    for (const [name, contents] of Object.entries(await files())) await put(name, contents);
    expect(() => watched()).toThrow(ConfigError);
    expect(() => watched()).toThrow(problem);
    expect(() => watched()).toThrow(/^crlFiles\.paths: /);
  });

  it("T7 a path that is not there, with its name and the reason", () => {
    expect(() => watched({ paths: [join(directory, "none.crl")] })).toThrow(
      `crlFiles.paths: ${join(directory, "none.crl")}: cannot be read (ENOENT): check the path`,
    );
  });

  it("T7 all that is wrong is told at once", async () => {
    await put("a.crl", "");
    await put("b.crl", "");
    expect(() => watched()).toThrow(/a\.crl(?:.|\n)*b\.crl/);
  });

  it.each([
    [{ paths: [] }, "crlFiles.paths: expected at least one file or directory"],
    [{ paths: "ca.crl" }, "crlFiles.paths: expected a list of files and directories"],
    [{ paths: [" "] }, "crlFiles.paths.0: the path is empty"],
    [{ paths: ["a"], undetermined: "maybe" }, "crlFiles.undetermined"],
    [{ path: "a" }, "crlFiles.path: unknown option"],
  ])("T7 the options %j", (options, problem) => {
    expect(() => crlFiles(options as never)).toThrow(ConfigError);
    expect(() => crlFiles(options as never)).toThrow(problem);
  });

  it("T7 a list in the name of a client CA that did not sign it", async () => {
    await put("ca.crl", pemOf(await issuer.list({ by: await newKeys() })));
    expect(() => watched().revocations.useRoots?.([issuer.certificate])).toThrow(
      /ca\.crl: has a list in the name of a client CA that did not sign it/,
    );
    expect(() => watched().revocations.useRoots?.([other.certificate])).not.toThrow();
  });
});

/** What a file becomes after a good list that revokes `bad`, and whether the good one stays. */
const changes: readonly [
  what: string,
  change: () => Promise<unknown>,
  stays: boolean,
  problem: RegExp | undefined,
][] = [
  [
    "a newer list",
    async () => put("ca.crl", await list({ thisUpdate: new Date(Date.now() + 1_000) })),
    false,
    undefined,
  ],
  [
    "a list that is written in place",
    async () =>
      writeFile(join(directory, "ca.crl"), await list({ thisUpdate: new Date(Date.now() + 1_000) })),
    false,
    undefined,
  ],
  [
    "an older list",
    async () => put("ca.crl", await list({ thisUpdate: new Date(Date.now() - dayMs) })),
    true,
    /older than the one in use/,
  ],
  [
    "a list with a lower number",
    async () => put("ca.crl", await list({ number: 4, thisUpdate: new Date(Date.now() + dayMs) })),
    true,
    /older than the one in use/,
  ],
  [
    "a list that somebody else signed",
    async () => put("ca.crl", pemOf(await issuer.list({ number: 6, by: await newKeys() }))),
    true,
    /did not sign this one/,
  ],
  ["half a list", async () => put("ca.crl", (await list()).slice(0, -60)), true, /cut off/],
  ["an empty file", () => put("ca.crl", ""), true, /no revocation list/],
  ["a web page", async () => put("ca.crl", "<html>"), true, /no revocation list/],
  [
    "nothing, and no other list is left",
    () => rm(join(directory, "ca.crl")),
    true,
    /no revocation list left/,
  ],
  ["no directory at all", () => rename(directory, `${directory}-away`), true, /ENOENT/],
];

describe("T7 files that change", () => {
  it.each(changes)("T7 to %s", async (_what, change, stays, problem) => {
    await put("ca.crl", await list({ revoked: [bad], number: 5 }));
    const files = watched();
    const heard: string[] = [];
    files.revocations.onChange?.(() => heard.push("changed"));
    expect(files.status(bad)).toBe("revoked");
    try {
      await change();
      await files.until(problem === undefined ? changed : refused);
      expect(files.status(bad)).toBe(stays ? "revoked" : "unrevoked");
      if (problem === undefined) expect(heard).toEqual(["changed"]);
      else expect(files.lines.find(({ msg }) => msg === refused)?.["problem"]).toMatch(problem);
      if (problem !== undefined) {
        await rename(`${directory}-away`, directory).catch(() => {});
        await put("ca.crl", await list({ number: 9, thisUpdate: new Date(Date.now() + 2 * dayMs) }));
        await files.until("the revocation lists can all be read again");
        // A directory that is back may be read before its new list is there.
        await expect.poll(() => files.status(bad)).toBe("unrevoked");
      }
    } finally {
      await rm(`${directory}-away`, { recursive: true, force: true });
    }
  });

  it("T7 a list that is gone is not asked any more, and one that cannot be read spoils no other", async () => {
    await put("a.crl", await list({ revoked: [bad] }));
    await put("b.crl", pemOf(await other.list()));
    const files = watched();
    expect([files.status(bad), files.status(others, other)]).toEqual(["revoked", "unrevoked"]);
    await put("a.crl", "half");
    await put(
      "b.crl",
      pemOf(await other.list({ revoked: [others], thisUpdate: new Date(Date.now() + 1_000) })),
    );
    await files.until(refused);
    // The one may have been read before the other was there.
    await files.until(changed);
    expect([files.status(bad), files.status(others, other)]).toEqual(["revoked", "revoked"]);
    await rm(join(directory, "a.crl"));
    await files.until(changed, 2);
    expect([files.status(bad), files.status(others, other)]).toEqual(["undetermined", "revoked"]);
  });

  it("T7 a list whose issuer has a new key is taken beside the old one", async () => {
    // Without a key identifier nothing tells the two apart but their signatures.
    await put("ca.crl", await list({ revoked: [bad], withoutKeyId: true }));
    const renewed = await newIssuer();
    const leaf = await renewed.issue();
    const files = watched();
    expect(files.status(bad)).toBe("revoked");
    await put(
      "ca.crl",
      pemOf(await renewed.list({ withoutKeyId: true, thisUpdate: new Date(Date.now() + 1_000) })),
    );
    await files.until(changed);
    expect([files.status(bad), files.status(leaf, renewed)]).toEqual(["revoked", "unrevoked"]);
  });

  it("T7 a new file in a directory is found", async () => {
    await put("a.crl", pemOf(await other.list()));
    const files = watched();
    expect(files.status(bad)).toBe("undetermined");
    await put("b.crl", await list({ revoked: [bad] }));
    await files.until(changed);
    expect(files.status(bad)).toBe("revoked");
  });

  it("T7 a list that is old is told, and stays in use", async () => {
    const yesterday = new Date(Date.now() - dayMs);
    await put("ca.crl", await list({ revoked: [bad], thisUpdate: yesterday, nextUpdate: yesterday }));
    const files = watched();
    expect([files.status(bad), files.status(good)]).toEqual(["revoked", "unrevoked"]);
    const old = files.lines.filter(({ level, path }) => level === 40 && path === join(directory, "ca.crl"));
    expect(old).toEqual([
      expect.objectContaining({ msg: expect.stringContaining("older than its issuer meant") }),
    ]);
  });

  it("T7 a list that is dated in the future is told, and keeps no later one out", async () => {
    await put("ca.crl", await list({ thisUpdate: new Date(Date.now() + 30 * dayMs) }));
    const files = watched();
    expect(files.status(bad)).toBe("unrevoked");
    expect(files.lines).toContainEqual(
      expect.objectContaining({ level: 40, msg: expect.stringContaining("dated in the future") }),
    );
    await put("ca.crl", await list({ revoked: [bad] }));
    await files.until(changed);
    expect(files.status(bad)).toBe("revoked");
  });

  it("T7 a client CA whose list is taken away is told at once", async () => {
    await put("a.crl", await list());
    await put("b.crl", pemOf(await other.list()));
    const files = watched();
    files.revocations.useRoots?.([issuer.certificate, other.certificate]);
    expect(files.lines).toContainEqual(
      expect.objectContaining({ level: 30, lists: 2, revoked: 0, msg: "revocation lists are in use" }),
    );
    expect(files.lines.filter(({ level }) => level > 30)).toEqual([]);
    await rm(join(directory, "a.crl"));
    await files.until(changed);
    expect(files.lines).toContainEqual(
      expect.objectContaining({
        level: 50,
        client_ca: ["CN=Lists CA"],
        msg: expect.stringContaining("are refused"),
      }),
    );
  });

  it("T7 a touched file changes nothing", async () => {
    await put("a.crl", await list({ revoked: [bad] }));
    const files = watched();
    let heard = 0;
    files.revocations.onChange?.(() => {
      heard += 1;
    });
    await utimes(join(directory, "a.crl"), new Date(), new Date());
    await put("b.crl", pemOf(await other.list()));
    await files.until(changed);
    expect(heard).toBe(1);
  });

  it("T7 watched as long as somebody listens; who comes later catches up", async () => {
    await put("ca.crl", await list());
    const files = watched();
    const second = files.revocations.onChange?.(() => {});
    for (const stop of stops.splice(0)) stop();
    await put("ca.crl", await list({ revoked: [good], thisUpdate: new Date(Date.now() + 1_000) }));
    await files.until(changed);
    second?.();
    second?.();
    await put("ca.crl", await list({ revoked: [bad], thisUpdate: new Date(Date.now() + 2_000) }));
    // Nobody is told, and nothing is read, whoever asks.
    expect([files.status(good), files.status(bad)]).toEqual(["revoked", "unrevoked"]);
    stops.push(files.revocations.onChange?.(() => {}) ?? (() => {}));
    expect([files.status(good), files.status(bad)]).toEqual(["unrevoked", "revoked"]);
  });

  it("T7 lists of two keys of one name count, whichever is newer", async () => {
    const renewed = await newIssuer();
    const leaf = await renewed.issue();
    const options = { withoutKeyId: true };
    await put(
      "old.crl",
      await list({ ...options, revoked: [bad], thisUpdate: new Date(Date.now() - dayMs) }),
    );
    await put("new.crl", pemOf(await renewed.list({ ...options, revoked: [leaf] })));
    const files = watched();
    expect([files.status(bad), files.status(good), files.status(leaf, renewed)]).toEqual([
      "revoked",
      "unrevoked",
      "revoked",
    ]);
    expect(() => files.revocations.useRoots?.([issuer.certificate, renewed.certificate])).not.toThrow();
  });

  it("T7 a list that somebody else signed hides none, however new it is", async () => {
    const forged = await issuer.list({
      number: 999,
      thisUpdate: new Date(Date.now() + dayMs),
      by: await newKeys(),
    });
    await put("a.crl", pemOf(forged));
    await put("b.crl", await list({ number: 5 }));
    const files = watched();
    expect(files.status(bad)).toBe("unrevoked");
    await put("b.crl", await list({ number: 6, revoked: [bad] }));
    await files.until(changed);
    expect(files.status(bad)).toBe("revoked");
  });

  it("T7 a root that has a new key is served by the list of either", async () => {
    const renewed = await newIssuer();
    await put("ca.crl", pemOf(await renewed.list()));
    const files = watched();
    expect(() => files.revocations.useRoots?.([issuer.certificate, renewed.certificate])).not.toThrow();
    // The other one has no list yet.
    expect(files.lines).toContainEqual(expect.objectContaining({ client_ca: ["CN=Lists CA"] }));
    expect(() => files.revocations.useRoots?.([issuer.certificate])).toThrow(/did not sign it/);
  });

  it("T7 a pipe is no file: nobody waits for what it says", async () => {
    execFileSync("mkfifo", [join(directory, "ca.crl")]);
    expect(() => watched()).toThrow(/ca\.crl: is not a file/);
  });

  it("T7 a file that did not change is not parsed again", async () => {
    // Unsigned, long, and the same: what it costs to parse it shows in the time.
    await put("long.crl", unsigned(100_000));
    await put("ca.crl", await list());
    // The least of several: what it takes when the garbage collector does not come in between.
    const least = (work: () => unknown): number => {
      let ms = Number.POSITIVE_INFINITY;
      for (let turn = 0; turn < 5; turn++) {
        for (const stop of stops.splice(0)) stop();
        const before = cpuMs();
        work();
        ms = Math.min(ms, cpuMs() - before);
      }
      return ms;
    };
    const first = least(() => crlFiles({ paths: [directory], logger: false }));
    const { revocations } = watched();
    // Who listens after a while catches up with the files.
    const again = least(() => stops.push(revocations.onChange?.(() => {}) ?? (() => {})));
    expect(again).toBeLessThan(first / 3);
  });
});
