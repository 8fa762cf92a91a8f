// What people type by hand and clusters run by the second: grpcurl and grpc_health_probe.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Ended, run } from "../harness/child-process.ts";
import { addressOf, type GoTools, goTools } from "./go-programs.ts";
import { protoDirectory, serviceName } from "./interop-service.ts";
import { told } from "./run.ts";
import { kinds, type Mode, modes, type Servers, startServers } from "./servers.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

const timeoutMs = 100_000;

describe.skipIf(lacks("go"))("command lines", () => {
  let servers: Servers;
  let tools: GoTools;

  beforeAll(async () => {
    tools = await goTools();
    servers = await startServers();
  }, installTimeoutMs);
  afterAll(() => servers[Symbol.asyncDispose]());

  describe("grpcurl", () => {
    const protos = ["-import-path", protoDirectory, "-proto", "test.proto"];

    async function credentials(mode: Mode): Promise<readonly string[]> {
      const { clientCert, clientKey } = servers.files;
      if (mode === "jwt") return ["-H", `authorization: Bearer ${await servers.token()}`];
      return mode === "mtls" ? ["-cert", clientCert, "-key", clientKey] : [];
    }

    function grpcurl(flags: readonly string[], rest: readonly string[]): Promise<Ended> {
      return run(tools.grpcurl, ["-cacert", servers.files.ca, "-connect-timeout", "60", ...flags, ...rest], {
        timeoutMs,
      });
    }

    it.each(kinds.flatMap((kind) => modes.map((mode) => ({ kind, mode }))))(
      "N1 calls unary methods and streams of $kind in mode $mode with the proto file",
      async ({ kind, mode }) => {
        const address = addressOf(servers.server(kind, mode).port);
        const flags = [...(await credentials(mode)), ...protos];
        const unary = await grpcurl(
          [...flags, "-d", '{"response_size": 3}'],
          [address, `${serviceName}/UnaryCall`],
        );
        expect(JSON.parse(unary.stdout || "{}"), told(unary)).toEqual({ payload: { body: "AAAA" } });
        const request = '{"response_parameters": [{"size": 1}, {"size": 2}]}';
        const bidi = await grpcurl(
          [...flags, "-d", `${request} ${request}`],
          [address, `${serviceName}/FullDuplexCall`],
        );
        expect(bidi.stdout.match(/"body": "[^"]+"/g), told(bidi)).toEqual([
          '"body": "AA=="',
          '"body": "AAA="',
          '"body": "AA=="',
          '"body": "AAA="',
        ]);
      },
    );

    it("A1 is told nothing but what is missing without a token", async () => {
      const address = addressOf(servers.server("palisade", "jwt").port);
      const call = await grpcurl([...protos, "-d", "{}"], [address, `${serviceName}/UnaryCall`]);
      expect(told(call)).toContain("Code: Unauthenticated");
      expect(told(call)).toContain("Message: missing credentials");
    });

    it.each([
      { mode: "none", refusal: "missing credentials" },
      { mode: "jwt", refusal: "server does not support the reflection API" },
      { mode: "mtls", refusal: "server does not support the reflection API" },
    ] as const)("O2 cannot list services in mode $mode", async ({ mode, refusal }) => {
      const address = addressOf(servers.server("palisade", mode).port);
      const list = await grpcurl(await credentials(mode), [address, "list"]);
      expect(list.code).toBe(1);
      expect(list.stdout).toBe("");
      expect(told(list)).toContain(refusal);
    });
  });

  describe("grpc_health_probe", () => {
    function probe(mode: Mode, flags: readonly string[]): Promise<Ended> {
      return run(
        tools.healthProbe,
        [
          ...[
            "-addr",
            addressOf(servers.server("palisade", mode).port),
            "-tls",
            "-tls-ca-cert",
            servers.files.ca,
          ],
          ...["-connect-timeout", "60s", "-rpc-timeout", "60s"],
          ...flags,
        ],
        { timeoutMs },
      );
    }

    function certificate(mode: Mode): readonly string[] {
      const { clientCert, clientKey } = servers.files;
      return mode === "mtls" ? ["-tls-client-cert", clientCert, "-tls-client-key", clientKey] : [];
    }

    it.each(modes.flatMap((mode) => ["", serviceName].map((service) => ({ mode, service }))))(
      'A10 sees "$service" SERVING in mode $mode, without a token',
      async ({ mode, service }) => {
        const result = await probe(mode, [...certificate(mode), "-service", service]);
        expect(result.code, told(result)).toBe(0);
        expect(told(result)).toContain("status: SERVING");
      },
    );

    it("A10 sees that a service is unknown", async () => {
      const result = await probe("jwt", ["-service", "nobody.knows.Me"]);
      expect(result.code).not.toBe(0);
      expect(told(result)).toMatch(/NotFound|NOT_FOUND|unknown service/i);
    });

    it("T2 does not get in without a certificate where one is required", async () => {
      const result = await probe("mtls", ["-connect-timeout", "3s"]);
      expect(result.code).not.toBe(0);
      expect(told(result)).not.toContain("SERVING");
    });
  });
});
