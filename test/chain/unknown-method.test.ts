// A method that nobody registered passes the whole chain, like every other (C8).
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type KeptMetrics, keepMetrics } from "../harness/kept-metrics.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import { RawConnection } from "../harness/raw-http2.ts";
import { eventually, secured } from "../harness/secured.ts";

let kept: KeptMetrics;
beforeAll(() => {
  kept = keepMetrics();
});
afterAll(() => kept.close());

const unknownPath = "/test.v1.Kinds/Nothing";

describe.each(kinds)("a %s call of a method that does not exist", (kind) => {
  it("C8 is UNAUTHENTICATED for a stranger, as if the method existed", async () => {
    await using wall = await secured();
    const client = wall.client();
    const missing = await invoke(client, kind, { path: unknownPath, keepOpen: true });
    const existing = await invoke(client, kind, { keepOpen: true });
    expect(missing).toMatchObject({ name: "UNAUTHENTICATED", details: "missing credentials" });
    for (const { trailers } of [missing, existing]) trailers.remove("date");
    expect([missing.details, missing.code, missing.trailers.getMap()]).toEqual([
      existing.details,
      existing.code,
      existing.trailers.getMap(),
    ]);
    const entry = await wall.auditEntry(({ method }) => method === unknownPath);
    expect(entry).toMatchObject({ caller: null, status: "UNAUTHENTICATED", rule: "authentication" });
  });

  it("C8 is UNIMPLEMENTED for the authenticated, logged, audited, and counted as other", async () => {
    await using wall = await secured();
    const result = await invoke(wall.client(), kind, {
      path: unknownPath,
      keepOpen: true,
      metadata: await wall.authorized(),
    });
    expect(result).toMatchObject({ name: "UNIMPLEMENTED", details: "unknown method" });
    expect(await wall.callLine(() => true)).toMatchObject({
      grpc_code: "UNIMPLEMENTED",
      method: unknownPath,
      principal: "ada",
      ended_by: "layer",
    });
    expect(await wall.auditEntry(() => true)).toMatchObject({
      method: unknownPath,
      caller: { subject: "ada" },
      status: "UNIMPLEMENTED",
      decision: "deny",
    });
    const durations = await kept.points("grpc.server.call.duration");
    expect(durations.map(({ attributes }) => attributes)).toContainEqual({
      "grpc.method": "other",
      "grpc.status": "UNIMPLEMENTED",
    });
    expect(JSON.stringify(durations)).not.toContain("Nothing");
  });

  it("C8 counts against the limit of its peer", async () => {
    await using wall = await secured({ rateLimit: { perPeer: { points: 1, durationSec: 60 } } });
    const client = wall.client();
    await invoke(client, kind, { path: unknownPath });
    const result = await invoke(client, kind, { path: unknownPath, metadata: await wall.authorized() });
    expect(result).toMatchObject({ name: "RESOURCE_EXHAUSTED" });
  });
});

const weirdPaths: Readonly<Record<string, string>> = {
  "the root": "/",
  "empty segments": "//",
  "an empty method": "/test.v1.Kinds/",
  "an empty service": "//Unary",
  "a slash at the end": `${paths.unary}/`,
  "a doubled slash": `/${paths.unary}`,
  "another case": "/TEST.V1.KINDS/UNARY",
  "a query": `${paths.unary}?public=1`,
  "a fragment": `${paths.unary}#x`,
  dots: "/test.v1.Kinds/../test.v1.Kinds/Unary",
  "percent signs": "/test.v1.Kinds/%55nary",
  "one segment": "/Unary",
  "many segments": `/${"a/".repeat(500)}`,
  "a very long name": `/test.v1.Kinds/${"x".repeat(7_000)}`,
  "names of Object's own": "/__proto__/constructor",
  "a health probe's name with something behind it": "/grpc.health.v1.Health/Check/",
  "a health probe's name in another case": "/grpc.health.v1.health/check",
};

describe.each(Object.entries(weirdPaths))("a path with %s", (_name, path) => {
  it("C8 opens nothing: a stranger is unauthenticated, and for the others the method is unknown", async () => {
    await using wall = await secured();
    await using raw = await RawConnection.open(wall);
    const stranger = await raw.call(path).answer;
    expect(stranger).toMatchObject({ name: "UNAUTHENTICATED", details: "missing credentials" });
    const known = await raw.call(path, { headers: await wall.authorized() }).answer;
    expect(known).toMatchObject({ name: "UNIMPLEMENTED", details: "unknown method" });
    expect(wall.started).toEqual([]);
    const entries = await eventually(() => wall.audit.length === 2 && wall.audit, "two audit entries");
    for (const { method } of entries) expect(method.length).toBeLessThanOrEqual(256);
    // Well again afterwards.
    expect(await raw.call(paths.unary, { headers: await wall.authorized() }).answer).toMatchObject({
      name: "OK",
    });
  });
});

/** nghttp2 takes none of these for a request. */
describe.each(["", "*", "no-slash", "http://localhost/x", "/a b", "/Привет/мир", "/\u0001"])(
  "the path %j",
  (path) => {
    it("C8 ends its own stream, and the connection serves on", async () => {
      await using wall = await secured();
      await using raw = await RawConnection.open(wall);
      const answer = await raw.call(path, { headers: await wall.authorized() }).answer;
      expect(answer.name).toBeUndefined();
      expect(answer.rstCode).not.toBe(0);
      expect(wall.started).toEqual([]);
      expect(await raw.call(paths.unary, { headers: await wall.authorized() }).answer).toMatchObject({
        name: "OK",
      });
    });
  },
);
