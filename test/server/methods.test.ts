// Settings of single methods: the most specific wins, and nothing else changes (L1, L4, L6).
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { securityContext } from "../../src/chain/current-context.ts";
import { ConfigError } from "../../src/grpc/errors.ts";
import type { MethodsOptions } from "../../src/server/method-overrides.ts";
import { invoke, kinds, type Note, paths } from "../harness/kinds.ts";
import { type SecuredOptions, secured } from "../harness/secured.ts";

/** Answers with the milliseconds that are left to the call. */
const timeLeft = {
  unary(call: { request: Note }, callback: (error: null, value: Note) => void) {
    callback(null, { text: String(securityContext(call).deadline - Date.now()) });
  },
  serverStream(call: { write(note: Note): void; end(): void }) {
    call.write({ text: String(securityContext(call).deadline - Date.now()) });
    call.end();
  },
} as unknown as UntypedServiceImplementation;

async function msLeft(methods: MethodsOptions, kind: "unary" | "server_stream"): Promise<number> {
  const options: SecuredOptions = {
    methods,
    handlers: timeLeft,
    deadline: { maxUnaryMs: 60_000, maxStreamMs: 60_000 },
  };
  await using wall = await secured(options);
  const { messages } = await invoke(wall.client(), kind, {
    // A call ends with its credential.
    metadata: await wall.authorized({ exp: Math.floor(Date.now() / 1000) + 86_400 }),
    call: { deadline: Number.POSITIVE_INFINITY },
  });
  return Number(messages[0]?.text);
}

const hours = 8 * 3_600_000;

describe("L6 deadlines of single methods", () => {
  it("L6 a subscription that needs hours has its own deadline, without loosening the others", async () => {
    const methods = { [paths.server_stream]: { deadline: { maxMs: hours } } };
    expect(await msLeft(methods, "server_stream")).toBeGreaterThan(hours - 60_000);
    expect(await msLeft(methods, "unary")).toBeLessThanOrEqual(60_000);
  });

  it("L6 the most specific path wins, for each setting by itself", async () => {
    const methods = {
      "/*": { deadline: { maxMs: 10_000 } },
      "/test.v1.Kinds/*": { deadline: { maxMs: 20_000 }, audit: false },
      [paths.unary]: { deadline: { maxMs: 30_000 } },
    };
    expect(await msLeft(methods, "unary")).toBeGreaterThan(25_000);
    expect(await msLeft(methods, "server_stream")).toSatisfy((ms: number) => ms > 15_000 && ms <= 20_000);
    await using wall = await secured({ methods });
    await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    await wall.callLine(({ method }) => method === paths.unary);
    expect(wall.audit).toEqual([]);
  });
});

describe("L4 message sizes of single methods", () => {
  it.each(kinds)("L4 a larger limit of a %s method is its own, whatever the server's", async (kind) => {
    await using wall = await secured({
      limits: { maxReceiveMessageBytes: 100 },
      methods: { [paths[kind]]: { maxReceiveMessageBytes: 10_000 } },
    });
    const client = wall.client();
    const metadata = await wall.authorized();
    const large = [{ text: "x".repeat(5000) }];
    for (const each of kinds) {
      const { name } = await invoke(client, each, { metadata, messages: large });
      expect(name).toBe(each === kind ? "OK" : "RESOURCE_EXHAUSTED");
    }
    expect(await invoke(client, kind, { metadata, messages: [{ text: "x".repeat(10_000) }] })).toMatchObject({
      name: "RESOURCE_EXHAUSTED",
      details: "message too large",
    });
  });
});

describe("L1 rate limits of single methods", () => {
  it("L1 a method's own limit counts apart, and a service's for its methods together", async () => {
    await using wall = await secured({
      rateLimit: { perPeer: { points: 100, durationSec: 600 } },
      methods: {
        "/test.v1.Kinds/*": { rateLimit: { perPrincipal: { points: 2, durationSec: 600 } } },
        [paths.unary]: { rateLimit: { perPrincipal: { points: 1, durationSec: 600 } } },
      },
    });
    const client = wall.client();
    const metadata = await wall.authorized();
    const told = async (kind: (typeof kinds)[number]): Promise<string> =>
      (await invoke(client, kind, { metadata })).details;
    expect([await told("unary"), await told("unary")]).toEqual(["OK", "rate limit exceeded"]);
    expect([await told("client_stream"), await told("server_stream"), await told("bidi_stream")]).toEqual([
      "OK",
      "OK",
      "rate limit exceeded",
    ]);
  });

  it("L1 a costly method takes more of the limit that all share", async () => {
    await using wall = await secured({
      rateLimit: { perPeer: { points: 10, durationSec: 600 } },
      methods: { [paths.unary]: { rateLimit: { cost: 9 } } },
    });
    const client = wall.client();
    const metadata = await wall.authorized();
    expect(await invoke(client, "unary", { metadata })).toMatchObject({ name: "OK" });
    expect(await invoke(client, "bidi_stream", { metadata })).toMatchObject({ name: "OK" });
    expect(await invoke(client, "bidi_stream", { metadata })).toMatchObject({
      details: "rate limit exceeded",
    });
  });
});

describe("a path of `methods`", () => {
  it.each([
    ["/test.v1.Kinds/Unari", 'no such method; did you mean "/test.v1.Kinds/Unary"?'],
    ["/test.v1.Kind/*", 'no method of such a service; did you mean "/test.v1.Kinds/*"?'],
  ])("%s that matches no method is a ConfigError of listen()", async (path, problem) => {
    await expect(secured({ methods: { [path]: { audit: false } } })).rejects.toThrow(
      new ConfigError(`methods.${path}: ${problem}`),
    );
  });

  it("that is no path, and a cost that no call could pay, are ConfigErrors at once", async () => {
    await expect(secured({ methods: { Unary: {} } })).rejects.toThrow(/methods\.Unary: not a path/);
    await expect(
      secured({
        rateLimit: { perPeer: { points: 5, durationSec: 1 } },
        methods: { [paths.unary]: { rateLimit: { cost: 6 } } },
      }),
    ).rejects.toThrow(/methods\..*Unary\.rateLimit\.cost: more than the 5 points of perPeer/);
  });
});
