// The lines of docs/revoked-certificates.md that make a revocation list with OpenSSL: they run as they stand, and `crlFiles` reads
// what they make.
import { deepEqual, equal } from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crlFiles } from "../../src/crl/index.ts";
import { certify } from "../crl/lists.ts";
import { run } from "../harness/child-process.ts";
import type { Block } from "./pages.ts";

export async function checkRevocationList({ code }: Block): Promise<void> {
  const authority = await certify({ name: "Clients CA", isAuthority: true });
  const billing = await certify({ name: "billing", by: authority });
  const other = await certify({ name: "other", by: authority });
  const folder = mkdtempSync(join(tmpdir(), "palisade-openssl-"));
  const shell = async (lines: string): Promise<void> => {
    const { code: ended, stderr } = await run("/bin/sh", ["-e", "-c", lines], { cwd: folder });
    equal(ended, 0, stderr);
  };
  const statuses = (): readonly string[] => {
    const lists = crlFiles({ paths: [join(folder, "crl")], logger: false });
    return [billing, other].map(
      ({ certificate }) => lists.statusOf([certificate, authority.certificate]).status,
    );
  };
  try {
    writeFileSync(join(folder, "clients-ca.crt"), authority.pem);
    writeFileSync(join(folder, "clients-ca.key"), authority.key);
    writeFileSync(join(folder, "billing.crt"), billing.pem);
    await shell(code);
    deepEqual(statuses(), ["revoked", "unrevoked"]);
    // "Use only the last three lines from then on": the next one that is revoked, and then a list that is only renewed.
    const again = code.trim().split("\n").slice(-3);
    writeFileSync(join(folder, "billing.crt"), other.pem);
    await shell(again.join("\n"));
    deepEqual(statuses(), ["revoked", "revoked"]);
    await shell(again.slice(1).join("\n"));
    deepEqual(statuses(), ["revoked", "revoked"]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
