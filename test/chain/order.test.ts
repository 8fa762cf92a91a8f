// One order, in one place (C1), and no way to protect one call kind and forget another (C2).
import { Buffer } from "node:buffer";
import { Metadata } from "@grpc/grpc-js";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import type { CallContext } from "../../src/chain/context.ts";
import type { Identity } from "../../src/chain/principal.ts";
import { parseOptions } from "../../src/config/options.ts";
import { CredentialError } from "../../src/grpc/errors.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { audit } from "../../src/middleware/audit/audit.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { PolicyHolder } from "../../src/middleware/authorization/authorization.ts";
import type { Authorizer, Decision } from "../../src/middleware/authorization/authorizer.ts";
import { logging } from "../../src/middleware/logging/logging.ts";
import { MethodOverrides } from "../../src/server/method-overrides.ts";
import { middlewareInOrder } from "../../src/server/middleware-order.ts";
import { serverSchema } from "../../src/server/server-options.ts";
import { ValidatedMethods } from "../../src/server/validated-methods.ts";
import { type InvokeOptions, invoke, kinds, paths } from "../harness/kinds.ts";
import { RawConnection } from "../harness/raw-http2.ts";
import { eventually, type Secured, type SecuredOptions, secured, theWorld } from "../harness/secured.ts";

const sink = { write: async () => {} };
const logger = pino({ enabled: false });

describe("the order of the layers", async () => {
  const { server } = await theWorld();
  const settings = parseOptions(
    serverSchema,
    {
      tls: { cert: Buffer.from(server.cert), key: Buffer.from(server.key) },
      authentication: anonymous(),
      authorization: allowAuthenticated(),
    },
    "",
  );
  const layers = middlewareInOrder({
    settings,
    logging: logging({ logger }),
    audit: audit({ sinks: [sink], logger }),
    policy: new PolicyHolder(),
    isApplications: () => true,
    behindMesh: false,
    overrides: new MethodOverrides({ methods: {}, rateLimit: settings.rateLimit }),
    validated: new ValidatedMethods(settings.validation),
  });
  const names = layers.map(({ name }) => name);

  it("C1 is the one of the requirements", () => {
    const required = [
      "logging",
      "metrics",
      "audit",
      "metadata-limit",
      "deadline",
      "peer-rate-limit",
      "failed-authentication",
      "authentication",
      "principal-rate-limit",
      "authorization",
      "message-rate-limit",
      "validation",
    ];
    expect(names.filter((name) => required.includes(name))).toEqual(required);
  });

  it("C1 has all who watch before the first who may refuse", () => {
    const watching = layers.map(({ observes }) => observes === true);
    expect(watching.lastIndexOf(true)).toBeLessThan(watching.indexOf(false));
    for (const name of ["logging", "metrics", "audit"]) {
      expect(layers.find((layer) => layer.name === name)?.observes).toBe(true);
    }
  });
});

/** Knows everybody who says `Bearer good`, and counts how often it was asked. */
class CountingAuthenticator implements Authenticator {
  readonly name = "counting";
  readonly source = "metadata";
  readonly headers: readonly string[] = ["authorization"];
  asked = 0;
  presents(call: CallContext): boolean {
    return call.metadata.get("authorization").length > 0;
  }
  authenticate(call: CallContext): Identity {
    this.asked += 1;
    if (call.metadata.get("authorization")[0] !== "Bearer good")
      throw new CredentialError("invalid", "not the word");
    return {
      principal: {
        subject: "ada",
        kind: "user",
        scheme: "counting",
        roles: new Set(["caller"]),
        permissions: new Set(),
        claims: {},
      },
    };
  }
}

class CountingAuthorizer implements Authorizer {
  readonly name = "counting";
  asked = 0;
  answer: Decision = { effect: "allow", rule: "everybody" };
  compile(): ReturnType<Authorizer["compile"]> {
    return {
      forMethod: () => ({
        access: "checked",
        decide: () => {
          this.asked += 1;
          return this.answer;
        },
      }),
    };
  }
}

const good = { authorization: "Bearer good" };
const large = (): Metadata => {
  const metadata = new Metadata();
  metadata.set("x-large", "x".repeat(9_000));
  return metadata;
};

async function countingWall(
  options: SecuredOptions = {},
): Promise<{ wall: Secured; authenticator: CountingAuthenticator; authorizer: CountingAuthorizer }> {
  const authenticator = new CountingAuthenticator();
  const authorizer = new CountingAuthorizer();
  const wall = await secured({ authentication: authenticator, authorization: authorizer, ...options });
  return { wall, authenticator, authorizer };
}

describe.each(kinds)("the way of a %s call", (kind) => {
  it("C1 passes every layer once, in order, and reaches its handler", async () => {
    const { wall, authenticator, authorizer } = await countingWall();
    await using _ = wall;
    const result = await invoke(wall.client(), kind, { metadata: good });
    expect(result).toMatchObject({ name: "OK" });
    expect(result.messages.map(({ text }) => text)).toEqual(
      kind === "server_stream" ? ["hello", "hello", "hello"] : ["hello"],
    );
    expect(wall.started).toEqual([kind]);
    expect([authenticator.asked, authorizer.asked]).toEqual([1, 1]);
    expect(await wall.callLine(() => true)).toMatchObject({ grpc_code: "OK", principal: "ada" });
    expect(await wall.auditEntry(() => true)).toMatchObject({
      status: "OK",
      decision: "allow",
      rule: "everybody",
      caller: { subject: "ada" },
    });
  });

  it("C1 is not authenticated where its peer is over the limit", async () => {
    const { wall, authenticator } = await countingWall({
      rateLimit: { perPeer: { points: 1, durationSec: 60 } },
    });
    await using _ = wall;
    const client = wall.client();
    expect((await invoke(client, kind, { metadata: good })).name).toBe("OK");
    const refused = await invoke(client, kind, { metadata: good });
    expect(refused).toMatchObject({ name: "RESOURCE_EXHAUSTED", details: "rate limit exceeded" });
    expect(authenticator.asked).toBe(1);
  });

  it("C1 is not authorized where its principal is over the limit, and not counted where it is a stranger's", async () => {
    const { wall, authorizer } = await countingWall({
      rateLimit: { perPrincipal: { points: 1, durationSec: 60 } },
    });
    await using _ = wall;
    const client = wall.client();
    expect((await invoke(client, kind, { metadata: { authorization: "Bearer bad" } })).name).toBe(
      "UNAUTHENTICATED",
    );
    expect((await invoke(client, kind, { metadata: good })).name).toBe("OK");
    expect((await invoke(client, kind, { metadata: good })).name).toBe("RESOURCE_EXHAUSTED");
    expect(authorizer.asked).toBe(1);
  });

  it("C1 is refused for its metadata before anything else is looked at", async () => {
    const { wall, authenticator } = await countingWall({
      rateLimit: { perPeer: { points: 1, durationSec: 60 } },
    });
    await using _ = wall;
    await using raw = await RawConnection.open(wall);
    await raw.call(paths[kind], { headers: good }).answer;
    // Also over the peer limit, with a timeout that is none, and without a good credential.
    const answer = await raw.call(paths[kind], {
      headers: { "x-large": "x".repeat(9_000), "grpc-timeout": "soon", authorization: "Bearer bad" },
    }).answer;
    expect(answer).toMatchObject({ name: "RESOURCE_EXHAUSTED", details: "metadata too large" });
    expect(authenticator.asked).toBe(1);
  });

  it("C1 is audited with the identity known when it was refused", async () => {
    const { wall, authorizer } = await countingWall();
    await using _ = wall;
    authorizer.answer = { effect: "deny", rule: "nobody" };
    const client = wall.client();
    await invoke(client, kind, { metadata: good });
    await invoke(client, kind, { metadata: { authorization: "Bearer bad" } });
    expect(await wall.auditEntry(({ status }) => status === "PERMISSION_DENIED")).toMatchObject({
      caller: { subject: "ada", scheme: "counting" },
      decision: "deny",
      rule: "nobody",
    });
    expect(await wall.auditEntry(({ status }) => status === "UNAUTHENTICATED")).toMatchObject({
      caller: null,
      decision: "deny",
      rule: "authentication",
    });
  });
});

interface Refusal {
  readonly title: string;
  readonly options?: () => SecuredOptions;
  /** Calls that have to be made first, in good order. */
  readonly before?: number;
  readonly call?: InvokeOptions;
  readonly name: string;
  readonly details: string;
  readonly layer: string;
}

const policyOf = (decide: () => Decision | Promise<Decision>): Authorizer => ({
  name: "test",
  compile: () => ({ forMethod: () => ({ access: "checked", decide }) }),
});

const authenticatorThat = (authenticate: Authenticator["authenticate"]): Authenticator => ({
  name: "test",
  source: "metadata",
  headers: ["authorization"],
  presents: () => true,
  authenticate,
});

const refusals: readonly Refusal[] = [
  {
    title: "too much metadata",
    call: { metadata: large() },
    name: "RESOURCE_EXHAUSTED",
    details: "metadata too large",
    layer: "metadata-limit",
  },
  {
    title: "no deadline where one is required",
    options: () => ({ deadline: { required: true } }),
    call: { metadata: good, call: { deadline: Number.POSITIVE_INFINITY } },
    name: "INVALID_ARGUMENT",
    details: "deadline required",
    layer: "deadline",
  },
  {
    title: "a peer over its limit",
    options: () => ({ rateLimit: { perPeer: { points: 1, durationSec: 60 } } }),
    before: 1,
    call: { metadata: good },
    name: "RESOURCE_EXHAUSTED",
    details: "rate limit exceeded",
    layer: "peer-rate-limit",
  },
  {
    title: "no credential",
    name: "UNAUTHENTICATED",
    details: "missing credentials",
    layer: "authentication",
  },
  {
    title: "a bad credential",
    call: { metadata: { authorization: "Bearer bad" } },
    name: "UNAUTHENTICATED",
    details: "invalid credentials",
    layer: "authentication",
  },
  {
    title: "an authenticator that throws something unexpected",
    options: () => ({
      authentication: authenticatorThat(() => {
        throw new Error("the key store is gone");
      }),
    }),
    call: { metadata: good },
    name: "UNAVAILABLE",
    details: "temporarily unavailable",
    layer: "authentication",
  },
  {
    title: "an authenticator whose promise rejects",
    options: () => ({ authentication: authenticatorThat(() => Promise.reject(new Error("gone"))) }),
    call: { metadata: good },
    name: "UNAVAILABLE",
    details: "temporarily unavailable",
    layer: "authentication",
  },
  {
    title: "a principal over its limit",
    options: () => ({ rateLimit: { perPrincipal: { points: 1, durationSec: 60 } } }),
    before: 1,
    call: { metadata: good },
    name: "RESOURCE_EXHAUSTED",
    details: "rate limit exceeded",
    layer: "principal-rate-limit",
  },
  {
    title: "a rule that denies",
    options: () => ({ authorization: policyOf(() => ({ effect: "deny", rule: "nobody" })) }),
    call: { metadata: good },
    name: "PERMISSION_DENIED",
    details: "permission denied",
    layer: "authorization",
  },
  {
    title: "a rule that denies later",
    options: () => ({ authorization: policyOf(() => Promise.resolve({ effect: "deny", rule: "nobody" })) }),
    call: { metadata: good },
    name: "PERMISSION_DENIED",
    details: "permission denied",
    layer: "authorization",
  },
  {
    title: "a policy without an opinion",
    options: () => ({ authorization: policyOf(() => ({ effect: "none" })) }),
    call: { metadata: good },
    name: "PERMISSION_DENIED",
    details: "permission denied",
    layer: "authorization",
  },
  {
    title: "a policy that throws",
    options: () => ({
      authorization: policyOf(() => {
        throw new Error("the policy engine is gone");
      }),
    }),
    call: { metadata: good },
    name: "UNAVAILABLE",
    details: "temporarily unavailable",
    layer: "authorization",
  },
  {
    title: "a policy whose promise rejects",
    options: () => ({ authorization: policyOf(() => Promise.reject(new Error("gone"))) }),
    call: { metadata: good },
    name: "UNAVAILABLE",
    details: "temporarily unavailable",
    layer: "authorization",
  },
];

describe.each(refusals)("$title", (refusal) => {
  it.each(kinds)("C2 refuses a %s call before its handler starts, and is seen", async (kind) => {
    const { wall } = await countingWall(refusal.options?.());
    await using _ = wall;
    const client = wall.client();
    const before: MethodKind[] = new Array<MethodKind>(refusal.before ?? 0).fill(kind);
    for (const each of before) expect((await invoke(client, each, { metadata: good })).name).toBe("OK");
    const result = await invoke(client, kind, { keepOpen: true, ...refusal.call });
    expect(result).toMatchObject({ name: refusal.name, details: refusal.details, messages: [] });
    expect(wall.started).toEqual(before);
    const line = await wall.callLine(({ grpc_code }) => grpc_code === refusal.name);
    expect(line).toMatchObject({ ended_by: "layer", layer: refusal.layer, method: paths[kind] });
    expect(line["delivered"]).toBeUndefined();
    const entry = await wall.auditEntry(({ status }) => status === refusal.name);
    expect(entry).toMatchObject({ decision: "deny", endedBy: "layer", method: paths[kind] });
    expect(entry.delivered).toBeUndefined();
  });
});

describe.each(kinds)("too many %s calls at once", (kind) => {
  it("C2 are refused, and the others go on", async () => {
    const held: (() => void)[] = [];
    const answering = (_call: unknown, callback: (error: null, value: unknown) => void): void => {
      held.push(() => callback(null, { text: "done" }));
    };
    const streaming = (call: { end(): void }): void => {
      held.push(() => call.end());
    };
    const { wall } = await countingWall({
      rateLimit: { inFlightPerPrincipal: 2 },
      handlers: {
        unary: answering,
        clientStream: answering,
        serverStream: streaming,
        bidiStream: streaming,
      } as unknown as NonNullable<SecuredOptions["handlers"]>,
    });
    await using _ = wall;
    const client = wall.client();
    const running = [invoke(client, kind, { metadata: good }), invoke(client, kind, { metadata: good })];
    const refused = await invoke(client, kind, { metadata: good });
    expect(refused).toMatchObject({ name: "RESOURCE_EXHAUSTED", details: "too many calls in flight" });
    expect(held.length).toBe(2);
    for (const finish of held) finish();
    expect((await Promise.all(running)).map(({ name }) => name)).toEqual(["OK", "OK"]);
    // What they held is free again.
    const next = invoke(client, kind, { metadata: good });
    const finish = await eventually(() => held[2], "the third call");
    finish();
    expect((await next).name).toBe("OK");
  });
});
