// A policy that is replaced while calls are on their way: whichever decided, the one in force when the handler starts has
// allowed the call (Z10).
import type { Client } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { Middleware } from "../../src/chain/middleware.ts";
import { type MethodKind, streamsRequests } from "../../src/grpc/method.ts";
import type { Authorizer, Decision, MethodPolicy } from "../../src/middleware/authorization/authorizer.ts";
import { type AnyClientCall, invoke, kinds, paths, type Result } from "../harness/kinds.ts";
import { eventually, type Secured, type SecuredOptions, secured } from "../harness/secured.ts";

type Decide = MethodPolicy["decide"];

/** The same decision for every method. */
function policy(name: string, decide: Decide, rest: Partial<MethodPolicy> = {}): Authorizer {
  return {
    name,
    compile: () => ({ forMethod: () => ({ access: "checked", decide, ...rest }) }),
  };
}

const allow = (rule: string): Decision => ({ effect: "allow", rule });
const deny = (rule: string): Decision => ({ effect: "deny", rule });

/** Allows every call, and decides on each message. */
function policyByMessage(
  name: string,
  decideMessage: NonNullable<MethodPolicy["decideMessage"]>,
): Authorizer {
  return policy(name, () => allow(name), { decideMessage });
}

/** Something that a test lets go on. */
class Gate {
  passed = 0;
  #open: () => void = () => {};
  readonly #opened = new Promise<void>((resolve) => {
    this.#open = resolve;
  });

  async pass(): Promise<void> {
    this.passed += 1;
    await this.#opened;
  }

  open(): void {
    this.#open();
  }

  reached(): Promise<unknown> {
    return eventually(() => this.passed > 0, "somebody at the gate");
  }
}

/** Makes one call, and replaces the policy once somebody waits at the gate. */
async function replacedAt(
  gate: Gate,
  kind: MethodKind,
  next: Authorizer,
  options: SecuredOptions,
  metadata?: Readonly<Record<string, string>>,
): Promise<{ readonly told: Result; readonly wall: Secured }> {
  const wall = await secured(options);
  const call = invoke(wall.client(), kind, { metadata: metadata ?? (await wall.authorized()) });
  await gate.reached();
  wall.server.setAuthorization(next);
  gate.open();
  return { told: await call, wall };
}

type Next =
  | "denies"
  | "allows"
  | "fails"
  | "denies slowly"
  | "allows slowly"
  | "denies by message"
  | "allows by message";

const nextPolicies: Readonly<Record<Next, Authorizer>> = {
  denies: policy("new", () => deny("new")),
  allows: policy("new", () => allow("new")),
  fails: policy("new", () => {
    throw new Error("the new policy's database is away");
  }),
  "denies slowly": policy("new", async () => deny("new")),
  "allows slowly": policy("new", async () => allow("new")),
  "denies by message": policyByMessage("new", (_call, message) =>
    JSON.stringify(message) === '{"text":"hello"}' ? deny("new") : allow("new"),
  ),
  "allows by message": policyByMessage("new", async (_call, message) =>
    JSON.stringify(message) === '{"text":"hello"}' ? allow("new") : deny("new"),
  ),
};

const answers: Readonly<Record<Next, string>> = {
  denies: "PERMISSION_DENIED",
  allows: "OK",
  fails: "UNAVAILABLE",
  "denies slowly": "PERMISSION_DENIED",
  "allows slowly": "OK",
  "denies by message": "PERMISSION_DENIED",
  "allows by message": "OK",
};
const nexts = Object.keys(answers) as Next[];

async function expectAnswer({ told, wall }: { told: Result; wall: Secured }, next: Next): Promise<void> {
  expect(told.name).toBe(answers[next]);
  expect(wall.started.length).toBe(answers[next] === "OK" ? 1 : 0);
  const entry = await wall.auditEntry(() => true);
  expect(entry.decision).toBe(answers[next] === "OK" ? "allow" : "deny");
  expect(entry.rule).toBe(next === "fails" ? "authorization" : "new");
}

describe.each(kinds)("Z10 a policy that is replaced, %s calls", (kind) => {
  it.each(nexts)("Z10 while it decides: the new one %s", async (next) => {
    const gate = new Gate();
    const slow = policy("old", async () => {
      await gate.pass();
      return allow("old");
    });
    const seen = await replacedAt(gate, kind, nextPolicies[next], { authorization: slow });
    await using _ = seen.wall;
    await expectAnswer(seen, next);
  });

  it.each(nexts)("Z10 while it decides on a message: the new one %s", async (next) => {
    const gate = new Gate();
    const decide: Decide = async () => {
      await gate.pass();
      return allow("old");
    };
    const authorization = policyByMessage("old", decide);
    const seen = await replacedAt(gate, kind, nextPolicies[next], { authorization });
    await using _ = seen.wall;
    await expectAnswer(seen, next);
  });

  it.each(nexts)("Z10 while other middleware is asked about the call: the new one %s", async (next) => {
    const gate = new Gate();
    const seen = await replacedAt(gate, kind, nextPolicies[next], {
      authorization: policy("old", () => allow("old")),
      middleware: [{ name: "own", onCall: () => gate.pass() }],
    });
    await using _ = seen.wall;
    await expectAnswer(seen, next);
  });

  it.each(nexts)(
    "Z10 while other middleware is asked about the first message: the new one %s",
    async (next) => {
      const gate = new Gate();
      const received: unknown[] = [];
      const own: Middleware = { name: "own", onRequest: () => gate.pass(), needsMessage: () => true };
      const seen = await replacedAt(gate, kind, nextPolicies[next], {
        authorization: policy("old", () => allow("old")),
        middleware: [own],
      });
      await using _ = seen.wall;
      await expectAnswer(seen, next);
      expect(received).toEqual([]);
    },
  );

  it("Z10 a denial stays, whatever the new policy says", async () => {
    const gate = new Gate();
    const slow = policy("old", async () => {
      await gate.pass();
      return deny("old");
    });
    const { told, wall } = await replacedAt(gate, kind, nextPolicies.allows, { authorization: slow });
    await using _ = wall;
    expect(told.name).toBe("PERMISSION_DENIED");
    expect(wall.started).toEqual([]);
    expect(await wall.auditEntry(() => true)).toMatchObject({ decision: "deny", rule: "old" });
  });

  it.each<[string, (replace: () => void) => Decide]>([
    [
      "while it decides at once",
      (replace) => () => {
        replace();
        return allow("again");
      },
    ],
    [
      "while it decides later",
      (replace) => async () => {
        await new Promise(setImmediate);
        replace();
        return allow("again");
      },
    ],
    ...[1, 2, 3, 4, 5, 6, 8].map((ticks): [string, (replace: () => void) => Decide] => [
      `${ticks} microtasks after it decided`,
      (replace) => async () => {
        const countDown = (left: number): void =>
          queueMicrotask(left === 0 ? replace : () => countDown(left - 1));
        countDown(ticks);
        return allow("again");
      },
    ]),
  ])("Z10 replaced again and again %s, the call ends, and so do those after it", async (_, decideBy) => {
    await using wall = await secured();
    let replaced = 0;
    const again = (): Authorizer =>
      policy(
        "again",
        decideBy(() => {
          if (replaced > 1_000) return;
          replaced += 1;
          wall.server.setAuthorization(again());
        }),
      );
    wall.server.setAuthorization(again());
    const client = wall.client();
    const metadata = await wall.authorized();
    const told = await invoke(client, kind, { metadata });
    // Where it is replaced once the handler has started, the call was allowed.
    expect(["OK", "UNAVAILABLE"]).toContain(told.name);
    expect(replaced).toBeLessThan(50);
    // The handler of a request stream may run already, and the policy be replaced while a message is decided.
    if (told.name === "UNAVAILABLE" && !streamsRequests(kind)) expect(wall.started).toEqual([]);
    wall.server.setAuthorization(nextPolicies.allows);
    expect((await invoke(client, kind, { metadata })).name).toBe("OK");
  });

  it("Z10 in a dry run the new policy is asked too, and refuses nothing", async () => {
    const gate = new Gate();
    const slow = policy("old", async () => {
      await gate.pass();
      return allow("old");
    });
    const { told, wall } = await replacedAt(gate, kind, nextPolicies.denies, {
      authorization: slow,
      enforce: { authorization: false },
    });
    await using _ = wall;
    expect(told.name).toBe("OK");
    expect(await wall.auditEntry(() => true)).toMatchObject({
      status: "OK",
      decision: "deny",
      dryRun: true,
      rule: "new",
    });
  });

  it("Z10 in a dry run a policy that is replaced all the time refuses nothing", async () => {
    await using wall = await secured({ enforce: { authorization: false } });
    const again = (): Authorizer =>
      policy("again", async () => {
        await new Promise(setImmediate);
        wall.server.setAuthorization(again());
        return allow("again");
      });
    wall.server.setAuthorization(again());
    expect((await invoke(wall.client(), kind, { metadata: await wall.authorized() })).name).toBe("OK");
    expect(await wall.auditEntry(() => true)).toMatchObject({ dryRun: true, rule: "policy failed" });
  });

  it.each([true, false])(
    "Z10 a method that is not public any more lets nobody in without a credential, enforced: %s",
    async (authorization) => {
      const gate = new Gate();
      const decide: Decide = () => allow("everybody that authentication lets in");
      const { told, wall } = await replacedAt(
        gate,
        kind,
        policy("new", decide),
        {
          authorization: policy("old", decide, { access: "public" }),
          enforce: { authorization },
          middleware: [{ name: "own", onCall: () => gate.pass() }],
        },
        {},
      );
      await using _ = wall;
      expect(told.name).toBe("PERMISSION_DENIED");
      expect(wall.started).toEqual([]);
      expect(await wall.auditEntry(() => true)).toMatchObject({ decision: "deny", rule: "no credential" });
    },
  );

  it("Z10 a method that is public still, or has become so, lets them in", async () => {
    const gate = new Gate();
    const open = (name: string): Authorizer => policy(name, () => allow(name), { access: "public" });
    const { told, wall } = await replacedAt(
      gate,
      kind,
      open("new"),
      { authorization: open("old"), middleware: [{ name: "own", onCall: () => gate.pass() }] },
      {},
    );
    await using _ = wall;
    expect(told.name).toBe("OK");
  });
});

/** A call of which the caller has sent one message, and may send more. */
function opened(client: Client, kind: MethodKind, as: MethodKind, metadata: Record<string, string>) {
  let call: AnyClientCall | undefined;
  const told = invoke(client, as, {
    path: paths[kind],
    metadata,
    keepOpen: true,
    onCall: (made) => {
      call = made;
    },
  });
  const stream = call as unknown as { write(message: object): void; end(): void };
  return { told, stream };
}

describe("Z10 a policy that is replaced while the caller is in no hurry", () => {
  it.each<[MethodKind, MethodKind]>([
    ["unary", "client_stream"],
    ["server_stream", "bidi_stream"],
  ])("Z10 %s: a call whose message has passed, and whose handler has not started", async (kind, as) => {
    for (const next of nexts) {
      const passed = new Gate();
      passed.open();
      await using wall = await secured({
        authorization: policy("old", () => allow("old")),
        middleware: [{ name: "own", onRequest: () => void passed.pass() }],
      });
      const { told, stream } = opened(wall.client(), kind, as, await wall.authorized());
      await passed.reached();
      wall.server.setAuthorization(nextPolicies[next]);
      stream.end();
      await expectAnswer({ told: await told, wall }, next);
    }
  });

  it.each(kinds.filter(streamsRequests))(
    "Z10 %s: the next message of an open stream is the new policy's to decide",
    async (kind) => {
      for (const next of nexts) {
        const received: string[] = [];
        const note = (call: NodeJS.EventEmitter): void =>
          void call.on("data", ({ text }: { text: string }) => received.push(text));
        await using wall = await secured({
          authorization: policy("old", () => allow("old")),
          handlers: {
            clientStream(call: NodeJS.EventEmitter, callback: (error: null, value: object) => void) {
              note(call);
              call.on("end", () => callback(null, { text: "" }));
            },
            bidiStream(call: NodeJS.EventEmitter & { end(): void }) {
              note(call);
              call.on("end", () => call.end());
            },
          } as never,
        });
        const { told, stream } = opened(wall.client(), kind, kind, await wall.authorized());
        await eventually(() => received.length === 1, "the first message");
        wall.server.setAuthorization(nextPolicies[next]);
        stream.write({ text: "hello" });
        stream.end();
        expect((await told).name).toBe(answers[next]);
        expect(received).toEqual(answers[next] === "OK" ? ["hello", "hello"] : ["hello"]);
      }
    },
  );

  it.each(kinds.filter(streamsRequests))(
    "Z10 %s: a long stream outlives any number of policies that allow it",
    async (kind) => {
      await using wall = await secured({ authorization: policy("old", () => allow("old")) });
      let passed = 0;
      const asked = (): Authorizer =>
        policyByMessage("new", async () => {
          passed += 1;
          return allow("new");
        });
      const { told, stream } = opened(wall.client(), kind, kind, await wall.authorized());
      await eventually(() => wall.started.length === 1, "the handler");
      for (let i = 1; i <= 20; i++) {
        wall.server.setAuthorization(asked());
        stream.write({ text: String(i) });
        await eventually(() => passed === i, "a decision");
      }
      stream.end();
      expect((await told).name).toBe("OK");
    },
  );
});
