// Statuses that the transport sends by itself, and calls that end without one: log and audit have the real outcome, and whether
// it was delivered (C10).
import { Buffer } from "node:buffer";
import { deflateSync, gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { MethodKind } from "../../src/grpc/method.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { type InvokeOptions, invoke, kinds, paths, type Result } from "../harness/kinds.ts";
import { grpcFrame, RawConnection } from "../harness/raw-http2.ts";
import { eventually, type LogLine, type Secured, type SecuredOptions, secured } from "../harness/secured.ts";

type Handlers = NonNullable<SecuredOptions["handlers"]>;

/** The same answer from all four kinds, as soon as the handler starts. */
function answeringWith(value: unknown): Handlers {
  const answer = (_call: unknown, callback: (error: null, value: unknown) => void): void =>
    callback(null, value);
  const stream = (call: { write(value: unknown): void; end(): void }): void => {
    call.write(value);
    call.end();
  };
  return {
    unary: answer,
    clientStream: answer,
    serverStream: stream,
    bidiStream: stream,
  } as unknown as Handlers;
}

/** Handlers that never answer, and say when they start and when they are told that it is over. */
function silent(): {
  readonly handlers: Handlers;
  readonly started: MethodKind[];
  readonly cancelled: MethodKind[];
} {
  const started: MethodKind[] = [];
  const cancelled: MethodKind[] = [];
  const wait = (kind: MethodKind) => (call: NodeJS.EventEmitter) => {
    started.push(kind);
    call.on("cancelled", () => cancelled.push(kind));
    call.on("data", () => {});
  };
  const handlers = {
    unary: (call: NodeJS.EventEmitter, _callback: unknown) => wait("unary")(call),
    clientStream: (call: NodeJS.EventEmitter, _callback: unknown) => wait("client_stream")(call),
    serverStream: wait("server_stream"),
    bidiStream: wait("bidi_stream"),
  } as unknown as Handlers;
  return { handlers, started, cancelled };
}

/** Waits for nothing, so that the handler has started long before the deadline. */
const atOnce: Authenticator = {
  name: "test",
  source: "connection",
  presents: () => true,
  authenticate: () => ({
    principal: {
      subject: "ada",
      kind: "user",
      scheme: "test",
      roles: new Set(),
      permissions: new Set(),
      claims: {},
    },
  }),
};

interface Seen {
  readonly name: string;
  readonly endedBy: "handler" | "layer" | "caller" | "deadline" | "transport";
  readonly delivered: boolean;
  /** What the log says of the cause. */
  readonly cause?: string;
}

/** Both say the same, and each says it once. */
async function expectSeen(wall: Secured, { name, endedBy, delivered, cause }: Seen): Promise<LogLine> {
  const entry = await wall.auditEntry(() => true);
  expect(wall.audit).toHaveLength(1);
  expect(entry).toMatchObject({ status: name, endedBy, caller: { subject: "ada" } });
  expect(entry.delivered).toBe(delivered ? undefined : false);
  const lines = wall.lines.filter((line) => line["grpc_code"] !== undefined);
  expect(lines).toEqual([expect.objectContaining({ grpc_code: name, principal: "ada" })]);
  const [line] = lines;
  if (line === undefined) throw new Error("there is one");
  expect(line["ended_by"]).toBe(endedBy === "handler" ? undefined : endedBy);
  expect(line["delivered"]).toBe(delivered ? undefined : false);
  if (cause !== undefined) expect(JSON.stringify(line["err"])).toContain(cause);
  return line;
}

describe.each(kinds)("a %s call", (kind) => {
  const call = async (wall: Secured, options: InvokeOptions = {}): Promise<Result> =>
    invoke(wall.client(), kind, { metadata: await wall.authorized(), ...options });

  it("C10 L4 whose message is too large is refused, and that is seen", async () => {
    await using wall = await secured({ limits: { maxReceiveMessageBytes: 1_000 } });
    const result = await call(wall, { messages: [{ text: "x".repeat(1_000) }] });
    expect(result).toMatchObject({ name: "RESOURCE_EXHAUSTED", details: "message too large" });
    await expectSeen(wall, {
      name: "RESOURCE_EXHAUSTED",
      endedBy: "transport",
      delivered: true,
      cause: "larger than the limit",
    });
  });

  it("C10 L4 whose answer is too large ends, and that is seen", async () => {
    await using wall = await secured({
      limits: { maxSendMessageBytes: 1_000 },
      handlers: answeringWith({ text: "x".repeat(1_000) }),
    });
    const result = await call(wall);
    expect(result).toMatchObject({ name: "RESOURCE_EXHAUSTED", details: "message too large", messages: [] });
    await expectSeen(wall, {
      name: "RESOURCE_EXHAUSTED",
      endedBy: "handler",
      delivered: true,
      cause: "larger than the limit",
    });
  });

  it("C10 whose answer cannot be encoded ends INTERNAL, with the reason in the log", async () => {
    await using wall = await secured({ handlers: answeringWith({ text: 10n }) });
    const result = await call(wall);
    expect(result.name).toBe("INTERNAL");
    expect(result.details).toMatch(/^internal error \(id [0-9a-f-]{36}\)$/);
    const line = await expectSeen(wall, {
      name: "INTERNAL",
      endedBy: "handler",
      delivered: true,
      cause: "serialize a BigInt",
    });
    expect(result.details).toContain(String(line["error_id"]));
  });

  const compressed = (frame: Buffer, encoding: string) => async (wall: Secured) => {
    await using raw = await RawConnection.open(wall);
    return await raw.call(paths[kind], {
      headers: { ...(await wall.authorized()), "grpc-encoding": encoding },
      body: frame,
    }).answer;
  };

  it("C10 reads what was compressed", async () => {
    await using wall = await secured();
    const answer = await compressed(grpcFrame(gzipSync('{"text":"small"}'), 1), "gzip")(wall);
    expect(answer.name).toBe("OK");
    expect(answer.body.toString()).toContain("small");
  });

  const bombs: readonly (readonly [string, Buffer, string])[] = [
    ["gzip", gzipSync(Buffer.alloc(16 << 20)), "gzip"],
    ["deflate", deflateSync(Buffer.alloc(16 << 20)), "deflate"],
  ];
  it.each(bombs)("C10 L4 with a bomb of %s is refused, and that is seen", async (_name, bomb, encoding) => {
    await using wall = await secured();
    expect(bomb.length).toBeLessThan(100_000);
    const answer = await compressed(grpcFrame(bomb, 1), encoding)(wall);
    expect(answer).toMatchObject({ name: "RESOURCE_EXHAUSTED", details: "message too large" });
    await expectSeen(wall, {
      name: "RESOURCE_EXHAUSTED",
      endedBy: "transport",
      delivered: true,
      cause: "decompresses to is larger",
    });
  });

  it("C10 that says it is compressed and is not ends INTERNAL", async () => {
    await using wall = await secured();
    const answer = await compressed(grpcFrame("this is not gzip", 1), "gzip")(wall);
    expect(answer).toMatchObject({ name: "INTERNAL", details: "malformed request message" });
    await expectSeen(wall, {
      name: "INTERNAL",
      endedBy: "transport",
      delivered: true,
      cause: "header check",
    });
  });

  it("C10 with a compression that nobody knows is UNIMPLEMENTED, and its name is not sent back", async () => {
    await using wall = await secured();
    const answer = await compressed(grpcFrame("x", 1), "gzip-or-so")(wall);
    expect(answer).toMatchObject({ name: "UNIMPLEMENTED", details: "unsupported compression" });
    await expectSeen(wall, {
      name: "UNIMPLEMENTED",
      endedBy: "transport",
      delivered: true,
    });
  });

  it("C10 whose message cannot be decoded ends INTERNAL, with the reason in the log, and raises no alarm", async () => {
    await using wall = await secured();
    await using raw = await RawConnection.open(wall);
    const answer = await raw.call(paths[kind], {
      headers: await wall.authorized(),
      body: grpcFrame("this is not JSON"),
    }).answer;
    expect(answer).toMatchObject({ name: "INTERNAL", details: "malformed request message" });
    const line = await expectSeen(wall, {
      name: "INTERNAL",
      endedBy: "transport",
      delivered: true,
      cause: "is not valid JSON",
    });
    expect(line.level).toBe(30);
    expect(line["error_id"]).toBeUndefined();
  });

  it("C10 L6 that runs out of time has DEADLINE_EXCEEDED, delivered", async () => {
    const { handlers, started, cancelled } = silent();
    await using wall = await secured({
      handlers,
      authentication: atOnce,
      authorization: allowAuthenticated(),
    });
    await using raw = await RawConnection.open(wall);
    const answer = await raw.call(paths[kind], { headers: { "grpc-timeout": "300m" } }).answer;
    expect(answer).toMatchObject({ name: "DEADLINE_EXCEEDED", details: "deadline exceeded" });
    expect(started).toEqual([kind]);
    await expectSeen(wall, { name: "DEADLINE_EXCEEDED", endedBy: "deadline", delivered: true });
    await eventually(() => cancelled.length === 1, "the handler's cancellation");
  });

  it("C10 whose caller cancelled was CANCELLED by its caller, and nothing was delivered", async () => {
    const { handlers, started, cancelled } = silent();
    await using wall = await secured({ handlers });
    const result = call(wall, {
      onCall: (clientCall) => {
        const waiting = eventually(() => started.length === 1, "the handler");
        void waiting.then(() => clientCall.cancel());
      },
    });
    expect((await result).name).toBe("CANCELLED");
    await expectSeen(wall, { name: "CANCELLED", endedBy: "caller", delivered: false });
    await eventually(() => cancelled.length === 1, "the handler's cancellation");
  });

  it("C10 whose connection was lost was CANCELLED by the transport", async () => {
    const { handlers, started, cancelled } = silent();
    await using wall = await secured({ handlers });
    await using raw = await RawConnection.open(wall);
    raw.call(paths[kind], { headers: await wall.authorized() });
    await eventually(() => started.length === 1, "the handler");
    raw.cut();
    await expectSeen(wall, { name: "CANCELLED", endedBy: "transport", delivered: false });
    await eventually(() => cancelled.length === 1, "the handler's cancellation");
  });

  it("C10 that succeeded is told as delivered, by the handler", async () => {
    await using wall = await secured();
    expect((await call(wall)).name).toBe("OK");
    await expectSeen(wall, { name: "OK", endedBy: "handler", delivered: true });
  });
});
