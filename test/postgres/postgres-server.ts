// A real PostgreSQL for one test file: Debian's server on a free port, with its data in a folder that is deleted at the end.
import { readdirSync, readFileSync } from "node:fs";
import { chown, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lacks } from "../clients/tools.ts";
import { type Ended, run } from "../harness/child-process.ts";
import { freePort } from "../harness/free-port.ts";
import { hangMs } from "../harness/time.ts";

export interface PostgresServer extends AsyncDisposable {
  readonly port: number;
  /** For a client: a superuser without a password. */
  readonly url: string;
  /** Ends it at once, and every session with it, without a word to its clients. */
  kill(): Promise<void>;
  /** Starts it again on the same port, with what was committed. */
  start(): Promise<void>;
  /** It answers nothing more, and its connections stay. */
  hang(): void;
  goOn(): void;
}

const user = "palisade";

/** Of how Debian installs it: a folder for each version. Elsewhere the programs are looked for in PATH. */
const versions = "/usr/lib/postgresql";

function program(name: string): string {
  const [newest] = installedVersions().sort((a, b) => b - a);
  return newest === undefined ? name : join(versions, String(newest), "bin", name);
}

function installedVersions(): number[] {
  try {
    return readdirSync(versions).map(Number).filter(Number.isFinite);
  } catch {
    return [];
  }
}

/** For `describe.skipIf`: says so in a line where this machine has no PostgreSQL, and throws with CI=true. */
export function lacksPostgres(): boolean {
  return lacks(program("initdb"), program("postgres"));
}

export async function startPostgres(): Promise<PostgresServer> {
  const port = await freePort();
  const owner = serverUser();
  const folder = await mkdtemp(join(tmpdir(), "palisade-postgres-"));
  const data = join(folder, "data");
  if (owner !== undefined) await chown(folder, owner.uid, owner.gid);
  const initialized = await run(
    program("initdb"),
    [
      "--pgdata",
      data,
      "--username",
      user,
      "--auth",
      "trust",
      "--encoding",
      "UTF8",
      "--locale",
      "C",
      "--no-sync",
    ],
    { cwd: folder, ...owner },
  );
  if (initialized.code !== 0) throw new Error(`initdb ended:\n${initialized.stdout}${initialized.stderr}`);

  let pid: number | undefined;
  let ended: Promise<Ended> | undefined;
  const signal = (name: NodeJS.Signals): void => {
    if (pid === undefined) return;
    // The first, so that it starts no other.
    for (const each of [pid, ...childrenOf(pid)]) send(each, name);
  };
  const start = async (): Promise<void> => {
    // What it says goes to its standard error.
    const merged = ["-c", 'exec "$0" "$@" 2>&1', program("postgres"), "-D", data, "-F", "-p", String(port)];
    const settings = [
      "listen_addresses=127.0.0.1",
      "unix_socket_directories=",
      "shared_buffers=16MB",
      // It would wait for locks that tests hold, and tests look at who waits.
      "autovacuum=off",
    ];
    pid = await new Promise<number>((resolve, reject) => {
      ended = run("/bin/sh", [...merged, ...settings.flatMap((setting) => ["-c", setting])], {
        cwd: folder,
        timeoutMs: hangMs,
        ...owner,
        onOutput: (stdout, started) => {
          if (stdout.includes("database system is ready to accept connections")) resolve(started);
        },
      });
      ended.then(({ stdout }) => reject(new Error(`postgres ended:\n${stdout}`)), reject);
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
    url: `postgres://${user}@127.0.0.1:${port}/postgres`,
    start,
    kill,
    hang: () => signal("SIGSTOP"),
    goOn: () => signal("SIGCONT"),
    async [Symbol.asyncDispose]() {
      await kill();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** The server refuses to run as root: then it runs as the user that Debian's package makes. */
function serverUser(): { readonly uid: number; readonly gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const [, uid, gid] = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync("/etc/passwd", "utf8")) ?? [];
  if (uid === undefined || gid === undefined)
    throw new Error("PostgreSQL does not run as root, and /etc/passwd has no user postgres");
  return { uid: Number(uid), gid: Number(gid) };
}

/** Each session is a process, in a group of its own. */
function childrenOf(pid: number): readonly number[] {
  try {
    const pids = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    return pids === "" ? [] : pids.split(" ").map(Number);
  } catch {
    return [];
  }
}

function send(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended meanwhile.
  }
}
