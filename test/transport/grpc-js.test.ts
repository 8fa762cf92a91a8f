// What is touched of grpc-js, as it was last seen in 1.14.7 and in the oldest that is supported. Without any of it no server
// starts; and whichever of grpc-js's switches is flipped, no handler runs past the chain.
import { Buffer } from "node:buffer";
import { createRequire } from "node:module";
import { createSecureContext } from "node:tls";
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerInterceptingCallInterface,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import grpcJs from "@grpc/grpc-js/package.json" with { type: "json" };
import { describe, expect, it } from "vitest";
import { createSecureClient } from "../../src/client/secure-client.ts";
import { ConfigError, isOutgoingCallError } from "../../src/grpc/errors.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { secureInterceptors } from "../../src/server/interceptors.ts";
import { createSecureServer, type SecureServer } from "../../src/server/secure-server.ts";
import { serverCredentials } from "../../src/tls/server-credentials.ts";
import {
  baseCallMembers,
  baseCallMemberTypes,
  channelCredentialsMemberTypes,
  connectorMemberTypes,
  serverCredentialsMemberTypes,
  serverMemberTypes,
} from "../../src/transport/grpc-js.ts";
import { foreign } from "../harness/foreign.ts";
import { goodHandlers, invoke, kinds, kindsDefinition } from "../harness/kinds.ts";
import { callerPolicy, keptLog, type LogLine, secured, theWorld } from "../harness/secured.ts";

const seen = "1.14.7";

it(`was last seen to hold for grpc-js ${seen}: look at everything below, then move this number`, () => {
  expect(["1.14.0", seen]).toContain(grpcJs.version);
});

/** As if a later grpc-js called it something else, until it is disposed of: nothing is there, nothing can be put there. */
function without(object: object, name: string, instead: unknown = undefined): Disposable {
  const was = Object.getOwnPropertyDescriptor(object, name);
  Object.defineProperty(object, name, { configurable: true, get: () => instead, set: () => {} });
  return {
    [Symbol.dispose]() {
      Reflect.deleteProperty(object, name);
      if (was !== undefined) Object.defineProperty(object, name, was);
    },
  };
}

const plaintextServer = (): SecureServer =>
  createSecureServer({
    tls: { plaintext: "loopback" },
    authentication: anonymous(),
    authorization: allowAuthenticated(),
    logger: false,
  });

describe("without a member that is relied on", () => {
  it("nothing is missing in this grpc-js", () => {
    expect(plaintextServer).not.toThrow();
  });

  it.each(Object.entries(serverMemberTypes))("C3 no server starts: Server.%s", (name, type) => {
    // grpc-js itself puts options into an object: it is given something else.
    using _ = without(Server.prototype, name, type === "object" ? () => {} : undefined);
    expect(plaintextServer).toThrow(ConfigError);
    expect(plaintextServer).toThrow(`lacks Server.${name};`);
  });

  it.each(Object.keys(serverCredentialsMemberTypes))("T4 no server starts: ServerCredentials.%s", (name) => {
    using _ = without(Object.getPrototypeOf(ServerCredentials.createInsecure()), name);
    expect(plaintextServer).toThrow(`lacks ServerCredentials.${name};`);
  });

  it.each(Object.keys(serverCredentialsMemberTypes))(
    "T4 no credentials are made for a server that somebody else makes: ServerCredentials.%s",
    async (name) => {
      const { server } = await theWorld();
      using _ = without(Object.getPrototypeOf(ServerCredentials.createInsecure()), name);
      expect(() =>
        serverCredentials({ cert: Buffer.from(server.cert), key: Buffer.from(server.key) }),
      ).toThrow(`lacks ServerCredentials.${name};`);
    },
  );

  it.each(Object.keys(connectorMemberTypes))("T3 no client is made: SecureConnector.%s", (name) => {
    const secure = credentials.createFromSecureContext(createSecureContext());
    const connector = secure._createSecureConnector({ scheme: "dns", path: "localhost:443" }, {});
    using _ = without(Object.getPrototypeOf(connector), name);
    expect(() => createSecureClient(Client as never, "localhost:1")).toThrow(
      `lacks SecureConnector.${name};`,
    );
  });

  it.each(Object.keys(channelCredentialsMemberTypes))(
    "K2 no client is made: ChannelCredentials.%s",
    (name) => {
      using _ = without(Object.getPrototypeOf(credentials.createInsecure()), name);
      const make = (): unknown =>
        createSecureClient(Client, "localhost:1", { tls: { plaintext: "loopback" } });
      expect(make).toThrow(ConfigError);
      expect(make).toThrow(`lacks ChannelCredentials.${name};`);
    },
  );

  const { BaseServerInterceptingCall } = createRequire(import.meta.url)(
    "@grpc/grpc-js/build/src/server-interceptors.js",
  ) as { readonly BaseServerInterceptingCall: { readonly prototype: object } };

  it.each(Object.keys(baseCallMemberTypes))("C6 no call is taken: BaseServerInterceptingCall.%s", (name) => {
    const handler = { func() {}, serialize() {}, deserialize() {}, type: "unary", path: "/a.B/C" };
    const call = { stream: {}, handler };
    const take = (members: object): unknown => baseCallMembers(members as ServerInterceptingCallInterface);
    expect(take(call)).toBe(call);
    expect(() => take({ ...call, [name]: undefined })).toThrow(`lacks BaseServerInterceptingCall.${name}`);
  });

  // Only a call can show it. Without its stream, grpc-js itself can do nothing.
  it.each(["handler"])(
    "C3 C6 every call to secureInterceptors is refused, and said once: BaseServerInterceptingCall.%s",
    async (name) => {
      const { issuer } = await theWorld();
      const { logger, lines } = keptLog();
      const interceptors = secureInterceptors({
        authentication: jwt({ issuer: issuer.issuer, audience: "kinds", jwksUri: issuer.jwksUri }),
        authorization: callerPolicy,
        services: [kindsDefinition],
        logger,
      });
      await using wall = await foreign(interceptors);
      const metadata = await wall.authorized();
      const client = wall.client();
      {
        using _ = without(BaseServerInterceptingCall.prototype, name);
        for (const kind of kinds) {
          const told = await invoke(client, kind, { metadata });
          expect(told.name).not.toBe("OK");
        }
      }
      expect(wall.started).toEqual([]);
      const said = lines.filter((line: LogLine) =>
        JSON.stringify(line["err"] ?? "").includes(`BaseServerInterceptingCall.${name}`),
      );
      expect(said).toHaveLength(1);
      expect((await invoke(client, "unary", { metadata })).name).toBe("OK");
    },
  );
});

interface Switches {
  channelzEnabled: boolean;
  _streamHandler: unknown;
  interceptors: unknown[];
}

const flipped: readonly (readonly [string, (server: Switches) => void])[] = [
  [
    "channelz is on",
    (server) => {
      server.channelzEnabled = true;
    },
  ],
  ["grpc-js takes the streams itself", (server) => Reflect.deleteProperty(server, "_streamHandler")],
  [
    "grpc-js takes the streams itself, with channelz",
    (server) => {
      server.channelzEnabled = true;
      Reflect.deleteProperty(server, "_channelzHandler");
    },
  ],
];

describe("a switch of grpc-js that is flipped", () => {
  it.each(flipped)("C8 C13 lets no call to a handler: %s", async (_name, flip) => {
    await using wall = await secured({
      register: ({ grpcServer }) => flip(grpcServer as unknown as Switches),
    });
    const metadata = await wall.authorized();
    const client = wall.client();
    for (const kind of kinds) expect((await invoke(client, kind, { metadata })).name).not.toBe("OK");
    expect(wall.started).toEqual([]);
    expect(wall.lines.map(({ msg }) => msg)).toContain("calls are refused: the chain could not start them");
  });

  it.each(["grpc.enable_channelz", "grpc.server_call_metric_recording"])("%s is no channelOption", (name) => {
    const make = (): unknown =>
      createSecureServer({
        tls: { plaintext: "loopback" },
        authentication: anonymous(),
        authorization: allowAuthenticated(),
        channelOptions: { [name]: 1 },
      });
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(name);
  });
});

describe("the error of an outgoing call", () => {
  const failing = {
    unary: (_call: unknown, callback: (error: unknown) => void) =>
      callback({ code: status.NOT_FOUND, details: "no such order" }),
  } as unknown as UntypedServiceImplementation;

  it("C5 is known by its message or by its stack, and others are not taken for one", async () => {
    const server = new Server();
    server.addService(kindsDefinition, { ...goodHandlers(), ...failing });
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    const error = await new Promise<unknown>((resolve) => {
      const method = kindsDefinition["unary"];
      if (method === undefined) throw new Error("there is one");
      const { path, requestSerialize, responseDeserialize } = method;
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, { text: "" }, resolve);
    });
    expect(isOutgoingCallError(error)).toBe(true);
    expect((error as Error).message).toBe("5 NOT_FOUND: no such order");
    expect((error as Error).stack).toContain("\nfor call at\n");
    (error as Error).message = "said otherwise";
    expect(isOutgoingCallError(error)).toBe(true);
    const own = Object.assign(new Error("no such order"), {
      code: status.NOT_FOUND,
      details: "no such order",
      metadata: new Metadata(),
    });
    expect(isOutgoingCallError(own)).toBe(false);
    client.close();
    server.forceShutdown();
  });
});
