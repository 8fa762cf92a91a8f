import { Client, status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it, vi } from "vitest";
import { requirePrincipal, securityContext } from "../../src/chain/current-context.ts";
import { ConfigError, PolicyError, StatusError } from "../../src/grpc/errors.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import {
  type SecuredServerOptions,
  startSecuredServer,
  type TestClientOptions,
} from "../../src/testing/index.ts";
import { goodHandlers, invoke, kinds, kindsDefinition, type Note } from "../harness/kinds.ts";

const policy = rbac({ roles: { viewer: {} }, rules: { "/test.v1.Kinds/*": { roles: ["viewer"] } } });

describe("O5 a secured server for a user's test", () => {
  it.each(kinds)(
    "O5 a %s call: the right role gets in, the wrong one and the stranger do not",
    async (kind) => {
      await using server = await startSecuredServer({
        services: [[kindsDefinition, goodHandlers()]],
        authorization: policy,
      });
      const viewer = server.client(Client, { as: { sub: "ada", roles: ["viewer"] } });
      const other = server.client(Client, { as: { sub: "bob", roles: [] } });
      const stranger = server.client(Client);
      expect(await invoke(viewer, kind)).toMatchObject({ name: "OK" });
      expect(await invoke(other, kind)).toMatchObject({ name: "PERMISSION_DENIED" });
      expect(await invoke(stranger, kind)).toMatchObject({ name: "UNAUTHENTICATED" });
    },
  );

  it("O5 the handler sees who called: claims and certificate", async () => {
    const seen: unknown[] = [];
    const handlers = {
      ...goodHandlers(),
      unary(call: { request: Note }, callback: (error: null, value: Note) => void) {
        seen.push([
          requirePrincipal(call).subject,
          requirePrincipal(call).tenant,
          securityContext(call).peer.certificate?.name,
        ]);
        callback(null, call.request);
      },
    } as unknown as UntypedServiceImplementation;
    await using server = await startSecuredServer({ services: [[kindsDefinition, handlers]] });
    const certificate = await server.ca.issue({ uris: ["spiffe://test.example/orders"], usage: "client" });
    await invoke(server.client(Client, { as: { sub: "ada", tenant: "acme" }, certificate }), "unary");
    await invoke(server.client(Client), "unary", {
      metadata: { authorization: `Bearer ${await server.token({ sub: "eve" })}` },
    });
    expect(seen).toEqual([
      ["ada", "acme", "spiffe://test.example/orders"],
      ["eve", undefined, undefined],
    ]);
  });

  describe("what a handler throws", () => {
    const handlers = {
      ...goodHandlers(),
      unary(call: { request: Note }): never {
        if (call.request.text === "lost") throw new StatusError(status.NOT_FOUND, "no such note");
        throw new Error("out of ink");
      },
    } as unknown as UntypedServiceImplementation;

    async function saidOf(text: string, options: Partial<SecuredServerOptions>): Promise<string> {
      const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
      try {
        const server = await startSecuredServer({ services: [[kindsDefinition, handlers]], ...options });
        const told = await invoke(server.client(Client, { as: {} }), "unary", { messages: [{ text }] });
        await server.close();
        return `${told.details}\n${write.mock.calls.map(([line]) => String(line)).join("")}`;
      } finally {
        write.mockRestore();
      }
    }

    it("O5 is on standard error, beside the id that its caller got", async () => {
      const [told, ...lines] = (await saidOf("hello", {})).trim().split("\n");
      const [, id] = /^internal error \(id (.+)\)$/.exec(told ?? "") ?? [];
      expect(lines).toHaveLength(1);
      expect(JSON.parse(lines[0] ?? "")).toMatchObject({
        level: 50,
        error_id: id,
        err: { type: "Error", message: "out of ink", stack: expect.stringContaining("secured-server.test") },
      });
    });

    it("O5 is not there where it is an answer, or where no log is wanted", async () => {
      expect(await saidOf("lost", {})).toBe("no such note\n");
      expect(await saidOf("hello", { logger: false })).toMatch(/^internal error \(id .+\)\n$/);
    });
  });

  it("O5 after close nobody answers, and closing twice is fine", async () => {
    const server = await startSecuredServer({ services: [[kindsDefinition, goodHandlers()]] });
    const client = server.client(Client, { as: {} });
    expect(await invoke(client, "unary")).toMatchObject({ name: "OK" });
    await server.close();
    await server.close();
    expect(() => client.makeUnaryRequest("/x", Buffer.from, String, "", () => {})).toThrow(/shut down/);
  });

  const wrong: readonly [what: string, options: object, error: typeof ConfigError | typeof PolicyError][] = [
    ["no services", {}, ConfigError],
    ["an empty list of services", { services: [] }, ConfigError],
    ["certificates of its own", { services: [[kindsDefinition, goodHandlers()]], tls: {} }, ConfigError],
    ["an unknown option", { services: [[kindsDefinition, goodHandlers()]], surprise: 1 }, ConfigError],
    ["a service without handlers", { services: [[kindsDefinition, {}]] }, ConfigError],
    [
      "a policy for other services",
      {
        services: [[kindsDefinition, goodHandlers()]],
        authorization: rbac({ rules: { "/other.v1.Other/*": { schemes: ["jwt"] } } }),
      },
      PolicyError,
    ],
  ];

  it.each<readonly [what: string, options: () => unknown, problem: string]>([
    [
      "the name of a caller",
      () => ({ as: "ada" }),
      'client.as: expected the claims of a token, such as { sub: "ada"',
    ],
    [
      "a token that was not awaited",
      () => ({ as: Promise.resolve("eyJ") }),
      "client.as: expected the claims of a token",
    ],
    ["a list of claims", () => ({ as: [{ sub: "ada" }] }), "client.as: expected the claims of a token"],
    [
      "a misspelt certificate",
      () => ({ certifcate: {} }),
      'client.certifcate: unknown option; did you mean "certificate"?',
    ],
    [
      "a misspelt deadline",
      () => ({ deadlineMS: 5 }),
      'client.deadlineMS: unknown option; did you mean "deadlineMs"?',
    ],
    ["a deadline that is none", () => ({ deadlineMs: "5" }), "deadlineMs: expected a number, not text"],
    [
      "a certificate that was not awaited",
      () => ({ certificate: Promise.resolve({}) }),
      "client.certificate: expected certificate and key as PEM, { cert, key }, such as await server.ca.issue(",
    ],
    [
      "paths for a certificate",
      () => ({ certificate: { cert: "client.crt", key: "client.key" } }),
      "client.certificate: expected",
    ],
    [
      "half a certificate",
      () => ({ certificate: { cert: "-----BEGIN CERTIFICATE-----" } }),
      "client.certificate: expected",
    ],
    [
      "certificates of its own",
      () => ({ tls: {} }),
      "client.tls: not accepted: the client trusts the server's CA",
    ],
    ["options that are none", () => "ada", "client: expected an object, not text"],
  ])("O5 a client with %s is a ConfigError that says what to give", async (_what, options, problem) => {
    await using server = await startSecuredServer({ services: [[kindsDefinition, goodHandlers()]] });
    const attempt = () => server.client(Client, options() as TestClientOptions);
    expect(attempt).toThrow(ConfigError);
    expect(attempt).toThrow(problem);
  });

  it("O5 claims that are a text are a ConfigError, and no token", async () => {
    await using server = await startSecuredServer({ services: [[kindsDefinition, goodHandlers()]] });
    await expect(server.token("ada" as never)).rejects.toThrow(
      'sign.claims: expected the claims of a token, such as { sub: "ada", roles: ["viewer"] }',
    );
    expect(() => server.issuer.behave("away" as never)).toThrow(
      new ConfigError('behave: expected one of "up", "unavailable", "garbage", "disconnect", "hang"'),
    );
  });

  it.each(wrong)("O5 refuses %s", async (_what, options, error) => {
    await expect(startSecuredServer(options as SecuredServerOptions)).rejects.toBeInstanceOf(error);
  });
});
