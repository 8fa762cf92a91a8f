// gRPC's own interop cases, run by grpc-go: on a secured server with default options, and on a bare one beside it.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Ended, run } from "../harness/child-process.ts";
import { connectionFlags, goProgram, goTools } from "./go-programs.ts";
import { interopCases } from "./interop-cases.ts";
import { told } from "./run.ts";
import { type Mode, modes, type Servers, startServers, type TestServer } from "./servers.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

const timeoutMs = 100_000;

const cases = [
  ...interopCases,
  "rpc_soak by ten at once",
  "channel_soak by ten at once",
  "status_code_and_message",
  "special_status_message",
  "unimplemented_method",
  "unimplemented_service",
] as const;
type Case = (typeof cases)[number];

/** What a caller is told instead, by design, as docs/clients.md says. */
const byDesign: Partial<Record<Case, { readonly modes: readonly Mode[]; readonly instead: RegExp }>> = {
  // They want the text of an UNKNOWN, which only the server's log has.
  status_code_and_message: {
    modes,
    instead: /code = Unknown desc = internal error \(id [-0-9a-f]{36}\), want/,
  },
  special_status_message: {
    modes,
    instead: /code = Unknown desc = internal error \(id [-0-9a-f]{36}\), want/,
  },
  // A caller without credentials does not learn which methods there are.
  unimplemented_method: {
    modes: ["none"],
    instead: /code = Unauthenticated desc = missing credentials, want/,
  },
  unimplemented_service: { modes: ["none"], instead: /Unauthenticated, want _, Unimplemented/ },
};

describe.skipIf(lacks("go"))("grpc-go's interop client", () => {
  let servers: Servers;
  let interop: string;
  let withCertificate: string;

  beforeAll(async () => {
    interop = (await goTools()).interop;
    withCertificate = await goProgram("interop");
    servers = await startServers();
  }, installTimeoutMs);
  afterAll(() => servers[Symbol.asyncDispose]());

  async function runCase(name: Case, server: TestServer): Promise<Ended> {
    const [testCase = "", many] = name.split(" by ");
    const { mode, port } = server;
    if (mode === "mtls") {
      const soak = many === undefined ? [] : ["-threads", "10", "-iterations", "20"];
      const flags = [...(await connectionFlags(servers, server)), "-case", testCase, ...soak];
      return run(withCertificate, flags, { timeoutMs });
    }
    const soak = many === undefined ? [] : ["--soak_num_threads=10", "--soak_iterations=20"];
    const credentials =
      mode === "jwt" ? [`--additional_metadata=authorization:Bearer ${await servers.token()}`] : [];
    return run(
      interop,
      [
        ...["--use_tls", "--use_test_ca", `--ca_file=${servers.files.ca}`],
        ...["--server_host=127.0.0.1", `--server_port=${port}`],
        ...["--soak_per_iteration_max_acceptable_latency_ms=30000", "--soak_overall_timeout_seconds=90"],
        ...[`--test_case=${testCase}`, ...soak, ...credentials],
      ],
      { timeoutMs },
    );
  }

  describe.each(modes)("mode %s", (mode) => {
    it.each(cases)("N1 passes %s against the default options", async (name) => {
      const [bare, palisade] = await Promise.all([
        runCase(name, servers.server("bare", mode)),
        runCase(name, servers.server("palisade", mode)),
      ]);
      expect(bare.code, `bare grpc-js: ${told(bare)}`).toBe(0);
      const different = byDesign[name];
      if (different?.modes.includes(mode) !== true) {
        expect(palisade.code, told(palisade)).toBe(0);
      } else {
        expect(palisade.code).toBe(1);
        expect(told(palisade)).toMatch(different.instead);
      }
    });
  });
});
