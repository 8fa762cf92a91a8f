// However a test run ends, the processes that it started are gone.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { forkProgram, run, runNode } from "./child-process.ts";
import { eventually } from "./secured.ts";
import { withTimeEnough } from "./time.ts";

const here = (name: string): string => fileURLToPath(new URL(`./killed/${name}`, import.meta.url));
const root = fileURLToPath(new URL("../..", import.meta.url));

/** Each process says who it is over a socket that closes with it: that it is gone is an event here. */
const alive = new Set<string>();
/** Those that were alive at some time. */
const seen = new Set<string>();
const server = createServer((socket: Socket) => {
  let name = "";
  sockets.add(socket);
  socket.on("data", (chunk) => {
    name = String(chunk);
    alive.add(name);
    seen.add(name);
  });
  socket.on("error", () => {});
  socket.on("close", () => alive.delete(name));
});
const sockets = new Set<Socket>();
let port: string;
beforeAll(async () => {
  await once(server.listen(0, "127.0.0.1"), "listening");
  port = String((server.address() as AddressInfo).port);
});
/** They end with their sockets, where nothing else has ended them. */
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  seen.clear();
  return none();
});
afterAll(() => server.close());

const all = (names: readonly string[]): Promise<unknown> =>
  eventually(() => names.every((name) => alive.has(name)), `${names} at work`);
const none = (): Promise<unknown> => eventually(() => alive.size === 0, "the end of all");

describe("processes that tests start", () => {
  it.each(["run", "fork"])(
    "a child started by %s, and its own child, end when the parent is killed",
    async (how) => {
      const parent = await forkProgram<number>(here("parent.ts"), [how, port], ["--import", "tsx"]);
      await all(["child", "grandchild"]);
      process.kill(parent.first, "SIGKILL");
      await none();
    },
  );

  it("what a program started and left ends with it", async () => {
    const { code } = await runNode([here("child.mjs"), "leaves", port]);
    expect(code).toBe(0);
    await none();
  });

  it("a program that takes too long ends with its own child", async () => {
    await withTimeEnough(2_000, async (timeoutMs) => {
      const ended = await runNode([here("child.mjs"), "child", port], { timeoutMs });
      expect(ended).toMatchObject({ code: null, killed: "timeout" });
      await none();
      return seen.has("child") && seen.has("grandchild");
    });
  });

  it("a program's end is told with its code, or with what killed it", async () => {
    expect(await run("sh", ["-c", "echo out; echo err >&2; exit 3"])).toEqual({
      code: 3,
      stdout: "out\n",
      stderr: "err\n",
    });
    expect(await run("sh", ["-c", "kill -s KILL $$"])).toMatchObject({ code: null, killed: "signal" });
  });

  it("a worker of the test runner, and a child of its test, end when the runner is killed", async () => {
    const vitest = join(root, "node_modules/vitest/vitest.mjs");
    // By hand: `run` would end the whole group with the runner.
    const runner = spawn(process.execPath, [vitest, "run", "--config", here("vitest.config.ts")], {
      cwd: root,
      env: { ...process.env, KILLED_PORT: port },
      stdio: "ignore",
    });
    await all(["worker", "child", "grandchild"]);
    runner.kill("SIGKILL");
    await none();
  });
});
