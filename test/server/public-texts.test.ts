// The table "What a caller is told", row by row: a server that refuses in that way, and everything that leaves it.
import { Buffer } from "node:buffer";
import { Metadata, status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import type { MethodKind } from "../../src/grpc/method.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { type InvokeOptions, invoke, kinds, type Note, paths, type Result } from "../harness/kinds.ts";
import { type Secured, type SecuredOptions, secured } from "../harness/secured.ts";
import { openWire } from "../harness/wire.ts";

/** Stands in causes, claims, rules and payloads: whoever reads it in an answer was told too much. */
const secret = "hunter2-db-7.internal";

interface Row {
  readonly refusedBecause: string;
  readonly options?: SecuredOptions;
  /** What the server told; the refused call is the last one. */
  call(wall: Secured, kind: MethodKind): Promise<Result>;
  readonly code: keyof typeof status;
  readonly text: string | RegExp;
  /** Trailers beside those that every answer has. */
  readonly trailers?: readonly string[];
  /** The status comes after the call was open, so that something may have been sent before it. */
  readonly afterOpening?: boolean;
}

async function authorizedCall(wall: Secured, kind: MethodKind, options: InvokeOptions = {}): Promise<Result> {
  return invoke(wall.client(), kind, { metadata: await wall.authorized(), ...options });
}

function failing(fail: (call: unknown, callback?: (error: unknown) => void) => unknown): SecuredOptions {
  return {
    handlers: {
      unary: fail,
      clientStream: fail,
      serverStream: fail,
      bidiStream: fail,
    } as unknown as UntypedServiceImplementation,
  };
}

function authenticatorThat(authenticate: Authenticator["authenticate"]): Authenticator {
  return { name: "own", source: "metadata", headers: ["authorization"], presents: () => true, authenticate };
}

const huge: Note = { text: "x".repeat(2000) };

const rows: readonly Row[] = [
  {
    refusedBecause: "no credential",
    call: (wall, kind) => invoke(wall.client(), kind),
    code: "UNAUTHENTICATED",
    text: "missing credentials",
  },
  {
    refusedBecause: "a credential that is no token",
    call: (wall, kind) => invoke(wall.client(), kind, { metadata: { authorization: "Bearer nonsense" } }),
    code: "UNAUTHENTICATED",
    text: "invalid credentials",
  },
  {
    refusedBecause: "a credential for somebody else",
    call: async (wall, kind) =>
      authorizedCall(wall, kind, { metadata: await wall.authorized({ aud: secret }) }),
    code: "UNAUTHENTICATED",
    text: "invalid credentials",
  },
  {
    refusedBecause: "an expired credential",
    call: async (wall, kind) =>
      authorizedCall(wall, kind, {
        metadata: await wall.authorized({ exp: Math.floor(Date.now() / 1000) - 60 }),
      }),
    code: "UNAUTHENTICATED",
    text: "expired credentials",
  },
  {
    refusedBecause: "not allowed",
    call: async (wall, kind) =>
      authorizedCall(wall, kind, { metadata: await wall.authorized({ roles: ["other"] }) }),
    code: "PERMISSION_DENIED",
    text: "permission denied",
  },
  {
    refusedBecause: "unknown method, authenticated",
    call: (wall, kind) => authorizedCall(wall, kind, { path: "/test.v1.Kinds/Nothing" }),
    code: "UNIMPLEMENTED",
    text: "unknown method",
  },
  {
    refusedBecause: "unknown service, authenticated",
    call: (wall, kind) => authorizedCall(wall, kind, { path: `/${secret}/Nothing` }),
    code: "UNIMPLEMENTED",
    text: "unknown method",
  },
  {
    refusedBecause: "unknown method, not authenticated",
    call: (wall, kind) => invoke(wall.client(), kind, { path: "/test.v1.Kinds/Nothing" }),
    code: "UNAUTHENTICATED",
    text: "missing credentials",
  },
  {
    refusedBecause: "over the limit of the peer",
    options: { rateLimit: { perPeer: { points: 1, durationSec: 60 } } },
    call: async (wall, kind) => {
      await authorizedCall(wall, kind);
      return authorizedCall(wall, kind);
    },
    code: "RESOURCE_EXHAUSTED",
    text: "rate limit exceeded",
    trailers: ["grpc-retry-pushback-ms", "grpc-status-details-bin", "retry-after"],
  },
  {
    refusedBecause: "over the limit of the principal",
    options: { rateLimit: { perPrincipal: { points: 1, durationSec: 60 } } },
    call: async (wall, kind) => {
      await authorizedCall(wall, kind);
      return authorizedCall(wall, kind);
    },
    code: "RESOURCE_EXHAUSTED",
    text: "rate limit exceeded",
    trailers: ["grpc-retry-pushback-ms", "grpc-status-details-bin", "retry-after"],
  },
  {
    refusedBecause: "too many calls in flight",
    options: { rateLimit: { inFlightPerPrincipal: 1 } },
    call: async (wall, kind) => {
      const client = wall.client();
      const metadata = await wall.authorized();
      const first = await new Promise<{ cancel(): void }>((resolve) => {
        invoke(client, "bidi_stream", {
          metadata,
          keepOpen: true,
          onMessage: (_note, call) => resolve(call),
        });
      });
      const refused = await invoke(client, kind, { metadata });
      first.cancel();
      return refused;
    },
    code: "RESOURCE_EXHAUSTED",
    text: "too many calls in flight",
  },
  {
    refusedBecause: "too much metadata",
    call: async (wall, kind) =>
      authorizedCall(wall, kind, {
        metadata: { ...(await wall.authorized()), "x-filler": "x".repeat(9 * 1024) },
      }),
    code: "RESOURCE_EXHAUSTED",
    text: "metadata too large",
  },
  {
    refusedBecause: "a message too large, from the caller",
    options: { limits: { maxReceiveMessageBytes: 1000 } },
    call: (wall, kind) => authorizedCall(wall, kind, { messages: [huge] }),
    code: "RESOURCE_EXHAUSTED",
    text: "message too large",
    afterOpening: true,
  },
  {
    refusedBecause: "a message too large, from the handler",
    options: { limits: { maxSendMessageBytes: 1000 } },
    call: (wall, kind) => authorizedCall(wall, kind, { messages: [huge] }),
    code: "RESOURCE_EXHAUSTED",
    text: "message too large",
    afterOpening: true,
  },
  {
    refusedBecause: "a message that is not valid",
    options: {
      validation: Object.fromEntries(
        Object.values(paths).map((path) => [path, z.object({ text: z.string().max(5) })]),
      ),
    },
    call: (wall, kind) => authorizedCall(wall, kind, { messages: [huge] }),
    code: "INVALID_ARGUMENT",
    text: "invalid request",
    trailers: ["grpc-status-details-bin"],
    afterOpening: true,
  },
  {
    refusedBecause: "no deadline where required",
    options: { deadline: { required: true } },
    call: (wall, kind) => authorizedCall(wall, kind, { call: { deadline: Number.POSITIVE_INFINITY } }),
    code: "INVALID_ARGUMENT",
    text: "deadline required",
  },
  {
    refusedBecause: "time is up",
    options: {
      ...failing(() => {}),
      deadline: { maxUnaryMs: 50, maxStreamMs: 50 },
    },
    call: (wall, kind) => authorizedCall(wall, kind),
    code: "DEADLINE_EXCEEDED",
    text: "deadline exceeded",
    afterOpening: true,
  },
  {
    refusedBecause: "a dependency is away",
    options: {
      authentication: authenticatorThat(() => {
        throw new Error(`cannot reach ${secret}`);
      }),
    },
    call: (wall, kind) => authorizedCall(wall, kind),
    code: "UNAVAILABLE",
    text: "temporarily unavailable",
  },
  {
    refusedBecause: "a dependency is away, said by a promise",
    options: { authentication: authenticatorThat(() => Promise.reject(new Error(`cannot reach ${secret}`))) },
    call: (wall, kind) => authorizedCall(wall, kind),
    code: "UNAVAILABLE",
    text: "temporarily unavailable",
  },
  {
    refusedBecause: "the policy failed",
    options: {
      authorization: {
        name: "own",
        compile: () => ({
          forMethod: () => ({
            access: "checked",
            decide() {
              throw new Error(`cannot reach ${secret}`);
            },
          }),
        }),
      },
    },
    call: (wall, kind) => authorizedCall(wall, kind),
    code: "UNAVAILABLE",
    text: "temporarily unavailable",
  },
  {
    refusedBecause: "a denial with a reason",
    options: {
      authorization: {
        name: "own",
        compile: () => ({
          forMethod: () => ({
            access: "checked",
            decide: () => ({ effect: "deny", rule: secret, reason: secret }),
          }),
        }),
      },
    },
    call: (wall, kind) => authorizedCall(wall, kind),
    code: "PERMISSION_DENIED",
    text: "permission denied",
  },
  {
    refusedBecause: "a check timed out",
    options: {
      authentication: authenticatorThat(() => new Promise(() => {})),
      deadline: { checkTimeoutMs: 50 },
    },
    call: (wall, kind) => authorizedCall(wall, kind),
    code: "UNAVAILABLE",
    text: "temporarily unavailable",
  },
  {
    refusedBecause: "anything unexpected",
    options: failing(() => {
      throw new Error(`cannot reach ${secret}`);
    }),
    call: (wall, kind) => authorizedCall(wall, kind),
    code: "INTERNAL",
    text: /^internal error \(id [0-9a-f-]{36}\)$/,
    afterOpening: true,
  },
  {
    refusedBecause: "an unexpected rejection",
    options: failing(async () => {
      throw Object.assign(new Error(`cannot reach ${secret}`), { code: "ECONNREFUSED" });
    }),
    call: (wall, kind) => authorizedCall(wall, kind),
    code: "INTERNAL",
    text: /^internal error \(id [0-9a-f-]{36}\)$/,
    afterOpening: true,
  },
];

/** In every gRPC answer. */
const ordinary = new Set(["content-type", "date", "grpc-accept-encoding", "grpc-encoding"]);

function keysBesideOrdinary(metadata: Metadata | undefined): string[] {
  return Object.keys((metadata ?? new Metadata()).toJSON())
    .filter((key) => !ordinary.has(key))
    .sort();
}

describe.each(kinds)("what the caller of a %s method is told", (kind) => {
  it.each(rows)("A11 C5 $refusedBecause: $code $text, and nothing else", async (row) => {
    await using wall = await secured(row.options ?? {});
    const told = await row.call(wall, kind);
    expect(told.name).toBe(row.code);
    if (typeof row.text === "string") expect(told.details).toBe(row.text);
    else expect(told.details).toMatch(row.text);
    expect(keysBesideOrdinary(told.trailers)).toEqual(row.trailers ?? []);
    expect(keysBesideOrdinary(told.headers)).toEqual([]);
    expect(told.messages).toEqual([]);
    if (row.afterOpening !== true) expect(told.headers).toBeUndefined();
    expect(JSON.stringify([told.details, told.headers?.toJSON(), told.trailers.toJSON()])).not.toContain(
      secret,
    );
  });

  it("C5 the error id that the caller is told is the one in the log, beside the cause", async () => {
    await using wall = await secured(
      failing(() => {
        throw new Error("the cause");
      }),
    );
    const told = await authorizedCall(wall, kind);
    const id = /^internal error \(id (.+)\)$/.exec(told.details)?.[1];
    const line = await wall.callLine(({ grpc_code }) => grpc_code === "INTERNAL");
    expect(line).toMatchObject({ error_id: id, call_id: id, err: { message: "the cause" } });
  });

  it.each([["5 s"], ["123456789S"], ["-1S"], ["1x"], ["x"]])(
    "L6 a grpc-timeout of %j: INVALID_ARGUMENT `malformed grpc-timeout`, without the value",
    async (timeout) => {
      await using wall = await secured();
      await using wire = await openWire(wall);
      const told = await wire.call({
        path: paths[kind],
        headers: { "grpc-timeout": timeout, ...(await wall.authorized()) },
      }).ended;
      expect(told).toMatchObject({ code: status.INVALID_ARGUMENT, message: "malformed grpc-timeout" });
      expect(wall.started).toEqual([]);
    },
  );

  it("C10 a compression that is not known: UNIMPLEMENTED `unsupported compression`, without its name", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall);
    const told = await wire.call({
      path: paths[kind],
      headers: { "grpc-encoding": secret, ...(await wall.authorized()) },
      messages: [Buffer.from('{"text":"hello"}')],
      compressed: true,
    }).ended;
    expect([told.code, told.message]).toEqual([status.UNIMPLEMENTED, "unsupported compression"]);
    expect(JSON.stringify([told.headers, told.trailers])).not.toContain(secret);
  });

  it("N4 a message that cannot be decoded: `malformed request message`, and nothing of it", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall);
    const told = await wire.call({
      path: paths[kind],
      headers: await wall.authorized(),
      messages: [Buffer.from(`{"${secret}`)],
    }).ended;
    expect([told.code, told.message]).toEqual([status.INTERNAL, "malformed request message"]);
    expect(JSON.stringify([told.headers, told.trailers])).not.toContain(secret);
  });
});

const single: readonly MethodKind[] = ["unary", "server_stream"];

describe.each(single)("what the caller of a %s method is told who sends", (kind) => {
  it.each([0, 2, 3])(
    "C10 A11 %d messages: UNIMPLEMENTED `one request message expected`, and no handler starts",
    async (count) => {
      await using wall = await secured();
      await using wire = await openWire(wall);
      const told = await wire.call({
        path: paths[kind],
        headers: await wall.authorized(),
        messages: Array<Buffer>(count).fill(Buffer.from('{"text":"hello"}')),
      }).ended;
      expect([told.code, told.message]).toEqual([status.UNIMPLEMENTED, "one request message expected"]);
      expect(wall.started).toEqual([]);
      // Not the handler's doing: it never ran.
      const line = await wall.callLine(({ grpc_code }) => grpc_code === "UNIMPLEMENTED");
      expect(line).toMatchObject({ ended_by: "transport" });
      expect(JSON.stringify(line["err"])).toContain(count === 0 ? "no request message" : "more than one");
      expect(await wall.auditEntry(() => true)).toMatchObject({ endedBy: "transport" });
    },
  );
});

describe("what is no gRPC call", () => {
  it("C8 another content type is answered 415, and counted and logged by peer", async () => {
    await using wall = await secured();
    await using wire = await openWire(wall);
    const told = await wire.call({ path: paths.unary, headers: { "content-type": "text/html" } }).ended;
    expect(told.headers?.[":status"]).toBe(415);
    const line = wall.lines.find(({ reason }) => reason === "content_type");
    expect(line).toMatchObject({ peer: "127.0.0.1" });
  });
});
