// What compressed messages cost: four kilobytes inflate to four megabytes.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { deflateSync, gzipSync } from "node:zlib";
import type { ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { MethodKind } from "../../src/call/method.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { kinds, kindsDefinition, paths } from "../harness/kinds.ts";
import { watchLiveBytes } from "../harness/live-bytes.ts";
import { grpcFrame, type RawCall, RawConnection } from "../harness/raw-http2.ts";
import { eventually, type Secured, type SecuredOptions, secured } from "../harness/secured.ts";

const mebibyte = 1024 * 1024;
const packers = { gzip: gzipSync, deflate: deflateSync } as const;
type Encoding = keyof typeof packers;

/** A little less than the limit. */
const zeros = Buffer.alloc(4 * mebibyte - 16);
const bombs: Readonly<Record<Encoding, Buffer>> = {
  gzip: grpcFrame(gzipSync(zeros), 1),
  deflate: grpcFrame(deflateSync(zeros), 1),
};

/** 64 MiB, the message that is put together of its pieces, and what the connections themselves hold. */
const bound = 96 * mebibyte;

/** Its messages are the bytes that came: what they hold is seen outside the heap. */
const bytesDefinition: ServiceDefinition = Object.fromEntries(
  Object.entries(kindsDefinition).map(([name, method]) => [
    name,
    { ...method, requestDeserialize: (bytes: Buffer) => bytes, responseSerialize: (bytes: Buffer) => bytes },
  ]),
);

type Answer = (error: null, bytes: Buffer) => void;
type Stream = Readable & { end(): void };

const lengthOf = (bytes: number): Buffer => Buffer.from(String(bytes));

const answering = {
  unary: (call: { request: Buffer }, answer: Answer) => answer(null, lengthOf(call.request.length)),
  clientStream(call: Stream, answer: Answer) {
    let bytes = 0;
    call.on("data", (message: Buffer) => {
      bytes += message.length;
    });
    call.on("end", () => answer(null, lengthOf(bytes)));
  },
  serverStream(call: { request: Buffer; write(bytes: Buffer): void; end(): void }) {
    call.write(lengthOf(call.request.length));
    call.end();
  },
  bidiStream(call: Stream & { write(bytes: Buffer): void }) {
    call.on("data", (message: Buffer) => call.write(lengthOf(message.length)));
    call.on("end", () => call.end());
  },
} as unknown as UntypedServiceImplementation;

function bytesServer(options: SecuredOptions = {}, handlers = answering): Promise<Secured> {
  // `secured` registers the kinds themselves; the same paths cannot be registered twice.
  const definition = Object.fromEntries(
    Object.entries(bytesDefinition).map(([name, method]) => [
      name,
      { ...method, path: method.path.replace("Kinds", "Bytes") },
    ]),
  );
  return secured({
    authentication: anonymous(),
    authorization: rbac({
      roles: {},
      rules: Object.fromEntries(
        kinds.flatMap((kind) => [
          [paths[kind], "public"],
          [pathOf(kind), "public"],
        ]),
      ),
    }),
    rateLimit: { perPeer: false, perPrincipal: false, inFlightPerPrincipal: false },
    register: (server) => server.addService(definition, handlers),
    ...options,
  });
}

function pathOf(kind: MethodKind): string {
  return paths[kind].replace("Kinds", "Bytes");
}

interface Attack {
  readonly kind: MethodKind;
  readonly encoding?: Encoding;
  readonly connections: number;
  readonly callsOnEach: number;
  readonly body?: Buffer;
  readonly keepOpen?: boolean;
}

async function attack(
  wall: Secured,
  { kind, encoding = "gzip", connections, callsOnEach, body, keepOpen = false }: Attack,
): Promise<{ readonly calls: readonly RawCall[]; cut(): void }> {
  const opened = await Promise.all(Array.from({ length: connections }, () => RawConnection.open(wall)));
  const calls = opened.flatMap((connection) =>
    Array.from({ length: callsOnEach }, () =>
      connection.call(pathOf(kind), {
        headers: { "grpc-encoding": encoding },
        body: body ?? bombs[encoding],
        keepOpen,
      }),
    ),
  );
  return { calls, cut: () => opened.forEach((connection) => connection.cut()) };
}

/** An honest caller who compresses, on a connection of its own. */
async function honest(wall: Secured, kind: MethodKind = "unary"): Promise<string> {
  await using connection = await RawConnection.open(wall);
  const body = grpcFrame(gzipSync(Buffer.alloc(100_000, "honest ")), 1);
  const seen = await connection.call(pathOf(kind), { headers: { "grpc-encoding": "gzip" }, body }).answer;
  return `${seen.name} ${seen.body.subarray(5).toString()}`;
}

describe.each<Encoding>(["gzip", "deflate"])("calls of 3.9 kB that inflate to 4 MiB by %s", (encoding) => {
  it.each(
    kinds.flatMap((kind) => [
      [kind, 1, 100] as const,
      [kind, 10, 10] as const,
    ]),
  )(
    "L4 hold no more than 64 MiB: %s, on %i connections %i calls each",
    async (kind, connections, callsOnEach) => {
      await using wall = await bytesServer();
      using live = watchLiveBytes();
      const { calls, cut } = await attack(wall, { kind, encoding, connections, callsOnEach });
      const other = await honest(wall);
      const answers = await Promise.all(calls.map(({ answer }) => answer));
      expect(live.most).toBeLessThan(bound);
      expect(answers.map(({ name }) => name)).toEqual(Array(100).fill("OK"));
      expect(answers[0]?.body.subarray(5).toString()).toBe(String(zeros.length));
      expect(other).toBe("OK 100000");
      cut();
    },
    60_000,
  );
});
