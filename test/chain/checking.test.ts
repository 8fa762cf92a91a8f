// A call is checking, open, or ended (C12); and nothing reaches a handler that was not checked (C13).
import { type Client, type Metadata, status } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { CallContext, SecurityContext } from "../../src/chain/context.ts";
import { securityContext } from "../../src/chain/current-context.ts";
import type { Identity } from "../../src/chain/principal.ts";
import { StatusError } from "../../src/grpc/errors.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import type { Authorizer, Decision } from "../../src/middleware/authorization/authorizer.ts";
import { type AnyClientCall, invoke, kinds, type Note, paths } from "../harness/kinds.ts";
import { grpcFrame, RawConnection } from "../harness/raw-http2.ts";
import { eventually, type Secured, type SecuredOptions, secured } from "../harness/secured.ts";
import { withTimeEnough } from "../harness/time.ts";

type Handlers = NonNullable<SecuredOptions["handlers"]>;

interface Asked<T> {
  readonly call: CallContext;
  readonly message: Note | undefined;
  answer(value: T): void;
  fail(error: unknown): void;
}

/** Questions that wait until the test answers them. */
class Questions<T> {
  readonly asked: Asked<T>[] = [];

  ask(call: CallContext, message?: unknown): Promise<T> {
    return new Promise((resolve, reject) => {
      this.asked.push({ call, message: message as Note | undefined, answer: resolve, fail: reject });
    });
  }

  /** The question of that number, once it was asked. */
  at(index: number): Promise<Asked<T>> {
    return eventually(() => this.asked[index], `question ${index}`);
  }
}

const ada: Identity = {
  principal: {
    subject: "ada",
    kind: "user",
    scheme: "test",
    roles: new Set(),
    permissions: new Set(),
    claims: {},
  },
};

/** `now` is answered at once; everybody else has to wait. */
const now = { authorization: "now" };
const later = { authorization: "later" };

function slowAuthenticator(questions: Questions<Identity>): Authenticator {
  return {
    name: "test",
    source: "metadata",
    headers: ["authorization"],
    presents: (call) => call.metadata.get("authorization").length > 0,
    authenticate: (call) => (call.metadata.get("authorization")[0] === "now" ? ada : questions.ask(call)),
  };
}

interface SlowAuthorizer {
  readonly questions: Questions<Decision>;
  /** Does it decide by the message? */
  readonly needsMessage: boolean;
}

const allow: Decision = { effect: "allow", rule: "test" };
const deny: Decision = { effect: "deny", rule: "test" };

function slowAuthorizer({ questions, needsMessage }: SlowAuthorizer): Authorizer {
  const decide = (call: CallContext, message?: unknown): Decision | Promise<Decision> =>
    call.metadata.get("x-allow")[0] === "now" ? allow : questions.ask(call, message);
  return {
    name: "test",
    compile: () => ({
      forMethod: () => ({
        access: "checked",
        ...(needsMessage ? { decide: () => allow, decideMessage: decide } : { decide }),
      }),
    }),
  };
}

const everybody: Authorizer = {
  name: "everybody",
  compile: () => ({
    forMethod: () => ({ access: "checked", decide: () => allow }),
  }),
};

interface Slow {
  readonly wall: Secured;
  readonly identities: Questions<Identity>;
  readonly decisions: Questions<Decision>;
}

async function slow(options: SecuredOptions & { readonly needsMessage?: boolean } = {}): Promise<Slow> {
  const { needsMessage = false, ...rest } = options;
  const identities = new Questions<Identity>();
  const decisions = new Questions<Decision>();
  const wall = await secured({
    authentication: slowAuthenticator(identities),
    authorization: slowAuthorizer({ questions: decisions, needsMessage }),
    ...rest,
  });
  return { wall, identities, decisions };
}

const settling = new WeakMap<Secured, Client>();

/** A whole call that is answered at once: whatever was under way before it had its chance. */
async function settle(wall: Secured): Promise<void> {
  const client = settling.get(wall) ?? wall.client();
  settling.set(wall, client);
  const result = await invoke(client, "unary", { metadata: { ...now, "x-allow": "now" } });
  expect(result.name).toBe("OK");
  // Its own handler is not what the tests count.
  wall.started.splice(wall.started.indexOf("unary"), 1);
}

describe.each(kinds)("a %s call that is being checked", (kind) => {
  const isSettling = ({ status: name }: { readonly status: string }): boolean => name === "OK";

  interface Ending {
    readonly title: string;
    readonly options?: SecuredOptions;
    readonly headers?: Readonly<Record<string, string>>;
    end?(raw: RawConnection, stream: { close(code: number): void }): void;
    readonly status: string;
    readonly endedBy: string;
    readonly details?: string;
  }
  const endings: readonly Ending[] = [
    {
      title: "its caller cancels",
      end: (_raw, stream) => stream.close(8),
      status: "CANCELLED",
      endedBy: "caller",
    },
    { title: "its connection is lost", end: (raw) => raw.cut(), status: "CANCELLED", endedBy: "transport" },
    {
      title: "its time is up",
      headers: { "grpc-timeout": "150m" },
      status: "DEADLINE_EXCEEDED",
      endedBy: "deadline",
      details: "deadline exceeded",
    },
    {
      title: "the check does not answer in time",
      options: { deadline: { checkTimeoutMs: 150 } },
      status: "UNAVAILABLE",
      endedBy: "layer",
      details: "temporarily unavailable",
    },
  ];

  const stages = [
    ["authenticated", "identities"],
    ["authorized", "decisions"],
  ] as const;

  describe.each(endings)("and $title", (ending) => {
    it.each(stages)("C12 while it is %s ends, and its handler never starts", async (_stage, which) => {
      const { wall, identities, decisions } = await slow(ending.options);
      await using _ = wall;
      await using raw = await RawConnection.open(wall);
      const { stream, answer } = raw.call(paths[kind], {
        headers: { ...(which === "identities" ? later : now), ...ending.headers },
      });
      const question = await { identities, decisions }[which].at(0);
      ending.end?.(raw, stream);
      const entry = await wall.auditEntry(() => true);
      expect(entry).toMatchObject({ status: ending.status, endedBy: ending.endedBy });
      if (ending.details !== undefined)
        expect(await answer).toMatchObject({ name: ending.status, details: ending.details });

      // The late answer is dropped, the late decision too, and `onEnd` has run for good.
      question.answer((which === "identities" ? ada : allow) as never);
      await settle(wall);
      await wall.auditEntry(isSettling);
      expect(wall.started).toEqual([]);
      expect(wall.audit).toHaveLength(2);
      expect(wall.lines.filter((line) => line["grpc_code"] !== undefined)).toHaveLength(2);
      expect(decisions.asked).toHaveLength(which === "decisions" ? 1 : 0);
    });

    it("C12 drops a late refusal as quietly", async () => {
      const { wall, identities } = await slow(ending.options);
      await using _ = wall;
      await using raw = await RawConnection.open(wall);
      const { stream } = raw.call(paths[kind], { headers: { ...later, ...ending.headers } });
      const question = await identities.at(0);
      ending.end?.(raw, stream);
      await wall.auditEntry(() => true);
      question.fail(new Error("too late"));
      await settle(wall);
      await wall.auditEntry(isSettling);
      expect(wall.audit).toHaveLength(2);
      expect(JSON.stringify(wall.lines)).not.toContain("too late");
    });
  });

  it("C13 does not start its handler before every layer said yes", async () => {
    const { wall, identities, decisions } = await slow();
    await using _ = wall;
    const result = invoke(wall.client(), kind, { metadata: later });
    const identity = await identities.at(0);
    await settle(wall);
    expect(wall.started).toEqual([]);
    expect(decisions.asked).toHaveLength(0);
    identity.answer(ada);
    const decision = await decisions.at(0);
    await settle(wall);
    expect(wall.started).toEqual([]);
    decision.answer(allow);
    expect(await result).toMatchObject({ name: "OK" });
    expect(wall.started).toEqual([kind]);
  });

  it.each([
    ["says no", (asked: Asked<Decision>) => asked.answer(deny), "PERMISSION_DENIED"],
    ["fails", (asked: Asked<Decision>) => asked.fail(new Error("gone")), "UNAVAILABLE"],
    ["answers with nothing", (asked: Asked<Decision>) => asked.answer(undefined as never), "UNAVAILABLE"],
    [
      "answers with yes in other words",
      (asked: Asked<Decision>) => asked.answer(true as never),
      "UNAVAILABLE",
    ],
  ] as const)("C13 does not start its handler where the last check %s", async (_title, act, name) => {
    const { wall, decisions } = await slow();
    await using _ = wall;
    const result = invoke(wall.client(), kind, { metadata: now, keepOpen: true });
    act(await decisions.at(0));
    expect((await result).name).toBe(name);
    expect(wall.started).toEqual([]);
  });

  it("C13 gets everything that was sent in the meantime, in order, and its end", async () => {
    const { wall, decisions } = await slow();
    await using _ = wall;
    const streamed = kind === "client_stream" || kind === "bidi_stream";
    const messages = streamed ? ["a", "b", "c", "d"].map((text) => ({ text })) : [{ text: "a" }];
    const result = invoke(wall.client(), kind, { metadata: now, messages });
    const decision = await decisions.at(0);
    await settle(wall);
    decision.answer(allow);
    const { name, messages: answered } = await result;
    expect(name).toBe("OK");
    expect(answered.map(({ text }) => text)).toEqual(
      {
        unary: ["a"],
        client_stream: ["a,b,c,d"],
        server_stream: ["a", "a", "a"],
        bidi_stream: ["a", "b", "c", "d"],
      }[kind],
    );
  });
});

/** A handler that tells what it got, and when it was told that the call is over. */
interface Told {
  readonly received: string[];
  readonly events: string[];
  context: SecurityContext | undefined;
}

type StreamCall = NodeJS.ReadWriteStream & { readonly metadata: Metadata };
type Answer = (error: null, value: Note) => void;

function telling(told: Told): Handlers {
  const listen = (call: StreamCall, done: () => void): void => {
    told.events.push("started");
    told.context = securityContext(call);
    call.on("data", (note: unknown) => told.received.push((note as Note).text));
    call.on("end", () => {
      told.events.push("end");
      done();
    });
    call.on("cancelled", () => told.events.push("cancelled"));
  };
  return {
    clientStream: (call: StreamCall, callback: Answer) =>
      listen(call, () => callback(null, { text: told.received.join(",") })),
    bidiStream: (call: StreamCall) => listen(call, () => call.end()),
  } as unknown as Handlers;
}

const newTold = (): Told => ({ received: [], events: [], context: undefined });

const streams: readonly MethodKind[] = ["client_stream", "bidi_stream"];

interface Writer {
  write(note: Note): void;
  end(): void;
}

function opened(
  wall: Secured,
  kind: MethodKind,
): { readonly result: ReturnType<typeof invoke>; readonly caller: Writer } {
  let caller: AnyClientCall | undefined;
  const result = invoke(wall.client(), kind, {
    metadata: now,
    messages: [],
    keepOpen: true,
    onCall: (call) => {
      caller = call;
    },
  });
  if (caller === undefined || !("write" in caller)) throw new Error("the call takes messages");
  return { result, caller };
}

describe.each(streams)("a %s call that is decided by its messages", (kind) => {
  it("C13 holds its handler until the first message has passed", async () => {
    const told = newTold();
    const { wall, decisions } = await slow({ needsMessage: true, handlers: telling(told) });
    await using _ = wall;
    const { result, caller } = opened(wall, kind);
    await settle(wall);
    expect([told.events, decisions.asked.length]).toEqual([[], 0]);
    caller.write({ text: "a" });
    const first = await decisions.at(0);
    expect(first.message).toEqual({ text: "a" });
    await settle(wall);
    expect(told.events).toEqual([]);
    first.answer(allow);
    await eventually(() => told.received.length === 1, "the first message");
    expect(told).toMatchObject({ events: ["started"], received: ["a"] });
    caller.end();
    expect((await result).name).toBe("OK");
    expect(told.events).toContain("end");
  });

  it("C13 delivers a first message whose caller had finished before it passed, and then the end", async () => {
    const told = newTold();
    const { wall, decisions } = await slow({ needsMessage: true, handlers: telling(told) });
    await using _ = wall;
    const result = invoke(wall.client(), kind, { metadata: now, messages: [{ text: "only" }] });
    const first = await decisions.at(0);
    await settle(wall);
    first.answer(allow);
    expect((await result).name).toBe("OK");
    expect(told).toMatchObject({ received: ["only"], events: ["started", "end"] });
  });

  it.each(["answered at once", "answered later"])(
    "C13 delivers messages in order, one check at a time: %s",
    async (when) => {
      const told = newTold();
      const { wall, decisions } = await slow({ needsMessage: true, handlers: telling(told) });
      await using _ = wall;
      const texts = ["a", "b", "c", "d", "e"];
      const result = invoke(wall.client(), kind, {
        metadata: now,
        messages: texts.map((text) => ({ text })),
      });
      for (const [i, text] of texts.entries()) {
        const asked = await decisions.at(i);
        if (when === "answered later") await settle(wall);
        expect(asked.message).toEqual({ text });
        expect(decisions.asked).toHaveLength(i + 1);
        expect(told.received).toEqual(texts.slice(0, i));
        asked.answer(allow);
      }
      expect((await result).name).toBe("OK");
      expect(told.received).toEqual(texts);
    },
  );

  it("C13 delivers the first message first to a handler that reads at once", async () => {
    const received: (string | undefined)[] = [];
    const readAtOnce = (call: StreamCall, done: () => void): void => {
      const take = (): void => {
        for (let note = call.read(); note !== null; note = call.read())
          received.push((note as unknown as Note).text);
      };
      take();
      call.on("readable", take);
      call.on("end", done);
    };
    const handlers = {
      clientStream: (call: StreamCall, callback: Answer) =>
        readAtOnce(call, () => callback(null, { text: "" })),
      bidiStream: (call: StreamCall) => readAtOnce(call, () => call.end()),
    } as unknown as Handlers;
    const { wall, decisions } = await slow({ needsMessage: true, handlers });
    await using _ = wall;
    const result = invoke(wall.client(), kind, { metadata: now, messages: [{ text: "a" }] });
    const first = await decisions.at(0);
    await settle(wall);
    first.answer(allow);
    expect((await result).name).toBe("OK");
    expect(received).toEqual(["a"]);
  });

  it("C13 refuses a stream that ends without a message", async () => {
    const told = newTold();
    const { wall, decisions } = await slow({ needsMessage: true, handlers: telling(told) });
    await using _ = wall;
    const result = await invoke(wall.client(), kind, { metadata: now, messages: [] });
    expect(result).toMatchObject({ name: "PERMISSION_DENIED", details: "permission denied" });
    expect([told.events, decisions.asked.length]).toEqual([[], 0]);
    expect(await wall.auditEntry(() => true)).toMatchObject({
      decision: "deny",
      status: "PERMISSION_DENIED",
    });
  });

  it.each([
    ["denied", (asked: Asked<Decision>) => asked.answer(deny), "PERMISSION_DENIED"],
    [
      "not decided, because the check failed",
      (asked: Asked<Decision>) => asked.fail(new Error("x")),
      "UNAVAILABLE",
    ],
  ] as const)("C13 never starts its handler where the first message is %s", async (_title, act, name) => {
    const told = newTold();
    const { wall, decisions } = await slow({ needsMessage: true, handlers: telling(told) });
    await using _ = wall;
    const result = invoke(wall.client(), kind, {
      metadata: now,
      messages: [{ text: "a" }, { text: "b" }],
      keepOpen: true,
    });
    act(await decisions.at(0));
    expect((await result).name).toBe(name);
    expect(told.events).toEqual([]);
    expect(decisions.asked).toHaveLength(1);
  });

  it("C13 ends where a later message is denied, which its handler never sees; it is told that it is over", async () => {
    const told = newTold();
    const { wall, decisions } = await slow({ needsMessage: true, handlers: telling(told) });
    await using _ = wall;
    const texts = ["a", "bad", "c"];
    const result = invoke(wall.client(), kind, {
      metadata: now,
      messages: texts.map((text) => ({ text })),
      keepOpen: true,
    });
    (await decisions.at(0)).answer(allow);
    (await decisions.at(1)).answer(deny);
    expect(await result).toMatchObject({ name: "PERMISSION_DENIED", details: "permission denied" });
    await eventually(() => told.events.includes("cancelled"), "the handler's cancellation");
    expect(told.received).toEqual(["a"]);
    expect(told.context?.signal.aborted).toBe(true);
    expect(decisions.asked).toHaveLength(2);
    expect(await wall.auditEntry(() => true)).toMatchObject({
      status: "PERMISSION_DENIED",
      decision: "deny",
      endedBy: "layer",
    });
  });

  it("C12 a message's check that does not answer ends the call, and its late answer delivers nothing", async () => {
    const told = newTold();
    const { wall, decisions } = await slow({
      needsMessage: true,
      handlers: telling(told),
      deadline: { checkTimeoutMs: 1_000 },
    });
    await using _ = wall;
    const { result, caller } = opened(wall, kind);
    caller.write({ text: "a" });
    (await decisions.at(0)).answer(allow);
    await eventually(() => told.received.length === 1, "the first message");
    caller.write({ text: "b" });
    const second = await decisions.at(1);
    expect(await result).toMatchObject({ name: "UNAVAILABLE", details: "temporarily unavailable" });
    second.answer(allow);
    await settle(wall);
    expect(told.received).toEqual(["a"]);
  });

  it("C12 a caller that goes while its first message is checked starts no handler", async () => {
    const told = newTold();
    const { wall, decisions } = await slow({ needsMessage: true, handlers: telling(told) });
    await using _ = wall;
    await using raw = await RawConnection.open(wall);
    const { stream } = raw.call(paths[kind], {
      headers: now,
      body: grpcFrame('{"text":"a"}'),
      keepOpen: true,
    });
    const first = await decisions.at(0);
    stream.close(8);
    await wall.auditEntry(() => true);
    first.answer(allow);
    await settle(wall);
    expect(told.events).toEqual([]);
  });
});

describe.each(["unary", "server_stream"] as const)("a %s call that is decided by its message", (kind) => {
  it.each([
    ["passes", (asked: Asked<Decision>) => asked.answer(allow), "OK", 1],
    ["is denied", (asked: Asked<Decision>) => asked.answer(deny), "PERMISSION_DENIED", 0],
    ["cannot be decided on", (asked: Asked<Decision>) => asked.fail(new Error("x")), "UNAVAILABLE", 0],
  ] as const)("C13 starts its handler only where the message %s", async (_title, act, name, starts) => {
    const { wall, decisions } = await slow({ needsMessage: true });
    await using _ = wall;
    const result = invoke(wall.client(), kind, { metadata: now, messages: [{ text: "a" }] });
    const asked = await decisions.at(0);
    expect(asked.message).toEqual({ text: "a" });
    await settle(wall);
    expect(wall.started).toEqual([]);
    act(asked);
    expect((await result).name).toBe(name);
    expect(wall.started).toHaveLength(starts);
  });

  it("C13 does not start its handler where no message came, or two", async () => {
    const { wall, decisions } = await slow({ needsMessage: true });
    await using _ = wall;
    await using raw = await RawConnection.open(wall);
    const headers = { ...now, "x-allow": "now" };
    const frame = grpcFrame('{"text":"a"}');
    const none = await raw.call(paths[kind], { headers, body: Buffer.alloc(0) }).answer;
    const two = await raw.call(paths[kind], { headers, body: Buffer.concat([frame, frame]) }).answer;
    expect([none.name, two.name]).toEqual(["UNIMPLEMENTED", "UNIMPLEMENTED"]);
    expect(wall.started).toEqual([]);
    expect(decisions.asked).toEqual([]);
  });
});

describe.each(kinds)("a %s handler whose call is over", (kind) => {
  it("C12 cannot say anything more, and knows it by its signal", async () => {
    const contexts: SecurityContext[] = [];
    const late: (() => void)[] = [];
    const answering = (call: object, callback: (error: unknown, value?: Note) => void): void => {
      contexts.push(securityContext(call));
      late.push(() => callback(new StatusError(status.NOT_FOUND, "late")));
    };
    const streaming = (call: object & { write(note: Note): void; end(): void }): void => {
      contexts.push(securityContext(call));
      late.push(() => {
        call.write({ text: "late" });
        call.end();
      });
    };
    await withTimeEnough(300, async (ms) => {
      contexts.length = 0;
      late.length = 0;
      await using wall = await secured({
        authentication: slowAuthenticator(new Questions()),
        authorization: everybody,
        handlers: {
          unary: answering,
          clientStream: answering,
          serverStream: streaming,
          bidiStream: streaming,
        } as unknown as Handlers,
      });
      await using raw = await RawConnection.open(wall);
      const { answer } = raw.call(paths[kind], { headers: { ...now, "grpc-timeout": `${ms}m` } });
      const result = await answer;
      expect(result).toMatchObject({ name: "DEADLINE_EXCEEDED" });
      if (contexts.length === 0) return false;
      expect(contexts[0]?.signal.aborted).toBe(true);
      late[0]?.();
      const entry = await wall.auditEntry(() => true);
      expect(entry).toMatchObject({ status: "DEADLINE_EXCEEDED" });
      expect(result.body.toString()).toBe("");
      expect(wall.audit).toHaveLength(1);
      return true;
    });
  });
});
