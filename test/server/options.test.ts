// Every option does something, and every wrong one is an error with its path: the schema is walked, so that an option
// that is added without a row here fails.
import { Buffer } from "node:buffer";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import {
  Client,
  type ClientOptions,
  credentials,
  type ServerUnaryCall,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { metrics as otel } from "@opentelemetry/api";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type z, z as z4 } from "zod";
import { securityContext } from "../../src/chain/current-context.ts";
import { clientChannelOptionsSchema } from "../../src/client/client-channel-options.ts";
import { createSecureClient, type SecureClientOptions } from "../../src/client/secure-client.ts";
import { ConfigError } from "../../src/grpc/errors.ts";
import type { AuditFailure } from "../../src/middleware/audit/audit-failures.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { mtls } from "../../src/middleware/authentication/mtls.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { memoryRateLimitStore } from "../../src/middleware/rate-limit/memory-rate-limit-store.ts";
import type { MessageLimit } from "../../src/middleware/rate-limit/rate-limit.ts";
import type { RateLimit } from "../../src/middleware/rate-limit/rate-limit-store.ts";
import { createSecureServer } from "../../src/server/secure-server.ts";
import { serverChannelOptionsSchema } from "../../src/server/server-channel-options.ts";
import { type SecureServerOptions, serverSchema } from "../../src/server/server-options.ts";
import { createCertificateAuthority } from "../../src/testing/certificate-authority.ts";
import type { RevocationStatus } from "../../src/tls/certificate-revocations.ts";
import { clientTlsSchema } from "../../src/tls/client-credentials.ts";
import { contents, plainFiles, renameOver } from "../harness/certificate-files.ts";
import { check, watch } from "../harness/health.ts";
import { invoke, type Note, paths } from "../harness/kinds.ts";
import { registerMeterProvider } from "../harness/meters.ts";
import { eventually, keptLog, type Secured, secured, theWorld, type World } from "../harness/secured.ts";
import { registerTracerProvider } from "../harness/spans.ts";
import { inTime, withTimeEnough } from "../harness/time.ts";
import { ackFlag, openWire } from "../harness/wire.ts";
import { tlsConnect } from "../tls/endpoints.ts";

let directory: string;
let world: World;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "palisade-options-"));
  world = await theWorld();
});
afterAll(() => rm(directory, { recursive: true, force: true }));
afterEach(() => {
  vi.restoreAllMocks();
  otel.disable();
});

// --- the walk ------------------------------------------------------------------------------------------------------

interface Found {
  /** `rateLimit.perPeer.points`; `rateLimit.perPeer=false` for what turns a part off. */
  readonly leaves: readonly string[];
  /** Objects whose keys are known. */
  readonly objects: readonly string[];
}

/** A key for each object whose keys are the user's. */
const recordKeys: Readonly<Record<string, string>> = { methods: "/*", validation: "/a/b" };

/** Every path that the schema accepts. */
function walk(schema: z.core.$ZodType, path: string): Found {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case "object": {
      const parts = Object.entries(def.shape)
        // What is refused by name is no option.
        .filter(([, part]) => !isRefused(part))
        .map(([key, part]) => walk(part, path === "" ? key : `${path}.${key}`));
      expect(isStrict(def), `${path}: a strict object`).toBe(true);
      return {
        leaves: parts.flatMap((part) => part.leaves),
        objects: [path, ...parts.flatMap((p) => p.objects)],
      };
    }
    case "optional":
    case "nonoptional":
    case "default":
    case "prefault":
    case "readonly":
      return walk(def.innerType, path);
    case "pipe":
      return walk(def.in, path);
    case "record":
      return walk(def.valueType, `${path}.${recordKeys[path]}`);
    case "union": {
      const parts = def.options.map((option) => walk(option, path));
      return { leaves: parts.flatMap((part) => part.leaves), objects: parts.flatMap((part) => part.objects) };
    }
    case "literal":
      return { leaves: [def.values[0] === false ? `${path}=false` : path], objects: [] };
    case "array":
    case "boolean":
    case "custom":
    case "enum":
    case "number":
    case "string":
      return { leaves: [path], objects: [] };
    default:
      throw new Error(`${path}: the walk does not know ${def.type}`);
  }
}

function isRefused(schema: z.core.$ZodType): boolean {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  return def.type === "never" || (def.type === "optional" && isRefused(def.innerType));
}

function isStrict(def: z.core.$ZodObjectDef): boolean {
  return def.catchall?._zod.def.type === "never";
}

const server = walk(serverSchema, "");

// --- what each option does -----------------------------------------------------------------------------------------

function pair(of: { readonly cert: string; readonly key: string }): {
  readonly cert: Buffer;
  readonly key: Buffer;
} {
  return { cert: Buffer.from(of.cert), key: Buffer.from(of.key) };
}

function tlsOptions(): SecureServerOptions["tls"] {
  return { ...pair(world.server), clientCa: Buffer.from(world.ca.caPem) };
}

/** The fingerprint of the certificate that the server shows. */
function shownCertificate({ port }: Secured): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      { host: "127.0.0.1", port, servername: "localhost", ca: world.ca.caPem, ...pair(world.client) },
      () => {
        resolve(socket.getPeerCertificate().fingerprint256);
        socket.destroy();
      },
    );
    socket.once("error", reject);
  });
}

/** The status of a call without encryption. */
async function plainCall(wall: Secured): Promise<string> {
  const client = new Client(`127.0.0.1:${wall.port}`, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_http_proxy": 0,
  });
  const metadata = await wall.authorized();
  const told = await invoke(client, "unary", { metadata, call: { deadline: inTime() } });
  client.close();
  return told.name;
}

const h2 = { ALPNProtocols: ["h2"] };

/** How often the same call is answered as it should before it is refused; then how. */
async function callsUntil(wall: Secured, refusal: string, most: number): Promise<number> {
  const client = wall.client();
  const metadata = await wall.authorized();
  for (let calls = 0; calls < most; calls++) {
    const told = await invoke(client, "unary", { metadata });
    if (told.details === refusal) return calls;
    expect(told.name).toBe("OK");
  }
  return most;
}

async function retryAfter(wall: Secured): Promise<number> {
  const client = wall.client();
  const metadata = await wall.authorized();
  await invoke(client, "unary", { metadata });
  const told = await invoke(client, "unary", { metadata });
  expect(told.name).toBe("RESOURCE_EXHAUSTED");
  return Number(told.trailers.get("retry-after")[0]);
}

/** So many calls in one instant: the windows of the limits do not end. */
async function statusesAtOnce(
  wall: Secured,
  calls: number,
  headers: Record<string, string>,
): Promise<Set<string>> {
  const frozen = performance.now();
  vi.spyOn(performance, "now").mockReturnValue(frozen);
  await using wire = await openWire(wall);
  const ended = await Promise.all(
    Array.from({ length: calls }, () => wire.call({ path: paths.bidi_stream, headers }).ended),
  );
  vi.restoreAllMocks();
  // A status of OK has no text.
  return new Set(ended.map(({ code, message }) => (code === 0 ? "OK" : String(message))));
}

/** Opens bidirectional calls one after the other until one is refused. */
async function openUntilRefused(wall: Secured, most: number): Promise<number> {
  await using wire = await openWire(wall);
  const headers = await wall.authorized();
  const calls = Array.from({ length: most }, () =>
    wire.call({ path: paths.bidi_stream, headers, keepOpen: true, messages: [Buffer.from('{"text":"x"}')] }),
  );
  const answers = await Promise.all(
    calls.map(
      ({ stream, ended }) =>
        new Promise<boolean>((resolve) => {
          stream.once("data", () => resolve(true));
          ended.then(() => resolve(false));
        }),
    ),
  );
  return answers.filter((open) => open).length;
}

const hanging = {
  unary() {},
  clientStream() {},
  serverStream() {},
  bidiStream() {},
} as unknown as UntypedServiceImplementation;

async function callWith(
  wall: Secured,
  text: string,
  options: Parameters<typeof invoke>[2] = {},
): Promise<string> {
  const metadata = await wall.authorized();
  const told = await invoke(wall.client(), "unary", { metadata, messages: [{ text }], ...options });
  return `${told.name} ${told.details}`;
}

const day = 86_400;

/** The check of a leaf: with the option as given, the server does something that it does not do without it. */
const serverLeaves: Readonly<Record<string, () => Promise<void>>> = {
  "tls.cert": async () => {
    const other = await world.ca.issue({ dnsNames: ["localhost"], usage: "server" });
    await using wall = await secured({ tls: { ...tlsOptions(), ...pair(other) } });
    expect(await shownCertificate(wall)).toBe(other.fingerprint256);
  },
  "tls.key": async () => {
    expect(problemsOf({ tls: { ...tlsOptions(), key: Buffer.from(world.client.key) } })).toEqual([
      expect.stringMatching(/^tls\.key: .* is not the private key of the first certificate/),
    ]);
  },
  "tls.clientCa": async () => {
    const others = await createCertificateAuthority({ name: "Another CA" });
    const client = await others.issue({ commonName: "other", usage: "client" });
    await using wall = await secured({ tls: { ...tlsOptions(), clientCa: Buffer.from(others.caPem) } });
    const ca = world.ca.caPem;
    await tlsConnect(wall.port, { ...h2, ca, ...pair(client) });
    await expect(tlsConnect(wall.port, { ...h2, ca, ...pair(world.client) })).rejects.toThrow();
  },
  "tls.crl": async () => {
    const tls = { ...tlsOptions(), clientCa: Buffer.from(world.ca.caPem) };
    const of = (status: RevocationStatus) =>
      secured({ tls: { ...tls, crl: { name: "own", statusOf: () => ({ status }) } } });
    await using wall = await of("unrevoked");
    const own = { ...h2, ca: world.ca.caPem, ...pair(world.client) };
    await tlsConnect(wall.port, own);
    await using strict = await of("revoked");
    await expect(tlsConnect(strict.port, own)).rejects.toThrow();
  },
  "tls.clientAuth": async () => {
    await using wall = await secured({ tls: { ...tlsOptions(), clientAuth: "request" } });
    await tlsConnect(wall.port, { ...h2, ca: world.ca.caPem });
    await using strict = await secured();
    await expect(tlsConnect(strict.port, { ...h2, ca: world.ca.caPem })).rejects.toThrow();
  },
  "tls.minVersion": async () => {
    const old = { ...h2, ca: world.ca.caPem, ...pair(world.client), maxVersion: "TLSv1.2" } as const;
    await using wall = await secured({ tls: { ...tlsOptions(), minVersion: "TLSv1.2" } });
    expect((await tlsConnect(wall.port, old)).protocol).toBe("TLSv1.2");
    await using strict = await secured();
    await expect(tlsConnect(strict.port, old)).rejects.toThrow();
  },
  "tls.ciphers": async () => {
    const client = { ...h2, ca: world.ca.caPem, ...pair(world.client) };
    for (const ciphers of ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]) {
      await using wall = await secured({ tls: { ...tlsOptions(), ciphers } });
      expect((await tlsConnect(wall.port, client)).cipher).toBe(ciphers);
    }
  },
  "tls.reload": async () => {
    const other = await world.ca.issue({ dnsNames: ["localhost"], usage: "server" });
    await using files = await plainFiles(contents(world.server, world.ca.caPem));
    const tls = { cert: files.cert, key: files.key, clientCa: files.ca };
    await using still = await secured({ tls: { ...tls, reload: false } });
    await using wall = await secured({ tls });
    await renameOver(files, contents(other, world.ca.caPem));
    await eventually(() => wall.lines.find(({ msg }) => msg?.includes("certificates changed")), "a line");
    expect(await shownCertificate(wall)).toBe(other.fingerprint256);
    expect(await shownCertificate(still)).toBe(world.server.fingerprint256);
  },
  "tls.plaintext": async () => {
    await using wall = await secured({ tls: { plaintext: "loopback" } });
    expect(await plainCall(wall)).toBe("OK");
    await using encrypted = await secured();
    expect(await plainCall(encrypted)).toBe("UNAVAILABLE");
  },
  "tls.trustForwardedClientCertFrom": async () => {
    const mesh = (...from: readonly string[]) =>
      secured({ tls: { plaintext: "mesh", trustForwardedClientCertFrom: from } });
    await using wall = await mesh("10.0.0.0/8", "127.0.0.1");
    expect(await plainCall(wall)).toBe("OK");
    await using strict = await mesh("10.0.0.0/8");
    expect(await plainCall(strict)).toBe("UNAVAILABLE");
  },
  trustedActors: async () => {
    const subjectWith = async (trustedActors: readonly string[]): Promise<string | undefined> => {
      let subject: string | undefined;
      const handlers = {
        unary: (call: object, callback: (error: null, value: Note) => void) => {
          subject = securityContext(call).principal?.subject;
          callback(null, { text: "" });
        },
      } as unknown as UntypedServiceImplementation;
      await using wall = await secured({
        authentication: mtls(),
        authorization: allowAuthenticated(),
        handlers,
        trustedActors,
      });
      await invoke(wall.client(), "unary", { metadata: { "x-user-id": "ada" } });
      return subject;
    };
    expect(await subjectWith([])).toBe("spiffe://test.example/client");
    expect(await subjectWith(["spiffe://test.example/client"])).toBe("ada");
  },
  callsOutliveCredentials: async () => {
    let started = 0;
    const handlers = {
      unary: (call: ServerUnaryCall<Note, Note>, callback: (error: null, value: Note) => void) => {
        started += 1;
        const expires = securityContext(call).principal?.expiresAt ?? 0;
        // The clock tolerance is five seconds; the answer comes a moment after it.
        setTimeout(() => callback(null, { text: "late" }), expires + 5_200 - Date.now());
      },
    } as unknown as UntypedServiceImplementation;
    await withTimeEnough(1_000, async (ms) => {
      started = 0;
      const token = await world.token({ exp: (Date.now() + ms) / 1000 - 5 });
      const metadata = { authorization: `Bearer ${token}` };
      await using wall = await secured({ handlers, callsOutliveCredentials: true });
      await using strict = await secured({ handlers });
      const [late, ended] = await Promise.all(
        [wall, strict].map((each) => invoke(each.client(), "unary", { metadata })),
      );
      if (started < 2) return false;
      expect(late?.messages).toEqual([{ text: "late" }]);
      expect(`${ended?.name} ${ended?.details}`).toBe("UNAUTHENTICATED expired credentials");
      return true;
    });
  },
  authentication: async () => {
    await using wall = await secured({
      authentication: anonymous(),
      authorization: rbac({
        rules: {
          [paths.unary]: "public",
          [paths.client_stream]: "public",
          [paths.server_stream]: "public",
          [paths.bidi_stream]: "public",
        },
      }),
    });
    expect(await invoke(wall.client(), "unary")).toMatchObject({ name: "OK" });
  },
  authorization: async () => {
    await using wall = await secured({ authorization: allowAuthenticated() });
    expect(
      await invoke(wall.client(), "unary", { metadata: await wall.authorized({ roles: [] }) }),
    ).toMatchObject({ name: "OK" });
  },
  "rateLimit.perPeer.points": async () => {
    await using wall = await secured({ rateLimit: { perPeer: { points: 3, durationSec: day } } });
    expect(await callsUntil(wall, "rate limit exceeded", 10)).toBe(3);
  },
  "rateLimit.perPeer.durationSec": async () => {
    await using wall = await secured({ rateLimit: { perPeer: { points: 1, durationSec: day } } });
    expect(await retryAfter(wall)).toSatisfy((seconds: number) => seconds > day - 60 && seconds <= day);
  },
  "rateLimit.perPeer.blockDurationSec": async () => {
    await using wall = await secured({
      rateLimit: { perPeer: { points: 1, durationSec: 60, blockDurationSec: day } },
    });
    expect(await retryAfter(wall)).toBe(day);
  },
  "rateLimit.perPeer=false": async () => {
    await using limited = await secured();
    expect(await statusesAtOnce(limited, 1001, {})).toContain("rate limit exceeded");
    await using wall = await secured({ rateLimit: { perPeer: false } });
    expect(await statusesAtOnce(wall, 1001, {})).toEqual(new Set(["missing credentials"]));
  },
  "rateLimit.store": async () => {
    const store = memoryRateLimitStore();
    const options = { rateLimit: { perPeer: { points: 3, durationSec: day }, store } };
    await using wall = await secured(options);
    await using other = await secured(options);
    expect(await callsUntil(wall, "rate limit exceeded", 10)).toBe(3);
    expect(await callsUntil(other, "rate limit exceeded", 10)).toBe(0);
  },
  "rateLimit.perPrincipal.points": async () => {
    await using wall = await secured({ rateLimit: { perPrincipal: { points: 3, durationSec: day } } });
    expect(await callsUntil(wall, "rate limit exceeded", 10)).toBe(3);
  },
  "rateLimit.perPrincipal.durationSec": async () => {
    await using wall = await secured({ rateLimit: { perPrincipal: { points: 1, durationSec: day } } });
    expect(await retryAfter(wall)).toSatisfy((seconds: number) => seconds > day - 60 && seconds <= day);
  },
  "rateLimit.perPrincipal.blockDurationSec": async () => {
    await using wall = await secured({
      rateLimit: { perPrincipal: { points: 1, durationSec: 60, blockDurationSec: day } },
    });
    expect(await retryAfter(wall)).toBe(day);
  },
  "rateLimit.perPrincipal=false": async () => {
    await using limited = await secured();
    expect(await statusesAtOnce(limited, 501, await limited.authorized())).toContain("rate limit exceeded");
    await using wall = await secured({ rateLimit: { perPrincipal: false } });
    expect(await statusesAtOnce(wall, 501, await wall.authorized())).toEqual(new Set(["OK"]));
  },
  "rateLimit.inFlightPerPrincipal": async () => {
    await using wall = await secured({ rateLimit: { inFlightPerPrincipal: 3 } });
    expect(await openUntilRefused(wall, 5)).toBe(3);
  },
  "rateLimit.inFlightPerPrincipal=false": async () => {
    const limits = { maxConcurrentStreams: 300 };
    await using limited = await secured({ limits });
    expect(await openUntilRefused(limited, 201)).toBe(200);
    await using wall = await secured({ limits, rateLimit: { inFlightPerPrincipal: false } });
    expect(await openUntilRefused(wall, 201)).toBe(201);
  },
  "rateLimit.failedAuthentication.points": async () => {
    await using wall = await secured({
      rateLimit: { failedAuthentication: { points: 3, durationSec: day } },
    });
    expect(await badCredentialsUntilRefused(wall, 5)).toBe(3);
  },
  "rateLimit.failedAuthentication.durationSec": async () => {
    await using wall = await secured({
      rateLimit: { failedAuthentication: { points: 1, durationSec: day } },
    });
    expect(await blockedForSec(wall)).toSatisfy((seconds: number) => seconds > day - 60 && seconds <= day);
  },
  "rateLimit.failedAuthentication.blockDurationSec": async () => {
    await using wall = await secured({
      rateLimit: { failedAuthentication: { points: 1, durationSec: 60, blockDurationSec: day } },
    });
    expect(await blockedForSec(wall)).toSatisfy((seconds: number) => seconds > day - 60 && seconds <= day);
  },
  "rateLimit.failedAuthentication=false": async () => {
    await using limited = await secured();
    expect(await badCredentialsUntilRefused(limited, 25)).toBe(20);
    await using wall = await secured({ rateLimit: { failedAuthentication: false } });
    expect(await badCredentialsUntilRefused(wall, 25)).toBe(25);
  },
  "rateLimit.messagesPerStream.points": async () => {
    await using wall = await secured({ rateLimit: { messagesPerStream: { points: 3, durationSec: day } } });
    expect(await endOfStream(wall, 3)).toBe("OK");
    expect(await endOfStream(wall, 4)).toBe("rate limit exceeded");
  },
  "rateLimit.messagesPerStream.durationSec": async () => {
    await using wall = await secured({ rateLimit: { messagesPerStream: { points: 1, durationSec: day } } });
    const told = await invoke(wall.client(), "bidi_stream", {
      metadata: await wall.authorized(),
      messages: [{ text: "1" }, { text: "2" }],
    });
    expect(Number(told.trailers.get("retry-after")[0])).toSatisfy(
      (sec: number) => sec > day - 60 && sec <= day,
    );
  },
  "rateLimit.messagesPerStream=false": async () => {
    await using wall = await secured({ rateLimit: { messagesPerStream: false } });
    expect(await endOfStream(wall, 500)).toBe("OK");
  },
  "enforce.authorization": async () => {
    const authorization = rbac({ roles: { other: {} }, rules: { "/*": { roles: ["other"] } } });
    await using wall = await secured({ authorization, enforce: { authorization: false } });
    expect(await callWith(wall, "x")).toBe("OK OK");
    await using strict = await secured({ authorization });
    expect(await callWith(strict, "x")).toBe("PERMISSION_DENIED permission denied");
  },
  "enforce.rateLimit": async () => {
    const rateLimit = { perPeer: { points: 1, durationSec: day } };
    await using wall = await secured({ rateLimit, enforce: { rateLimit: false } });
    expect(await callsUntil(wall, "rate limit exceeded", 4)).toBe(4);
    await using strict = await secured({ rateLimit });
    expect(await callsUntil(strict, "rate limit exceeded", 4)).toBe(1);
  },
  "methods./*.deadline.required": async () => {
    await using wall = await secured({ methods: { [paths.unary]: { deadline: { required: true } } } });
    const endless = { call: { deadline: Number.POSITIVE_INFINITY } };
    expect(await callWith(wall, "x", endless)).toBe("INVALID_ARGUMENT deadline required");
  },
  "methods./*.deadline.maxMs": async () => {
    await using wall = await secured({
      handlers: hanging,
      methods: { [paths.unary]: { deadline: { maxMs: 50 } } },
    });
    expect(await callWith(wall, "x")).toBe("DEADLINE_EXCEEDED deadline exceeded");
  },
  ...Object.fromEntries(
    (["perPeer", "perPrincipal"] as const).flatMap((name) => {
      const own = (limit: RateLimit | false) => ({
        methods: { [paths.unary]: { rateLimit: { [name]: limit } } },
      });
      const at = `methods./*.rateLimit.${name}`;
      return [
        [
          `${at}.points`,
          async () => {
            await using wall = await secured(own({ points: 3, durationSec: day }));
            expect(await callsUntil(wall, "rate limit exceeded", 10)).toBe(3);
          },
        ],
        [
          `${at}.durationSec`,
          async () => {
            await using wall = await secured(own({ points: 1, durationSec: day }));
            expect(await retryAfter(wall)).toSatisfy((sec: number) => sec > day - 60 && sec <= day);
          },
        ],
        [
          `${at}.blockDurationSec`,
          async () => {
            await using wall = await secured(own({ points: 1, durationSec: 60, blockDurationSec: day }));
            expect(await retryAfter(wall)).toBe(day);
          },
        ],
        [
          `${at}=false`,
          async () => {
            await using wall = await secured({
              ...own(false),
              rateLimit: { [name]: { points: 1, durationSec: day } },
            });
            expect(await callsUntil(wall, "rate limit exceeded", 4)).toBe(4);
          },
        ],
      ];
    }),
  ),
  "methods./*.rateLimit.cost": async () => {
    await using wall = await secured({
      rateLimit: { perPeer: { points: 10, durationSec: day } },
      methods: { [paths.unary]: { rateLimit: { cost: 3 } } },
    });
    expect(await callsUntil(wall, "rate limit exceeded", 10)).toBe(3);
  },
  "methods./*.rateLimit.messagesPerStream.points": async () => {
    await using wall = await secured(ownMessages({ points: 3, durationSec: day }));
    expect(await endOfStream(wall, 3)).toBe("OK");
    expect(await endOfStream(wall, 4)).toBe("rate limit exceeded");
  },
  "methods./*.rateLimit.messagesPerStream.durationSec": async () => {
    await using wall = await secured(ownMessages({ points: 1, durationSec: 0.001 }));
    let echoes = 0;
    const told = await invoke(wall.client(), "bidi_stream", {
      metadata: await wall.authorized(),
      messages: [{ text: "1" }],
      keepOpen: true,
      onMessage: (_note, call) => {
        echoes += 1;
        if (!("write" in call)) return;
        if (echoes < 3) setTimeout(() => call.write({ text: "more" }), 20);
        else call.end();
      },
    });
    expect(told.details).toBe("OK");
  },
  "methods./*.rateLimit.messagesPerStream=false": async () => {
    await using wall = await secured({
      ...ownMessages(false),
      rateLimit: { messagesPerStream: { points: 1, durationSec: day } },
    });
    expect(await endOfStream(wall, 5)).toBe("OK");
  },
  "methods./*.maxReceiveMessageBytes": async () => {
    await using wall = await secured({ methods: { [paths.unary]: { maxReceiveMessageBytes: 100 } } });
    expect(await callWith(wall, "x".repeat(200))).toBe("RESOURCE_EXHAUSTED message too large");
    expect(await callWith(wall, "x".repeat(20))).toBe("OK OK");
  },
  "methods./*.audit": async () => {
    await using wall = await secured({ methods: { "/*": { audit: false }, [paths.unary]: { audit: true } } });
    const metadata = await wall.authorized();
    await invoke(wall.client(), "server_stream", { metadata });
    await callWith(wall, "x");
    await wall.auditEntry(({ method }) => method === paths.unary);
    expect(wall.audit).toHaveLength(1);
  },
  "peer.trustedProxies": async () => {
    const peer = { addressFrom: "x-forwarded-for", trustedProxies: ["127.0.0.0/8"] } as const;
    await using wall = await secured({ peer });
    expect(await peerSeen(wall, { "x-forwarded-for": "192.0.2.1" })).toBe("192.0.2.1");
    await using other = await secured({ peer: { ...peer, trustedProxies: ["10.0.0.0/8"] } });
    expect(await peerSeen(other, { "x-forwarded-for": "192.0.2.1" })).toBe("127.0.0.1");
  },
  "peer.addressFrom": async () => {
    const trustedProxies = ["127.0.0.1"];
    await using wall = await secured({ peer: { trustedProxies, addressFrom: "x-envoy-external-address" } });
    const headers = { "x-forwarded-for": "192.0.2.1", "x-envoy-external-address": "192.0.2.2" };
    expect(await peerSeen(wall, headers)).toBe("192.0.2.2");
  },
  "peer.hops": async () => {
    const trustedProxies = ["127.0.0.1"];
    await using wall = await secured({ peer: { trustedProxies, addressFrom: "x-forwarded-for", hops: 2 } });
    expect(await peerSeen(wall, { "x-forwarded-for": "192.0.2.1, 192.0.2.2, 192.0.2.3" })).toBe("192.0.2.2");
  },
  "validation./a/b": async () => {
    await using wall = await secured({
      validation: { [paths.unary]: z4.object({ text: z4.string().max(3) }) },
    });
    expect(await callWith(wall, "abcd")).toBe("INVALID_ARGUMENT invalid request");
    expect(await callWith(wall, "abc")).toBe("OK OK");
  },
  validation: async () => {
    const violation = { field: "text", description: "no" };
    await using wall = await secured({ validation: { name: "own", compile: () => () => [violation] } });
    expect(await callWith(wall, "abc")).toBe("INVALID_ARGUMENT invalid request");
  },
  "limits.maxConnections": async () => {
    await using wall = await secured({ limits: { maxConnections: 1 } });
    await using first = await openWire(wall);
    await expect(openWire(wall)).rejects.toThrow();
    expect(first.session.destroyed).toBe(false);
  },
  "limits.maxConnectionsPerPeer": async () => {
    await using wall = await secured({ limits: { maxConnectionsPerPeer: 1 } });
    await using first = await openWire(wall);
    await expect(openWire(wall)).rejects.toThrow();
    expect(first.session.destroyed).toBe(false);
  },
  "limits.handshakeTimeoutMs": async () => {
    await using wall = await secured({ limits: { handshakeTimeoutMs: 50 } });
    const socket = connectTcp(wall.port, "127.0.0.1");
    socket.on("error", () => {});
    await new Promise((resolve) => socket.once("close", resolve));
  },
  "limits.maxConnectionIdleMs": async () => {
    await using wall = await secured({ limits: { maxConnectionIdleMs: 20 } });
    await using wire = await openWire(wall);
    await wire.closed;
  },
  "limits.maxConnectionAgeMs": async () => {
    await using wall = await secured({ limits: { maxConnectionAgeMs: 20 } });
    await using wire = await openWire(wall);
    await wire.closed;
  },
  "limits.minPingIntervalMs": async () => {
    await using wall = await secured({ limits: { minPingIntervalMs: 60_000 } });
    await using wire = await openWire(wall);
    wire.session.on("error", () => {});
    for (let pings = 0; pings < 4; pings++) wire.session.ping(() => {});
    await wire.closed;
  },
  "health.plaintextAddress": async () => {
    await using wall = await secured({ health: { plaintextAddress: "127.0.0.1:0" } });
    const client = new Client(wall.server.health.addresses.plaintext ?? "", credentials.createInsecure());
    expect(await check(client, "")).toMatchObject({ name: "OK" });
    client.close();
  },
  "health.httpAddress": async () => {
    await using wall = await secured({ health: { httpAddress: "127.0.0.1:0" } });
    const answer = await fetch(`http://${wall.server.health.addresses.http}/healthz`);
    expect([answer.status, await answer.text()]).toEqual([200, "SERVING\n"]);
  },
  "deadline.required": async () => {
    const endless = { call: { deadline: Number.POSITIVE_INFINITY } };
    await using wall = await secured({ deadline: { required: true } });
    expect(await callWith(wall, "x", endless)).toBe("INVALID_ARGUMENT deadline required");
    await using lenient = await secured();
    expect(await callWith(lenient, "x", endless)).toBe("OK OK");
  },
  "deadline.maxUnaryMs": async () => {
    await using wall = await secured({ handlers: hanging, deadline: { maxUnaryMs: 30 } });
    expect(await callWith(wall, "x")).toBe("DEADLINE_EXCEEDED deadline exceeded");
  },
  "deadline.maxStreamMs": async () => {
    await using wall = await secured({ handlers: hanging, deadline: { maxStreamMs: 30 } });
    const metadata = await wall.authorized();
    for (const kind of ["client_stream", "server_stream", "bidi_stream"] as const) {
      expect(await invoke(wall.client(), kind, { metadata })).toMatchObject({ details: "deadline exceeded" });
    }
  },
  "deadline.checkTimeoutMs": async () => {
    await using wall = await secured({
      deadline: { checkTimeoutMs: 30 },
      authorization: {
        name: "never",
        compile: () => ({
          forMethod: () => ({ access: "checked", decide: () => new Promise(() => {}) }),
        }),
      },
    });
    expect(await callWith(wall, "x")).toBe("UNAVAILABLE temporarily unavailable");
  },
  "limits.maxConcurrentStreams": async () => {
    await using wall = await secured({ limits: { maxConcurrentStreams: 7 } });
    await using wire = await openWire(wall);
    expect(wire.session.remoteSettings.maxConcurrentStreams).toBe(7);
  },
  "limits.maxMetadataBytes": async () => {
    await using wall = await secured({ limits: { maxMetadataBytes: 4000 } });
    await using wire = await openWire(wall);
    expect(wire.session.remoteSettings.maxHeaderListSize).toBe(8000);
    expect(
      await invoke(wall.client(), "unary", {
        metadata: { ...(await wall.authorized()), "x-filler": "x".repeat(4000) },
      }),
    ).toMatchObject({ details: "metadata too large" });
  },
  "limits.maxReceiveMessageBytes": async () => {
    await using wall = await secured({ limits: { maxReceiveMessageBytes: 100 } });
    expect(await callWith(wall, "x".repeat(50))).toBe("OK OK");
    expect(await callWith(wall, "x".repeat(100))).toBe("RESOURCE_EXHAUSTED message too large");
  },
  "limits.maxSendMessageBytes": async () => {
    await using wall = await secured({ limits: { maxSendMessageBytes: 100 } });
    expect(await callWith(wall, "x".repeat(50))).toBe("OK OK");
    expect(await callWith(wall, "x".repeat(100))).toBe("RESOURCE_EXHAUSTED message too large");
  },
  logger: async () => {
    const { logger, lines } = keptLog();
    await using wall = await secured({ logger });
    expect(await callWith(wall, "x")).toBe("OK OK");
    await eventually(() => lines.find((line) => line["grpc_code"] === "OK"), "the call's line");
  },
  "logger=false": async () => {
    const levels: string[] = [];
    const handlers = {
      unary(call: ServerUnaryCall<Note, Note>, callback: (error: null, value: Note) => void) {
        levels.push(securityContext(call).log.level);
        callback(null, call.request);
      },
    } as unknown as UntypedServiceImplementation;
    await using wall = await secured({ handlers, logger: false });
    await using loud = await secured({ handlers });
    expect([await callWith(wall, "x"), await callWith(loud, "x")]).toEqual(["OK OK", "OK OK"]);
    expect(levels).toEqual(["silent", "debug"]);
    expect(wall.lines).toEqual([]);
  },
  "audit.sinks": async () => {
    await using wall = await secured();
    await callWith(wall, "x");
    await wall.auditEntry(({ status }) => status === "OK");
  },
  "audit.queueLimit": async () => {
    const failures = await auditFailures(2);
    await eventually(() => failures.find(({ reason }) => reason === "queue_full"), "a full queue");
  },
  "audit.onFailure": async () => {
    const failures = await auditFailures(2);
    await eventually(() => failures.length > 0, "a failure");
  },
  metrics: async () => {
    const meters = registerMeterProvider();
    await using silent = await secured({ metrics: false });
    await callWith(silent, "x");
    await silent.callLine(() => true);
    expect(await meters.names()).not.toContain("grpc.server.call.started");
    await using wall = await secured({ metrics: true });
    await callWith(wall, "x");
    await wall.callLine(() => true);
    expect(await meters.names()).toContain("grpc.server.call.started");
    await meters.shutdown();
  },
  tracing: async () => {
    const spans = registerTracerProvider();
    await using silent = await secured({ tracing: false });
    await callWith(silent, "x");
    await silent.callLine(() => true);
    expect(spans.all()).toEqual([]);
    await using wall = await secured({ tracing: true });
    await callWith(wall, "x");
    await spans.one(({ name }) => name === "test.v1.Kinds/Unary");
    await spans.shutdown();
  },
  "reflection=false": async () => {
    await using wall = await secured({ reflection: false });
    const path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    const told = await invoke(wall.client(), "bidi_stream", { path, metadata: await wall.authorized() });
    expect(told.name).toBe("UNIMPLEMENTED");
  },
  "reflection.roles": async () => {
    await using wall = await secured({ reflection: { roles: ["inspector"] } });
    const path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    const ask = async (role: string): Promise<string> => {
      const metadata = await wall.authorized({ roles: [role] });
      return (await invoke(wall.client(), "bidi_stream", { path, metadata, messages: [] })).name;
    };
    expect(await ask("caller")).toBe("PERMISSION_DENIED");
    expect(await ask("inspector")).toBe("OK");
  },
  middleware: async () => {
    const onCall = vi.fn();
    await using wall = await secured({ middleware: [{ name: "own", onCall }] });
    expect(await callWith(wall, "x")).toBe("OK OK");
    expect(onCall).toHaveBeenCalledOnce();
  },
  "health=false": async () => {
    await using wall = await secured({ health: false });
    expect(await check(wall.client(), "", await wall.authorized())).toMatchObject({ name: "UNIMPLEMENTED" });
    await using open = await secured();
    expect(await check(open.client(), "")).toMatchObject({ name: "OK" });
  },
  "health.watchLimit.perPeer": () => secondWatchIsRefused({ perPeer: 1 }),
  "health.watchLimit.total": () => secondWatchIsRefused({ total: 1 }),
  "channelOptions.grpc.keepalive_time_ms": async () => {
    await using wall = await secured({ channelOptions: { "grpc.keepalive_time_ms": 20 } });
    await using wire = await openWire(wall);
    await new Promise((resolve) => wire.session.once("ping", resolve));
  },
  "channelOptions.grpc.keepalive_timeout_ms": async () => {
    await using wall = await secured({
      channelOptions: { "grpc.keepalive_time_ms": 20, "grpc.keepalive_timeout_ms": 20 },
    });
    const pingFrame = 6;
    await using wire = await openWire(wall, {
      outbound: (frame) => (frame.type === pingFrame && frame.flags === ackFlag ? undefined : frame),
    });
    await wire.closed;
  },
  "channelOptions.grpc.max_connection_age_grace_ms": async () => {
    await withTimeEnough(50, async (ms) => {
      await using wall = await secured({
        limits: { maxConnectionAgeMs: ms },
        channelOptions: { "grpc.max_connection_age_grace_ms": 20 },
      });
      const headers = await wall.authorized();
      await using wire = await openWire(wall);
      if (wire.session.closed) return false;
      const call = wire.call({ path: paths.bidi_stream, headers, keepOpen: true });
      await call.ended;
      return wall.started.length > 0;
    });
  },
  "channelOptions.grpc-node.max_session_memory": async () => {
    await using wall = await secured({ channelOptions: { "grpc-node.max_session_memory": 123 } });
    const options: unknown = Reflect.get(wall.server.grpcServer, "options");
    expect(options).toMatchObject({ "grpc-node.max_session_memory": 123 });
  },
};

async function badCredentialsUntilRefused(wall: Secured, most: number): Promise<number> {
  const client = wall.client();
  for (let calls = 0; calls < most; calls++) {
    const { details } = await invoke(client, "unary", {
      metadata: { authorization: `Bearer nonsense${calls}` },
    });
    if (details === "rate limit exceeded") return calls;
    expect(details).toBe("invalid credentials");
  }
  return most;
}

/** What `retry-after` says once a peer is blocked for its one bad credential. */
async function blockedForSec(wall: Secured): Promise<number> {
  const client = wall.client();
  const metadata = { authorization: "Bearer nonsense" };
  await invoke(client, "unary", { metadata });
  const told = await invoke(client, "unary", { metadata });
  expect(told.details).toBe("rate limit exceeded");
  return Number(told.trailers.get("retry-after")[0]);
}

/** How a call ends that sends so many messages. */
async function endOfStream(wall: Secured, messages: number): Promise<string> {
  const { details } = await invoke(wall.client(), "bidi_stream", {
    metadata: await wall.authorized(),
    messages: Array.from({ length: messages }, (_, i) => ({ text: String(i) })),
  });
  return details;
}

function ownMessages(messagesPerStream: MessageLimit | false): Partial<SecureServerOptions> {
  return { methods: { [paths.bidi_stream]: { rateLimit: { messagesPerStream } } } };
}

/** The peer that the call was logged with. */
async function peerSeen(wall: Secured, headers: Readonly<Record<string, string>>): Promise<unknown> {
  await invoke(wall.client(), "unary", { metadata: { ...(await wall.authorized()), ...headers } });
  return (await wall.callLine(() => true))["peer"];
}

/** Calls whose audit sink never answers, with a queue of so many entries. */
async function auditFailures(queueLimit: number): Promise<readonly AuditFailure[]> {
  const failures: AuditFailure[] = [];
  let writing = false;
  const sink = {
    write(): Promise<void> {
      writing = true;
      return new Promise(() => {});
    },
  };
  const wall = await secured({
    audit: { sinks: [sink], queueLimit, onFailure: (failure) => failures.push(failure) },
  });
  await callWith(wall, "x");
  await eventually(() => writing, "a write that hangs");
  for (let i = 0; i < queueLimit + 1; i++) await callWith(wall, "x");
  // Not awaited: the shutdown gives the sink its five seconds.
  closing.push(wall.close());
  return failures;
}

const closing: Promise<void>[] = [];
afterAll(() => Promise.all(closing));

async function secondWatchIsRefused(watchLimit: { perPeer?: number; total?: number }): Promise<void> {
  await using wall = await secured({ health: { watchLimit } });
  const first = watch(wall.client(), "");
  await first.next("SERVING");
  const second = watch(wall.client(), "");
  expect(await second.ended).toMatchObject({ name: "RESOURCE_EXHAUSTED" });
  first.cancel();
}

function problemsOf(options: object): readonly string[] {
  return problems(() =>
    createSecureServer({
      tls: tlsOptions(),
      authentication: anonymous(),
      authorization: allowAuthenticated(),
      logger: false,
      ...options,
    } as SecureServerOptions),
  );
}

function problems(make: () => unknown): readonly string[] {
  try {
    make();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return error instanceof ConfigError ? error.problems : [];
  }
  return [];
}

/** `{ a: { b: value } }` for `a.b`; the names of grpc-js's options have dots of their own. */
function nested(path: string, value: unknown): Record<string, unknown> {
  const dotted = /^channelOptions\.(grpc.+)$/.exec(path);
  if (dotted !== null) return { channelOptions: { [dotted[1] ?? ""]: value } };
  const [first = "", ...rest] = path.split(".");
  return { [first]: rest.length === 0 ? value : nested(rest.join("."), value) };
}

describe("the options of a server", () => {
  it("are all in the table below, and the table has no others", () => {
    expect(Object.keys(serverLeaves).sort()).toEqual([...server.leaves].sort());
  });

  it.each(Object.entries(serverLeaves))("%s has its effect", async (_path, effect) => effect());

  it.each(server.leaves.filter((path) => !path.endsWith("=false")))(
    "%s with a wrong value is a ConfigError that names it",
    (path) => {
      expect(problemsOf(nested(path, -1.5)).join("\n")).toContain(`${path}: `);
    },
  );

  it.each(server.leaves.filter((path) => path.endsWith("=false")))("%s is not `true`", (leaf) => {
    const path = leaf.replace("=false", "");
    expect(problemsOf(nested(path, true)).join("\n")).toContain(`${path}: `);
  });

  it.each(server.objects)("an unknown option in `%s` is a ConfigError that names it", (path) => {
    const unknown = path === "" ? "surprise" : `${path}.surprise`;
    expect(problemsOf(nested(unknown, 1))).toContain(`${unknown}: unknown option`);
  });

  it.each([
    ["rateLimt", "rateLimit"],
    ["rateLimit.perpeer", "perPeer"],
    ["rateLimit.perPeer.point", "points"],
    ["methods./test.v1.Kinds/Unary.deadlines", "deadline"],
    ["tls.clientCA", "clientCa"],
    ["health.watchLimit.perPer", "perPeer"],
    ["limits.maxConections", "maxConnections"],
    ["audit.sink", "sinks"],
  ])("%s is a ConfigError that asks whether %s was meant", (path, meant) => {
    const [first = "", ...rest] = path.split(/\.(?!v1|Kinds)/);
    const deep = rest.reduceRight<unknown>((value, key) => ({ [key]: value }), 1);
    const options = rest.length === 0 ? { [path]: 1 } : { [first]: rest.length === 0 ? 1 : deep };
    expect(problemsOf(options)).toContain(`${path}: unknown option; did you mean "${meant}"?`);
  });

  it.each<readonly [string, object, readonly string[]]>([
    [
      "the form that was meant",
      { rateLimit: { perPeer: { points: 1, durationSec: 0 } } },
      ["rateLimit.perPeer.durationSec: must be more than 0"],
    ],
    [
      "every form where none was",
      { rateLimit: { perPeer: true } },
      ["rateLimit.perPeer: expected object or false"],
    ],
    ["a form with a misspelt name", { health: { servces: [] } }, ["health.servces: unknown option"]],
    ["a logger that is none", { logger: true }, ["logger: must be a pino logger, such as pino()"]],
    [
      "TLS whose form is told by `plaintext`",
      { tls: { plaintext: "mesh" } },
      ['tls.trustForwardedClientCertFrom: plaintext "mesh" needs the peers that may connect; name them'],
    ],
  ])("of an option with several forms only %s is told", (_what, options, told) => {
    expect(problemsOf(options)).toEqual(told);
  });

  it.each<readonly [unknown, string]>([
    [
      "publik",
      '/*: expected "public", "authenticated", or a demand such as { roles: ["admin"] }; did you mean "public"?',
    ],
    [{ actor: "some" }, '/*.actor: expected "any", or what it must have, such as { schemes: ["mtls"] }'],
    [{ actor: { roles: [] } }, "/*.actor.roles: expected at least one; remove the key to demand nothing"],
  ])("of a rule %j only the form that was meant is told", (rule, told) => {
    const rules = { "/*": rule } as Parameters<typeof rbac>[0]["rules"];
    expect(problems(() => rbac({ rules }))).toEqual([`rbac.rules.${told}`]);
  });

  const required = [
    "authentication",
    "authorization",
    "audit.sinks",
    "reflection.roles",
    "peer.trustedProxies",
    "peer.addressFrom",
    "validation./a/b",
    "methods./*",
    ...["perPeer", "perPrincipal", "failedAuthentication", "messagesPerStream"].flatMap((limit) =>
      ["points", "durationSec"].map((option) => `rateLimit.${limit}.${option}`),
    ),
    ...["perPeer", "perPrincipal", "messagesPerStream"].flatMap((limit) =>
      ["points", "durationSec"].map((option) => `methods./*.rateLimit.${limit}.${option}`),
    ),
  ];
  const optional = [...server.leaves, ...server.objects].filter(
    (path) => path !== "" && !/^tls\b|=false$/.test(path) && !required.includes(path),
  );
  it.each(optional)("%s that is undefined is not given", (path) => {
    // Of an object whose other options are required only this one is told of.
    const told = problemsOf(nested(path, undefined)).filter((problem) => problem.startsWith(`${path}: `));
    expect(told).toEqual([]);
  });

  it.each(required)("%s that is undefined is missing", (path) => {
    expect(problemsOf(nested(path, undefined)).join("\n")).toContain(`${path}: `);
  });

  it("a channel option that is undefined does not reach grpc-js", () => {
    const given = { "grpc.keepalive_time_ms": undefined, "grpc.keepalive_timeout_ms": 5 } as const;
    expect(serverChannelOptionsSchema.parse(given)).toStrictEqual({ "grpc.keepalive_timeout_ms": 5 });
    expect(clientChannelOptionsSchema.parse(given)).toStrictEqual({ "grpc.keepalive_timeout_ms": 5 });
  });

  it("what counts nothing is no rate limit store", () => {
    expect(problemsOf(nested("rateLimit.store", { take() {} }))).toContain(
      "rateLimit.store: expected a rate limit store: an object with consume(key, cost, limit), such as redisRateLimitStore({ client })",
    );
  });

  it.each([
    ["grpc.max_connection_age_ms", "limits.maxConnectionAgeMs"],
    ["grpc.max_connection_idle_ms", "limits.maxConnectionIdleMs"],
    ["grpc.max_concurrent_streams", "limits.maxConcurrentStreams"],
    ["grpc.max_receive_message_length", "limits.maxReceiveMessageBytes"],
    ["grpc.max_send_message_length", "limits.maxSendMessageBytes"],
    ["grpc-node.tls_enable_trace", "standard error"],
    ["interceptors", "chain"],
  ])("channelOptions.%s is refused, with what to use instead", (name, instead) => {
    const told = problemsOf({ channelOptions: { [name]: 1 } });
    expect(told).toEqual([expect.stringContaining(`channelOptions.${name}: not accepted: `)]);
    expect(told[0]).toContain(instead);
  });

  it.each(["grpc.max_conection_age_ms", "grpc.keepalive_permit_without_calls", "grpc.service_config"])(
    "channelOptions.%s, which no server reads, is unknown",
    (name) => {
      expect(problemsOf({ channelOptions: { [name]: 1 } })).toEqual([
        `channelOptions.${name}: unknown option`,
      ]);
    },
  );

  it.each(["tls", "authentication", "authorization"])("%s is required", (path) => {
    expect(problemsOf({ [path]: undefined }).join("\n")).toContain(path);
  });

  it.each(["clientCa", "clientAuth", "minVersion", "ciphers"])(
    "T2 tls.%s that is undefined by mistake is refused, not passed over",
    (name) => {
      expect(problemsOf({ tls: { ...tlsOptions(), [name]: undefined } }).join("\n")).toContain(
        `tls.${name}: `,
      );
    },
  );

  it("tells every mistake at once", () => {
    const told = problemsOf({
      tls: { cert: 1, key: "", clientAuth: "maybe", revoked: true },
      authentication: {},
      authorization: "everybody",
      rateLimit: { perPeer: { points: 0, durationSec: -1 }, perHour: 5 },
      deadline: { maxUnaryMs: 2 ** 31 },
      limits: { maxMetadataBytes: 1.5 },
      metrics: "yes",
      audit: { sinks: [] },
      surprise: 1,
    });
    expect([...new Set(told.map((problem) => problem.split(": ")[0]))].sort()).toEqual([
      "audit.sinks",
      "authentication",
      "authorization",
      "deadline.maxUnaryMs",
      "limits.maxMetadataBytes",
      "metrics",
      "rateLimit.perHour",
      "rateLimit.perPeer.durationSec",
      "rateLimit.perPeer.points",
      "surprise",
      "tls.cert",
      "tls.clientAuth",
      "tls.key",
      "tls.revoked",
    ]);
  });

  it.each([undefined, null, 1, "x", []])("%j instead of options is a ConfigError", (options) => {
    expect(problems(() => createSecureServer(options as unknown as SecureServerOptions))).toHaveLength(1);
  });
});

describe("the files of a server", () => {
  const names = ["cert", "key", "clientCa"] as const;

  it.each(names)("tls.%s: a missing file is a ConfigError with path and reason", (name) => {
    const path = join(directory, "nowhere.pem");
    expect(problemsOf({ tls: { ...tlsOptions(), [name]: path } })).toEqual([
      expect.stringMatching(new RegExp(`^tls\\.${name}: cannot read .*nowhere\\.pem \\(ENOENT\\)`)),
    ]);
  });

  it.each(names)("tls.%s: what cannot be read is a ConfigError", (name) => {
    expect(problemsOf({ tls: { ...tlsOptions(), [name]: directory } })).toEqual([
      expect.stringMatching(new RegExp(`^tls\\.${name}: cannot read .* \\(EISDIR\\)`)),
    ]);
  });

  it.each(names)("tls.%s: a file that holds no PEM is a ConfigError", async (name) => {
    const path = join(directory, `${name}.txt`);
    await writeFile(path, "not a certificate at all");
    expect(problemsOf({ tls: { ...tlsOptions(), [name]: path } })).toEqual([
      expect.stringMatching(new RegExp(`^tls\\.${name}: .* contains no PEM text`)),
    ]);
  });

  it("T1 all of several wrong files are told at once", async () => {
    const noPem = join(directory, "several.txt");
    await writeFile(noPem, "not a key at all");
    const nowhere = join(directory, "nowhere.pem");
    expect(problemsOf({ tls: { cert: nowhere, key: noPem, clientCa: directory } })).toEqual([
      expect.stringMatching(/^tls\.cert: cannot read .*nowhere\.pem \(ENOENT\)/),
      expect.stringMatching(/^tls\.key: .*several\.txt contains no PEM text/),
      expect.stringMatching(/^tls\.clientCa: cannot read .* \(EISDIR\)/),
    ]);
  });

  it("tls.key: a key in the wrong place is never shown", () => {
    const told = problemsOf({
      tls: { ...tlsOptions(), key: world.server.key, cert: Buffer.from(world.server.key) },
    });
    expect(told).toEqual([expect.stringMatching(/^tls\.key: this is PEM text, not a path/)]);
    const body = world.server.key.split("\n")[1] ?? "";
    expect(body.length).toBeGreaterThan(20);
    expect(told.join()).not.toContain(body);
  });

  it("an audit sink that is none is named by its place", () => {
    expect(problemsOf({ audit: { sinks: [{ write() {} }, { path: "audit.jsonl" }] } })).toEqual([
      expect.stringContaining("audit.sinks.1: must be an audit sink"),
    ]);
  });
});

describe("the options of authenticators", () => {
  const good = { issuer: "https://id.example", audience: "orders", jwksUri: "https://id.example/jwks" };

  it.each(["discovery"])("jwt.%s, which is not built, is unknown", (name) => {
    expect(problems(() => jwt({ ...good, [name]: true } as Parameters<typeof jwt>[0]))).toEqual([
      `jwt.${name}: unknown option`,
    ]);
    expect(problems(() => jwt(good))).toEqual([]);
  });

  it.each<readonly [string, () => unknown, string]>([
    ["jwt", () => jwt({ ...good, jwksUrl: "https://id.example" } as Parameters<typeof jwt>[0]), "jwksUri"],
    ["apiKey", () => apiKey({ stroe: 1 } as unknown as Parameters<typeof apiKey>[0]), "store"],
    ["rbac", () => rbac({ rules: {}, role: {} } as unknown as Parameters<typeof rbac>[0]), "roles"],
    [
      "rbac with a rule",
      () => rbac({ rules: { "/*": { permission: ["a:b"] } } } as unknown as Parameters<typeof rbac>[0]),
      "permissions",
    ],
    [
      "createSecureClient",
      () => createSecureClient(AnyClient, "localhost:1", { deadlineMS: 1 } as SecureClientOptions),
      "deadlineMs",
    ],
    [
      "createSecureClient with tls",
      () => createSecureClient(AnyClient, "localhost:1", { tls: { servername: "x" } } as SecureClientOptions),
      "serverName",
    ],
  ])("%s: a misspelt option is a ConfigError with the nearest name", (_name, make, meant) => {
    expect(problems(make).join("\n")).toContain(`: unknown option; did you mean "${meant}"?`);
  });
});

// --- the client ----------------------------------------------------------------------------------------------------

class AnyClient extends Client {}

function clientProblems(options: object): readonly string[] {
  return problems(() => createSecureClient(AnyClient, "localhost:1", options as SecureClientOptions).close());
}

const clientTls = walk(clientTlsSchema, "tls");
const clientChannel = walk(clientChannelOptionsSchema, "channelOptions");

/** What the client's channel options come to, one value each that grpc-js accepts. */
const clientChannelValues: Readonly<Record<string, unknown>> = {
  "grpc.primary_user_agent": "orders/1",
  "grpc.secondary_user_agent": "orders/1",
  "grpc.keepalive_time_ms": 60_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.service_config": "{}",
  "grpc.service_config_disable_resolution": 1,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.max_send_message_length": 1000,
  "grpc.max_receive_message_length": 1000,
  "grpc.enable_http_proxy": 0,
  "grpc.default_compression_algorithm": 2,
  "grpc.enable_channelz": 1,
  "grpc.dns_min_time_between_resolutions_ms": 1000,
  "grpc.enable_retries": 0,
  "grpc.per_rpc_retry_buffer_size": 1000,
  "grpc.retry_buffer_size": 1000,
  "grpc.client_idle_timeout_ms": 60_000,
  "grpc.lb.ring_hash.ring_size_cap": 100,
  "grpc-node.max_session_memory": 10,
  "grpc-node.retry_max_attempts_limit": 3,
  "grpc-node.flow_control_window": 100_000,
  interceptors: [],
  interceptor_providers: [],
  callInvocationTransformer: (properties: unknown) => properties,
};

describe("the options of a client", () => {
  it("channelOptions: all are in the table above, and the table has no others", () => {
    expect(
      Object.keys(clientChannelValues)
        .map((name) => `channelOptions.${name}`)
        .sort(),
    ).toEqual([...clientChannel.leaves].sort());
  });

  it.each(Object.entries(clientChannelValues))("channelOptions.%s reaches grpc-js", (name, value) => {
    let seen: ClientOptions | undefined;
    class Recording extends Client {
      constructor(...args: ConstructorParameters<typeof Client>) {
        super(...args);
        seen = args[2];
      }
    }
    createSecureClient(Recording, "localhost:1", { channelOptions: { [name]: value } }).close();
    if (name === "callInvocationTransformer") expect(seen?.callInvocationTransformer).toBeTypeOf("function");
    else expect(seen?.[name]).toEqual(value);
  });

  it.each([
    "tls",
    "credentials",
    "deadlineMs",
    "tracing",
    "metrics",
    "logger",
    "channelOptions",
    ...clientChannel.leaves,
  ])("%s that is undefined is not given", (path) => {
    expect(clientProblems(nested(path, undefined))).toEqual([]);
  });

  it("tls: the options are these", () => {
    // Each has its effect in test/tls/client-credentials.test.ts and test/client/secure-client.test.ts.
    expect([...clientTls.leaves].sort()).toEqual([
      "tls.ca",
      "tls.cert",
      "tls.ciphers",
      "tls.key",
      "tls.minVersion",
      "tls.plaintext",
      "tls.reload",
      "tls.serverName",
    ]);
  });

  it.each([...clientTls.leaves, "credentials", "deadlineMs", "tracing", "metrics", "logger"])(
    "%s with a wrong value is a ConfigError that names it",
    (path) => {
      expect(clientProblems(nested(path, -1.5)).join("\n")).toContain(`${path}: `);
    },
  );

  it.each(clientChannel.leaves)("%s with a wrong value is a ConfigError that names it", (path) => {
    const name = path.replace("channelOptions.", "");
    expect(clientProblems({ channelOptions: { [name]: -1.5 } }).join("\n")).toContain(`${path}: `);
  });

  it.each([
    "surprise",
    "tls.surprise",
    "channelOptions.surprise",
    "tls.rejectUnauthorized",
    "tls.checkServerIdentity",
    "channelOptions.grpc.max_conection_age_ms",
  ])("%s is unknown", (path) => {
    expect(clientProblems(nested(path, true))).toContain(`${path}: unknown option`);
  });

  it.each(["Mesh", "yes", true])("tls.plaintext %j is neither of its words", (value) => {
    expect(clientProblems({ tls: { plaintext: value } }).join()).toContain("tls.plaintext: ");
  });

  it("tls.reload where there is no file is a ConfigError", () => {
    const tls = { ca: Buffer.from(world.ca.caPem), reload: true };
    expect(clientProblems({ tls })).toEqual([expect.stringMatching(/^tls\.reload: there is no file/)]);
  });

  it("T3 a file that is missing is a ConfigError with its path", () => {
    expect(clientProblems({ tls: { ca: join(directory, "nowhere.pem") } })).toEqual([
      expect.stringMatching(/^tls\.ca: cannot read .*nowhere\.pem \(ENOENT\)/),
    ]);
  });

  it("T3 all of several wrong files are told at once", () => {
    const nowhere = join(directory, "nowhere.pem");
    expect(clientProblems({ tls: { ca: nowhere, cert: nowhere, key: nowhere } })).toEqual([
      expect.stringMatching(/^tls\.ca: cannot read /),
      expect.stringMatching(/^tls\.cert: cannot read /),
      expect.stringMatching(/^tls\.key: cannot read /),
    ]);
  });

  it("is made where its options are good", () => {
    expect(clientProblems({ tls: { ca: Buffer.from(world.ca.caPem) } })).toEqual([]);
    expect(clientProblems({})).toEqual([]);
  });
});
