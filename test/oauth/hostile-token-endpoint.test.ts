// A token endpoint that is slow, lies, leaks or breaks off: no call gets through, none waits too long, and no secret is shown (K2).
import { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { inspect } from "node:util";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { CredentialSource } from "../../src/client/credential-source.ts";
import { createSecureClient } from "../../src/client/secure-client.ts";
import { ConfigError, StatusError } from "../../src/grpc/errors.ts";
import { clientCredentials, jwtBearer, refreshToken, tokenExchange } from "../../src/oauth/index.ts";
import { createCertificateAuthority } from "../../src/testing/certificate-authority.ts";
import { calls, kinds, OrdersClient, startOrders, tlsFor } from "../client/orders.ts";
import { keptLog } from "../harness/secured.ts";
import { inTime } from "../harness/time.ts";

const secret = "s3cr3t";
const client = { id: "billing", secret: `${secret}-client` };
const call = { method: "/orders.v1.Orders/GetOrder", serviceUrl: "https://orders.internal/orders.v1.Orders" };

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

interface Endpoint {
  readonly url: string;
  /** The forms that were posted. */
  readonly posted: URLSearchParams[];
  answer: Answer;
  close(): Promise<void>;
}

const endpoints: Endpoint[] = [];
afterEach(async () => {
  for (const endpoint of endpoints.splice(0)) await endpoint.close();
  vi.restoreAllMocks();
});

async function endpoint(answer: Answer): Promise<Endpoint> {
  const posted: URLSearchParams[] = [];
  const server = createServer((request, response) => {
    text(request).then((body) => {
      posted.push(new URLSearchParams(body));
      started.answer(response, request);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("expected a TCP address");
  const started: Endpoint = {
    url: `http://127.0.0.1:${address.port}/token`,
    posted,
    answer,
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
  endpoints.push(started);
  return started;
}

function json(value: unknown, code = 200, headers: Readonly<Record<string, string>> = {}): Answer {
  return (response) =>
    response
      .writeHead(code, { "content-type": "application/json", ...headers })
      .end(typeof value === "string" ? value : JSON.stringify(value));
}

const good = { access_token: "at-1", token_type: "Bearer", expires_in: 3_600 };

async function failureOf(source: CredentialSource): Promise<StatusError> {
  try {
    const headers = await source.getCredentials(call);
    throw new Error(`expected a failure, got ${inspect(headers)}`);
  } catch (error) {
    if (error instanceof StatusError) return error;
    throw error;
  }
}

interface Row {
  readonly does: string;
  readonly answer: Answer;
  readonly says: RegExp;
}

const hostile: readonly Row[] = [
  {
    does: "is a web page",
    answer: (response) =>
      response.writeHead(200, { "content-type": "text/html" }).end(`<html>${secret}</html>`),
    says: /it is not JSON/,
  },
  {
    does: "is a web page that says it is JSON",
    answer: json(`<html>${secret}</html>`),
    says: /it is not JSON/,
  },
  {
    does: "redirects",
    answer: (response) => response.writeHead(307, { location: `https://evil.example/${secret}` }).end(),
    says: /HTTP 307, a redirect, which is not followed/,
  },
  {
    does: "redirects by GET",
    answer: (response) => response.writeHead(302, { location: "/token" }).end(),
    says: /HTTP 302, a redirect/,
  },
  { does: "is huge", answer: json({ ...good, more: "x".repeat(300_000) }), says: /more than 262144 bytes/ },
  {
    does: "has no end",
    answer: (response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const more = (): void => {
        if (!response.destroyed) response.write("x".repeat(65_536), () => setImmediate(more));
      };
      more();
    },
    says: /more than 262144 bytes/,
  },
  { does: "is empty", answer: json(""), says: /it is not JSON/ },
  { does: "is a list", answer: json([good]), says: /a member is missing/ },
  { does: "is null", answer: json("null"), says: /a member is missing|malformed/ },
  {
    does: "is not UTF-8",
    answer: (response) => response.writeHead(200).end(Buffer.from([0x7b, 0xff, 0xfe, 0x7d])),
    says: /could not be asked|not one/,
  },
  { does: "has no token", answer: json({ ...good, access_token: undefined }), says: /a member is missing/ },
  {
    does: "has a number for a token",
    answer: json({ ...good, access_token: 7 }),
    says: /a member is missing or of another type/,
  },
  {
    does: "has an empty token",
    answer: json({ ...good, access_token: "" }),
    says: /a member is missing|is empty/,
  },
  {
    does: "has a token with a line break",
    answer: json({ ...good, access_token: `${secret}\r\nx-role: admin` }),
    says: /printable ASCII/,
  },
  {
    does: "has a token with a space",
    answer: json({ ...good, access_token: `${secret} ${secret}` }),
    says: /printable ASCII/,
  },
  {
    does: "has a token with the word Bearer",
    answer: json({ ...good, access_token: `Bearer ${secret}` }),
    says: /starts with the word/,
  },
  {
    does: "has no token_type",
    answer: json({ ...good, token_type: undefined }),
    says: /a member is missing/,
  },
  {
    does: "gives a MAC token",
    answer: json({ ...good, token_type: "mac" }),
    says: /token_type is not bearer/,
  },
  {
    does: "gives a DPoP token",
    answer: json({ ...good, token_type: "DPoP" }),
    says: /token_type is not bearer/,
  },
  {
    does: "gives no access token",
    answer: json({ ...good, token_type: "N_A" }),
    says: /token_type is not bearer/,
  },
  {
    does: "names a type of Object",
    answer: json({ ...good, token_type: "constructor" }),
    says: /token_type is not bearer/,
  },
  { does: "expires in no time", answer: json({ ...good, expires_in: 0 }), says: /expired already/ },
  {
    does: "has expired",
    answer: json({ ...good, expires_in: -60 }),
    says: /a member is missing or of another type/,
  },
  {
    does: "expires in a word",
    answer: json({ ...good, expires_in: "soon" }),
    says: /a member is missing or of another type/,
  },
  {
    does: "expires in null",
    answer: json({ ...good, expires_in: null }),
    says: /a member is missing or of another type/,
  },
  {
    does: "expires in a list",
    answer: json({ ...good, expires_in: [] }),
    says: /a member is missing or of another type/,
  },
  {
    does: "has an object for a refresh token",
    answer: json({ ...good, refresh_token: {} }),
    says: /a member is missing or of another type/,
  },
  {
    does: "is an error with status 200",
    answer: json({ error: "invalid_client", error_description: secret }),
    says: /a member is missing/,
  },
  { does: "is 201", answer: json(good, 201), says: /HTTP 201/ },
  { does: "is 204", answer: (response) => response.writeHead(204).end(), says: /HTTP 204/ },
  {
    does: "is 400 with the secret in its texts",
    answer: json(
      { error: "invalid_client", error_description: client.secret, error_uri: `https://${secret}` },
      400,
    ),
    says: /HTTP 400 \(invalid_client\)$/,
  },
  {
    does: "is 400 with the secret as the error",
    answer: json({ error: client.secret }, 400),
    says: /HTTP 400$/,
  },
  { does: "is 400 with an object as the error", answer: json({ error: { secret } }, 400), says: /HTTP 400$/ },
  {
    does: "is 401 with a challenge",
    answer: json({ error: "invalid_client" }, 401, { "www-authenticate": `Basic realm="${secret}"` }),
    says: /HTTP 401 \(invalid_client\)$/,
  },
  {
    does: "is 401 with a broken challenge",
    answer: json("", 401, { "www-authenticate": `${secret} ,,=="` }),
    says: /HTTP 401$/,
  },
  { does: "is 403", answer: json("", 403), says: /HTTP 403$/ },
  {
    does: "is 429",
    answer: json({ error: "slow_down" }, 429, { "retry-after": "30" }),
    says: /HTTP 429 \(slow_down\)$/,
  },
  { does: "is 500 with a stack", answer: json(`at ${secret}.js:7`, 500), says: /HTTP 500$/ },
  {
    does: "is 503 with a strange Retry-After",
    answer: json("", 503, { "retry-after": "-1e99" }),
    says: /HTTP 503$/,
  },
  {
    does: "ends the connection",
    answer: (response) => response.socket?.destroy(),
    says: /could not be asked: it failed \(ECONNRESET\)/,
  },
  {
    does: "breaks off",
    answer: (response) => {
      response.writeHead(200, { "content-length": "1000" }).write('{"access_token":"');
      setImmediate(() => response.socket?.destroy());
    },
    says: /could not be asked: it failed \(ECONNRESET\)/,
  },
  {
    does: "is no HTTP",
    answer: (response) => response.socket?.end(`${secret}\r\n\r\n`),
    says: /could not be asked: it failed \(HPE_/,
  },
  { does: "never comes", answer: () => {}, says: /no answer within 300 ms/ },
  {
    does: "stops in the middle",
    answer: (response) => {
      response.writeHead(200, { "content-type": "application/json" }).write("{");
    },
    says: /no answer within 300 ms/,
  },
];

describe("a token endpoint whose answer", () => {
  it.each(hostile)(
    "K2 $does gives no token, ends calls UNAVAILABLE, and shows no secret",
    async ({ answer, says, does }) => {
      const { url: tokenEndpoint, posted } = await endpoint(answer);
      const { logger, lines } = keptLog();
      const timeoutMs = does === "never comes" || does === "stops in the middle" ? 300 : 60_000;
      const source = clientCredentials({ tokenEndpoint, client, logger, timeoutMs });
      const errors = await Promise.all([failureOf(source), failureOf(source), failureOf(source)]);
      for (const error of errors) {
        expect(error.code).toBe(status.UNAVAILABLE);
        expect(error.details).toMatch(says);
      }
      // And for a while nobody asks again.
      await failureOf(source);
      expect(posted).toHaveLength(1);
      expect(lines).toHaveLength(1);
      expect(lines[0]).toMatchObject({
        level: 50,
        source: "client-credentials",
        msg: "a token could not be fetched; calls that need it end UNAVAILABLE",
        reason: expect.stringMatching(says),
      });
      const shown = `${inspect([errors, source], { depth: 20, showHidden: true })} ${JSON.stringify(lines)} ${errors.map(({ stack }) => stack)}`;
      expect(shown).not.toContain(secret);
    },
  );

  it.each<[string, unknown]>([
    ["a number as text", "3600"],
    ["a fraction", 3_599.5],
    ["a hundred years", 3_153_600_000],
    ["more than there is", 1e308],
    ["nothing", undefined],
  ])("K2 expires in %s is used, and asked for once", async (_name, expires_in) => {
    const { url: tokenEndpoint, posted } = await endpoint(json({ ...good, expires_in }));
    const source = clientCredentials({ tokenEndpoint, client });
    for (let i = 0; i < 3; i += 1)
      expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer at-1" });
    expect(posted).toHaveLength(1);
  });

  it("K2 has an ID token beside is used, whatever that says", async () => {
    const { url: tokenEndpoint } = await endpoint(json({ ...good, id_token: "not.a.token" }));
    expect(await clientCredentials({ tokenEndpoint, client }).getCredentials(call)).toEqual({
      authorization: "Bearer at-1",
    });
  });

  it("K2 says Retry-After is asked again not before it", async () => {
    const { url: tokenEndpoint, posted } = await endpoint(json("", 429, { "retry-after": "60" }));
    const source = clientCredentials({ tokenEndpoint, client, logger: false });
    await failureOf(source);
    const now = performance.now();
    const clock = vi.spyOn(performance, "now").mockReturnValue(now + 58_000);
    await failureOf(source);
    expect(posted).toHaveLength(1);
    clock.mockReturnValue(now + 61_000);
    await failureOf(source);
    expect(posted).toHaveLength(2);
  });
});

describe("a call that waits for a token", () => {
  it("K2 stops waiting at its deadline or when it is cancelled, and the fetch goes on for the others", async () => {
    let release = (): void => {};
    const { url: tokenEndpoint, posted } = await endpoint((response, request) => {
      release = () => json(good)(response, request);
    });
    const ca = await createCertificateAuthority();
    const server = await startOrders(await tlsFor(ca));
    const orders = createSecureClient(OrdersClient, `127.0.0.1:${server.port}`, {
      tls: { ca: Buffer.from(ca.caPem) },
      credentials: clientCredentials({ tokenEndpoint, client, timeoutMs: 60_000 }),
    });
    try {
      let cancel: { cancel(): void } | undefined;
      const waiting = kinds.map((kind) => calls[kind](orders, new Metadata(), { deadline: inTime() }));
      await expect.poll(() => posted.length).toBe(1);
      const ended = await Promise.all(
        kinds.map((kind) => calls[kind](orders, new Metadata(), { deadline: Date.now() + 100 })),
      );
      expect(ended.map(({ code }) => code)).toEqual(kinds.map(() => status.DEADLINE_EXCEEDED));
      // It waits for the token by now, as those do that were made after it.
      const cancelled = new Promise<unknown>((resolve) => {
        cancel = orders.getOrder({ id: "7" }, new Metadata(), {}, (error) => resolve(error?.code));
      });
      await calls.unary(orders, new Metadata(), { deadline: Date.now() + 100 });
      cancel?.cancel();
      expect(await cancelled).toBe(status.CANCELLED);
      expect(server.arrivals).toEqual([]);
      release();
      expect((await Promise.all(waiting)).map(({ code }) => code)).toEqual(kinds.map(() => status.OK));
      expect(posted).toHaveLength(1);
      expect(server.arrivals.map(({ metadata }) => metadata.get("authorization"))).toEqual(
        kinds.map(() => ["Bearer at-1"]),
      );
    } finally {
      orders.close();
      server.close();
    }
  });
});

describe("what is asked", () => {
  it("K2 has scope, audience and resource as given, and no secret in the body of basic authentication", async () => {
    const { url: tokenEndpoint, posted } = await endpoint(json(good));
    await clientCredentials({
      tokenEndpoint,
      client,
      scope: ["a", "b"],
      audience: ["x", "y"],
      resource: "https://orders.internal",
    }).getCredentials(call);
    expect([...(posted[0] ?? [])]).toEqual([
      ["scope", "a b"],
      ["audience", "x"],
      ["audience", "y"],
      ["resource", "https://orders.internal"],
      ["grant_type", "client_credentials"],
    ]);
  });

  it("K5 is a new token when a server refused the last one, not for each call that it refuses", async () => {
    let count = 0;
    const { url: tokenEndpoint, posted } = await endpoint((response, request) =>
      json({ ...good, access_token: `at-${++count}` })(response, request),
    );
    const source = clientCredentials({ tokenEndpoint, client });
    expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer at-1" });
    source.renew?.();
    expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer at-1" });
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 10_000);
    source.renew?.();
    source.renew?.();
    expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer at-2" });
    expect(posted).toHaveLength(2);
  });
});

describe("a refresh token", () => {
  it("K2 is not used a second time while the answer to its first use is out, though calls gave up", async () => {
    let release = (): void => {};
    const { url: tokenEndpoint, posted } = await endpoint((response, request) => {
      release = () => json({ ...good, refresh_token: "rt-2" })(response, request);
    });
    const saved: string[] = [];
    const source = refreshToken({
      tokenEndpoint,
      client,
      timeoutMs: 100,
      logger: false,
      refreshToken: { load: () => saved.at(-1) ?? "rt-1", save: (next) => void saved.push(next) },
    });
    expect((await failureOf(source)).details).toBe("no token: no answer within 100 ms");
    const clock = vi.spyOn(performance, "now").mockReturnValue(performance.now() + 10_000);
    expect((await failureOf(source)).details).toBe("no token: no answer within 100 ms");
    clock.mockReturnValue(performance.now() + 10_000);
    expect(posted).toHaveLength(1);
    release();
    await expect.poll(() => saved).toEqual(["rt-2"]);
    expect(posted.map((form) => form.get("refresh_token"))).toEqual(["rt-1"]);
  });

  it.each<[string, () => never]>([
    [
      "throws",
      () => {
        throw Object.assign(new Error(`disk ${secret}`), { code: "ENOSPC" });
      },
    ],
    ["rejects", () => Promise.reject(new Error(secret)) as never],
  ])(
    "K2 that cannot be saved, because the store %s, is used and saved later, and the log says so",
    async (_name, save) => {
      let count = 1;
      const { url: tokenEndpoint, posted } = await endpoint((response, request) =>
        json({ ...good, refresh_token: `rt-${++count}` })(response, request),
      );
      const { logger, lines } = keptLog();
      const kept: string[] = [];
      let broken = true;
      const source = refreshToken({
        tokenEndpoint,
        client,
        logger,
        refreshToken: { load: () => "rt-1", save: (next) => (broken ? save() : void kept.push(next)) },
      });
      expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer at-1" });
      expect(lines[0]).toMatchObject({
        reason: expect.stringContaining("the new refresh token could not be saved"),
      });
      broken = false;
      vi.spyOn(performance, "now").mockReturnValue(performance.now() + 10_000);
      source.renew?.();
      await source.getCredentials(call);
      expect(posted.map((form) => form.get("refresh_token"))).toEqual(["rt-1", "rt-2"]);
      expect(kept).toEqual(["rt-2", "rt-3"]);
      expect(JSON.stringify(lines)).not.toContain(secret);
    },
  );

  it.each<[string, () => unknown]>([
    ["nothing", () => undefined],
    ["two lines", () => `${secret}\n${secret}`],
    ["a failure", () => Promise.reject(new Error(secret))],
  ])("K2 of a store that gives %s is not sent", async (_name, load) => {
    const { url: tokenEndpoint, posted } = await endpoint(json(good));
    const source = refreshToken({
      tokenEndpoint,
      client,
      logger: false,
      refreshToken: { load: load as () => string, save: () => {} },
    });
    const error = await failureOf(source);
    expect(error.code).toBe(status.UNAVAILABLE);
    expect(inspect(error, { depth: 9 })).not.toContain(secret);
    expect(posted).toEqual([]);
  });
});

describe("an exchanged token", () => {
  /** Answers with a token that names its subject. */
  const named: (posted: () => URLSearchParams[]) => Answer = (posted) => (response, request) =>
    json({ ...good, access_token: `for-${posted().at(-1)?.get("subject_token")}` })(response, request);

  it("K2 is kept for its own subject alone, and for no more subjects than asked for", async () => {
    const started = await endpoint(named(() => started.posted));
    let subject = "";
    const source = tokenExchange({
      tokenEndpoint: started.url,
      client,
      subjectToken: () => subject,
      maxEntries: 3,
    });
    const use = async (name: string): Promise<void> => {
      subject = name;
      expect(await source.getCredentials(call)).toEqual({ authorization: `Bearer for-${name}` });
    };
    for (const name of ["a", "b", "c", "a", "d", "a", "c"]) await use(name);
    expect(started.posted.map((form) => form.get("subject_token"))).toEqual(["a", "b", "c", "d"]);
    await use("b");
    expect(started.posted).toHaveLength(5);
  });

  it("K2 does not wait for, or fail with, another subject's", async () => {
    const started = await endpoint((response, request) => {
      const who = started.posted.at(-1)?.get("subject_token");
      if (who === "slow") return;
      if (who === "bad") return json({ error: "invalid_request" }, 400)(response, request);
      named(() => started.posted)(response, request);
    });
    const subjects = ["slow", "bad", "good"];
    const source = tokenExchange({
      tokenEndpoint: started.url,
      client,
      subjectToken: async () => subjects.shift() ?? "none",
      timeoutMs: 60_000,
      logger: false,
    });
    const slow = Promise.resolve(source.getCredentials(call)).catch(() => "ended");
    expect((await failureOf(source)).details).toContain("HTTP 400 (invalid_request)");
    expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer for-good" });
    await started.close();
    expect(await slow).toBe("ended");
  });

  it("K2 of one actor is not another actor's", async () => {
    const started = await endpoint((response, request) => {
      const form = started.posted.at(-1);
      json({ ...good, access_token: `${form?.get("subject_token")}-by-${form?.get("actor_token")}` })(
        response,
        request,
      );
    });
    const pairs = [
      ["ab", "c"],
      ["a", "bc"],
    ];
    let index = 0;
    const source = tokenExchange({
      tokenEndpoint: started.url,
      client,
      subjectToken: () => pairs[index]?.[0] ?? "",
      actorToken: () => pairs[index]?.[1] ?? "",
    });
    expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer ab-by-c" });
    index = 1;
    expect(await source.getCredentials(call)).toEqual({ authorization: "Bearer a-by-bc" });
  });

  it("K2 of another type than the one that was asked for is refused", async () => {
    const jwt = "urn:ietf:params:oauth:token-type:jwt";
    const started = await endpoint(json({ ...good, token_type: "N_A", issued_token_type: jwt }));
    const asking = (requestedTokenType: string): CredentialSource =>
      tokenExchange({
        tokenEndpoint: started.url,
        client,
        subjectToken: "st",
        requestedTokenType,
        logger: false,
      });
    expect(await asking(jwt).getCredentials(call)).toEqual({ authorization: "Bearer at-1" });
    const { details } = await failureOf(asking("urn:ietf:params:oauth:token-type:id_token"));
    expect(details).toContain("of another type than requestedTokenType");
  });
});

describe("the issuer's metadata", () => {
  it.each<[string, (issuer: string) => Answer, RegExp]>([
    [
      "names another issuer",
      () => json({ issuer: "https://evil.example", token_endpoint: "https://evil.example/t" }),
      /of another issuer/,
    ],
    ["has no token endpoint", (issuer) => json({ issuer }), /no token_endpoint/],
    [
      "has a token endpoint without TLS",
      (issuer) => json({ issuer, token_endpoint: "http://evil.example/t" }),
      /no token_endpoint that is an https URL/,
    ],
    [
      "has a token endpoint with a password",
      (issuer) => json({ issuer, token_endpoint: "https://u:p@evil.example/t" }),
      /no token_endpoint/,
    ],
    [
      "redirects",
      () => (response) => response.writeHead(302, { location: "https://evil.example" }).end(),
      /HTTP 302/,
    ],
    ["is a web page", () => (response) => response.end("<html>"), /not JSON/],
    ["is null", () => json("null"), /of another issuer/],
    ["is huge", (issuer) => json({ issuer, x: "x".repeat(2_000_000) }), /it failed/],
    ["never comes", () => () => {}, /no answer within 300 ms/],
  ])("K2 that %s is not believed, and no secret is sent", async (_name, answer, says) => {
    const started = await endpoint(() => {});
    const issuer = started.url.replace("/token", "");
    started.answer = answer(issuer);
    const source = clientCredentials({
      issuer,
      client,
      timeoutMs: says.source.includes("300") ? 300 : 60_000,
      logger: false,
    });
    const error = await failureOf(source);
    expect(error.details).toMatch(says);
    expect(inspect(error, { depth: 9 })).not.toContain(secret);
    for (const form of started.posted) expect(form.toString()).toBe("");
  });
});

describe("options", () => {
  const tokenEndpoint = "https://id.example/token";
  const pem = `-----BEGIN PRIVATE KEY-----\n${secret}\n-----END PRIVATE KEY-----`;
  it.each<[string, () => unknown, string]>([
    [
      "no place",
      () => clientCredentials({ client }),
      "clientCredentials: expected either issuer or tokenEndpoint",
    ],
    [
      "two places",
      () => clientCredentials({ client, tokenEndpoint, issuer: "https://id.example" }),
      "expected either issuer or tokenEndpoint",
    ],
    [
      "http",
      () => clientCredentials({ client, tokenEndpoint: "http://id.example/token" }),
      "clientCredentials.tokenEndpoint: expected https (http only to a loopback address)",
    ],
    [
      "http to a name that looks like this machine",
      () => clientCredentials({ client, issuer: "http://localhost.evil.example" }),
      "clientCredentials.issuer: expected https",
    ],
    [
      "a password in the URL",
      () => clientCredentials({ client, tokenEndpoint: `https://u:${secret}@id.example` }),
      "without credentials",
    ],
    ["no URL", () => clientCredentials({ client, issuer: "id.example" }), "expected an absolute https URL"],
    ["no client", () => clientCredentials({ tokenEndpoint } as never), "clientCredentials.client: "],
    [
      "an empty secret",
      () => clientCredentials({ tokenEndpoint, client: { id: "a", secret: "" } }),
      "clientCredentials.client",
    ],
    [
      "a misspelt option",
      () => clientCredentials({ tokenEndpoint, client, scopes: "a" } as never),
      'clientCredentials.scopes: unknown option; did you mean "scope"?',
    ],
    [
      "a key that is none",
      () => clientCredentials({ tokenEndpoint, client: { id: "a", privateKey: pem } }),
      "clientCredentials.client.privateKey: expected a private key",
    ],
    [
      "an assertion's key that is none",
      () =>
        jwtBearer({
          tokenEndpoint,
          client,
          assertion: { privateKey: pem, issuer: "a", subject: "b", audience: "c" },
        }),
      "jwtBearer.assertion.privateKey: expected a private key",
    ],
    [
      "no assertion",
      () => jwtBearer({ tokenEndpoint, client, assertion: secret as never }),
      "jwtBearer.assertion: expected a function",
    ],
    [
      "no refresh token",
      () => refreshToken({ tokenEndpoint, client, refreshToken: "" }),
      "refreshToken.refreshToken: ",
    ],
    [
      "half a store",
      () => refreshToken({ tokenEndpoint, client, refreshToken: { load: () => secret } as never }),
      "refreshToken.refreshToken: ",
    ],
    [
      "no subject",
      () => tokenExchange({ tokenEndpoint, client, subjectToken: 7 as never }),
      "tokenExchange.subjectToken: expected a token",
    ],
    [
      "a subject that cannot be sent",
      () => tokenExchange({ tokenEndpoint, client, subjectToken: `${secret}\n` }),
      "ends with a line break",
    ],
    [
      "a type that is no URI",
      () => tokenExchange({ tokenEndpoint, client, subjectToken: "a", subjectTokenType: "jwt" }),
      "tokenExchange.subjectTokenType: expected a URI",
    ],
    [
      "no bound",
      () => tokenExchange({ tokenEndpoint, client, subjectToken: "a", maxEntries: 0 }),
      "tokenExchange.maxEntries: ",
    ],
  ])("K2 refuse %s, and show no secret", (_name, make, says) => {
    let error: unknown;
    try {
      make();
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(ConfigError);
    expect(String((error as ServiceError).message)).toContain(says);
    expect(inspect(error, { depth: 9 })).not.toContain(secret);
  });
});
