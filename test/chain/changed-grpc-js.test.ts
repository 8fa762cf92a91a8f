// A grpc-js that changed under a server that is up: what the seam relies on is gone. Nothing is let through, and the
// process goes on.
import { createRequire } from "node:module";
import { afterEach, describe, expect, it } from "vitest";
import { jwt } from "../../src/middleware/authentication/jwt.ts";
import { secureInterceptors } from "../../src/server/interceptors.ts";
import { foreign } from "../harness/foreign.ts";
import { invoke, kinds, kindsDefinition } from "../harness/kinds.ts";
import { callerPolicy, keptLog, type LogLine, type Secured, secured, theWorld } from "../harness/secured.ts";

const { BaseServerInterceptingCall } = createRequire(import.meta.url)(
  "@grpc/grpc-js/build/src/server-interceptors.js",
) as { readonly BaseServerInterceptingCall: { readonly prototype: object } };
const { prototype } = BaseServerInterceptingCall;

let restore = (): void => {};
afterEach(() => restore());

/** As if it were called something else: a field never gets its value, a method is not there. */
function takeAway(member: string): void {
  const was = Object.getOwnPropertyDescriptor(prototype, member);
  Object.defineProperty(prototype, member, { configurable: true, get: () => undefined, set: () => {} });
  restore = () => {
    Reflect.deleteProperty(prototype, member);
    if (was !== undefined) Object.defineProperty(prototype, member, was);
  };
}

type Wall = Pick<Secured, "client" | "authorized" | "started" | "lines" | typeof Symbol.asyncDispose>;

async function onForeign(): Promise<Wall> {
  const { issuer } = await theWorld();
  const { logger, lines } = keptLog();
  const interceptors = secureInterceptors({
    authentication: jwt({ issuer: issuer.issuer, audience: "kinds", jwksUri: issuer.jwksUri }),
    authorization: callerPolicy,
    services: [kindsDefinition],
    logger,
  });
  return { ...(await foreign(interceptors)), lines };
}

const roads: readonly [string, () => Promise<Wall>][] = [
  ["createSecureServer", () => secured()],
  ["secureInterceptors", onForeign],
];
const members: readonly [string, string][] = [
  ["handler", "handler"],
  ["deadlineTimer", "deadlineTimer"],
  ["receivedHalfClose", "receivedHalfClose"],
  ["maxReceiveMessageSize", "maxReceiveMessageSize"],
  ["maxSendMessageSize", "maxSendMessageSize"],
  ["incomingEncoding", "incomingEncoding"],
  ["decoder", "decoder.maxReadMessageLength"],
  ["decompressMessage", "decompressMessage"],
  ["serializeMessage", "serializeMessage"],
];

describe.each(roads)("on %s", (_road, make) => {
  it.each(members)(
    "C3 C6 without the base call's %s every call is refused, and said once",
    async (member, named) => {
      await using wall = await make();
      takeAway(member);
      const metadata = await wall.authorized();
      const client = wall.client();
      for (const kind of kinds) {
        const told = await invoke(client, kind, { metadata });
        expect(`${kind} ${told.name} ${told.details}`).toBe(`${kind} INTERNAL internal error`);
      }
      expect(wall.started).toEqual([]);
      const said = wall.lines.filter((line: LogLine) =>
        JSON.stringify(line["err"] ?? "").includes("grpc-js"),
      );
      expect(said).toHaveLength(1);
      expect(JSON.stringify(said[0]?.["err"])).toContain(`BaseServerInterceptingCall.${named}`);
      restore();
      expect((await invoke(client, "unary", { metadata })).name).toBe("OK");
    },
  );
});

describe.each(roads)("on %s", (_road, make) => {
  it("C3 without what the shorter way relies on, calls take grpc-js's own", async () => {
    takeAway("shouldSendMetrics");
    await using wall = await make();
    const metadata = await wall.authorized();
    const client = wall.client();
    for (const kind of kinds) expect((await invoke(client, kind, { metadata })).name).toBe("OK");
  });
});
