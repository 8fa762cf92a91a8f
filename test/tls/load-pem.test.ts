// Files that change while they are read.
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createCertificateAuthority } from "../../src/testing/certificate-authority.ts";
import { loadKeyPair } from "../../src/tls/load-pem.ts";

let mount: string;
beforeAll(async () => {
  mount = await mkdtemp(join(tmpdir(), "palisade-mount-"));
  const ca = await createCertificateAuthority();
  for (const generation of ["..1", "..2"]) {
    const { cert, key } = await ca.issue({ dnsNames: ["localhost"], usage: "server" });
    await mkdir(join(mount, generation));
    await writeFile(join(mount, generation, "tls.crt"), cert);
    await writeFile(join(mount, generation, "tls.key"), key);
  }
  await symlink("..1", join(mount, "..data_tmp"));
  await rename(join(mount, "..data_tmp"), join(mount, "..data"));
});
afterAll(() => rm(mount, { recursive: true, force: true }));

/** Swaps the mount every few milliseconds in a thread of its own: the files are read synchronously. Tells of the 200th. */
const swapper = `
  const { symlinkSync, renameSync } = require("node:fs");
  const { parentPort, workerData: { mount } } = require("node:worker_threads");
  const clock = new Int32Array(new SharedArrayBuffer(4));
  for (let i = 0; ; i++) {
    Atomics.wait(clock, 0, 0, 5);
    symlinkSync(i % 2 === 0 ? "..2" : "..1", mount + "/..data_tmp");
    renameSync(mount + "/..data_tmp", mount + "/..data");
    if (i === 200) parentPort.postMessage("done");
  }
`;

describe("a mount that is swapped while certificate and key are read", () => {
  it("T4 gives a pair all the same", async () => {
    const worker = new Worker(swapper, { eval: true, workerData: { mount } });
    let done = false;
    worker.once("message", () => {
      done = true;
    });
    const files = { cert: join(mount, "..data/tls.crt"), key: join(mount, "..data/tls.key") };
    let loaded = 0;
    while (!done || loaded <= 100) {
      for (let i = 0; i < 20; i++) loadKeyPair(files, "tls", "server");
      loaded += 20;
      // For the worker's message.
      await new Promise((resolve) => setImmediate(resolve));
    }
    await worker.terminate();
    expect(loaded).toBeGreaterThan(100);
  });
});
