// An OPA server that is broken, hangs or answers something else than yes: no handler runs (Z5).
import { Buffer } from "node:buffer";
import { inspect } from "node:util";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Authorizer, Decision, MethodPolicy } from "../../src/middleware/authorization/authorizer.ts";
import { opa } from "../../src/opa/index.ts";
import { freePort } from "../harness/free-port.ts";
import { invoke, kinds } from "../harness/kinds.ts";
import { type Secured, secured } from "../harness/secured.ts";
import { hangMs, waitMs } from "../harness/time.ts";
import { type Answer, type FakeOpa, json, result, startOpa } from "./fake-opa.ts";

const secret = "s3cr3t";
let server: FakeOpa;
/** Waits as long as a busy machine needs. */
let patient: Secured;
/** Waits for a moment only. */
let hasty: Secured;

/** Why calls were refused, as the middleware learns it. */
const reasons: string[] = [];

function noted(authorizer: Authorizer): Authorizer {
  const withNotes = (policy: MethodPolicy): MethodPolicy => ({
    ...policy,
    decide: async (call): Promise<Decision> => {
      try {
        const decision = await policy.decide(call);
        reasons.push(inspect(decision));
        return decision;
      } catch (error) {
        reasons.push(inspect(error, { depth: 10 }));
        throw error;
      }
    },
  });
  return {
    name: authorizer.name,
    compile(methods) {
      const policy = authorizer.compile(methods);
      return {
        forMethod(path) {
          const own = policy.forMethod(path);
          return own === undefined ? undefined : withNotes(own);
        },
      };
    },
  };
}

beforeAll(async () => {
  server = await startOpa(result(true));
  const serverThatWaits = (timeoutMs: number): Promise<Secured> =>
    secured({
      authorization: noted(opa({ url: server.url, path: "test/allow", timeoutMs })),
      deadline: { checkTimeoutMs: waitMs },
    });
  [patient, hasty] = await Promise.all([serverThatWaits(waitMs), serverThatWaits(300)]);
}, hangMs);
afterAll(async () => {
  await Promise.all([patient.close(), hasty.close()]);
  await server[Symbol.asyncDispose]();
});

const unavailable = `${status.UNAVAILABLE} temporarily unavailable`;
const denied = `${status.PERMISSION_DENIED} permission denied`;

const raw =
  (body: string | Buffer, type = "application/json"): Answer =>
  (response) =>
    response.writeHead(200, { "content-type": type }).end(body);

interface Row {
  readonly does: string;
  readonly answer: Answer;
  readonly expected: string;
  readonly says: RegExp;
}

const answered = (value: unknown): Row => ({
  does: `answers ${JSON.stringify(value)}`,
  answer: result(value),
  expected: denied,
  says: /effect: 'deny'/,
});

const rows: readonly Row[] = [
  // Answers that OPA gives, and that are no yes.
  answered(false),
  answered({ allow: false, reason: "needs role clerk" }),
  { does: "knows no such rule", answer: json({}), expected: denied, says: /test\/allow is undefined/ },
  {
    does: "knows no such rule, and warns",
    answer: json({ decision_id: "d-1", warning: { code: "api_usage_warning", message: "x" } }),
    expected: denied,
    says: /test\/allow is undefined/,
  },
  ...[
    "true",
    "allow",
    "",
    1,
    0,
    null,
    [],
    [true],
    {},
    { allow: "true" },
    { allow: 1 },
    { allow: null },
    { allow: [true] },
    { allow: { allow: true } },
    { allowed: true },
    { Allow: true },
    { result: true },
    { allow: true, rule: 7 },
    { allow: true, rule: "" },
    { allow: true, reason: {} },
    { allow: true, obligations: ["mask"] },
    { allow: true, http_status: 403 },
  ].map((value) => ({ ...answered(value), says: /the result is neither/ })),
  {
    does: "says yes in __proto__ alone",
    answer: raw('{"__proto__":{"result":true}}'),
    expected: denied,
    says: /is undefined/,
  },
  {
    does: "says yes in __proto__ of the result",
    answer: raw('{"result":{"__proto__":{"allow":true}}}'),
    expected: denied,
    says: /neither/,
  },
  { does: "says yes beside the result", answer: json({ allow: true }), expected: denied, says: /undefined/ },
  // Answers that are none.
  {
    does: "answers with a web page",
    answer: raw(`<html>${secret}</html>`, "text/html"),
    expected: unavailable,
    says: /content type/,
  },
  {
    does: "answers with a web page that says it is JSON",
    answer: raw(`<html>${secret}</html>`),
    expected: unavailable,
    says: /not JSON/,
  },
  {
    does: "says yes, and that it is a web page",
    answer: raw('{"result":true}', "text/html"),
    expected: unavailable,
    says: /content type/,
  },
  {
    does: "says yes without a content type",
    answer: (response) => response.writeHead(200).end('{"result":true}'),
    expected: unavailable,
    says: /content type/,
  },
  { does: "answers nothing", answer: raw(""), expected: unavailable, says: /not JSON/ },
  { does: "answers true by itself", answer: raw("true"), expected: unavailable, says: /not an object/ },
  { does: "answers null", answer: raw("null"), expected: unavailable, says: /not an object/ },
  {
    does: "answers with a list",
    answer: json([{ result: true }]),
    expected: unavailable,
    says: /not an object/,
  },
  {
    does: "answers twice",
    answer: raw('{"result":true}{"result":true}'),
    expected: unavailable,
    says: /not JSON/,
  },
  { does: "is cut off", answer: raw('{"result":tru'), expected: unavailable, says: /not JSON/ },
  {
    does: "answers what is not UTF-8",
    answer: raw(Buffer.concat([Buffer.from('{"result":true,"a":"'), Buffer.from([0xff]), Buffer.from('"}')])),
    expected: unavailable,
    says: /not JSON/,
  },
  {
    does: "says yes in more than 64 KiB",
    answer: json({ result: true, metrics: "x".repeat(70_000) }),
    expected: unavailable,
    says: /more than 65536 bytes/,
  },
  {
    does: "says yes without an end",
    answer: (response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const more = (): void => {
        if (!response.destroyed) response.write(" ".repeat(65_536), () => setImmediate(more));
      };
      response.write('{"result":true}', more);
    },
    expected: unavailable,
    says: /more than 65536 bytes/,
  },
  {
    does: "redirects",
    answer: (response) => response.writeHead(307, { location: `https://evil.example/${secret}` }).end(),
    expected: unavailable,
    says: /HTTP 307, a redirect, which is not followed/,
  },
  {
    does: "redirects to itself",
    answer: (response, { path }) => response.writeHead(302, { location: path }).end(),
    expected: unavailable,
    says: /HTTP 302, a redirect/,
  },
  ...[201, 206, 400, 401, 403, 404, 429, 500, 503].map((code) => ({
    does: `says yes with status ${code}`,
    answer: json({ result: true, message: secret }, code),
    expected: unavailable,
    says: new RegExp(`OPA answered HTTP ${code}`),
  })),
  {
    does: "has no content, of status 204",
    answer: (response) => response.writeHead(204).end(),
    expected: unavailable,
    says: /HTTP 204/,
  },
  {
    does: "ends the connection before its answer",
    answer: (response) => response.destroy(),
    expected: unavailable,
    says: /could not be asked/,
  },
  {
    does: "ends the connection in the middle of its answer",
    answer: (response) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": "100" });
      response.write('{"result":true}', () => response.destroy());
    },
    expected: unavailable,
    says: /could not be asked/,
  },
  {
    does: "speaks no HTTP",
    answer: (response) => response.socket?.end(`${secret} result true\r\n\r\n`),
    expected: unavailable,
    says: /could not be asked/,
  },
];

describe("an OPA server that", () => {
  it.each(rows)("Z5 $does lets no handler run, of no kind of call", async (row) => {
    const before = { started: patient.started.length, lines: patient.lines.length };
    reasons.length = 0;
    server.answer = row.answer;
    const calls = patient.client();
    const metadata = await patient.authorized();
    const results = await Promise.all(kinds.map((kind) => invoke(calls, kind, { metadata })));
    expect(results.map(({ code, details }) => `${code} ${details}`)).toEqual(kinds.map(() => row.expected));
    expect(patient.started.length).toBe(before.started);
    expect(reasons).toHaveLength(kinds.length);
    for (const reason of reasons) expect(reason).toMatch(row.says);
    expect(reasons.join()).not.toContain(secret);
    expect(JSON.stringify(patient.lines.slice(before.lines))).not.toContain(secret);
    server.answer = result(true);
    expect((await invoke(calls, "unary", { metadata })).details).toBe("OK");
    calls.close();
  });

  it.each<[string, Answer]>([
    ["never answers", () => {}],
    [
      "answers without a body",
      (response) => response.writeHead(200, { "content-type": "application/json" }).flushHeaders(),
    ],
    [
      "stops in the middle of its yes",
      (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        response.write('{"result":true');
      },
    ],
    [
      "says yes and does not end",
      (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        response.write('{"result":true}');
      },
    ],
    [
      "answers a byte at a time",
      (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        const timer = setInterval(() => {
          if (response.destroyed) clearInterval(timer);
          else response.write(" ");
        }, 20);
      },
    ],
  ])(
    "Z5 %s ends calls UNAVAILABLE when its time is up, and gives its place to others",
    async (_name, answer) => {
      const before = hasty.started.length;
      reasons.length = 0;
      server.answer = answer;
      const calls = hasty.client();
      const metadata = await hasty.authorized();
      const results = await Promise.all(kinds.map((kind) => invoke(calls, kind, { metadata })));
      expect(results.map(({ code, details }) => `${code} ${details}`)).toEqual(kinds.map(() => unavailable));
      expect(hasty.started.length).toBe(before);
      for (const reason of reasons) expect(reason).toMatch(/did not answer in time/);
      server.answer = result(true);
      await expect.poll(async () => (await invoke(calls, "unary", { metadata })).details).toBe("OK");
      calls.close();
    },
  );

  it("Z5 is not there lets no handler run", async () => {
    const port = await freePort();
    await using lonely = await secured({
      authorization: opa({ url: `http://127.0.0.1:${port}`, path: "test/allow", timeoutMs: waitMs }),
      deadline: { checkTimeoutMs: waitMs },
    });
    const metadata = await lonely.authorized();
    const calls = lonely.client();
    const results = await Promise.all(kinds.map((kind) => invoke(calls, kind, { metadata })));
    expect(results.map(({ code, details }) => `${code} ${details}`)).toEqual(kinds.map(() => unavailable));
    expect(lonely.started).toEqual([]);
    const line = await lonely.callLine(() => true);
    expect(JSON.stringify(line["err"])).toMatch(/OPA could not be asked: it failed \(ECONNREFUSED\)/);
  });
});
