// The health service over real connections (O1), and what it says while the server goes (C9).
import { Buffer } from "node:buffer";
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { AuditEntry } from "../../src/middleware/audit/audit-entry.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { createSecureServer } from "../../src/server/secure-server.ts";
import { check, list, watch } from "../harness/health.ts";
import { invoke, kinds, type Result } from "../harness/kinds.ts";
import { eventually, secured, theWorld } from "../harness/secured.ts";
import { waitMs } from "../harness/time.ts";

describe("O1 Check", () => {
  it("O1 says SERVING of the server and of each service once it listens", async () => {
    await using wall = await secured();
    const client = wall.client();
    for (const service of ["", "test.v1.Kinds"]) {
      expect(await check(client, service)).toEqual({
        name: "OK",
        details: "OK",
        value: { status: "SERVING" },
      });
    }
  });

  it.each(["test.v1.Other", "test.v1", "test.v1.kinds", "grpc.health.v1.Health", "x".repeat(1_000)])(
    "O1 says NOT_FOUND of a service that nobody knows (%s)",
    async (service) => {
      await using wall = await secured();
      expect(await check(wall.client(), service)).toMatchObject({
        name: "NOT_FOUND",
        details: "unknown service",
      });
    },
  );

  it("O1 says what the application said last", async () => {
    await using wall = await secured();
    const client = wall.client();
    wall.server.health.setStatus("test.v1.Kinds", "NOT_SERVING");
    expect(await check(client, "test.v1.Kinds")).toMatchObject({ value: { status: "NOT_SERVING" } });
    expect(await check(client, "")).toMatchObject({ value: { status: "SERVING" } });
    wall.server.health.setStatus("", "NOT_SERVING");
    wall.server.health.setStatus("test.v1.Kinds", "SERVING");
    expect(await check(client, "test.v1.Kinds")).toMatchObject({ value: { status: "SERVING" } });
    expect(await check(client, "")).toMatchObject({ value: { status: "NOT_SERVING" } });
  });

  it("O1 keeps what was said before listen()", async () => {
    await using wall = await secured({
      register: (server) => server.health.setStatus("test.v1.Kinds", "NOT_SERVING"),
    });
    expect(await check(wall.client(), "test.v1.Kinds")).toMatchObject({ value: { status: "NOT_SERVING" } });
  });

  it.each(kinds)(
    "O1 a server that says NOT_SERVING still serves %s calls: readiness is advice",
    async (kind) => {
      await using wall = await secured();
      wall.server.health.setStatus("", "NOT_SERVING");
      expect(await invoke(wall.client(), kind, { metadata: await wall.authorized() })).toMatchObject({
        name: "OK",
      });
    },
  );

  it("U4 a probe leaves a line of its own kind: no principal, decided by nobody", async () => {
    await using wall = await secured();
    await check(wall.client(), "");
    expect(await wall.callLine(() => true)).toMatchObject({
      method: "/grpc.health.v1.Health/Check",
      grpc_code: "OK",
      principal: null,
    });
    expect(await wall.auditEntry(() => true)).toMatchObject({ decision: "none", rule: null, caller: null });
  });
});

describe("O1 Watch", () => {
  it("O1 tells the status at once and then each change, once", async () => {
    await using wall = await secured();
    const watching = watch(wall.client(), "test.v1.Kinds");
    await watching.next("SERVING");
    wall.server.health.setStatus("test.v1.Kinds", "SERVING");
    wall.server.health.setStatus("test.v1.Kinds", "NOT_SERVING");
    await watching.next("NOT_SERVING");
    wall.server.health.setStatus("", "NOT_SERVING");
    wall.server.health.setStatus("test.v1.Kinds", "SERVING");
    await watching.next("SERVING");
    expect(watching.told).toEqual(["SERVING", "NOT_SERVING", "SERVING"]);
    watching.cancel();
    expect(await watching.ended).toMatchObject({ name: "CANCELLED" });
  });

  it("O1 tells SERVICE_UNKNOWN of a service that nobody knows, and its status once somebody does", async () => {
    await using wall = await secured();
    const watching = watch(wall.client(), "late.v1.Late");
    await watching.next("SERVICE_UNKNOWN");
    wall.server.health.setStatus("late.v1.Late", "SERVING");
    await watching.next("SERVING");
    watching.cancel();
  });

  it("O1 tells everyone who watches, and nobody who went", async () => {
    await using wall = await secured();
    const client = wall.client();
    const [gone, ...others] = [watch(client, ""), watch(client, ""), watch(wall.client(), "")];
    for (const each of [gone, ...others]) await each?.next("SERVING");
    gone?.cancel();
    await wall.callLine((line) => line["grpc_code"] === "CANCELLED");
    wall.server.health.setStatus("", "NOT_SERVING");
    for (const each of others) await each.next("NOT_SERVING");
    expect(gone?.told).toEqual(["SERVING"]);
    for (const each of others) each.cancel();
  });
});

describe("O1 List", () => {
  it("O1 gives every status to who is known", async () => {
    await using wall = await secured();
    wall.server.health.setStatus("test.v1.Kinds", "NOT_SERVING");
    expect(await list(wall.client(), await wall.authorized({ roles: [] }))).toMatchObject({
      name: "OK",
      value: { statuses: { "": { status: "SERVING" }, "test.v1.Kinds": { status: "NOT_SERVING" } } },
    });
    expect(await wall.auditEntry(() => true)).toMatchObject({
      decision: "allow",
      rule: "/grpc.health.v1.Health/List",
      caller: { subject: "ada" },
    });
  });
});

describe("C9 shutdown", () => {
  /** Handlers that wait until they are told to go on. */
  function waiting(): { readonly handlers: UntypedServiceImplementation; arrived(): boolean; goOn(): void } {
    const goOn: (() => void)[] = [];
    const answer = (_call: unknown, callback: (error: null, value: object) => void): void => {
      goOn.push(() => callback(null, { text: "done" }));
    };
    const stream = (call: { write(note: object): void; end(): void; resume?(): void }): void => {
      call.resume?.();
      goOn.push(() => {
        call.write({ text: "done" });
        call.end();
      });
    };
    return {
      handlers: {
        unary: answer,
        clientStream: answer,
        serverStream: stream,
        bidiStream: stream,
      } as unknown as UntypedServiceImplementation,
      arrived: () => goOn.length > 0,
      goOn() {
        for (const go of goOn.splice(0)) go();
      },
    };
  }

  it.each(kinds)("C9 O1 NOT_SERVING first; a %s call in flight ends as it would have", async (kind) => {
    const wait = waiting();
    await using wall = await secured({ handlers: wait.handlers });
    const watching = watch(wall.client(), "");
    await watching.next("SERVING");
    const inFlight = invoke(wall.client(), kind, { metadata: await wall.authorized() });
    await eventually(wait.arrived, "the handler");
    let done = false;
    const shutdown = wall.server.shutdown({ graceMs: waitMs }).then(() => {
      done = true;
    });
    await watching.next("NOT_SERVING");
    expect(await watching.ended).toMatchObject({ name: "OK" });
    expect(done).toBe(false);
    wall.server.health.setStatus("", "SERVING");
    const late = await check(wall.client(), "");
    expect(late.name).toBe("UNAVAILABLE");
    wait.goOn();
    const result: Result = await inFlight;
    expect(result).toMatchObject({ name: "OK", messages: [{ text: "done" }] });
    await shutdown;
    // Flushed and closed before the promise settled: the call's entry is there without waiting.
    const entries: readonly AuditEntry[] = wall.audit;
    expect(entries.some(({ status, caller }) => status === "OK" && caller?.subject === "ada")).toBe(true);
  });

  it.each(kinds)("C9 a %s call that outlives the grace time is cut, and the shutdown ends", async (kind) => {
    const wait = waiting();
    await using wall = await secured({ handlers: wait.handlers });
    const inFlight = invoke(wall.client(), kind, { metadata: await wall.authorized(), keepOpen: true });
    await eventually(wait.arrived, "the handler");
    await wall.server.shutdown({ graceMs: 20 });
    expect((await inFlight).name).toBe("UNAVAILABLE");
    expect(
      wall.lines.some(({ msg }) => msg?.startsWith("shutdown: calls were still open after graceMs") === true),
    ).toBe(true);
    expect(wall.audit).toHaveLength(1);
    expect(wall.audit[0]).toMatchObject({ status: "CANCELLED", endedBy: "transport", delivered: false });
    wait.goOn();
  });

  it("C9 may be called twice, and the sinks are closed once, after the last entry", async () => {
    const log: string[] = [];
    const sink = {
      async write(entries: readonly AuditEntry[]) {
        log.push(`wrote ${entries.length}`);
      },
      async close() {
        log.push("closed");
      },
    };
    await using wall = await secured({ audit: { sinks: [sink] } });
    await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    await Promise.all([wall.server.shutdown({ graceMs: 0 }), wall.server.shutdown()]);
    expect(log).toEqual(["wrote 1", "closed"]);
  });

  it("C9 a server that never listened can be shut down, and closes its sinks", async () => {
    const { ca, server } = await theWorld();
    let closed = 0;
    const sink = {
      async write() {},
      async close() {
        closed += 1;
      },
    };
    const idle = createSecureServer({
      tls: {
        cert: Buffer.from(server.cert),
        key: Buffer.from(server.key),
        clientCa: Buffer.from(ca.caPem),
      },
      authentication: anonymous(),
      authorization: allowAuthenticated(),
      logger: false,
      audit: { sinks: [sink] },
    });
    await idle.shutdown({ graceMs: 10_000 });
    expect(closed).toBe(1);
  });
});
