// docs/troubleshooting.md has every text that a caller can get, and every reason why a connection is refused.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { internalErrorText, texts } from "../../src/grpc/status.ts";
import { reasonsBelow } from "../../src/transport/refused-below.ts";
import { root } from "./pages.ts";

const page = readFileSync(join(root, "docs/troubleshooting.md"), "utf8");

describe("docs/troubleshooting.md", () => {
  it("has every text that a caller can get", () => {
    const all = [...Object.values(texts), internalErrorText("…")];
    expect(all.filter((text) => !page.includes(`\`${text}\``))).toEqual([]);
  });

  it("has every reason why a connection is refused", () => {
    expect(reasonsBelow.filter((reason) => !page.includes(`| \`${reason}\``))).toEqual([]);
  });
});
