// Installs the packed tarball into an empty project and runs the README's example there, as it stands in the README.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const project = mkdtempSync(join(tmpdir(), "palisade-smoke-"));

interface Block {
  readonly language: string;
  readonly code: string;
}

/** The fenced blocks of the section with this heading. */
function blocksOf(markdown: string, heading: string): readonly Block[] {
  const section = markdown.split(/^## /m).find((text) => text.startsWith(heading));
  if (section === undefined) throw new Error(`README.md has no section "${heading}"`);
  return [...section.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language = "", code = ""]) => ({
    language,
    code,
  }));
}

function sh(command: string): string {
  console.log(`$ ${command}`);
  return execFileSync("bash", ["-euo", "pipefail", "-c", command], {
    cwd: project,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 120_000,
  });
}

function expectIn(output: string, ...expected: readonly string[]): void {
  const missing = expected.filter((text) => !output.includes(text));
  if (missing.length > 0)
    throw new Error(`the example did not print ${JSON.stringify(missing)}, but:\n${output}`);
}

try {
  const [packed] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--pack-destination", project], { cwd: root, encoding: "utf8" }),
  ) as [{ filename: string }];
  const tarball = join(project, packed.filename);

  const blocks = blocksOf(readFileSync(join(root, "README.md"), "utf8"), "A secured service of your own");
  const [setUp, proto, main, run, ...others] = blocks;
  if (
    setUp === undefined ||
    proto === undefined ||
    main === undefined ||
    run === undefined ||
    others.length > 0
  ) {
    throw new Error("expected four blocks: set up, orders.proto, main.js, run");
  }
  // The one thing that differs: the package comes from the tarball and not from the registry.
  const install = setUp.code.replace("install grpc-palisade ", `install ${tarball} `);
  if (install === setUp.code) throw new Error("the README's first block does not install grpc-palisade");
  sh(install);
  writeFileSync(join(project, "orders.proto"), proto.code);
  writeFileSync(join(project, "main.js"), main.code);
  const output = sh(run.code);
  expectIn(
    output,
    "{ id: '7', owner: 'shop' }",
    "7 PERMISSION_DENIED: permission denied",
    '"grpc_code":"OK"',
  );
  // CommonJS users too: every supported Node can require() it.
  expectIn(
    sh(`node -e 'console.log(typeof require("grpc-palisade").createSecureServer)' --input-type=commonjs`),
    "function",
  );
  console.log("the README's example runs from the packed tarball");
} finally {
  rmSync(project, { recursive: true, force: true });
}
