// Server reflection (O2): behind authentication and a role, and about nothing but what is served.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { type Client, loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { loadReflection } from "../../src/server/reflection.ts";
import { ShopService as protoLoader } from "../generated/proto-loader.ts";
import { invoke, toMetadata } from "../harness/kinds.ts";
import { type Secured, type SecuredOptions, secured } from "../harness/secured.ts";
import { inTime } from "../harness/time.ts";

const versions = ["v1", "v1alpha"] as const;
const packageFolder = dirname(createRequire(import.meta.url).resolve("@grpc/reflection/package.json"));

const policy = rbac({
  roles: { caller: {}, inspector: {} },
  rules: { "/test.v1.Kinds/*": { roles: ["caller"] }, "/shop.v1.Shop/*": { roles: ["caller"] } },
});
const shop = { getOrder() {}, uploadOrders() {}, listOrders() {}, trackOrders() {} };

function wallWith(options: SecuredOptions = {}): Promise<Secured> {
  return secured({
    reflection: { roles: ["inspector", "admin"] },
    authorization: policy,
    register: (server) => server.addService(protoLoader, shop),
    ...options,
  });
}

interface Answer {
  readonly listServicesResponse?: { readonly service: readonly { readonly name: string }[] };
  readonly fileDescriptorResponse?: { readonly fileDescriptorProto: readonly Buffer[] };
  readonly errorResponse?: { readonly errorCode: number };
}

/** Asks as a reflection client does. */
function ask(
  client: Client,
  version: string,
  request: object,
  headers: Record<string, string>,
): Promise<Answer | string> {
  const loaded = loadPackageDefinition(
    loadSync(join(packageFolder, `build/proto/grpc/reflection/${version}/reflection.proto`), {
      longs: String,
    }),
  ) as unknown as Record<
    string,
    Record<string, Record<string, { ServerReflection: { service: Record<string, { path: string }> } }>>
  >;
  const method = loaded["grpc"]?.["reflection"]?.[version]?.ServerReflection.service[
    "ServerReflectionInfo"
  ] as unknown as
    | { path: string; requestSerialize: (v: unknown) => Buffer; responseDeserialize: (b: Buffer) => Answer }
    | undefined;
  if (method === undefined) throw new Error("no reflection service");
  return new Promise((resolve) => {
    const call = client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      toMetadata(headers),
      { deadline: inTime() },
    );
    call.on("data", resolve);
    call.on("error", (error: Error) => resolve(error.message));
    call.write(request);
    call.end();
  });
}

describe("reflection", () => {
  it.each(versions)(
    "O2 %s: answers a caller with the role, about registered services alone",
    async (version) => {
      await using wall = await wallWith();
      const inspector = await wall.authorized({ roles: ["inspector"] });
      const client = wall.client();
      const listed = await ask(client, version, { listServices: "*" }, inspector);
      expect(listed).toMatchObject({ listServicesResponse: { service: [{ name: "shop.v1.Shop" }] } });
      const described = await ask(client, version, { fileContainingSymbol: "shop.v1.Shop" }, inspector);
      expect(JSON.stringify(described)).not.toContain("errorCode");
      const unknown = await ask(client, version, { fileContainingSymbol: "other.v1.Other" }, inspector);
      expect(unknown).toMatchObject({ errorResponse: { errorCode: 5 } });
    },
  );

  it.each(versions)("O2 %s: a stranger, and a caller without the role, learn nothing", async (version) => {
    await using wall = await wallWith();
    const client = wall.client();
    const request = { listServices: "*" };
    expect(await ask(client, version, request, {})).toBe("16 UNAUTHENTICATED: missing credentials");
    for (const roles of [["caller"], [], ["inspectors"], ["INSPECTOR"]]) {
      expect(await ask(client, version, request, await wall.authorized({ roles }))).toBe(
        "7 PERMISSION_DENIED: permission denied",
      );
    }
    const entry = await wall.auditEntry(({ status }) => status === "PERMISSION_DENIED");
    expect(entry).toMatchObject({ rule: "reflection", decision: "deny" });
  });

  it.each(versions)("O2 %s: a dry run of the policy does not open it", async (version) => {
    await using wall = await wallWith({ enforce: { authorization: false } });
    const client = wall.client();
    const request = { listServices: "*" };
    const denied = "7 PERMISSION_DENIED: permission denied";
    expect(await ask(client, version, request, {})).toBe("16 UNAUTHENTICATED: missing credentials");
    expect(await ask(client, version, request, await wall.authorized({ roles: ["caller"] }))).toBe(denied);
    const entry = await wall.auditEntry(({ rule }) => rule === "reflection");
    expect(entry).toMatchObject({ status: "PERMISSION_DENIED", decision: "deny" });
    expect(entry).not.toHaveProperty("dryRun");
    const inspector = await wall.authorized({ roles: ["inspector"] });
    expect(await ask(client, version, request, inspector)).toMatchObject({
      listServicesResponse: { service: [{ name: "shop.v1.Shop" }] },
    });
    // The application's policy refuses nothing meanwhile.
    expect(await invoke(client, "unary", { metadata: inspector })).toMatchObject({ name: "OK" });
    await using open = await wallWith({ enforce: { authorization: false }, authentication: anonymous() });
    expect(await ask(open.client(), version, request, {})).toBe(denied);
    expect(await invoke(open.client(), "unary")).toMatchObject({ name: "OK" });
  });

  it.each(versions)("O2 %s: is off by default, also for whoever may do everything", async (version) => {
    await using wall = await secured();
    const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
    const told = await invoke(wall.client(), "bidi_stream", { path, metadata: await wall.authorized() });
    expect(told.name).toBe("UNIMPLEMENTED");
    const stranger = await invoke(wall.client(), "bidi_stream", { path });
    expect(stranger.name).toBe("UNAUTHENTICATED");
  });

  it("O2 services without descriptors are named in the log", async () => {
    await using wall = await wallWith();
    expect(wall.lines.find(({ msg }) => msg?.startsWith("reflection: "))).toMatchObject({
      services: ["test.v1.Kinds"],
    });
  });

  it.each([{ roles: [] }, { roles: [""] }, {}, { roles: "admin" }, true])(
    "O2 %j is a ConfigError",
    async (wrong) => {
      const making = wallWith({ reflection: wrong as unknown as { roles: string[] } });
      await expect(making).rejects.toThrow(ConfigError);
    },
  );

  it("O2 without the package a server does not start, and says what to install", () => {
    const missing = (): never => {
      throw new Error("Cannot find module");
    };
    expect(() => loadReflection(missing)).toThrow(ConfigError);
    expect(() => loadReflection(missing)).toThrow("npm install @grpc/reflection");
  });
});
