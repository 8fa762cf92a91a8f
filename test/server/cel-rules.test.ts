// Conditions in CEL over real sockets (Z4): for the services of each generator and the four call kinds, in addition to schemes,
// roles and permissions, for each message, about what the handler is given.
import { Buffer } from "node:buffer";
import { Client, credentials, Server, ServerCredentials } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { celWith } from "../../src/cel/cel.ts";
import { cel } from "../../src/cel/index.ts";
import { PolicyError } from "../../src/grpc/errors.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import type { Requirement } from "../../src/middleware/authorization/method-rule.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { secureInterceptors } from "../../src/server/interceptors.ts";
import { ConditionsService, encoded } from "../cel/question.ts";
import {
  type Answer,
  type AnyCall,
  descriptorSet,
  type Generator,
  generators,
  grpcTools,
  handlersThat,
  methods,
  Order,
  told,
  withId,
} from "../generated/shops.ts";
import { toMetadata } from "../harness/kinds.ts";
import { keptLog, type Secured, secured, theWorld } from "../harness/secured.ts";

interface Shop extends Secured {
  readonly seen: unknown[];
}

async function shop({ service, answer }: Generator, rule: Requirement): Promise<Shop> {
  const seen: unknown[] = [];
  const wall = await secured({
    authorization: rbac({
      roles: { caller: {}, admin: {} },
      rules: { "/test.v1.Kinds/*": "authenticated", "/shop.v1.Shop/*": rule },
    }),
    register: (server) => server.addService(service, handlersThat(answer, seen) as never),
  });
  return Object.assign(wall, { seen });
}

const kinds = Object.keys(methods) as MethodKind[];

describe.each(Object.entries(generators))("Z4 a condition in CEL on a service of %s", (_name, generator) => {
  const condition = celWith({ descriptorSet: generator.descriptorSet })("request.id == principal.subject");

  it.each(kinds)("Z4 lets the owner in and nobody else: %s", async (kind) => {
    await using wall = await shop(generator, { when: condition });
    const ask = async (id: string): Promise<string> =>
      told(wall.client(), `/shop.v1.Shop/${methods[kind]}`, kind, toMetadata(await wall.authorized()), [
        withId(id),
      ]);
    expect(await ask("bob")).toBe("PERMISSION_DENIED");
    expect(wall.seen).toEqual([]);
    expect(await ask("ada")).toBe("OK");
    expect(wall.seen).toHaveLength(1);
    const entry = await wall.auditEntry(({ decision }) => decision === "deny");
    expect(entry).toMatchObject({ rule: "/shop.v1.Shop/*" });
    const line = await wall.callLine((each) => JSON.stringify(each).includes("request.id =="));
    expect(JSON.stringify(line)).toContain(
      "the condition on the request (when: request.id == principal.subject) does not hold",
    );
  });

  it("Z4 asks for each message of a stream", async () => {
    await using wall = await shop(generator, { when: condition });
    const answers = await told(
      wall.client(),
      "/shop.v1.Shop/UploadOrders",
      "client_stream",
      toMetadata(await wall.authorized()),
      [withId("ada"), withId("bob"), withId("ada")],
    );
    expect(answers).toBe("PERMISSION_DENIED");
    expect(wall.seen.length).toBeLessThanOrEqual(1);
  });
});

describe("Z4 a condition in CEL", () => {
  const { "proto-loader": loaded, "grpc-tools": tools } = generators as Record<string, Generator> & {
    readonly "proto-loader": Generator;
    readonly "grpc-tools": Generator;
  };

  it.each<[string, Requirement]>([
    ["a role", { roles: ["admin"], when: cel("true") }],
    ["a permission", { permissions: ["order:read"], when: cel("true") }],
    ["a scheme", { schemes: ["jwt"], roles: ["admin"], when: cel("true") }],
  ])("Z4 does not stand for %s", async (_what, rule) => {
    await using wall = await shop(loaded, rule);
    const sent = toMetadata(await wall.authorized());
    expect(await told(wall.client(), "/shop.v1.Shop/GetOrder", "unary", sent, [withId("ada")])).toBe(
      "PERMISSION_DENIED",
    );
  });

  it("Z4 an error denies, and is in the log", async () => {
    await using wall = await shop(loaded, { when: cel("actor.subject == request.id") });
    const sent = toMetadata(await wall.authorized());
    expect(await told(wall.client(), "/shop.v1.Shop/GetOrder", "unary", sent, [withId("ada")])).toBe(
      "PERMISSION_DENIED",
    );
    expect(wall.lines.map(({ msg }) => msg)).toContain(
      "the condition of a rule (when) threw an error; the call is denied",
    );
  });

  it("Z4 reads metadata that it was allowed to read", async () => {
    const when = celWith({ metadata: ["x-region"] })("metadata['x-region'] == 'eu'");
    await using wall = await shop(loaded, { when });
    const ask = async (...regions: string[]): Promise<string> => {
      const sent = toMetadata(await wall.authorized());
      for (const region of regions) sent.add("x-region", region);
      return told(wall.client(), "/shop.v1.Shop/GetOrder", "unary", sent, [withId("ada")]);
    };
    expect(await ask("eu")).toBe("OK");
    expect(await ask()).toBe("PERMISSION_DENIED");
    expect(await ask("us")).toBe("PERMISSION_DENIED");
    expect(await ask("eu", "us")).toBe("PERMISSION_DENIED");
  });

  it("Z4 that does not fit stops listen(), with the rule, the method and what is wrong", async () => {
    const started = shop(loaded, { when: cel("request.ownr == principal.subject") });
    const error: unknown = await started.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(PolicyError);
    expect(String(error)).toContain(
      '/shop.v1.Shop/*: when: /shop.v1.Shop/UploadOrders: shop.v1.Order has no field ownr; did you mean "owner"?',
    );
    expect(String(error)).toContain(
      "/shop.v1.Shop/*: when: /shop.v1.Shop/GetOrder: shop.v1.ById has no field ownr",
    );
  });

  it("Z4 without the types of a service, listen() names descriptorSet", async () => {
    await expect(shop(tools, { when: cel("request.id == 'a'") })).rejects.toThrow(
      "the definition of /shop.v1.Shop/GetOrder does not tell the type of its request; give the option descriptorSet",
    );
  });
});

/** A length-delimited field; all of them have numbers below 16. */
function field(number: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([number * 8 + 2, value.length]), value]);
}

describe("Z4 a message that decoders read differently", () => {
  const own = encoded({ part: { owner: "ada" } });
  it.each<[string, string, Buffer, string]>([
    ["one part", "request.part.owner == principal.subject", own, "OK"],
    // Merged by some decoders, replaced by others: proto-loader's handler gets the second alone.
    [
      "a part that comes twice",
      "request.part.owner == principal.subject",
      Buffer.concat([own, encoded({ part: { amount: "7" } })]),
      "PERMISSION_DENIED",
    ],
    [
      "one member of a oneof",
      "!has(request.user) || request.user == principal.subject",
      encoded({ group: "g" }),
      "OK",
    ],
    // Its handler gets both.
    [
      "two members of a oneof",
      "!has(request.user) || request.user == principal.subject",
      Buffer.concat([field(5, Buffer.from("bob")), field(6, Buffer.from("g"))]),
      "PERMISSION_DENIED",
    ],
    ["text that is not UTF-8", "request.owner.startsWith('a')", field(1, Buffer.from([0x61, 0xff])), "OK"],
    [
      "a field that comes twice",
      "request.owner == principal.subject",
      Buffer.concat([field(1, Buffer.from("ada")), field(1, Buffer.from("bob"))]),
      "PERMISSION_DENIED",
    ],
  ])("Z4 %s", async (_what, text, bytes, answer) => {
    const seen: unknown[] = [];
    await using wall = await secured({
      authorization: rbac({
        rules: { "/test.v1.Kinds/*": "authenticated", "/conditions.v1.Conditions/Ask": { when: cel(text) } },
      }),
      register: (server) =>
        server.addService(ConditionsService, {
          Ask: ((call: AnyCall, callback: Answer) => {
            seen.push(call.request);
            callback(null, {});
          }) as never,
        }),
    });
    const sent = toMetadata(await wall.authorized());
    expect(await told(wall.client(), "/conditions.v1.Conditions/Ask", "unary", sent, [bytes])).toBe(answer);
    expect(seen).toHaveLength(answer === "OK" ? 1 : 0);
  });
});

describe("Z4 a condition in CEL on a server that other code made", () => {
  it("Z4 lets the owner in and nobody else", async () => {
    const { issuer, token } = await theWorld();
    const seen: unknown[] = [];
    const interceptors = secureInterceptors({
      services: [grpcTools],
      authentication: jwt({ issuer: issuer.issuer, audience: "kinds", jwksUri: issuer.jwksUri }),
      authorization: rbac({
        rules: { "/shop.v1.Shop/*": { when: celWith({ descriptorSet })("request.id == principal.subject") } },
      }),
      logger: keptLog().logger,
    });
    const server = new Server({ interceptors });
    server.addService(grpcTools, handlersThat(() => new Order(), seen) as never);
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    try {
      const sent = toMetadata({ authorization: `Bearer ${await token()}` });
      const ask = (id: string): Promise<string> =>
        told(client, "/shop.v1.Shop/GetOrder", "unary", sent, [withId(id)]);
      expect(await ask("bob")).toBe("PERMISSION_DENIED");
      expect(seen).toEqual([]);
      expect(await ask("ada")).toBe("OK");
    } finally {
      client.close();
      server.forceShutdown();
      await interceptors.close();
    }
  });
});
