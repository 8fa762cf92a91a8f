import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { type Ended, type RunOptions, runNode } from "../harness/child-process.ts";

const project = fileURLToPath(new URL("../../", import.meta.url));

function runScript(path: string, args: readonly string[], options?: RunOptions): Promise<Ended> {
  const tsx = ["--import", import.meta.resolve("tsx"), join(project, path)];
  return runNode([...tsx, ...args], { cwd: project, ...options });
}

let start: Ended;
let scratch: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "orders-test-"));
  // What `npm start` does once it has built: other tests are using what is built.
  expect(packageJson.scripts.start).toBe("npm run --silent build && tsx examples/orders/start.ts");
  start = await runScript("examples/orders/start.ts", []);
});

afterAll(() => rm(scratch, { recursive: true, force: true }));

describe("npm start", () => {
  it("makes at least thirty-five calls, each as expected, and exits 0", () => {
    expect(start.stderr).not.toContain("uncaught");
    const rows = start.stdout.split("\n").filter((line) => /^ ?\d+ {2}\S/.test(line));
    expect(rows.length).toBeGreaterThanOrEqual(35);
    expect(rows.filter((row) => !/ {2}ok( |$)/.test(row))).toEqual([]);
    expect(start.stdout).toContain(`${rows.length} of ${rows.length} as expected`);
    expect(start.code).toBe(0);
  });

  it("U1 prints the audit lines of three calls: one allowed, two denied", () => {
    const entries = start.stdout
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line): unknown => JSON.parse(line));
    expect(entries).toMatchObject([
      { status: "OK", decision: "allow", caller: { subject: "ada" } },
      { status: "UNAUTHENTICATED", decision: "deny", caller: null },
      { status: "PERMISSION_DENIED", decision: "deny", rule: "/orders.v1.Orders/CancelOrder" },
    ]);
  });

  it("writes no colours where nobody watches", () => {
    expect(start.stdout).not.toContain("\u001b");
  });
});

describe("the demo", () => {
  const sabotages: readonly (readonly [what: string, code: number, told: RegExp])[] = [
    ["nothing", 0, /1 of 1 as expected/],
    ["another expectation", 1, /OK, o-1 anvil {2}WRONG/],
    ["a row that fails", 1, /failed: sabotaged {2}WRONG/],
    ["an uncaught error", 1, /uncaught: Error: sabotaged/],
    ["an unhandled rejection", 1, /uncaught: Error: sabotaged/],
  ];

  it.each(sabotages)("sabotaged by %s exits %d", async (what, code, told) => {
    const ended = await runScript("test/examples/sabotaged-orders.ts", [what]);
    expect(ended.stdout + ended.stderr).toMatch(told);
    expect(ended.code).toBe(code);
  });
});

describe("npm start -- --serve", () => {
  const script = "examples/orders/start.ts";

  it("prints grpcurl lines, serves, and stops on SIGTERM with exit code 0", async () => {
    let stopped = false;
    const ended = await runScript(script, ["--serve", "--port", "0"], {
      cwd: scratch,
      onOutput(seen, pid) {
        if (stopped || !seen.includes("Ctrl-C stops.")) return;
        stopped = true;
        process.kill(pid, "SIGTERM");
      },
    });
    expect(ended.stdout).toMatch(/^TOKEN=ey[\w.-]+$/m);
    expect(ended.stdout).toMatch(/^API_KEY=plsd_[\w-]+$/m);
    expect(ended.stdout).toMatch(/^grpcurl -cacert .* 127\.0\.0\.1:\d+ orders\.v1\.Orders\/GetOrder$/m);
    expect(ended.stdout).toMatch(/^grpcurl -cacert .* grpc\.health\.v1\.Health\/Check$/m);
    expect(ended.code).toBe(0);
  });

  it("says so where the port is taken, and exits 1", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const address = taken.address();
    const port = typeof address === "object" ? address?.port : undefined;
    const ended = await runScript(script, ["--serve", "--port", String(port)], { cwd: scratch });
    taken.close();
    expect(ended.stderr).toContain(`cannot bind 127.0.0.1:${port}`);
    expect(ended.stderr).toContain("another process uses the port");
    expect(ended.code).toBe(1);
  });
});
