// docs/troubleshooting.md has every text that a caller can get, and every reason why a connection is refused; the log
// messages that it explains are those of the code.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { internalErrorText, texts } from "../../src/grpc/status.ts";
import { reasonsBelow } from "../../src/transport/refused-below.ts";
import { root } from "./pages.ts";

const page = readFileSync(join(root, "docs/troubleshooting.md"), "utf8");
const source = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => readFileSync(join(root, "src", name), "utf8"))
  .join("\n");

/** What stands first in each row of the table under this heading, without what is left out of it. */
function firstCells(heading: string): readonly string[] {
  const section = page.split(/^## /m).find((text) => text.startsWith(heading)) ?? "";
  return [...section.matchAll(/^\| `([^`…]+)/gm)].map(([, text = ""]) => text.trimEnd());
}

describe("docs/troubleshooting.md", () => {
  it("has every text that a caller can get", () => {
    const all = [...Object.values(texts), internalErrorText("…")];
    expect(all.filter((text) => !page.includes(`\`${text}\``))).toEqual([]);
  });

  it("has every reason why a connection is refused", () => {
    expect(reasonsBelow.filter((reason) => !page.includes(`| \`${reason}\``))).toEqual([]);
  });

  it("explains why a client has no token in words that there are", () => {
    const reasons = [...page.matchAll(/^\| `no token: ([^`]+)`/gm)].map(([, text = ""]) => text);
    expect(reasons.length).toBeGreaterThan(3);
    // Without what is filled in: what is left out, a status, the error of RFC 6749 in parentheses.
    const words = reasons.flatMap((text) => text.split(/…|HTTP \d+|[()]/)).map((text) => text.trim());
    expect(words.filter((text) => !source.includes(text))).toEqual([]);
  });

  it("explains log messages that there are", () => {
    const messages = firstCells("A log line");
    expect(messages.length).toBeGreaterThan(10);
    expect(messages.filter((message) => !source.includes(message))).toEqual([]);
  });
});
