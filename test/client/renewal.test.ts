// One renewal and one more attempt where a server refused the credentials as expired (K5).
import { Buffer } from "node:buffer";
import { Client, type ClientDuplexStream, type ClientWritableStream, Metadata, status } from "@grpc/grpc-js";
import { SpanKind } from "@opentelemetry/api";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import type { CredentialSource } from "../../src/client/credential-source.ts";
import { Renewals } from "../../src/client/renewal.ts";
import { createSecureClient, type SecureClientOptions } from "../../src/client/secure-client.ts";
import { StatusError } from "../../src/grpc/errors.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { keepMetrics } from "../harness/kept-metrics.ts";
import { invoke, kinds, type Note } from "../harness/kinds.ts";
import {
  eventually,
  keptLog,
  type Secured,
  type SecuredOptions,
  secured,
  theWorld,
  type World,
} from "../harness/secured.ts";
import { registerTracerProvider } from "../harness/spans.ts";
import { waitMs, withTimeEnough } from "../harness/time.ts";

let world: World;
/** One that expired long ago, and one that is good. */
let expired: string;
let good: string;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  world = await theWorld();
  const now = Math.floor(Date.now() / 1000);
  expired = await world.token({ iat: now - 7_200, exp: now - 3_600 });
  // For as long as these tests take on the slowest machine.
  good = await world.token({ exp: now + 86_400 });
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A source that holds a token until it is told to renew it, and counts. */
class Held implements CredentialSource {
  readonly name = "held";
  renewed = 0;
  asked = 0;
  readonly #tokens: readonly string[];

  constructor(...tokens: readonly string[]) {
    this.#tokens = tokens;
  }

  getCredentials(): Readonly<Record<string, string>> {
    this.asked += 1;
    return { authorization: `Bearer ${this.#tokens[Math.min(this.renewed, this.#tokens.length - 1)]}` };
  }

  renew(): void {
    this.renewed += 1;
  }
}

async function serve(options: SecuredOptions = {}): Promise<Secured> {
  const server = await secured(options);
  closing.push(() => server.close());
  return server;
}

function clientOf(server: Secured, options: SecureClientOptions): Client {
  const client = createSecureClient(Client, server.address, {
    tls: {
      ca: Buffer.from(world.ca.caPem),
      cert: Buffer.from(world.client.cert),
      key: Buffer.from(world.client.key),
    },
    ...options,
  });
  closing.push(() => client.close());
  return client;
}

describe("K5 a call that is refused because its credentials expired", () => {
  it.each(kinds)("%s: is made once more with renewed ones", async (kind) => {
    const server = await serve();
    const source = new Held(expired, good);
    const result = await invoke(clientOf(server, { credentials: source }), kind);
    expect(result.name).toBe("OK");
    expect(result.messages[0]).toEqual({ text: "hello" });
    expect([source.renewed, source.asked]).toEqual([1, 2]);
    expect(server.started).toEqual([kind]);
  });

  it.each(kinds)("%s: is not made a third time", async (kind) => {
    const server = await serve();
    const source = new Held(expired, expired);
    const result = await invoke(clientOf(server, { credentials: source }), kind);
    expect([result.name, result.details]).toEqual(["UNAUTHENTICATED", "expired credentials"]);
    expect([source.renewed, source.asked]).toEqual([1, 2]);
  });

  it.each(kinds)("%s: is refused where no source can renew", async (kind) => {
    const server = await serve();
    const source = new Held(expired, good);
    const fixed: CredentialSource = { name: "fixed", getCredentials: () => source.getCredentials() };
    const result = await invoke(clientOf(server, { credentials: fixed }), kind);
    expect(result.details).toBe("expired credentials");
    expect(source.asked).toBe(1);
  });

  it("is one for the caller: one span, one measurement, one status", async () => {
    const spans = registerTracerProvider();
    const metrics = keepMetrics();
    const { logger, lines } = keptLog();
    try {
      const server = await serve({ tracing: false, metrics: false });
      const client = clientOf(server, { credentials: new Held(expired, good), logger });
      const statuses: unknown[] = [];
      await invoke(client, "unary", {
        onCall: (call) => call.on("status", ({ code }) => statuses.push(code)),
      });
      await spans.one(({ kind }) => kind === SpanKind.CLIENT);
      expect(spans.all().filter(({ kind }) => kind === SpanKind.CLIENT)).toHaveLength(1);
      expect(await metrics.points("grpc.client.call.duration")).toEqual([
        {
          attributes: {
            "grpc.method": "test.v1.Kinds/Unary",
            "grpc.target": server.address,
            "grpc.status": "OK",
          },
          value: 1,
        },
      ]);
      expect(await metrics.points("palisade.credential.renewals")).toEqual([
        { attributes: { "grpc.target": server.address }, value: 1 },
      ]);
      expect(statuses).toEqual([status.OK]);
      expect(lines).toMatchObject([{ level: 30, target: server.address }]);
      expect(JSON.stringify(lines)).not.toContain(expired.slice(0, 20));
    } finally {
      await spans.shutdown();
      await metrics.close();
    }
  });

  it("renews once for a hundred calls that are refused together", async () => {
    const server = await serve();
    const source = new Held(expired, good);
    const client = clientOf(server, { credentials: source });
    const results = await Promise.all(Array.from({ length: 100 }, () => invoke(client, "unary")));
    expect(results.filter(({ name }) => name !== "OK")).toEqual([]);
    expect(source.renewed).toBe(1);
  });

  it("keeps the call's deadline", async () => {
    const deadlines: number[] = [];
    const server = await serve({
      middleware: [{ name: "deadlines", onCall: ({ deadline }) => void deadlines.push(deadline) }],
    });
    const client = clientOf(server, { credentials: new Held(expired, good) });
    const deadline = Date.now() + waitMs / 2;
    expect((await invoke(client, "unary", { call: { deadline } })).name).toBe("OK");
    expect(deadlines).toHaveLength(1);
    // What the server counts begins later; without a deadline it would give the call twice as long.
    expect(Math.abs((deadlines[0] ?? 0) - deadline)).toBeLessThan(waitMs / 4);
  });

  it.each(kinds)("%s: stays cancelled when it is cancelled during its second attempt", async (kind) => {
    const server = await serve({ handlers: silent() });
    const source = new Held(expired, good);
    const client = clientOf(server, { credentials: source });
    const result = await invoke(client, kind, {
      onCall: (call) =>
        void eventually(() => source.asked === 2, "the second attempt").then(() => call.cancel()),
    });
    expect(result.name).toBe("CANCELLED");
    expect(source.asked).toBe(2);
  });

  it.each(["client_stream", "bidi_stream"] as const)(
    "%s: is made once more where nothing was sent, and what is sent later goes to it",
    async (kind) => {
      const server = await serve();
      const source = new Held(expired, good);
      const client = clientOf(server, { credentials: source });
      const result = await invoke(client, kind, {
        messages: [],
        keepOpen: true,
        onCall: (call) => {
          const stream = call as ClientWritableStream<Note> | ClientDuplexStream<Note, Note>;
          void eventually(() => source.asked === 2, "the second attempt").then(() => {
            for (const text of ["one", "two"]) stream.write({ text });
            stream.end();
          });
        },
      });
      expect(result.name).toBe("OK");
      expect(result.messages.map(({ text }) => text).join()).toBe("one,two");
    },
  );

  const keptOpen: readonly [string, MethodKind, readonly string[], boolean][] = [
    ["two messages", "client_stream", ["a", "b"], false],
    ["two messages", "bidi_stream", ["a", "b"], false],
    ["a message of a stream that goes on", "client_stream", ["a"], true],
    ["a message of a stream that goes on", "bidi_stream", ["a"], true],
  ];

  it.each(keptOpen)("is refused where %s of a %s were sent", async (_what, kind, texts, keepOpen) => {
    const server = await serve();
    const source = new Held(expired, good);
    // As long as nothing is refused yet, both messages are sent.
    const client = clientOf(server, { credentials: source });
    const result = await invoke(client, kind, { messages: texts.map((text) => ({ text })), keepOpen });
    expect(result.details).toBe("expired credentials");
    expect(source.renewed).toBe(0);
  });
});

describe("K5 a call is not made again", () => {
  /** What ends a call, after which answer of the handler. */
  const rows: readonly [string, SecuredOptions][] = [
    [
      "that is refused for another reason",
      { handlers: throwing(status.UNAUTHENTICATED, "invalid credentials") },
    ],
    [
      "whose refusal only begins with the text",
      { handlers: throwing(status.UNAUTHENTICATED, "expired credentials of x") },
    ],
    [
      "that ends with the text and another code",
      { handlers: throwing(status.PERMISSION_DENIED, "expired credentials") },
    ],
    [
      "that sent response headers before",
      { handlers: throwing(status.UNAUTHENTICATED, "expired credentials", true) },
    ],
    [
      "whose refusal forbids it",
      { handlers: throwing(status.UNAUTHENTICATED, "expired credentials", false, "-1") },
    ],
    ["that its handler refused", { handlers: throwing(status.UNAUTHENTICATED, "expired credentials") }],
    [
      "that its handler refused with a pushback of its own",
      { handlers: throwing(status.UNAUTHENTICATED, "expired credentials", false, "5") },
    ],
  ];

  it.each(rows)("%s", async (_name, options) => {
    const server = await serve(options);
    const source = new Held(good, good);
    const result = await invoke(clientOf(server, { credentials: source }), "unary");
    expect(result.name).not.toBe("OK");
    expect([source.renewed, source.asked]).toEqual([0, 1]);
  });

  it.each(kinds)(
    "%s: whose handler passed on that the next service refused its credentials",
    async (kind) => {
      let began = 0;
      const next = Object.assign(new Error("next"), {
        code: status.UNAUTHENTICATED,
        details: "expired credentials",
        metadata: new Metadata(),
      });
      const stream = (call: NodeJS.EventEmitter): void => {
        began += 1;
        call.on("data", () => {});
        call.emit("error", StatusError.from(next));
      };
      const given = (_call: unknown, answer: (error: unknown) => void): void => {
        began += 1;
        answer(StatusError.from(next));
      };
      const server = await serve({
        handlers: { unary: given, clientStream: given, serverStream: stream, bidiStream: stream } as never,
      });
      const source = new Held(good, good);
      const result = await invoke(clientOf(server, { credentials: source }), kind);
      expect([result.name, result.details]).toEqual(["UNAUTHENTICATED", "expired credentials"]);
      expect(result.trailers.get("grpc-retry-pushback-ms")).toEqual(["-1"]);
      expect([began, source.renewed, source.asked]).toEqual([1, 0, 1]);
    },
  );

  it("whose middleware refused it once its handler had begun", async () => {
    const server = await serve({
      middleware: [
        {
          name: "late",
          onResponse: () => {
            throw new StatusError(status.UNAUTHENTICATED, "expired credentials");
          },
        },
      ],
    });
    const source = new Held(good, good);
    const result = await invoke(clientOf(server, { credentials: source }), "unary");
    expect([result.details, server.started, source.asked]).toEqual(["expired credentials", ["unary"], 1]);
  });

  it("whose stream was answered in part", async () => {
    const server = await serve({
      handlers: {
        serverStream(call: { write(note: Note): void; emit(event: string, error: unknown): void }) {
          call.write({ text: "first" });
          call.emit("error", new StatusError(status.UNAUTHENTICATED, "expired credentials"));
        },
      } as never,
    });
    const source = new Held(good, good);
    const result = await invoke(clientOf(server, { credentials: source }), "server_stream");
    expect([result.name, source.renewed]).toEqual(["UNAUTHENTICATED", 0]);
    expect(result.messages).toEqual([{ text: "first" }]);
  });

  it.each(kinds)(
    "%s: that was open when its credential expired, because its handler had begun",
    async (kind) => {
      const server = await serve({ handlers: silent() });
      await withTimeEnough(1_000, async (ms) => {
        // Five seconds of tolerance come after `exp`.
        const lived = await world.token({ exp: Math.ceil((Date.now() + ms) / 1000) - 5 });
        const source = new Held(lived, expired);
        const result = await invoke(clientOf(server, { credentials: source }), kind);
        expect(result.details).toBe("expired credentials");
        if (result.trailers.get("grpc-retry-pushback-ms").length === 0) return false;
        expect([source.renewed, source.asked]).toEqual([0, 1]);
        return true;
      });
    },
  );

  it("where renew throws, which is said in the log", async () => {
    const server = await serve();
    const { logger, lines } = keptLog();
    const source = new Held(expired, good);
    source.renew = () => {
      throw new Error("no more tokens");
    };
    const result = await invoke(clientOf(server, { credentials: source, logger }), "unary");
    expect(result.details).toBe("expired credentials");
    expect(lines).toMatchObject([{ source: "held" }]);
  });

  it("where its client was closed meanwhile", async () => {
    const server = await serve();
    const source = new Held(expired, good);
    const client = clientOf(server, { credentials: source });
    source.renew = () => client.close();
    const result = await invoke(client, "unary");
    expect(result.details).toBe("expired credentials");
  });
});

describe("K5 renewals", () => {
  it("are not asked for again within a second, however often a server refuses", () => {
    const source = new Held(expired);
    const renewals = new Renewals([source], {
      target: "t",
      logger: false,
      metrics: false,
      onFailure: () => {},
    });
    expect(renewals.renew(0)).toBe(true);
    // A call of before the renewal is made again; one of after it has been refused for another reason.
    expect(renewals.renew(0)).toBe(true);
    expect(renewals.renew(1)).toBe(false);
    expect(source.renewed).toBe(1);
  });
});

/** Handlers that never answer. */
function silent(): NonNullable<SecuredOptions["handlers"]> {
  const never = (): void => {};
  return { unary: never, clientStream: never, serverStream: never, bidiStream: never };
}

/** A unary handler that ends with this status. */
function throwing(
  code: status,
  text: string,
  headersFirst = false,
  pushback?: string,
): NonNullable<SecuredOptions["handlers"]> {
  return {
    async unary(call: { sendMetadata(metadata: Metadata): void }) {
      if (headersFirst) call.sendMetadata(new Metadata());
      const metadata = new Metadata();
      if (pushback !== undefined) metadata.set("grpc-retry-pushback-ms", pushback);
      throw new StatusError(code, text, { metadata });
    },
  } as never;
}
