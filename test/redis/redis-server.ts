// A real Redis for one test file: Debian's redis-server on a free port, in memory alone.
import { type Ended, run } from "../harness/child-process.ts";
import { freePort } from "../harness/free-port.ts";
import { hangMs } from "../harness/time.ts";

export interface RedisServer extends AsyncDisposable {
  readonly port: number;
  /** Ends it at once, without a word to its clients. */
  kill(): Promise<void>;
  /** Starts it again on the same port, empty. */
  start(): Promise<void>;
  /** It answers nothing more, and its connections stay. */
  hang(): void;
  goOn(): void;
}

export async function startRedis(): Promise<RedisServer> {
  const port = await freePort();
  let pid: number | undefined;
  let ended: Promise<Ended> | undefined;
  const signal = (name: NodeJS.Signals): void => {
    if (pid !== undefined) process.kill(pid, name);
  };
  const start = async (): Promise<void> => {
    pid = await new Promise<number>((resolve, reject) => {
      ended = run(
        "redis-server",
        ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        {
          cwd: "/tmp",
          timeoutMs: hangMs,
          onOutput: (stdout, started) => {
            if (stdout.includes("Ready to accept connections")) resolve(started);
          },
        },
      );
      ended.then(
        ({ stdout, stderr }) => reject(new Error(`redis-server ended:\n${stdout}${stderr}`)),
        reject,
      );
    });
  };
  const kill = async (): Promise<void> => {
    signal("SIGKILL");
    pid = undefined;
    await ended;
  };
  await start();
  return {
    port,
    start,
    kill,
    hang: () => signal("SIGSTOP"),
    goOn: () => signal("SIGCONT"),
    [Symbol.asyncDispose]: kill,
  };
}
