// An introspection endpoint that lies, hangs or breaks off, and tokens that are made to harm it: no call gets through (A4).
import { Buffer } from "node:buffer";
import { inspect } from "node:util";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { introspection } from "../../src/oauth/index.ts";
import { invoke, kinds } from "../harness/kinds.ts";
import { type Secured, secured } from "../harness/secured.ts";
import { hangMs, waitMs } from "../harness/time.ts";
import {
  type Answer,
  active,
  type FakeEndpoint,
  json,
  nowSec,
  startEndpoint,
} from "./introspection-endpoint.ts";

const secret = "s3cr3t";
const issuer = "https://id.example";
const client = { id: "orders", secret: `${secret}-client` };
let endpoint: FakeEndpoint;
/** Waits as long as a busy machine needs, and does not count bad credentials. */
let patient: Secured;
/** Waits for a moment only. */
let hasty: Secured;

/** Why tokens were not good. */
const reasons: string[] = [];

function noted(authenticator: Authenticator): Authenticator {
  return {
    name: authenticator.name,
    source: authenticator.source,
    headers: ["authorization"],
    presents: (call) => authenticator.presents(call),
    authenticate: async (call) => {
      try {
        return await authenticator.authenticate(call);
      } catch (error) {
        reasons.push(inspect(error, { depth: 10 }));
        throw error;
      }
    },
  };
}

beforeAll(async () => {
  endpoint = await startEndpoint(json(active()));
  const serverThatWaits = (timeoutMs: number): Promise<Secured> =>
    secured({
      authentication: noted(
        introspection({
          issuer,
          endpoint: endpoint.url,
          client,
          audience: "kinds",
          requests: { timeoutMs },
        }),
      ),
      deadline: { checkTimeoutMs: waitMs },
      rateLimit: { failedAuthentication: false },
      limits: { maxMetadataBytes: 65_536 },
    });
  [patient, hasty] = await Promise.all([serverThatWaits(waitMs), serverThatWaits(300)]);
}, hangMs);
beforeEach(() => {
  endpoint.posted.length = 0;
  reasons.length = 0;
});
afterAll(async () => {
  await Promise.all([patient.close(), hasty.close()]);
  await endpoint[Symbol.asyncDispose]();
});

let tokens = 0;
const freshToken = (): string => {
  tokens += 1;
  return `${secret}-${tokens}`;
};
const bearer = (token: string): { authorization: string } => ({ authorization: `Bearer ${token}` });

const unavailable = `${status.UNAVAILABLE} temporarily unavailable`;
const invalid = `${status.UNAUTHENTICATED} invalid credentials`;
const expired = `${status.UNAUTHENTICATED} expired credentials`;

interface Row {
  readonly does: string;
  readonly answer: Answer;
  readonly expected: string;
  /** For the log. */
  readonly says: RegExp;
  /** What is true of a token is kept: on a connection with its certificate it is good. */
  readonly lasts?: true;
}

const malformed = /answer is malformed/;
const says = (more: Readonly<Record<string, unknown>>): Answer => json(active(more));
const raw =
  (body: string | Buffer, type = "application/json"): Answer =>
  (response) =>
    response.writeHead(200, { "content-type": type }).end(body);
const withMembers = (members: string): string => `${JSON.stringify(active()).slice(0, -1)},${members}}`;
const without = (...names: string[]): Answer =>
  json(Object.fromEntries(Object.entries(active()).filter(([name]) => !names.includes(name))));

const lies: readonly Row[] = [
  { does: "active is false", answer: json({ active: false }), expected: invalid, says: /not active/ },
  {
    does: "active is false, and all else is good",
    answer: says({ active: false }),
    expected: invalid,
    says: /not active/,
  },
  ...["true", "false", 1, 0, null, [], {}, [true], "TRUE", "1"].map((value) => ({
    does: `active is ${JSON.stringify(value)}`,
    answer: says({ active: value }),
    expected: unavailable,
    says: /active is neither true nor false/,
  })),
  { does: "active is missing", answer: without("active"), expected: unavailable, says: /active is neither/ },
  {
    does: "active has another case",
    answer: json({ ...active({ active: undefined }), Active: true }),
    expected: unavailable,
    says: /active is neither/,
  },
  {
    does: "active stands twice",
    answer: raw(withMembers('"active":true')),
    expected: unavailable,
    says: /stands twice/,
  },
  {
    does: "active stands twice, once escaped",
    answer: raw(`{"active":false,"\\u0061ctive":true,"sub":"ada","aud":"kinds"}`),
    expected: unavailable,
    says: /stands twice/,
  },
  {
    does: "sub stands twice",
    answer: raw(withMembers('"sub":"root"')),
    expected: unavailable,
    says: /stands twice/,
  },
  {
    does: "a member of cnf stands twice",
    answer: raw(withMembers('"cnf":{"jkt":"a","jkt":"b"}')),
    expected: unavailable,
    says: /stands twice/,
  },
  {
    does: "active stands in __proto__ alone",
    answer: raw('{"__proto__":{"active":true},"sub":"ada","aud":"kinds"}'),
    expected: unavailable,
    says: /active is neither/,
  },
  {
    does: "a member is named __proto__",
    answer: raw(withMembers('"__proto__":{"roles":["caller"]}')),
    expected: unavailable,
    says: malformed,
  },
  {
    does: "a nested member is named __proto__",
    answer: raw(withMembers('"more":{"__proto__":{"a":1}}')),
    expected: unavailable,
    says: malformed,
  },
  {
    does: "the audience is another",
    answer: says({ aud: "billing" }),
    expected: invalid,
    says: /audience \(aud\) is/,
  },
  {
    does: "the audience has another case",
    answer: says({ aud: "Kinds" }),
    expected: invalid,
    says: /audience/,
  },
  {
    does: "the audience is a list of others",
    answer: says({ aud: ["billing", "kinds "] }),
    expected: invalid,
    says: /audience/,
  },
  { does: "the audience is an empty list", answer: says({ aud: [] }), expected: invalid, says: /audience/ },
  {
    does: "the audience is missing",
    answer: without("aud"),
    expected: invalid,
    says: /audience \(aud\) is missing/,
  },
  { does: "the audience is null", answer: says({ aud: null }), expected: invalid, says: /audience/ },
  {
    does: "the audience is an object",
    answer: says({ aud: { kinds: true } }),
    expected: unavailable,
    says: malformed,
  },
  {
    does: "the audience is a list with a number",
    answer: says({ aud: ["kinds", 7] }),
    expected: unavailable,
    says: malformed,
  },
  {
    does: "the issuer is another",
    answer: says({ iss: "https://evil.example" }),
    expected: invalid,
    says: /iss is not/,
  },
  {
    does: "the issuer has a slash more",
    answer: says({ iss: `${issuer}/` }),
    expected: invalid,
    says: /iss is not/,
  },
  { does: "the issuer is a list", answer: says({ iss: [issuer] }), expected: unavailable, says: malformed },
  { does: "it has expired", answer: says({ exp: nowSec() - 60 }), expected: expired, says: /has expired/ },
  { does: "it expired long ago", answer: says({ exp: 0 }), expected: expired, says: /has expired/ },
  { does: "it expired before 1970", answer: says({ exp: -1e12 }), expected: expired, says: /has expired/ },
  {
    does: "exp is text",
    answer: says({ exp: String(nowSec() + 3_600) }),
    expected: unavailable,
    says: /exp is not a date/,
  },
  { does: "exp is null", answer: says({ exp: null }), expected: unavailable, says: /exp is not a date/ },
  {
    does: "exp is no time that there is",
    answer: raw(withMembers('"nbf":1e400')),
    expected: unavailable,
    says: /nbf is not a date/,
  },
  {
    does: "it is not valid yet",
    answer: says({ nbf: nowSec() + 3_600 }),
    expected: invalid,
    says: /not valid yet/,
  },
  { does: "nbf is text", answer: says({ nbf: "0" }), expected: unavailable, says: /nbf is not a date/ },
  { does: "iat is an object", answer: says({ iat: {} }), expected: unavailable, says: /iat is not a date/ },
  {
    does: "token_type is DPoP",
    answer: says({ token_type: "DPoP" }),
    expected: invalid,
    says: /token_type is not Bearer/,
  },
  {
    does: "token_type is mac",
    answer: says({ token_type: "mac" }),
    expected: invalid,
    says: /token_type is not Bearer/,
  },
  { does: "token_type is N_A", answer: says({ token_type: "N_A" }), expected: invalid, says: /token_type/ },
  {
    does: "token_type is a list",
    answer: says({ token_type: ["Bearer"] }),
    expected: unavailable,
    says: malformed,
  },
  {
    does: "it is a refresh token of Keycloak",
    answer: says({ typ: "Refresh" }),
    expected: invalid,
    says: /no access token/,
  },
  {
    does: "it is an offline token of Keycloak",
    answer: says({ typ: "Offline" }),
    expected: invalid,
    says: /no access token/,
  },
  { does: "it is an ID token", answer: says({ typ: "ID" }), expected: invalid, says: /no access token/ },
  {
    does: "it is a refresh token of Hydra",
    answer: says({ token_use: "refresh_token" }),
    expected: invalid,
    says: /no access token/,
  },
  {
    does: "it is bound to a DPoP key",
    answer: says({ cnf: { jkt: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" } }),
    expected: invalid,
    says: /bound to a key/,
  },
  {
    does: "it is bound to another certificate",
    answer: says({ cnf: { "x5t#S256": Buffer.alloc(32).toString("base64url") } }),
    expected: invalid,
    says: /another certificate/,
    lasts: true,
  },
  {
    does: "it is bound to a thumbprint that is none",
    answer: says({ cnf: { "x5t#S256": "AAAA" } }),
    expected: invalid,
    says: /base64url form of a SHA-256/,
  },
  { does: "cnf is empty", answer: says({ cnf: {} }), expected: invalid, says: /bound to a key/ },
  { does: "cnf is text", answer: says({ cnf: "x5t#S256" }), expected: unavailable, says: malformed },
  { does: "sub is a number", answer: says({ sub: 7 }), expected: unavailable, says: malformed },
  { does: "sub is empty", answer: says({ sub: "" }), expected: unavailable, says: malformed },
  {
    does: "sub is an object",
    answer: says({ sub: { toString: "ada" } }),
    expected: unavailable,
    says: malformed,
  },
  {
    does: "sub is half a character",
    answer: says({ sub: "\ud800" }),
    expected: unavailable,
    says: malformed,
  },
  { does: "there is nobody", answer: without("sub", "client_id"), expected: invalid, says: /no subject/ },
  {
    does: "client_id is a list, and there is no sub",
    answer: json({ ...active({ client_id: ["a"] }), sub: undefined }),
    expected: unavailable,
    says: malformed,
  },
  {
    does: "roles is an object",
    answer: says({ roles: { caller: true } }),
    expected: unavailable,
    says: /roles is neither/,
  },
  {
    does: "roles holds an object",
    answer: says({ roles: ["caller", {}] }),
    expected: unavailable,
    says: /roles is neither/,
  },
  {
    does: "permissions is a number",
    answer: says({ permissions: 7 }),
    expected: unavailable,
    says: /permissions is neither/,
  },
  { does: "tenant is a list", answer: says({ tenant: ["acme"] }), expected: unavailable, says: malformed },
  { does: "jti is a number", answer: says({ jti: 7 }), expected: unavailable, says: malformed },
  {
    does: "it is active and an error",
    answer: says({ error: "invalid_token" }),
    expected: unavailable,
    says: /has a member error/,
  },
  {
    does: "it is an error of status 200",
    answer: json({ error: "invalid_client", error_description: secret }),
    expected: unavailable,
    says: malformed,
  },
  {
    does: "it is a web page",
    answer: raw(`<html>${secret}</html>`, "text/html"),
    expected: unavailable,
    says: /content type/,
  },
  {
    does: "it is a web page that says it is JSON",
    answer: raw(`<html>${secret}</html>`),
    expected: unavailable,
    says: /not JSON/,
  },
  {
    does: "it is good, and says it is a web page",
    answer: raw(JSON.stringify(active()), "text/html"),
    expected: unavailable,
    says: /content type/,
  },
  {
    does: "it has no content type",
    answer: (response) => response.writeHead(200).end(JSON.stringify(active())),
    expected: unavailable,
    says: /content type/,
  },
  {
    does: "it is a signed token",
    answer: raw("e30.e30.AA", "application/token-introspection+jwt"),
    expected: unavailable,
    says: /RFC 9701/,
  },
  { does: "it is empty", answer: raw(""), expected: unavailable, says: /not JSON/ },
  { does: "it is a list", answer: json([active()]), expected: unavailable, says: /not an object/ },
  { does: "it is null", answer: raw("null"), expected: unavailable, says: /not an object/ },
  { does: "it is true", answer: raw("true"), expected: unavailable, says: /not an object/ },
  { does: "it is text", answer: raw('"active"'), expected: unavailable, says: /not an object/ },
  {
    does: "it is two answers",
    answer: raw('{"active":false}{"active":true}'),
    expected: unavailable,
    says: /not JSON/,
  },
  {
    does: "it has a comma too many",
    answer: raw(`${JSON.stringify(active()).slice(0, -1)},}`),
    expected: unavailable,
    says: /not JSON/,
  },
  {
    does: "it is not UTF-8",
    answer: raw(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])),
    expected: unavailable,
    says: /could not be asked/,
  },
  {
    does: "it is nested deeply",
    answer: raw(withMembers(`"deep":${"[".repeat(20_000)}${"]".repeat(20_000)}`)),
    expected: unavailable,
    says: /nested too deeply/,
  },
  {
    does: "it is too large to be kept",
    answer: says({ more: "x".repeat(70_000) }),
    expected: unavailable,
    says: /more than 65536 bytes/,
  },
  {
    does: "it is huge",
    answer: says({ more: "x".repeat(3_000_000) }),
    expected: unavailable,
    says: /more than 65536 bytes/,
  },
  {
    does: "it has no end",
    answer: (response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const more = (): void => {
        if (!response.destroyed) response.write(" ".repeat(65_536), () => setImmediate(more));
      };
      more();
    },
    expected: unavailable,
    says: /more than 65536 bytes/,
  },
  {
    does: "it redirects",
    answer: (response) => response.writeHead(307, { location: `https://evil.example/${secret}` }).end(),
    expected: unavailable,
    says: /HTTP 307, a redirect, which is not followed/,
  },
  {
    does: "it redirects to itself",
    answer: (response) => response.writeHead(302, { location: "/introspect" }).end(),
    expected: unavailable,
    says: /HTTP 302, a redirect/,
  },
  { does: "it is good, of status 500", answer: json(active(), 500), expected: unavailable, says: /HTTP 500/ },
  { does: "it is good, of status 201", answer: json(active(), 201), expected: unavailable, says: /HTTP 201/ },
  { does: "it is good, of status 206", answer: json(active(), 206), expected: unavailable, says: /HTTP 206/ },
  {
    does: "it has no content, of status 204",
    answer: (response) => response.writeHead(204).end(),
    expected: unavailable,
    says: /HTTP 204/,
  },
  {
    does: "the service's client is refused",
    answer: json({ error: "invalid_client", error_description: secret }, 401),
    expected: unavailable,
    says: /HTTP 401\): check client\.id/,
  },
  {
    does: "the service's client is refused with a challenge",
    answer: json({}, 401, { "www-authenticate": `Basic realm="${secret}"` }),
    expected: unavailable,
    says: /HTTP 401\): check/,
  },
  {
    does: "the service's client may not introspect",
    answer: json({}, 403),
    expected: unavailable,
    says: /HTTP 403\): check/,
  },
  {
    does: "the request is refused",
    answer: json({ error: "invalid_request" }, 400),
    expected: unavailable,
    says: /HTTP 400/,
  },
  {
    does: "there were too many requests",
    answer: json({}, 429, { "retry-after": "1" }),
    expected: unavailable,
    says: /HTTP 429/,
  },
  { does: "the server is overloaded", answer: json({}, 503), expected: unavailable, says: /HTTP 503/ },
  {
    does: "the connection ends before it",
    answer: (response) => response.destroy(),
    expected: unavailable,
    says: /could not be asked/,
  },
  {
    does: "the connection ends in the middle",
    answer: (response) => {
      const body = JSON.stringify(active());
      response.writeHead(200, { "content-type": "application/json", "content-length": String(body.length) });
      response.write(body.slice(0, 40), () => response.destroy());
    },
    expected: unavailable,
    says: /could not be asked/,
  },
  {
    does: "it is no HTTP",
    answer: (response) => response.socket?.end(`${secret} active true\r\n\r\n`),
    expected: unavailable,
    says: /could not be asked/,
  },
];

describe("an answer", () => {
  it.each(lies)("A4 gives no identity, is not kept and shows no secret where $does", async (row) => {
    const token = freshToken();
    const server = patient;
    const before = { started: server.started.length, lines: server.lines.length };
    endpoint.answer = row.answer;
    const calls = server.client();
    const results = await Promise.all(kinds.map((kind) => invoke(calls, kind, { metadata: bearer(token) })));
    expect(results.map(({ code, details }) => `${code} ${details}`)).toEqual(kinds.map(() => row.expected));
    expect(server.started.length).toBe(before.started);
    expect(reasons).toHaveLength(kinds.length);
    for (const reason of reasons) expect(reason).toMatch(row.says);
    expect(reasons.join()).not.toContain(secret);
    expect(JSON.stringify(server.lines.slice(before.lines))).not.toContain(secret);
    endpoint.answer = json(active());
    const { code, details } = await invoke(calls, "unary", { metadata: bearer(token) });
    expect(`${code} ${details}`).toBe(row.lasts === true ? row.expected : "0 OK");
    calls.close();
  });

  it.each<[string, Answer]>([
    ["never comes", () => {}],
    [
      "has no body",
      (response) => response.writeHead(200, { "content-type": "application/json" }).flushHeaders(),
    ],
    [
      "stops in the middle",
      (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        response.write(JSON.stringify(active()).slice(0, 40));
      },
    ],
    [
      "comes a byte at a time",
      (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        const timer = setInterval(() => {
          if (response.destroyed) clearInterval(timer);
          else response.write(" ");
        }, 20);
      },
    ],
  ])(
    "A4 that %s ends calls UNAVAILABLE when its time is up, and gives its place to others",
    async (_name, answer) => {
      const token = freshToken();
      endpoint.answer = answer;
      const calls = hasty.client();
      const results = await Promise.all(
        kinds.map((kind) => invoke(calls, kind, { metadata: bearer(token) })),
      );
      expect(results.map(({ code, details }) => `${code} ${details}`)).toEqual(kinds.map(() => unavailable));
      endpoint.answer = json(active());
      await expect
        .poll(async () => (await invoke(calls, "unary", { metadata: bearer(token) })).details)
        .toBe("OK");
    },
  );
});

describe("a token", () => {
  it.each<[string, string]>([
    ["has a space", `${secret} ${secret}`],
    ["has more than 16 KiB", "x".repeat(16_385)],
    ["is a signed token", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.AAAA"],
    ["is a signed token with padding", "eyJhbGciOiJFUzI1NiJ9====.eyJzdWIiOiJhZGEifQ.AAAA"],
    ["is a token of alg none", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ."],
    [
      "is a signed token whose header begins with white space",
      `${Buffer.from(`${" ".repeat(60)}{"alg":"ES256"}`).toString("base64url")}.e30.AAAA`,
    ],
    [
      "is a signed token with a byte order mark",
      `${Buffer.from('\ufeff{"alg":"ES256"}').toString("base64url")}.e30.AAAA`,
    ],
    ["is an encrypted token", "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..aaaa.bbbb.cccc"],
  ])("A4 is refused before any request where it %s", async (_name, token) => {
    endpoint.answer = json(active());
    const calls = patient.client({ "grpc.max_metadata_size": 1_000_000 });
    for (const kind of kinds) {
      const { code, details } = await invoke(calls, kind, { metadata: bearer(token) });
      expect(`${code} ${details}`).toBe(invalid);
    }
    expect(endpoint.posted).toEqual([]);
  });

  it("A4 of one megabyte reaches neither the endpoint nor a handler", async () => {
    const before = patient.started.length;
    const { code } = await invoke(patient.client(), "unary", { metadata: bearer("x".repeat(1_000_000)) });
    expect(code).not.toBe(status.OK);
    expect(endpoint.posted).toEqual([]);
    expect(patient.started.length).toBe(before);
  });

  it.each([
    "a&token=b&active=true",
    "a%0d%0aauthorization:%20Basic%20eA==",
    'a","active":true',
    "a+b/c=",
    "../../token",
    "a|b;c,d#e?f",
  ])("A4 reaches the endpoint as it is, whatever it holds: %s", async (token) => {
    endpoint.answer = json({ active: false });
    const { details } = await invoke(patient.client(), "unary", { metadata: bearer(token) });
    expect(details).toBe("invalid credentials");
    expect(endpoint.posted).toHaveLength(1);
    const { form, authorization } = endpoint.posted[0] ?? { form: new URLSearchParams() };
    expect(Object.fromEntries(form)).toEqual({ token, token_type_hint: "access_token" });
    expect([...form.keys()]).toHaveLength(2);
    const credentials = Buffer.from(authorization?.slice(6) ?? "", "base64")
      .toString()
      .split(":");
    expect(credentials.map(decodeURIComponent)).toEqual([client.id, client.secret]);
  });
});

it("A4 shows neither the client's secret nor a token when it is looked at", async () => {
  const authenticator = introspection({ issuer, endpoint: endpoint.url, client, audience: "kinds" });
  const shown = inspect(authenticator, { depth: 20, showHidden: true });
  expect(shown).not.toContain(secret);
  expect(JSON.stringify(authenticator)).not.toContain(secret);
});
