// A policy that demands callers who can never come is told when the server starts (Z2), on both roads.
import { Buffer } from "node:buffer";
import { beforeAll, describe, expect, it } from "vitest";
import { PolicyError } from "../../src/grpc/errors.ts";
import { allOf } from "../../src/middleware/authentication/all-of.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { anyOf } from "../../src/middleware/authentication/any-of.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { memoryApiKeyStore } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { mtls } from "../../src/middleware/authentication/mtls.ts";
import { optional } from "../../src/middleware/authentication/optional.ts";
import type { Rule } from "../../src/middleware/authorization/method-rule.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { secureInterceptors } from "../../src/server/interceptors.ts";
import { createSecureServer } from "../../src/server/secure-server.ts";
import { goodHandlers, invoke, kindsDefinition } from "../harness/kinds.ts";
import { secured, theWorld, type World } from "../harness/secured.ts";

let world: World;
beforeAll(async () => {
  world = await theWorld();
});

const path = "/test.v1.Kinds/*";
const policy = (rule: Rule) => rbac({ rules: { [path]: rule } });

const tokens = (): Authenticator =>
  jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri });
const keys = (): Authenticator => apiKey({ store: memoryApiKeyStore([]) });

/** One that does not say whom it identifies: the test's callers, by a scheme of its own. */
const own = (told: Partial<Authenticator> = {}): Authenticator => ({
  name: "own",
  source: "metadata",
  headers: ["x-own"],
  presents: (call) => call.metadata.get("x-own").length > 0,
  authenticate: () => ({
    principal: {
      subject: "ada",
      kind: "user",
      scheme: "badge",
      roles: new Set(),
      permissions: new Set(),
      claims: {},
    },
  }),
  ...told,
});

async function problemsOf(authentication: Authenticator, rule: Rule): Promise<readonly string[]> {
  const server = createSecureServer({
    tls: {
      cert: Buffer.from(world.server.cert),
      key: Buffer.from(world.server.key),
      clientCa: Buffer.from(world.ca.caPem),
    },
    authentication,
    authorization: policy(rule),
    logger: false,
  });
  server.addService(kindsDefinition, goodHandlers());
  const error: unknown = await server.listen("127.0.0.1:0").catch((reason: unknown) => reason);
  await server.shutdown({ graceMs: 0 });
  if (error instanceof PolicyError) return error.problems;
  expect(error).toMatchObject({ port: expect.any(Number) });
  return [];
}

const noActor = `${path}: actor: no authenticator of this server verifies an actor; use allOf({ principal, actor }), or remove the condition`;

describe("listen()", () => {
  it.each<readonly [string, () => Authenticator, Rule, readonly string[]]>([
    [
      "a misspelt scheme",
      tokens,
      { schemes: ["jwtt"] },
      [`${path}: no authenticator has the scheme jwtt; did you mean "jwt"?`],
    ],
    [
      "a scheme beside one that there is",
      () => anyOf(tokens(), keys()),
      { schemes: ["jwt", "mtls"] },
      [`${path}: no authenticator has the scheme mtls; there are jwt, api-key`],
    ],
    [
      "a scheme where everybody is anonymous",
      anonymous,
      { schemes: ["anonymous"] },
      [
        `${path}: no authenticator has the scheme anonymous; this server has no authenticator that verifies callers`,
      ],
    ],
    [
      "a scheme that only an actor has",
      () => allOf({ principal: tokens(), actor: keys() }),
      { schemes: ["api-key"] },
      [`${path}: no authenticator has the scheme api-key; there are jwt`],
    ],
    ["an actor where there is none", tokens, { actor: "any" }, [noActor]],
    [
      "an actor with a role where there is none",
      () => optional(mtls()),
      { actor: { permissions: ["a:b"] } },
      [noActor],
    ],
    [
      "an actor with a misspelt scheme",
      () => optional(allOf({ principal: tokens(), actor: mtls() })),
      { actor: { schemes: ["mtsl"] } },
      [`${path}: actor: no authenticator has the scheme mtsl; did you mean "mtls"?`],
    ],
    [
      "a scheme that an own authenticator tells otherwise",
      () => own({ schemes: ["badge"] }),
      { schemes: ["bagde"], actor: "any" },
      [`${path}: no authenticator has the scheme bagde; did you mean "badge"?`],
    ],
  ])("Z2 refuses %s with a PolicyError", async (_what, authentication, rule, problems) => {
    expect(await problemsOf(authentication(), rule)).toEqual(problems);
  });

  it.each<readonly [string, () => Authenticator, Rule]>([
    [
      "the scheme of each authenticator",
      () => anyOf(tokens(), keys(), mtls()),
      { schemes: ["jwt", "api-key", "mtls"] },
    ],
    [
      "an actor of allOf",
      () => anyOf(allOf({ principal: tokens(), actor: keys() }), mtls()),
      { schemes: ["mtls"], actor: { schemes: ["api-key"] } },
    ],
    [
      "any scheme and actor where an authenticator does not tell",
      own,
      { schemes: ["x"], actor: { schemes: ["y"] } },
    ],
    [
      "any scheme and actor where one of several does not tell",
      () => anyOf(tokens(), optional(own())),
      { schemes: ["x"], actor: "any" },
    ],
  ])("Z2 takes %s", async (_what, authentication, rule) => {
    expect(await problemsOf(authentication(), rule)).toEqual([]);
  });
});

describe("the other ways to a policy", () => {
  it("Z2 setAuthorization refuses a scheme that nobody has, and the old policy stays", async () => {
    await using wall = await secured({
      authentication: own({ schemes: ["badge"] }),
      authorization: policy({ schemes: ["badge"] }),
    });
    expect(() => wall.server.setAuthorization(policy({ schemes: ["jwt"] }))).toThrow(PolicyError);
    expect(await invoke(wall.client(), "unary", { metadata: { "x-own": "1" } })).toMatchObject({
      name: "OK",
    });
  });

  it("Z2 secureInterceptors refuses a scheme that nobody has", () => {
    const made = (): unknown =>
      secureInterceptors({
        authentication: tokens(),
        authorization: policy({ schemes: ["jwtt"] }),
        services: [kindsDefinition],
        logger: false,
      });
    expect(made).toThrow(/no authenticator has the scheme jwtt; did you mean "jwt"\?/);
  });
});
