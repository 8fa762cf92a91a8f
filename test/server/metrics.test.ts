// Metrics as Prometheus sees them: the usual exporter, scraped over HTTP, after real calls (U5).
import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import { DiagLogLevel, diag, type MeterProvider, metrics } from "@opentelemetry/api";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { anyOf } from "../../src/middleware/authentication/any-of.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { issueApiKey, memoryApiKeyStore } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { check } from "../harness/health.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { grpcFrame, RawConnection } from "../harness/raw-http2.ts";
import { type Scraper, startScraper } from "../harness/scrape.ts";
import { eventually, type Secured, secured, theWorld } from "../harness/secured.ts";

let scraper: Scraper;
beforeEach(async () => {
  scraper = await startScraper();
});
afterEach(() => scraper.shutdown());

const ended = (wall: Secured, calls: number): Promise<unknown> =>
  eventually(() => wall.lines.filter((line) => line["grpc_code"]).length >= calls, `${calls} lines`);

const bytes = (text: string): number => JSON.stringify({ text }).length;

describe("U5 over the Prometheus exporter", () => {
  it.each(kinds)("%s: the instruments of gRFC A66", async (kind) => {
    await using wall = await secured();
    const method = paths[kind].slice(1);
    const result = await invoke(wall.client(), kind, {
      metadata: await wall.authorized(),
      messages: [{ text: "one" }, { text: "three" }],
    });
    await ended(wall, 1);
    const ok = { grpc_method: method, grpc_status: "OK" };
    expect(await scraper.value("grpc_server_call_started_total", { grpc_method: method })).toBe(1);
    expect(await scraper.value("grpc_server_call_duration_count", ok)).toBe(1);
    const streams = kind === "client_stream" || kind === "bidi_stream";
    expect(await scraper.value("grpc_server_call_rcvd_total_compressed_message_size_sum", ok)).toBe(
      bytes("one") + (streams ? bytes("three") : 0),
    );
    expect(await scraper.value("grpc_server_call_sent_total_compressed_message_size_sum", ok)).toBe(
      result.messages.reduce((sum, { text }) => sum + bytes(text), 0),
    );
  });

  it("sizes are those of the compressed messages, in the buckets of gRFC A66", async () => {
    await using wall = await secured();
    await using raw = await RawConnection.open(wall);
    const compressed = gzipSync(JSON.stringify({ text: "x".repeat(100_000) }));
    const { answer } = raw.call(paths.client_stream, {
      headers: { ...(await wall.authorized()), "grpc-encoding": "gzip" },
      body: grpcFrame(compressed, 1),
    });
    expect((await answer).name).toBe("OK");
    await ended(wall, 1);
    const received = "grpc_server_call_rcvd_total_compressed_message_size";
    expect(await scraper.value(`${received}_sum`)).toBe(compressed.length);
    const buckets = (await scraper.samples()).filter(({ name }) => name === `${received}_bucket`);
    expect(buckets.map(({ labels }) => labels["le"])).toEqual([
      "0",
      "1024",
      "2048",
      "4096",
      "16384",
      "65536",
      "262144",
      "1048576",
      "4194304",
      "16777216",
      "67108864",
      "268435456",
      "1073741824",
      "4294967296",
      "+Inf",
    ]);
  });

  it("a call that is refused has sizes of zero, and a message too large to send is not sent", async () => {
    await using wall = await secured({ limits: { maxSendMessageBytes: 100 } });
    const client = wall.client();
    await invoke(client, "unary");
    const large = await invoke(client, "unary", {
      metadata: await wall.authorized(),
      messages: [{ text: "x".repeat(200) }],
    });
    expect(large.name).toBe("RESOURCE_EXHAUSTED");
    await ended(wall, 2);
    const sent = "grpc_server_call_sent_total_compressed_message_size";
    expect(await scraper.value(`${sent}_count`)).toBe(2);
    expect(await scraper.value(`${sent}_sum`)).toBe(0);
  });

  it.each(kinds)("%s: calls in flight, by method, and none once they have ended", async (kind) => {
    await using wall = await secured({
      handlers: {
        unary() {},
        clientStream() {},
        serverStream() {},
        bidiStream() {},
      } as unknown as UntypedServiceImplementation,
    });
    const metadata = await wall.authorized();
    const open: { cancel(): void }[] = [];
    const client = wall.client();
    const results = [1, 2, 3].map(() =>
      invoke(client, kind, { metadata, keepOpen: true, onCall: (call) => open.push(call) }),
    );
    const inFlight = (): Promise<number> =>
      scraper.value("palisade_calls_in_flight", { grpc_method: paths[kind].slice(1) });
    while ((await inFlight()) < 3) await new Promise((resolve) => setImmediate(resolve));
    for (const call of open) call.cancel();
    await Promise.all(results);
    await ended(wall, 3);
    expect(await inFlight()).toBe(0);
  });

  it("authentication by scheme and result, cache hits and misses", async () => {
    const world = await theWorld();
    const { key, record } = issueApiKey({ owner: "billing", roles: ["caller"] });
    await using wall = await secured({
      authentication: anyOf(
        jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
        apiKey({ store: memoryApiKeyStore([record]) }),
      ),
    });
    const client = wall.client();
    const { authorization } = await wall.authorized();
    const expired = await world.token({ exp: Math.floor(Date.now() / 1000) - 3600 });
    // A probe is not authenticated. It lets the SDK read the numbers of the process, of which there are earlier ones.
    expect((await check(client, "")).name).toBe("OK");
    const before = {
      hit: await scraper.value("palisade_token_cache_lookups_total", { palisade_result: "hit" }),
      miss: await scraper.value("palisade_token_cache_lookups_total", { palisade_result: "miss" }),
    };
    const asked: readonly (readonly [Record<string, string>, string])[] = [
      [{ authorization }, "OK"],
      [{ authorization }, "OK"],
      [{ authorization }, "OK"],
      [{ "x-api-key": key }, "OK"],
      [{ "x-api-key": "not one of ours" }, "UNAUTHENTICATED"],
      [{ authorization: `Bearer ${expired}` }, "UNAUTHENTICATED"],
      [{ authorization: "Basic abc" }, "UNAUTHENTICATED"],
      [{}, "UNAUTHENTICATED"],
    ];
    for (const [metadata, name] of asked)
      expect((await invoke(client, "unary", { metadata })).name).toBe(name);
    await ended(wall, asked.length + 1);
    const seen = (await scraper.samples())
      .filter(({ name }) => name === "palisade_authentication_total")
      .map(({ labels, value }) => `${labels["palisade_scheme"]} ${labels["palisade_result"]} ${value}`);
    expect(seen.sort()).toEqual([
      "api-key invalid 1",
      "api-key success 1",
      "jwt expired 1",
      "jwt success 3",
      "none invalid 1",
      "none missing 1",
    ]);
    const lookups = "palisade_token_cache_lookups_total";
    // The first token and the expired one had to be verified.
    expect((await scraper.value(lookups, { palisade_result: "hit" })) - before.hit).toBe(2);
    expect((await scraper.value(lookups, { palisade_result: "miss" })) - before.miss).toBe(2);
  });

  it("an identity provider that is away counts as unavailable", async () => {
    const world = await theWorld();
    await using wall = await secured({
      authentication: jwt({
        issuer: world.issuer.issuer,
        audience: "kinds",
        jwksUri: "http://127.0.0.1:1/jwks",
      }),
    });
    expect((await invoke(wall.client(), "unary", { metadata: await wall.authorized() })).name).toBe(
      "UNAVAILABLE",
    );
    await ended(wall, 1);
    expect(
      await scraper.value("palisade_authentication_total", {
        palisade_scheme: "jwt",
        palisade_result: "unavailable",
      }),
    ).toBe(1);
  });

  it.each([
    ["per_peer", { perPeer: { points: 2, durationSec: 60 } }],
    ["per_principal", { perPrincipal: { points: 2, durationSec: 60 } }],
  ])("decisions of the limit %s", async (limit, rateLimit) => {
    await using wall = await secured({ rateLimit });
    const client = wall.client();
    const value = (result: string): Promise<number> =>
      scraper.value("palisade_rate_limit_decisions_total", {
        palisade_limit: limit,
        palisade_result: result,
      });
    // The numbers are the process's: there are earlier ones.
    await check(client, "");
    const before = [await value("allowed"), await value("limited")] as const;
    const names: string[] = [];
    for (let i = 0; i < 5; i++)
      names.push((await invoke(client, "unary", { metadata: await wall.authorized() })).name);
    expect(names.filter((name) => name === "OK")).toHaveLength(2);
    expect((await value("allowed")) - before[0]).toBe(2);
    expect((await value("limited")) - before[1]).toBe(3);
  });

  it("decisions of the limit in_flight", async () => {
    await using wall = await secured({
      rateLimit: { inFlightPerPrincipal: 1 },
      handlers: { bidiStream() {} } as unknown as UntypedServiceImplementation,
    });
    const client = wall.client();
    const metadata = await wall.authorized();
    const value = (result: string): Promise<number> =>
      scraper.value("palisade_rate_limit_decisions_total", {
        palisade_limit: "in_flight",
        palisade_result: result,
      });
    await check(client, "");
    const before = [await value("allowed"), await value("limited")] as const;
    let open: { cancel(): void } | undefined;
    const held = invoke(client, "bidi_stream", { metadata, keepOpen: true, onCall: (call) => (open = call) });
    while ((await value("allowed")) === before[0]) await new Promise((resolve) => setImmediate(resolve));
    expect((await invoke(client, "unary", { metadata })).name).toBe("RESOURCE_EXHAUSTED");
    expect((await value("limited")) - before[1]).toBe(1);
    open?.cancel();
    await held;
  });

  it("L10 no label carries a caller's text, whatever callers send", async () => {
    const marker = `mark${randomBytes(6).toString("hex")}`;
    await using wall = await secured({ rateLimit: { perPeer: false } });
    await using raw = await RawConnection.open(wall);
    const good = await wall.authorized();
    const named = await wall.authorized({
      sub: marker,
      tenant: marker,
      roles: ["caller", marker],
      jti: marker,
    });
    const hostile: readonly (readonly [string, Record<string, string>])[] = [
      ...[
        "",
        "/",
        `/${marker}`,
        `/${marker}/`,
        `/test.v1.Kinds/${marker}`,
        `//${marker}//x`,
        `/${marker}\\"}/x`,
      ].map((path) => [path === "" ? "/" : path, good] as const),
      [`/${"deep/".repeat(200)}${marker}`, {}],
      ...kinds.map((kind) => [paths[kind], named] as const),
      ...[
        "authorization",
        "x-api-key",
        "x-request-id",
        "x-user-id",
        "x-tenant-id",
        "traceparent",
        "tracestate",
        "baggage",
        "user-agent",
        "grpc-encoding",
        "grpc-timeout",
        "x-forwarded-for",
        `x-${marker}`,
      ].flatMap((header) => [
        [paths.unary, { ...good, [header]: marker }] as const,
        [paths.unary, { [header]: `Bearer ${marker}` }] as const,
      ]),
    ];
    const answers = await Promise.all(hostile.map(([path, headers]) => raw.call(path, { headers }).answer));
    expect(answers.every(({ name }) => name !== undefined)).toBe(true);
    await ended(wall, hostile.length);
    const text = await scraper.text();
    expect(text).not.toContain(marker);
    expect(await scraper.value("grpc_server_call_started_total")).toBe(hostile.length);
    // Ours and OpenTelemetry's, and for each a handful of values that are known beforehand.
    const labels = new Map<string, Set<string>>();
    for (const sample of await scraper.samples()) {
      if (!/^(grpc_server|palisade)_/.test(sample.name)) continue;
      for (const [label, value] of Object.entries(sample.labels))
        labels.set(label, (labels.get(label) ?? new Set()).add(value));
    }
    expect([...labels.keys()].sort()).toEqual([
      "grpc_method",
      "grpc_status",
      "le",
      "otel_scope_name",
      "palisade_layer",
      "palisade_limit",
      "palisade_result",
      "palisade_scheme",
      // Of certificates: server, client, ca.
      "role",
    ]);
    expect([...(labels.get("grpc_method") ?? [])].sort()).toEqual(
      ["grpc.health.v1.Health/Check", "other", ...kinds.map((kind) => paths[kind].slice(1))].sort(),
    );
    expect([...(labels.get("palisade_scheme") ?? [])].sort()).toEqual(["jwt", "none"]);
  });

  it("a scheme that an own authenticator makes up per call is bounded too", async () => {
    let count = 0;
    await using wall = await secured({
      authentication: {
        name: "own",
        source: "connection",
        presents: () => true,
        authenticate: () => ({
          principal: {
            subject: "ada",
            kind: "user",
            scheme: `scheme-${count++}`,
            roles: new Set(["caller"]),
            permissions: new Set(),
            claims: {},
          },
        }),
      },
    });
    const client = wall.client();
    for (let i = 0; i < 40; i++) await invoke(client, "unary");
    await ended(wall, 40);
    const schemes = (await scraper.samples()).filter(({ name }) => name === "palisade_authentication_total");
    expect(schemes).toHaveLength(33);
    expect(await scraper.value("palisade_authentication_total", { palisade_scheme: "other" })).toBe(8);
  });
});

const broken = (): never => {
  throw new Error("broken SDK");
};

describe("U5 a metrics SDK that throws", () => {
  it.each<[string, unknown]>([
    ["when asked for a meter", { getMeter: broken }],
    ["when asked for an instrument", { getMeter: () => new Proxy({}, { get: () => broken }) }],
    [
      "when it records",
      { getMeter: () => new Proxy({}, { get: () => () => new Proxy({}, { get: () => broken }) }) },
    ],
  ])("%s: the service goes on, and says so at most once", async (_when, provider) => {
    const said: string[] = [];
    const quiet = (): void => {};
    diag.setLogger(
      { error: (message) => said.push(message), warn: quiet, info: quiet, debug: quiet, verbose: quiet },
      { logLevel: DiagLogLevel.ERROR, suppressOverrideMessage: true },
    );
    metrics.disable();
    metrics.setGlobalMeterProvider(provider as MeterProvider);
    await using wall = await secured();
    const client = wall.client();
    for (const kind of [...kinds, ...kinds]) {
      expect((await invoke(client, kind, { metadata: await wall.authorized() })).name).toBe("OK");
    }
    expect((await invoke(client, "unary")).name).toBe("UNAUTHENTICATED");
    await ended(wall, 9);
    expect(said.filter((message) => message.includes("grpc-palisade")).length).toBeLessThanOrEqual(1);
    expect(wall.lines.filter(({ layer }) => layer === "metrics")).toEqual([]);
    diag.disable();
  });
});
