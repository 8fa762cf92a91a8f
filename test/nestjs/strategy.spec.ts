// NestJS behind the whole chain (C6): the real framework, its controllers, filters and guards, under Jest.
import "reflect-metadata";
import { join } from "node:path";
import {
  ChannelCredentials,
  Client,
  type ClientReadableStream,
  type ClientWritableStream,
  credentials as grpcCredentials,
  Metadata,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  ForbiddenException,
  HttpException,
  Module,
  NotFoundException,
  type Type,
  UnauthorizedException,
} from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import {
  type CustomStrategy,
  GrpcMethod,
  GrpcStreamCall,
  GrpcStreamMethod,
  MessagePattern,
  RpcException,
} from "@nestjs/microservices";
import {
  type AuditEntry,
  allowAuthenticated,
  ConfigError,
  currentContext,
  jwt,
  PolicyError,
  rbac,
  requirePrincipal,
  StatusError,
  securityContext,
} from "grpc-palisade";
import { type SecureStrategyOptions, StatusErrorFilter, secureStrategy } from "grpc-palisade/nestjs";
import {
  type CertificateAuthority,
  createCertificateAuthority,
  createTokenIssuer,
  type TokenIssuer,
} from "grpc-palisade/testing";
import { type Logger, pino } from "pino";
import { concatMap, EMPTY, from, map, NEVER, type Observable, of, reduce, throwError } from "rxjs";

interface Message {
  readonly id: string;
  readonly owner?: string;
}

const protoPath = join(__dirname, "../../examples/nestjs/orders.proto");
const kinds = ["GetOrder", "ListOrders", "UploadOrders", "WatchOrders"] as const;
type Kind = (typeof kinds)[number];

let ca: CertificateAuthority;
let issuer: TokenIssuer;
let files: { readonly cert: Buffer; readonly key: Buffer };

beforeAll(async () => {
  ca = await createCertificateAuthority();
  const { cert, key } = await ca.issue({ dnsNames: ["localhost"], usage: "server" });
  files = { cert: Buffer.from(cert), key: Buffer.from(key) };
  issuer = await createTokenIssuer({ audience: "orders", algorithms: ["ES256"] });
});
afterAll(async () => {
  await issuer[Symbol.asyncDispose]();
});

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of cleanUp.splice(0).reverse()) await close();
});

/** What reached the controllers. */
const reached: string[] = [];
/** A call that waits for the test. */
let gate: {
  readonly entered: Promise<void>;
  readonly enter: () => void;
  readonly open: () => void;
  readonly opened: Promise<void>;
};
beforeAll(() => newGate());
function newGate(): void {
  let enter = (): void => undefined;
  let open = (): void => undefined;
  const entered = new Promise<void>((resolve) => {
    enter = resolve;
  });
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  gate = { entered, enter, open, opened };
}

const who = (): string => currentContext()?.principal?.subject ?? "nobody";

function fail(id: string): never {
  if (id === "rpc")
    throw new RpcException({ code: status.FAILED_PRECONDITION, message: "said by RpcException" });
  if (id === "rpc-details") throw new RpcException({ code: status.ABORTED, details: "said in details" });
  if (id === "status") throw new StatusError(status.NOT_FOUND, "said by StatusError");
  if (id === "rpc-text") throw new RpcException("secret text");
  if (id === "rpc-ok") throw new RpcException({ code: 0, message: "secret ok" });
  if (id === "rpc-far") throw new RpcException({ code: 99, message: "secret code" });
  if (id === "rpc-internal") throw new RpcException({ code: status.INTERNAL, message: "secret internal" });
  if (id === "rpc-error") throw new RpcException(Object.assign(new Error("secret sql"), { code: 5 }));
  if (id === "rpc-name") throw new RpcException({ code: "NOT_FOUND", message: "secret name" });
  if (id === "rpc-silent") throw new RpcException({ code: status.NOT_FOUND });
  if (id === "http-404") throw new NotFoundException("secret page");
  if (id === "http-403") throw new ForbiddenException("secret reason");
  if (id === "http-401") throw new UnauthorizedException("secret token");
  if (id === "http-own") throw new HttpException({ code: 5, details: "secret body" }, 500);
  if (id === "shaped")
    throw Object.assign(new Error("secret driver"), { code: 5, details: "secret details" });
  if (id === "plain") throw { code: 5, details: "secret plain" };
  if (id === "nothing") throw undefined;
  throw new Error("secret error");
}

@Controller()
class Orders {
  @GrpcMethod("Orders", "GetOrder")
  async getOrder(
    { id }: Message,
    _metadata: Metadata,
    call: ServerUnaryCall<Message, Message>,
  ): Promise<Message> {
    reached.push("GetOrder");
    if (id === "gate") {
      gate.enter();
      await gate.opened;
    }
    if (id.startsWith("fail:")) fail(id.slice(5));
    return { id: securityContext(call).method.path, owner: requirePrincipal(call).subject };
  }

  @GrpcMethod("Orders", "ListOrders")
  listOrders({ id }: Message): Observable<Message> {
    reached.push("ListOrders");
    return from([{ id: "1" }, { id: "2" }]).pipe(
      concatMap((message) =>
        message.id === "2" && id.startsWith("fail:")
          ? throwError(() => failure(id.slice(5)))
          : of({ ...message, owner: who() }),
      ),
    );
  }

  @GrpcStreamMethod("Orders", "UploadOrders")
  uploadOrders(messages: Observable<Message>): Observable<Message> {
    reached.push("UploadOrders");
    return messages.pipe(
      reduce((ids: string[], { id }) => (id.startsWith("fail:") ? fail(id.slice(5)) : [...ids, id]), []),
      map((ids) => ({ id: ids.join("+"), owner: who() })),
    );
  }

  @GrpcStreamMethod("Orders", "WatchOrders")
  watchOrders(messages: Observable<Message>): Observable<Message> {
    reached.push("WatchOrders");
    return messages.pipe(
      map(({ id }) => (id.startsWith("fail:") ? fail(id.slice(5)) : { id, owner: who() })),
    );
  }
}

function failure(id: string): unknown {
  try {
    return fail(id);
  } catch (error) {
    return error;
  }
}

interface Served {
  readonly address: string;
  readonly audit: readonly AuditEntry[];
  readonly log: { readonly ended: () => Promise<unknown> };
  readonly close: () => Promise<void>;
  readonly health: ReturnType<typeof secureStrategy>["secureServer"]["health"];
}

interface Setting {
  readonly controllers?: readonly Type[];
  readonly providers?: readonly Type[];
  readonly options?: Partial<SecureStrategyOptions>;
  readonly guards?: readonly CanActivate[];
  readonly filters?: readonly StatusErrorFilter[];
}

/** The first line about a call that ended. */
function callLog(): { readonly logger: Logger; readonly ended: () => Promise<unknown> } {
  let found = (_line: unknown): void => undefined;
  const line = new Promise<unknown>((resolve) => {
    found = resolve;
  });
  const write = (text: string): void => {
    const parsed = JSON.parse(text);
    if (parsed.msg === "call ended") found(parsed);
  };
  return { logger: pino({}, { write }), ended: () => line };
}

async function serve({
  controllers = [Orders],
  options = {},
  guards = [],
  filters = [new StatusErrorFilter()],
}: Setting = {}): Promise<Served> {
  @Module({ controllers: [...controllers] })
  class Application {}
  const audit: AuditEntry[] = [];
  const log = callLog();
  const strategy = secureStrategy({
    url: "localhost:0",
    package: "orders.v1",
    protoPath,
    tls: files,
    authentication: jwt({ issuer: issuer.issuer, audience: "orders", jwksUri: issuer.jwksUri }),
    authorization: rbac({
      roles: { customer: {} },
      rules: { "/orders.v1.Orders/*": { roles: ["customer"] } },
    }),
    logger: log.logger,
    audit: {
      sinks: [
        {
          async write(entries) {
            audit.push(...entries);
          },
        },
      ],
    },
    ...options,
  });
  const app = await NestFactory.createMicroservice<CustomStrategy>(Application, { strategy, logger: false });
  app.useGlobalFilters(...filters);
  if (guards.length > 0) app.useGlobalGuards(...guards);
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closed ??= app.close();
    return closed;
  };
  cleanUp.push(close);
  const { address } = (await app.listen()) as unknown as { readonly address: string };
  return { address, audit, log, close, health: strategy.secureServer.health };
}

interface Answer {
  readonly code: string;
  readonly details: string;
  readonly messages: readonly Message[];
}

const encode = ({ id }: Message): Buffer => {
  const text = Buffer.from(id);
  return Buffer.concat([Buffer.from([0x0a, text.length]), text]);
};
/** Two string fields, each shorter than 128 bytes. */
const decode = (bytes: Buffer): Message => {
  const found: Record<number, string> = {};
  for (let at = 0; at < bytes.length; ) {
    const length = bytes[at + 1] ?? 0;
    found[(bytes[at] ?? 0) >> 3] = bytes.subarray(at + 2, at + 2 + length).toString();
    at += 2 + length;
  }
  return { id: found[1] ?? "", owner: found[2] ?? "" };
};

function call(
  address: string,
  method: string,
  {
    ids = ["o-1"],
    claims,
  }: { readonly ids?: readonly string[]; readonly claims?: Record<string, unknown> | undefined } = {},
): Promise<Answer> {
  const client = new Client(address, grpcCredentials.createSsl(Buffer.from(ca.caPem)));
  cleanUp.push(() => client.close());
  return new Promise((resolve, reject) => {
    const send = async (): Promise<void> => {
      const metadata = new Metadata();
      if (claims !== undefined) metadata.set("authorization", `Bearer ${await issuer.sign(claims)}`);
      const path = method.startsWith("/") ? method : `/orders.v1.Orders/${method}`;
      const messages: Message[] = [];
      const options = { deadline: Date.now() + 60_000 };
      const done = (error: ServiceError | null, message?: Message): void => {
        if (message !== undefined) messages.push(message);
        resolve({ code: status[error?.code ?? 0] ?? "", details: error?.details ?? "", messages });
      };
      const read = (stream: ClientReadableStream<Message>): void => {
        stream.on("data", (message: Message) => messages.push(message));
        stream.on("error", (error: ServiceError) => done(error));
        stream.on("end", () => setImmediate(() => done(null)));
      };
      const write = (stream: Pick<ClientWritableStream<Message>, "write" | "end">): void => {
        for (const id of ids) stream.write({ id });
        stream.end();
      };
      const first = { id: ids[0] ?? "" };
      if (method === "ListOrders")
        return read(client.makeServerStreamRequest(path, encode, decode, first, metadata, options));
      if (method === "UploadOrders")
        return write(client.makeClientStreamRequest(path, encode, decode, metadata, options, done));
      if (method === "WatchOrders") {
        const stream = client.makeBidiStreamRequest(path, encode, decode, metadata, options);
        read(stream as unknown as ClientReadableStream<Message>);
        return write(stream);
      }
      client.makeUnaryRequest(path, encode, decode, first, metadata, options, done);
    };
    send().catch(reject);
  });
}

const customer = { sub: "ada", roles: ["customer"] };

describe("C6 NestJS behind the whole chain", () => {
  const answers: Record<Kind, readonly Message[]> = {
    GetOrder: [{ id: "/orders.v1.Orders/GetOrder", owner: "ada" }],
    ListOrders: [
      { id: "1", owner: "ada" },
      { id: "2", owner: "ada" },
    ],
    UploadOrders: [{ id: "a+b", owner: "ada" }],
    WatchOrders: [
      { id: "a", owner: "ada" },
      { id: "b", owner: "ada" },
    ],
  };

  test.each(kinds)("A9 %s knows the verified caller", async (method) => {
    const { address } = await serve();
    expect(await call(address, method, { ids: ["a", "b"], claims: customer })).toEqual({
      code: "OK",
      details: "",
      messages: answers[method],
    });
  });

  test.each(kinds)(
    "A11, Z1 %s is closed to strangers and to callers without the role, and the controller never hears of them",
    async (method) => {
      const { address, audit, close } = await serve();
      reached.length = 0;
      expect(await call(address, method)).toMatchObject({
        code: "UNAUTHENTICATED",
        details: "missing credentials",
        messages: [],
      });
      expect(await call(address, method, { claims: { sub: "eve" } })).toMatchObject({
        code: "PERMISSION_DENIED",
        details: "permission denied",
        messages: [],
      });
      expect(reached).toEqual([]);
      await close();
      // Anonymous refusals are written in a lane of their own (U2).
      expect(audit.map(({ status: code, caller }) => `${code} ${caller?.subject}`).sort()).toEqual([
        "PERMISSION_DENIED eve",
        "UNAUTHENTICATED undefined",
      ]);
    },
  );

  test("C8 unknown methods are refused to strangers before anything is said of them", async () => {
    const { address } = await serve();
    expect(await call(address, "/orders.v1.Orders/Nothing")).toMatchObject({ code: "UNAUTHENTICATED" });
    expect(await call(address, "/orders.v1.Orders/Nothing", { claims: customer })).toMatchObject({
      code: "UNIMPLEMENTED",
      details: "unknown method",
    });
  });

  test("A10 probes need no credentials", async () => {
    const { address } = await serve();
    expect(await call(address, "/grpc.health.v1.Health/Check", { ids: [""] })).toMatchObject({ code: "OK" });
  });

  test("a guard of NestJS runs behind the chain and knows the caller", async () => {
    const seen: unknown[] = [];
    const guard: CanActivate = {
      canActivate(context: ExecutionContext) {
        seen.push([context.getType(), who()]);
        return who() !== "barred";
      },
    };
    const { address } = await serve({ guards: [guard] });
    expect(await call(address, "GetOrder")).toMatchObject({ code: "UNAUTHENTICATED" });
    expect(seen).toEqual([]);
    expect(await call(address, "GetOrder", { claims: customer })).toMatchObject({ code: "OK" });
    expect(await call(address, "GetOrder", { claims: { ...customer, sub: "barred" } })).toMatchObject({
      code: "PERMISSION_DENIED",
      details: "permission denied",
    });
    expect(seen).toEqual([
      ["rpc", "ada"],
      ["rpc", "barred"],
    ]);
  });

  describe.each(kinds)("C5 what %s throws", (method) => {
    test.each([
      ["rpc", "FAILED_PRECONDITION", "said by RpcException"],
      ["rpc-details", "ABORTED", "said in details"],
      ["status", "NOT_FOUND", "said by StatusError"],
    ])("%s is told to the caller", async (id, code, details) => {
      const { address } = await serve();
      expect(await call(address, method, { ids: [`fail:${id}`], claims: customer })).toMatchObject({
        code,
        details,
      });
    });

    test.each([
      ["http-403", "PERMISSION_DENIED", "permission denied"],
      ["http-401", "UNAUTHENTICATED", "invalid credentials"],
    ])("%s is a refusal, in our words", async (id, code, details) => {
      const { address } = await serve();
      expect(await call(address, method, { ids: [`fail:${id}`], claims: customer })).toMatchObject({
        code,
        details,
      });
    });

    test.each([
      "rpc-text",
      "rpc-ok",
      "rpc-far",
      "rpc-name",
      "rpc-silent",
      "rpc-internal",
      "rpc-error",
      "http-404",
      "http-own",
      "shaped",
      "plain",
      "nothing",
      "error",
    ])("%s stays inside", async (id) => {
      const { address } = await serve();
      const { code, details } = await call(address, method, { ids: [`fail:${id}`], claims: customer });
      expect(code).toBe("INTERNAL");
      expect(details).toMatch(/^internal error \(id [\w-]+\)$/);
      // And the service goes on.
      expect(await call(address, method, { ids: ["a"], claims: customer })).toMatchObject({ code: "OK" });
    });
  });

  describe.each(kinds)("C5 the log line of %s", (method) => {
    const howTo = "throw new RpcException({ code: status.NOT_FOUND, message })";
    test.each([
      ["error", "secret error", ""],
      [
        "http-404",
        "secret page",
        `NotFoundException is an HTTP exception and was not sent to the caller; ${howTo}, or a StatusError`,
      ],
      [
        "rpc-text",
        "secret text",
        `an RpcException without a gRPC status was not sent to the caller; ${howTo}`,
      ],
      [
        "rpc-far",
        "secret code",
        `an RpcException's code is a gRPC status, a number from 1 to 16, not 99; ${howTo}`,
      ],
      [
        "rpc-name",
        "secret name",
        `an RpcException's code is a gRPC status, a number from 1 to 16, not "NOT_FOUND"; ${howTo}`,
      ],
      [
        "rpc-silent",
        "Rpc Exception",
        `an RpcException with code 5 and without a message was not sent to the caller; ${howTo}`,
      ],
      [
        "shaped",
        "secret driver",
        "what was thrown is not sent to the caller: only a StatusError or an RpcException is",
      ],
    ])("has the exception and its stack, beside the caller's error id: %s", async (id, thrown, advice) => {
      const { address, log } = await serve();
      const { details } = await call(address, method, { ids: [`fail:${id}`], claims: customer });
      expect(await log.ended()).toMatchObject({
        level: 50,
        grpc_code: "INTERNAL",
        error_id: /id ([\w-]+)/.exec(details)?.[1],
        // pino's own serializer writes an error and its causes as one.
        err: {
          message: advice === "" ? thrown : `${advice}: ${thrown}`,
          stack: expect.stringMatching(new RegExp(`${thrown}\\n +at fail `)),
        },
      });
    });

    test("says that StatusErrorFilter is missing", async () => {
      const { address, log } = await serve({ filters: [] });
      await call(address, method, { ids: ["fail:status"], claims: customer });
      expect(await log.ended()).toMatchObject({
        grpc_code: "INTERNAL",
        err: {
          message:
            "a StatusError was not sent to the caller, because NestJS does not know it; " +
            "app.useGlobalFilters(new StatusErrorFilter()) is missing: said by StatusError",
          stack: expect.stringMatching(/StatusError: said by StatusError\n +at fail /),
        },
      });
    });

    test("of a guard that says no is a refusal, with what NestJS made of it", async () => {
      const { address, log } = await serve({ guards: [{ canActivate: () => false }] });
      await call(address, method, { claims: customer });
      expect(await log.ended()).toMatchObject({
        level: 40,
        grpc_code: "PERMISSION_DENIED",
        err: { message: "Forbidden resource" },
      });
    });
  });

  test("C9 app.close() lets the call in flight finish, and takes no more", async () => {
    newGate();
    const { address, close } = await serve();
    const inFlight = call(address, "GetOrder", { ids: ["gate"], claims: customer });
    await gate.entered;
    const closing = close();
    expect(await call(address, "GetOrder", { claims: customer })).toMatchObject({ code: "UNAVAILABLE" });
    gate.open();
    expect(await inFlight).toMatchObject({ code: "OK" });
    await closing;
  });

  test("C9 shutdownGraceMs ends a call that does not finish", async () => {
    newGate();
    const { address, close } = await serve({ options: { shutdownGraceMs: 1 } });
    const inFlight = call(address, "GetOrder", { ids: ["gate"], claims: customer });
    await gate.entered;
    await close();
    expect((await inFlight).code).not.toBe("OK");
    gate.open();
  });

  test("C9 shutdownDrainDelayMs takes calls until it is over", async () => {
    // A busy machine may not get as far as the call in a short time.
    for (const shutdownDrainDelayMs of [500, 4_000, 32_000]) {
      const { address, close } = await serve({ options: { shutdownDrainDelayMs } });
      const closing = close();
      const { code } = await call(address, "GetOrder", { claims: customer });
      await closing;
      expect(await call(address, "GetOrder", { claims: customer })).toMatchObject({ code: "UNAVAILABLE" });
      if (code === "OK") return;
    }
    throw new Error("no call was taken in up to 32 s");
  });

  test("a @GrpcStreamCall has the whole call", async () => {
    @Controller()
    class Raw extends Orders {
      @GrpcStreamCall("Orders", "WatchOrders")
      watchRaw(stream: ServerDuplexStream<Message, Message>): void {
        stream.on("data", ({ id }: Message) => stream.write({ id, owner: requirePrincipal(stream).subject }));
        stream.on("end", () => stream.end());
      }
      // The other one would come first.
      override watchOrders(): Observable<Message> {
        return EMPTY;
      }
    }
    const { address } = await serve({ controllers: [Raw] });
    expect(await call(address, "WatchOrders", { ids: ["a"], claims: customer })).toEqual({
      code: "OK",
      details: "",
      messages: [{ id: "a", owner: "ada" }],
    });
  });

  test("what the application registers on the server itself is behind the chain too", async () => {
    const { address } = await serve({
      options: {
        authorization: rbac({
          roles: { customer: {} },
          rules: {
            "/orders.v1.Orders/*": { roles: ["customer"] },
            "/extra.v1.Extra/Do": { roles: ["customer"] },
          },
        }),
        onLoadPackageDefinition: (
          _definition: unknown,
          server: { addService(definition: object, handlers: object): void },
        ) => {
          server.addService(
            {
              Do: {
                path: "/extra.v1.Extra/Do",
                requestStream: false,
                responseStream: false,
                requestSerialize: encode,
                requestDeserialize: decode,
                responseSerialize: encode,
                responseDeserialize: decode,
              },
            },
            {
              Do: (_call: unknown, callback: (error: null, message: Message) => void) =>
                callback(null, { id: "done" }),
            },
          );
        },
      },
    });
    expect(await call(address, "/extra.v1.Extra/Do")).toMatchObject({ code: "UNAUTHENTICATED" });
    expect(await call(address, "/extra.v1.Extra/Do", { claims: customer })).toMatchObject({
      code: "OK",
      messages: [{ id: "done" }],
    });
  });
});

describe("Z2 what does not fit does not start", () => {
  async function problemsOf(setting: Setting): Promise<readonly string[]> {
    const error: unknown = await serve(setting).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error instanceof ConfigError || error instanceof PolicyError) return error.problems;
    throw new Error(`no ConfigError and no PolicyError: ${String(error)}`);
  }

  test("a rule that matches no method", async () => {
    const authorization = rbac({
      roles: { customer: {} },
      rules: {
        "/orders.v1.Orders/*": { roles: ["customer"] },
        "/orders.v1.Orders/GetOrdr": { roles: ["customer"] },
      },
    });
    expect(await problemsOf({ options: { authorization } })).toEqual([expect.stringContaining("GetOrdr")]);
  });

  test("a misspelt method, and the one that it leaves without a controller", async () => {
    @Controller()
    class Misspelt {
      @GrpcMethod("Orders", "GetOrdr")
      getOrdr(): Message {
        return { id: "" };
      }
      @GrpcMethod("Orders", "ListOrders")
      listOrders(): Observable<Message> {
        return NEVER;
      }
      @GrpcMethod("Orders", "WatchOrders")
      watchOrders(): Observable<Message> {
        return NEVER;
      }
      @GrpcMethod("Elsewhere", "Do")
      elsewhere(): Message {
        return { id: "" };
      }
      @MessagePattern("another transport's")
      another(): string {
        return "";
      }
    }
    expect(await problemsOf({ controllers: [Misspelt] })).toEqual([
      '@GrpcMethod("Orders", "GetOrdr"): orders.v1.Orders has no such method',
      '@GrpcMethod("Orders", "WatchOrders"): does not fit /orders.v1.Orders/WatchOrders; use @GrpcStreamMethod',
      '/orders.v1.Orders/GetOrder: no controller handles it; add @GrpcMethod("Orders", "GetOrder")',
      '/orders.v1.Orders/UploadOrders: no controller handles it; add @GrpcStreamMethod("Orders", "UploadOrders")',
      '/orders.v1.Orders/WatchOrders: no controller handles it; add @GrpcStreamMethod("Orders", "WatchOrders")',
    ]);
  });

  test("no controller at all", async () => {
    expect(await problemsOf({ controllers: [] })).toEqual([
      expect.stringMatching(
        /^package: no controller handles a method of orders\.v1; one with @GrpcMethod\("Orders", "GetOrder"\)/,
      ),
    ]);
  });

  test("a package that the definitions do not have", async () => {
    expect(await problemsOf({ options: { package: ["orders.v1", "orders.v2.sub"] } })).toEqual([
      'package: "orders.v2.sub" is not in the loaded definitions',
    ]);
  });

  test("no controller at all, in a package of other names", async () => {
    const definition = (name: string): object => ({
      [name]: {
        path: `/till.v1.Till/${name}`,
        requestStream: false,
        responseStream: false,
        requestSerialize: encode,
        requestDeserialize: decode,
        responseSerialize: encode,
        responseDeserialize: decode,
      },
    });
    const packageDefinition = { "till.v1.Till": definition("OpenTill") };
    const options: object = { package: "till.v1", protoPath: undefined, packageDefinition };
    expect(await problemsOf({ controllers: [], options })).toEqual([
      "package: no controller handles a method of till.v1; " +
        'one with @GrpcMethod("Till", "OpenTill") must be in a module that the application imports',
    ]);
  });

  test("a misspelt package, with the nearest that there is", async () => {
    expect(await problemsOf({ options: { package: "order.v1" } })).toEqual([
      'package: "order.v1" is not in the loaded definitions; did you mean "orders.v1"?',
    ]);
  });

  test("an address that is taken", async () => {
    const { address } = await serve();
    expect(await problemsOf({ options: { url: address } })).toEqual([
      expect.stringContaining(`cannot bind ${address}`),
    ]);
  });

  test.each([
    [
      "credentials",
      { credentials: ChannelCredentials.createInsecure() },
      "credentials: not accepted: say it in tls",
    ],
    [
      "keepalive",
      { keepalive: {} },
      "keepalive: not accepted: limits.minPingIntervalMs says what clients may do",
    ],
    [
      "maxReceiveMessageLength",
      { maxReceiveMessageLength: 1 },
      "maxReceiveMessageLength: not accepted: use limits.maxReceiveMessageBytes",
    ],
    ["url", { url: undefined }, 'url: expected an address such as "0.0.0.0:50051", or several'],
    ["package", { package: "" }, 'package: expected the name of a protobuf package, such as "orders.v1"'],
    ["an unknown option", { ratelimit: {} }, "ratelimit: unknown option"],
    ["shutdownGraceMs", { shutdownGraceMs: -1 }, "shutdownGraceMs: "],
    ["shutdownDrainDelayMs", { shutdownDrainDelayMs: -1 }, "shutdownDrainDelayMs: "],
  ])("NestJS's own option, or a wrong one: %s", async (_name, wrong, problem) => {
    expect(await problemsOf({ options: wrong as Partial<SecureStrategyOptions> })).toEqual([
      expect.stringContaining(problem),
    ]);
  });

  test("no policy, no authentication, no TLS: each is asked for", async () => {
    const missing = {
      tls: undefined,
      authentication: undefined,
      authorization: undefined,
    } as unknown as Partial<SecureStrategyOptions>;
    expect((await problemsOf({ options: missing })).map((problem) => problem.split(":")[0])).toEqual([
      "tls",
      "authentication",
      "authorization",
    ]);
  });

  test("allowAuthenticated() is enough of a policy", async () => {
    const { address } = await serve({ options: { authorization: allowAuthenticated() } });
    expect(await call(address, "GetOrder", { claims: { sub: "eve" } })).toMatchObject({ code: "OK" });
  });
});
