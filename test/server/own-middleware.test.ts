// Layers of the application's own (C7): where they stand, what they may do, and what is no layer.
import { status } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { ContextKey } from "../../src/chain/context.ts";
import { securityContext } from "../../src/chain/current-context.ts";
import type { Middleware } from "../../src/chain/middleware.ts";
import { ConfigError, StatusError } from "../../src/grpc/errors.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { createSecureServer } from "../../src/server/secure-server.ts";
import { invoke, kinds, type Note } from "../harness/kinds.ts";
import { secured } from "../harness/secured.ts";

const tenantKey = new ContextKey<string>("tenant");

describe("a layer of one's own", () => {
  it.each(kinds)("C7 %s: runs after authorization, on every message, and keeps typed state", async (kind) => {
    const seen: string[] = [];
    const own: Middleware = {
      name: "tenant",
      onCall(call) {
        seen.push(`call ${call.principal?.subject} ${call.decision?.effect}`);
        if (call.principal?.tenant !== undefined) call.set(tenantKey, call.principal.tenant);
      },
      onRequest: (message, call) =>
        void seen.push(`request ${(message as Note).text} ${call.get(tenantKey)?.toUpperCase()}`),
      onEnd: (call, { code }) => void seen.push(`end ${call.get(tenantKey)} ${status[code]}`),
    };
    await using wall = await secured({ middleware: [own] });
    const client = wall.client();
    const told = await invoke(client, kind, { metadata: await wall.authorized() });
    expect(told.name).toBe("OK");
    await wall.callLine((line) => line["grpc_code"] === "OK");
    expect(seen).toEqual(["call ada allow", "request hello ACME", "end acme OK"]);
    seen.length = 0;
    expect((await invoke(client, kind)).name).toBe("UNAUTHENTICATED");
    const denied = await invoke(client, kind, { metadata: await wall.authorized({ roles: ["other"] }) });
    expect(denied.name).toBe("PERMISSION_DENIED");
    expect(seen).toEqual([]);
  });

  it("C7 the handler reads what a layer kept", async () => {
    await using wall = await secured({
      middleware: [{ name: "tenant", onCall: (call) => call.set(tenantKey, "kept") }],
      handlers: {
        unary: (call: object, callback: (error: null, note: Note) => void) =>
          callback(null, { text: securityContext(call).get(tenantKey) ?? "nothing" }),
      },
    });
    const told = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(told.messages).toEqual([{ text: "kept" }]);
  });

  it.each(
    kinds.flatMap((kind) =>
      (["onCall", "onRequest"] as const).flatMap((hook) =>
        (["throws", "rejects"] as const).map((how) => [kind, hook, how] as const),
      ),
    ),
  )("C7 %s: an own layer whose %s %s refuses the call", async (kind, hook, how) => {
    const refusal = new StatusError(status.FAILED_PRECONDITION, "not today");
    const refuse = (): Promise<void> => {
      if (how === "throws") throw refusal;
      return Promise.reject(refusal);
    };
    await using wall = await secured({ middleware: [{ name: "own", [hook]: refuse }] });
    const told = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
    expect(`${told.name} ${told.details}`).toBe("FAILED_PRECONDITION not today");
    if (hook === "onCall") expect(wall.started).toEqual([]);
    expect(await wall.callLine((line) => line["grpc_code"] === "FAILED_PRECONDITION")).toMatchObject({
      layer: "own",
    });
  });

  it("C7 several run in the order in which they are given", async () => {
    const order: string[] = [];
    const layer = (name: string): Middleware => ({ name, onCall: () => void order.push(name) });
    await using wall = await secured({ middleware: [layer("a"), layer("b"), layer("c")] });
    await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(order).toEqual(["a", "b", "c"]);
  });

  const onCall = (): void => {};
  const wrong: readonly [string, unknown, string][] = [
    ["what is no list", { name: "x", onCall }, "middleware: "],
    ["null", [null], "middleware.0: must be a middleware"],
    ["a function", [onCall], "middleware.0: must be a middleware"],
    ["a layer without a name", [{ onCall }], "middleware.0: name: must be"],
    ["a name that would break a log", [{ name: "a\nb", onCall }], "middleware.0: name: must be"],
    ["a hook that is no function", [{ name: "x", onCall: true }], "middleware.0: onCall: must be a function"],
    ["a misspelt hook", [{ name: "x", onCall, onrequest: onCall }], "middleware.0: onrequest: no such hook"],
    [
      "watches in place of observes",
      [{ name: "x", onCall, watches: true }],
      "middleware.0: watches: no such hook",
    ],
    ["a layer that does nothing", [{ name: "x", appliesTo: onCall }], "middleware.0: has none of the hooks"],
    ["observes that is no boolean", [{ name: "x", onCall, observes: 1 }], "middleware.0: observes: must be"],
    [
      "two of one name",
      [
        { name: "x", onCall },
        { name: "x", onCall },
      ],
      'middleware.1.name: "x" is used twice',
    ],
    [
      "the name of our own",
      [{ name: "authorization", onCall }],
      'middleware.0.name: "authorization" is the name',
    ],
  ];
  it.each(wrong)("C7 %s is a ConfigError", (_what, middleware, problem) => {
    const make = (): unknown =>
      createSecureServer({
        tls: { cert: "server.crt", key: "server.key" },
        authentication: anonymous(),
        authorization: allowAuthenticated(),
        logger: false,
        middleware: middleware as Middleware[],
      });
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(problem);
  });
});
