// Rules of buf.validate over real sockets (L7): for the services of each generator and the four call kinds, for each message, before
// the handler sees it.
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { create, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { ServiceDefinition, StatusObject } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { errorDetails } from "../../src/grpc/received-details.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { validation } from "../../src/middleware/validation/validation.ts";
import type { Validator } from "../../src/middleware/validation/validator.ts";
import { protovalidate } from "../../src/protovalidate/index.ts";
import { secureInterceptors, toInterceptor } from "../../src/server/interceptors.ts";
import type { SecureServerOptions } from "../../src/server/server-options.ts";
import {
  type Generator,
  generators,
  grpcTools,
  handlersThat,
  methods,
  Order,
  descriptorSet as shopFile,
  statusOf,
  told,
  withId,
} from "../generated/shops.ts";
import { foreign } from "../harness/foreign.ts";
import { kindsDefinition, toMetadata } from "../harness/kinds.ts";
import { keptLog, type Secured, secured, theWorld } from "../harness/secured.ts";
import { serviceOf } from "../protovalidate/checks.ts";
import { describedBy, withRules } from "../protovalidate/descriptor-sets.ts";

/** The service that each server of the tests has, whose messages have no rules. */
const kindsFile = create(FileDescriptorProtoSchema, {
  name: "kinds.proto",
  package: "test.v1",
  syntax: "proto3",
  messageType: [{ name: "Note" }],
  service: [
    {
      name: "Kinds",
      method: Object.values(kindsDefinition).map(({ path }) => ({
        name: path.split("/")[2] ?? "",
        inputType: ".test.v1.Note",
        outputType: ".test.v1.Note",
      })),
    },
  ],
});

const idRules = { type: { case: "string" as const, value: { minLen: 1n, maxLen: 5n } } };

function withKinds(set: Uint8Array): Uint8Array {
  const own = toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: [kindsFile] }));
  // Two encoded messages, one after the other, are one with the fields of both.
  return Buffer.concat([set, own]);
}

const descriptorSet = withKinds(
  withRules(readFileSync(shopFile), { "shop.v1.ById.id": idRules, "shop.v1.Order.id": idRules }),
);
const shopRules: Validator = protovalidate({ descriptorSet });

const authorization = rbac({
  roles: { caller: {}, other: {} },
  rules: { "/test.v1.Kinds/*": { roles: ["caller"] }, "/shop.v1.Shop/*": { roles: ["caller"] } },
});

interface Shop extends Secured {
  readonly seen: unknown[];
}

async function shop(
  { service, answer }: Generator,
  options: Partial<SecureServerOptions> = {},
): Promise<Shop> {
  const seen: unknown[] = [];
  const wall = await secured({
    authorization,
    validation: shopRules,
    register: (server) => server.addService(service, handlersThat(answer, seen) as never),
    ...options,
  });
  return Object.assign(wall, { seen });
}

const kinds = Object.keys(methods) as MethodKind[];

describe.each(Object.entries(generators))(
  "L7 rules of the .proto, of a service of %s",
  (_name, generator) => {
    it.each(kinds)("L7 a message that breaks one reaches no handler: %s", async (kind) => {
      await using wall = await shop(generator);
      const ask = async (...ids: string[]): Promise<StatusObject> =>
        statusOf(
          wall.client(),
          `/shop.v1.Shop/${methods[kind]}`,
          kind,
          toMetadata(await wall.authorized()),
          ids.map(withId),
        );
      const refused = await ask("hunter2");
      expect(refused).toMatchObject({ code: 3, details: "invalid request" });
      expect(errorDetails(refused)).toEqual([
        {
          type: "google.rpc.BadRequest",
          fieldViolations: [{ field: "id", description: "must be at most 5 characters" }],
        },
      ]);
      expect(wall.seen).toEqual([]);
      expect(await wall.auditEntry(() => true)).toMatchObject({
        rule: "validation",
        reason: "invalid request",
      });
      expect(JSON.stringify([wall.lines, wall.audit])).not.toContain("hunter2");
      expect(await ask("ada")).toMatchObject({ code: 0 });
      expect(wall.seen).toHaveLength(1);
    });

    it("L7 each message of a stream is checked", async () => {
      await using wall = await shop(generator);
      const answer = await told(
        wall.client(),
        "/shop.v1.Shop/UploadOrders",
        "client_stream",
        toMetadata(await wall.authorized()),
        [withId("ada"), withId(""), withId("bob")],
      );
      expect(answer).toBe("INVALID_ARGUMENT");
      expect(wall.seen.length).toBeLessThanOrEqual(1);
    });
  },
);

const tools = generators["grpc-tools"] as Generator;
const loaded = generators["proto-loader"] as Generator;

describe("L7 rules of the .proto", () => {
  it("L7 a caller who may not call is told that, and not what is wrong with its message", async () => {
    await using wall = await shop(tools);
    const ask = (metadata: Record<string, string>): Promise<string> =>
      told(wall.client(), "/shop.v1.Shop/GetOrder", "unary", toMetadata(metadata), [withId("")]);
    expect(await ask({})).toBe("UNAUTHENTICATED");
    expect(await ask(await wall.authorized({ roles: ["other"] }))).toBe("PERMISSION_DENIED");
  });

  it("L7 a rule that fails to be evaluated refuses the call, with an error id and without the values", async () => {
    const set = withKinds(
      withRules(readFileSync(shopFile), {
        "shop.v1.ById.id": { cel: [{ id: "seventh", expression: "int(this) / (int(this) - 7) > 0" }] },
        "shop.v1.Order.id": idRules,
      }),
    );
    await using wall = await shop(tools, { validation: protovalidate({ descriptorSet: set }) });
    const ask = async (id: string): Promise<StatusObject> =>
      statusOf(wall.client(), "/shop.v1.Shop/GetOrder", "unary", toMetadata(await wall.authorized()), [
        withId(id),
      ]);
    expect(await ask("9")).toMatchObject({ code: 0 });
    const failed = await ask("7");
    expect(failed.code).toBe(13);
    expect(failed.details).toMatch(/^internal error \(id /);
    expect((await ask("hunter2")).code).toBe(13);
    expect(wall.seen).toHaveLength(1);
    expect(JSON.stringify(wall.lines)).toContain(
      "a rule of shop.v1.ById cannot be evaluated for this message",
    );
    expect(JSON.stringify(wall.lines)).not.toContain("hunter2");
  });

  it("L7 a descriptor set that does not describe a service stops listen()", async () => {
    const set = describedBy({
      messages: { Request: { fields: { a: { type: "string", rules: { required: true } } } } },
    });
    const started = shop(tools, { validation: protovalidate({ descriptorSet: withKinds(set) }) });
    await expect(started).rejects.toThrow(ConfigError);
    await expect(started).rejects.toThrow("there is no service shop.v1.Shop in it");
  });

  it("L7 a descriptor set without a rule stops listen(): it would check nothing", async () => {
    const set = withKinds(withRules(readFileSync(shopFile), {}));
    await expect(shop(tools, { validation: protovalidate({ descriptorSet: set }) })).rejects.toThrow(
      "validation: protovalidate has no rule for a request message of any registered method",
    );
  });

  it("L7 a rule that cannot be used stops listen(), with all of them", async () => {
    const wrong = { cel: [{ id: "wrong", expression: "this >" }] };
    const set = withKinds(
      withRules(readFileSync(shopFile), { "shop.v1.ById.id": wrong, "shop.v1.Order.owner": wrong }),
    );
    const error: unknown = await shop(tools, { validation: protovalidate({ descriptorSet: set }) }).catch(
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).toContain("2 problems");
    expect(String(error)).toContain("field shop.v1.ById.id: the rule wrong is no expression of CEL");
    expect(String(error)).toContain("field shop.v1.Order.owner: the rule wrong is no expression of CEL");
  });

  it("L7 health and reflection are not asked about", async () => {
    await using wall = await shop(tools, { reflection: { roles: ["caller"] } });
    const answer = await told(wall.client(), "/grpc.health.v1.Health/Check", "unary", toMetadata({}), [
      Buffer.alloc(0),
    ]);
    expect(answer).toBe("OK");
  });

  it("L7 two members of a oneof, of which decoders keep both, are refused", async () => {
    const shape = {
      fields: {
        a: {
          type: "string",
          oneof: "choice",
          rules: { type: { case: "string" as const, value: { maxLen: 1n } } },
        },
        b: { type: "string", oneof: "choice" },
      },
    };
    const set = describedBy({ messages: { Request: shape } });
    const service = serviceOf(set);
    const seen: unknown[] = [];
    const handlers = {
      Unary: (call: { request: unknown }, done: (error: null, answer: object) => void) => {
        seen.push(call.request);
        done(null, {});
      },
    };
    const unary: ServiceDefinition = { Unary: service["Unary"] as ServiceDefinition[string] };
    await using wall = await secured({
      authorization: rbac({
        roles: { caller: {} },
        rules: { "/test.v1.Kinds/*": { roles: ["caller"] }, "/t.v1.Checks/*": { roles: ["caller"] } },
      }),
      validation: protovalidate({ descriptorSet: withKinds(set) }),
      register: (server) => server.addService(unary, handlers as never),
    });
    const sent = toMetadata(await wall.authorized());
    const both = Buffer.concat([withId("too long"), Buffer.from([18, 1, 0x78])]);
    expect(await told(wall.client(), "/t.v1.Checks/Unary", "unary", sent, [both])).toBe("INVALID_ARGUMENT");
    expect(seen).toEqual([]);
    expect(await told(wall.client(), "/t.v1.Checks/Unary", "unary", sent, [Buffer.from([18, 1, 0x78])])).toBe(
      "OK",
    );
  });
});

describe("L7 rules of the .proto on a server that other code made", () => {
  const register = (seen: unknown[]) => (server: { addService: (...args: never[]) => void }) =>
    server.addService(grpcTools as never, handlersThat(() => new Order(), seen) as never);

  it("L7 hold with secureInterceptors", async () => {
    const { issuer } = await theWorld();
    const seen: unknown[] = [];
    const interceptors = secureInterceptors({
      services: [grpcTools, kindsDefinition],
      authentication: jwt({ issuer: issuer.issuer, audience: "kinds", jwksUri: issuer.jwksUri }),
      authorization,
      validation: shopRules,
      logger: keptLog().logger,
    });
    await using server = await foreign(interceptors, { register: register(seen) });
    const sent = toMetadata(await server.authorized());
    const ask = (id: string): Promise<string> =>
      told(server.client(), "/shop.v1.Shop/GetOrder", "unary", sent, [withId(id)]);
    expect(await ask("too long")).toBe("INVALID_ARGUMENT");
    expect(seen).toEqual([]);
    expect(await ask("ada")).toBe("OK");
    await interceptors.close();
  });

  it("L7 secureInterceptors tells what does not fit its services", () => {
    expect(() =>
      secureInterceptors({
        services: [grpcTools],
        authentication: anonymous(),
        authorization: allowAuthenticated(),
        validation: protovalidate({ descriptorSet: describedBy({ messages: { Request: { fields: {} } } }) }),
        logger: false,
      }),
    ).toThrow("there is no service shop.v1.Shop in it");
  });

  it("L7 hold with toInterceptor(validation(…, { services }))", async () => {
    const seen: unknown[] = [];
    const checks = validation(shopRules, { services: [grpcTools] });
    await using server = await foreign([toInterceptor(checks)], { register: register(seen) });
    const ask = (id: string): Promise<string> =>
      told(server.client(), "/shop.v1.Shop/GetOrder", "unary", toMetadata({}), [withId(id)]);
    expect(await ask("too long")).toBe("INVALID_ARGUMENT");
    expect(seen).toEqual([]);
    expect(await ask("ada")).toBe("OK");
  });

  it("L7 without the services every call is refused", async () => {
    const seen: unknown[] = [];
    await using server = await foreign([toInterceptor(validation(shopRules))], { register: register(seen) });
    const answer = await told(server.client(), "/shop.v1.Shop/GetOrder", "unary", toMetadata({}), [
      withId("ada"),
    ]);
    expect(answer).toBe("INTERNAL");
    expect(seen).toEqual([]);
  });
});

describe("L7 nothing else than a message that was checked", () => {
  it("L7 a message whose bytes the descriptors cannot read is refused", async () => {
    const set = withKinds(
      withRules(readFileSync(shopFile), { "shop.v1.ById.id": idRules, "shop.v1.Order.id": idRules }),
    );
    const validator = protovalidate({ descriptorSet: set });
    const broken: Generator = {
      ...loaded,
      service: {
        ...loaded.service,
        GetOrder: {
          ...(loaded.service["GetOrder"] as ServiceDefinition[string]),
          requestSerialize: () => Buffer.from([10, 200]),
        },
      },
    };
    await using wall = await shop(broken, { validation: validator });
    const sent = toMetadata(await wall.authorized());
    expect(await told(wall.client(), "/shop.v1.Shop/GetOrder", "unary", sent, [withId("ada")])).toBe(
      "INTERNAL",
    );
    expect(wall.seen).toEqual([]);
  });
});
