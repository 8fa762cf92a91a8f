// What of a failure reaches the caller, and what stays in the log (C5): every value a handler may fail with, thrown,
// rejected and given, for all four call kinds.
import { Buffer } from "node:buffer";
import {
  Client,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import protobuf from "protobufjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSecureClient } from "../../src/client/secure-client.ts";
import { StatusError } from "../../src/grpc/errors.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { invoke, kinds, kindsDefinition, type Result } from "../harness/kinds.ts";
import { type Secured, type SecuredOptions, secured } from "../harness/secured.ts";

/** What no caller may see: the kind of thing that errors of databases and other services say. */
const secret = "relation billing_cards at 10.0.0.7 is missing";

/** `given`: to the callback, or as the stream's `error` event. */
type Way = "thrown" | "rejected" | "given";
const ways: readonly Way[] = ["thrown", "rejected", "given"];

const values: Record<string, () => unknown> = {};

interface HandlerCall {
  readonly metadata: Metadata;
  emit(event: "error", value: unknown): void;
}

function failing(call: HandlerCall, give: (value: unknown) => void): unknown {
  const value = values[String(call.metadata.get("x-value")[0])]?.();
  switch (call.metadata.get("x-way")[0] as Way) {
    case "thrown":
      throw value;
    case "rejected":
      return Promise.reject(value);
    case "given":
      give(value);
      return undefined;
  }
}

const answering = (call: HandlerCall, callback: (value: unknown) => void): unknown => failing(call, callback);
const streaming = (call: HandlerCall): unknown => failing(call, (value) => call.emit("error", value));

const handlers = {
  unary: answering,
  clientStream: answering,
  serverStream: streaming,
  bidiStream: streaming,
} as unknown as NonNullable<SecuredOptions["handlers"]>;

let wall: Secured;
let client: Client;
let authorization: string;

beforeAll(async () => {
  // So many calls in so little time are no rate that a limit should see.
  wall = await secured({ handlers, rateLimit: { perPeer: false, perPrincipal: false } });
  client = wall.client();
  // For as long as these tests take on the slowest machine.
  ({ authorization } = await wall.authorized({ exp: Math.floor(Date.now() / 1000) + 86_400 }));
});
afterAll(() => wall.close());

function fail(kind: MethodKind, value: string, way: Way): Promise<Result> {
  return invoke(client, kind, { metadata: { authorization, "x-value": value, "x-way": way } });
}

/** Everything that a caller gets to see, in one text. */
function seenBy(result: Result): string {
  const binary = result.trailers
    .get("grpc-status-details-bin")
    .map((value) => Buffer.from(value).toString("latin1"));
  return JSON.stringify([
    result.details,
    result.trailers.getMap(),
    result.headers?.getMap(),
    result.messages,
    binary,
  ]);
}

async function expectGeneric(result: Result, name: string): Promise<void> {
  const id = /^internal error \(id ([0-9a-f-]{36})\)$/.exec(result.details)?.[1];
  expect(result).toMatchObject({ name, details: `internal error (id ${id})` });
  expect(seenBy(result)).not.toContain("billing_cards");
  const line = await wall.callLine(({ error_id }) => error_id === id);
  expect(line).toMatchObject({ grpc_code: name, call_id: id, level: 50 });
}

/** As an expression of `text` that no caller may see; `logged` where the log can tell it. */
async function expectLogged(result: Result, text: string): Promise<void> {
  const id = /id ([0-9a-f-]{36})/.exec(result.details)?.[1];
  const line = await wall.callLine(({ error_id }) => error_id === id);
  expect(JSON.stringify(line["err"])).toContain(text);
}

class Teapot extends Error {
  readonly code: number;
  readonly details: string;
  constructor(code: number, details: string) {
    super(`a teapot: ${details}`);
    this.code = code;
    this.details = details;
  }
}

const withPrototype = (prototype: object | null, properties: object): object =>
  Object.assign(Object.create(prototype) as object, properties);

/** Failures that nobody meant for the caller, however they are told. */
const unmeant: Readonly<Record<string, () => unknown>> = {
  "an Error": () => new Error(secret),
  "an Error with a code alone": () => Object.assign(new Error(secret), { code: 5 }),
  "an object with code and message": () => ({ code: 5, message: secret }),
  "code 0": () => ({ code: 0, details: secret }),
  "code 17": () => ({ code: 17, details: secret }),
  "code -1": () => ({ code: -1, details: secret }),
  "code 5.5": () => ({ code: 5.5, details: secret }),
  'code "5"': () => ({ code: "5", details: secret }),
  "code NaN": () => ({ code: Number.NaN, details: secret }),
  "code ENOENT": () => Object.assign(new Error(secret), { code: "ENOENT", details: secret }),
  "details that are no text": () => ({ code: 5, details: { toString: () => secret } }),
  "a text": () => secret,
  "a number": () => 5,
  "an object without a prototype": () => withPrototype(null, { message: secret }),
  "a symbol": () => Symbol(secret),
  "a function": () => Object.assign(() => secret, { code: 5, details: secret }),
  "an AggregateError": () => new AggregateError([new Error(secret)], secret),
};

describe.each(kinds)("a %s handler", (kind) => {
  describe.each(ways)("whose failure was %s", (way) => {
    it.each(Object.entries(unmeant))("C5 keeps %s from the caller", async (name, make) => {
      values[name] = make;
      await expectGeneric(await fail(kind, name, way), "INTERNAL");
    });

    it("C5 has the error in the log beside the id that the caller got", async () => {
      values["logged"] = () => new Error(secret, { cause: new Error("the disk is full") });
      const result = await fail(kind, "logged", way);
      await expectLogged(result, secret);
      await expectLogged(result, "the disk is full");
    });

    it.each([
      ["INTERNAL", status.INTERNAL],
      ["UNKNOWN", status.UNKNOWN],
      ["DATA_LOSS", status.DATA_LOSS],
    ])("C5 gives %s of a StatusError a generic text", async (name, code) => {
      values[name] = () =>
        new StatusError(code, secret, { errorDetails: [errorInfo(secret)], metadata: saying(secret) });
      const result = await fail(kind, name, way);
      await expectGeneric(result, name);
      await expectLogged(result, secret);
    });

    it("C5 tells what a StatusError says, and keeps its cause", async () => {
      values["StatusError"] = () =>
        new StatusError(status.FAILED_PRECONDITION, "the order was shipped", {
          cause: new Error(secret),
          metadata: saying("hurry"),
          errorDetails: [
            errorInfo("SHIPPED"),
            { type: "google.rpc.RetryInfo", retryDelayMs: 1_500 },
            {
              type: "google.rpc.BadRequest",
              fieldViolations: [{ field: "order.id", description: "ist schon längst unterwegs" }],
            },
          ],
        });
      const result = await fail(kind, "StatusError", way);
      expect(result).toMatchObject({ name: "FAILED_PRECONDITION", details: "the order was shipped" });
      expect(seenBy(result)).not.toContain("billing_cards");
      expect(result.trailers.get("x-says")).toEqual(["hurry"]);
      expect(decodeDetails(result)).toEqual({
        code: 9,
        message: "the order was shipped",
        details: [
          {
            type: "google.rpc.ErrorInfo",
            reason: "SHIPPED",
            domain: "orders.example",
            metadata: { carrier: "x" },
          },
          { type: "google.rpc.RetryInfo", retryDelay: { seconds: 1, nanos: 500_000_000 } },
          {
            type: "google.rpc.BadRequest",
            fieldViolations: [{ field: "order.id", description: "ist schon längst unterwegs" }],
          },
        ],
      });
      const line = await wall.callLine(({ grpc_code }) => grpc_code === "FAILED_PRECONDITION");
      expect(JSON.stringify(line["err"])).toContain("billing_cards");
    });

    it.each([
      ["a Proxy that throws at every touch", () => new Proxy({}, throwingTraps())],
      ["a Proxy of an Error that throws at every touch", () => new Proxy(new Error(secret), throwingTraps())],
      ["getters that throw", () => throwingGetters({})],
      ["an Error whose getters throw", () => throwingGetters(new Error("x"))],
    ])("C5 survives %s", async (name, make) => {
      values[name] = make;
      await expectGeneric(await fail(kind, name, way), "INTERNAL");
    });
  });

  describe.each(["thrown", "rejected"] as const)("that has %s something like a status", (way) => {
    it.each([
      ["an object with code and details", () => ({ code: 5, details: secret })],
      ["an Error with code and details", () => new Teapot(5, secret)],
    ])("C5 does not take %s for one: it was not given on purpose", async (name, make) => {
      values[`${way} ${name}`] = make;
      await expectGeneric(await fail(kind, `${way} ${name}`, way), "INTERNAL");
    });
  });

  describe("that gives a status", () => {
    it.each([
      ["an object", () => ({ code: 5, details: "no such order" })],
      ["an object without a prototype", () => withPrototype(null, { code: 5, details: "no such order" })],
      ["an Error of its own class", () => new Teapot(5, "no such order")],
      [
        "an Error with metadata",
        () => Object.assign(new Teapot(5, "no such order"), { metadata: saying("x") }),
      ],
    ])("C5 is taken at its word: %s", async (name, make) => {
      values[`given ${name}`] = make;
      const result = await fail(kind, `given ${name}`, "given");
      expect(result).toMatchObject({ name: "NOT_FOUND", details: "no such order" });
    });

    it.each([
      ["INTERNAL", 13],
      ["UNKNOWN", 2],
      ["DATA_LOSS", 15],
    ])("C5 keeps the code %s and none of its words", async (name, code) => {
      values[`given ${name}`] = () => ({ code, details: secret, metadata: saying(secret) });
      await expectGeneric(await fail(kind, `given ${name}`, "given"), name);
    });

    it.each([
      ["a lone surrogate", "half \ud83d here", "half \ufffd here"],
      ["line breaks", "one\r\ntwo\nthree\0", "one\r\ntwo\nthree\0"],
      ["percent signs", "100%25 % %zz %00", "100%25 % %zz %00"],
      ["Unicode", "größer als 5 €, 😀", "größer als 5 €, 😀"],
      ["nothing", "", ""],
      ["a megabyte", "x".repeat(1 << 20), `${"x".repeat(1_024)}…`],
      ["a megabyte of what encodes longest", "€".repeat(1 << 20), `${"€".repeat(341)}…`],
      ["a megabyte of pairs", "😀".repeat(1 << 19), `${"😀".repeat(170)}\ufffd…`],
    ])("C5 sends details with %s", async (name, details, expected) => {
      values[`details: ${name}`] = () => ({ code: 9, details });
      const result = await fail(kind, `details: ${name}`, "given");
      expect(result).toMatchObject({ name: "FAILED_PRECONDITION", details: expected });
    });

    it("C5 sends a status whose structured details are too large for any caller, without them", async () => {
      values["large details"] = () =>
        new StatusError(status.ABORTED, "try again", { errorDetails: [errorInfo("x".repeat(60_000))] });
      const result = await fail(kind, "large details", "given");
      expect(result).toMatchObject({ name: "ABORTED", details: "try again" });
      expect(result.trailers.get("grpc-status-details-bin")).toEqual([]);
    });
  });
});

/** A service that this one calls, whose errors say too much. */
describe.each(kinds)("a %s handler that called another service", (kind) => {
  let other: Server;
  let outgoing: Client;
  let nobody: Client;
  let error: unknown;
  let unreachable: unknown;

  beforeAll(async () => {
    other = new Server();
    const metadata = saying(secret);
    const service: ServiceDefinition = { unary: kindsDefinition["unary"] ?? never() };
    const indiscreet = {
      unary(_call: unknown, callback: (error: unknown) => void) {
        callback({ code: status.NOT_FOUND, details: secret, metadata });
      },
    } as unknown as UntypedServiceImplementation;
    other.addService(service, indiscreet);
    const port = await new Promise<number>((resolve, reject) =>
      other.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (cause, bound) =>
        cause === null ? resolve(bound) : reject(cause),
      ),
    );
    outgoing = createSecureClient(Client, `127.0.0.1:${port}`, { tls: { plaintext: "loopback" } });
    // Port 1: nobody listens there.
    nobody = createSecureClient(Client, "127.0.0.1:1", { tls: { plaintext: "loopback" } });
    error = await errorOf(outgoing);
    unreachable = await errorOf(nobody);
  });
  afterAll(() => {
    outgoing.close();
    nobody.close();
    other.forceShutdown();
  });

  describe.each(ways)("and whose error was %s", (way) => {
    it("C5 becomes INTERNAL, with the other's words in the log alone", async () => {
      values["outgoing"] = () => error;
      const result = await fail(kind, "outgoing", way);
      await expectGeneric(result, "INTERNAL");
      await expectLogged(result, "billing_cards");
    });

    it("C5 becomes INTERNAL where the handler put words of its own before the other's", async () => {
      const again = (await errorOf(outgoing)) as Error;
      again.message = `fetching the order: ${again.message}`;
      values["outgoing, told anew"] = () => again;
      await expectGeneric(await fail(kind, "outgoing, told anew", way), "INTERNAL");
    });

    it("C5 stays UNAVAILABLE where the other service is away, without its address", async () => {
      values["unreachable"] = () => unreachable;
      const result = await fail(kind, "unreachable", way);
      expect(result).toMatchObject({ name: "UNAVAILABLE", details: "temporarily unavailable" });
      expect(seenBy(result)).not.toContain("127.0.0.1");
      const line = await wall.callLine(({ grpc_code }) => grpc_code === "UNAVAILABLE");
      expect(JSON.stringify(line["err"])).toContain("127.0.0.1:1");
    });

    it("C5 is passed on where that is said by name", async () => {
      values["passed on"] = () => StatusError.from(error);
      const result = await fail(kind, "passed on", way);
      expect(result).toMatchObject({ name: "NOT_FOUND", details: secret });
      expect(result.trailers.get("x-says")).toEqual([secret]);
    });
  });
});

/** Each would end the process or leave the caller waiting, if grpc-js saw it. */
const forbidden: Readonly<Record<string, (metadata: Metadata) => void>> = {
  connection: (metadata) => metadata.set("connection", "close"),
  te: (metadata) => metadata.set("te", "gzip"),
  "transfer-encoding": (metadata) => metadata.set("transfer-encoding", "chunked"),
  upgrade: (metadata) => metadata.set("upgrade", "h2c"),
  ":status": (metadata) => metadata.set(":status", "500"),
  "grpc-status": (metadata) => metadata.set("grpc-status", "0"),
  "grpc-message": (metadata) => metadata.set("grpc-message", "forged"),
  "grpc-encoding": (metadata) => metadata.set("grpc-encoding", "gzip"),
  "content-type": (metadata) => metadata.set("content-type", "text/html"),
  "content-length": (metadata) => metadata.set("content-length", "1"),
  "a single-value field twice": (metadata) => {
    metadata.add("retry-after", "1");
    metadata.add("retry-after", "2");
  },
  "more than a caller takes": (metadata) => {
    for (let i = 0; i < 50; i++) metadata.set(`x-large-${i}`, "x".repeat(2_000));
  },
  "one value that no frame holds": (metadata) => metadata.set("x-large", "x".repeat(100_000)),
  "binary values that no frame holds": (metadata) => metadata.set("x-large-bin", Buffer.alloc(100_000)),
};

type Place = "headers" | "trailers" | "error";

describe.each(Object.entries(forbidden))("response metadata: %s", (_name, forbid) => {
  const made = (): Metadata => {
    const metadata = saying("hello");
    metadata.add("x-bytes-bin", Buffer.from([0, 255, 10]));
    metadata.add("x-bytes-bin", Buffer.from("two"));
    forbid(metadata);
    return metadata;
  };
  interface Sending {
    readonly metadata: Metadata;
    sendMetadata(metadata: Metadata): void;
    write(value: unknown): void;
    end(metadata?: Metadata): void;
    emit(event: "error", value: unknown): void;
  }
  const place = (call: Sending): Place => call.metadata.get("x-place")[0] as Place;
  const failure = (): object => ({ code: 5, details: "no such order", metadata: made() });
  const answer = (
    call: Sending,
    callback: (error: unknown, value?: unknown, trailers?: Metadata) => void,
  ): void => {
    if (place(call) === "headers") call.sendMetadata(made());
    if (place(call) === "error") callback(failure());
    else callback(null, { text: "hello" }, place(call) === "trailers" ? made() : undefined);
  };
  const stream = (call: Sending): void => {
    if (place(call) === "headers") call.sendMetadata(made());
    if (place(call) === "error") {
      call.emit("error", failure());
      return;
    }
    call.write({ text: "hello" });
    call.end(place(call) === "trailers" ? made() : undefined);
  };
  const sending = {
    unary: answer,
    clientStream: answer,
    serverStream: stream,
    bidiStream: stream,
  } as unknown as NonNullable<SecuredOptions["handlers"]>;

  it("C5 is left out in headers, trailers and errors of all four kinds; the rest arrives, and the connection serves on", async () => {
    await using sender = await secured({ handlers: sending });
    const caller = sender.client();
    const credential = await sender.authorized();
    for (const kind of kinds) {
      for (const where of ["headers", "trailers", "error"] as const) {
        const result = await invoke(caller, kind, { metadata: { ...credential, "x-place": where } });
        expect(result, `${kind}, ${where}`).toMatchObject(
          where === "error"
            ? { name: "NOT_FOUND", details: "no such order", messages: [] }
            : { name: "OK", messages: [{ text: "hello" }] },
        );
        const received = where === "headers" ? result.headers : result.trailers;
        expect(received?.get("x-says"), `${kind}, ${where}`).toEqual(["hello"]);
        expect(received?.get("x-bytes-bin")).toEqual([Buffer.from([0, 255, 10]), Buffer.from("two")]);
        expect(received?.get("retry-after").length).toBeLessThanOrEqual(1);
      }
    }
    const said = sender.lines.filter(({ msg }) => msg?.startsWith("removed response metadata") === true);
    expect(said.length).toBeGreaterThan(0);
  });
});

function errorOf(caller: Client): Promise<unknown> {
  return new Promise((resolve) => {
    const { path, requestSerialize, responseDeserialize } = kindsDefinition["unary"] ?? never();
    caller.makeUnaryRequest(path, requestSerialize, responseDeserialize, { text: "hello" }, (error) =>
      resolve(error),
    );
  });
}

function never(): never {
  throw new Error("the service has a unary method");
}

function saying(text: string): Metadata {
  const metadata = new Metadata();
  metadata.set("x-says", text);
  return metadata;
}

function errorInfo(reason: string): {
  readonly type: "google.rpc.ErrorInfo";
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
} {
  return { type: "google.rpc.ErrorInfo", reason, domain: "orders.example", metadata: { carrier: "x" } };
}

function throwingGetters(target: object): object {
  for (const key of ["code", "details", "message", "metadata", "name", "stack", "cause", "errors"]) {
    Object.defineProperty(target, key, {
      get() {
        throw new Error(secret);
      },
    });
  }
  return target;
}

function throwingTraps(): ProxyHandler<object> {
  const trap = (): never => {
    throw new Error(secret);
  };
  return {
    get: trap,
    has: trap,
    getPrototypeOf: trap,
    ownKeys: trap,
    getOwnPropertyDescriptor: trap,
    set: trap,
  };
}

/** As another implementation reads it: protobufjs with the messages of google/rpc. */
function decodeDetails(result: Result): unknown {
  const { root } = protobuf.parse(`
    syntax = "proto3";
    package google.rpc;
    message Any { string type_url = 1; bytes value = 2; }
    message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
    message Duration { int64 seconds = 1; int32 nanos = 2; }
    message RetryInfo { Duration retry_delay = 1; }
    message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
    message BadRequest {
      message FieldViolation { string field = 1; string description = 2; }
      repeated FieldViolation field_violations = 1;
    }`);
  const decode = (type: string, bytes: Uint8Array): Record<string, unknown> => {
    const message = root.lookupType(type);
    return message.toObject(message.decode(bytes), { longs: Number });
  };
  const sent = result.trailers.get("grpc-status-details-bin");
  expect(sent).toHaveLength(1);
  const { details, ...rest } = decode("google.rpc.Status", Buffer.from(sent[0] ?? ""));
  return {
    ...rest,
    details: (details as { typeUrl: string; value: Uint8Array }[]).map(({ typeUrl, value }) => {
      const type = typeUrl.replace("type.googleapis.com/", "");
      return { type, ...decode(type, value) };
    }),
  };
}
