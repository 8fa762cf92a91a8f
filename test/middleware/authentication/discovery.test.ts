// Where an issuer's keys are is read from its metadata (A2): OpenID Connect Discovery 1.0, then RFC 8414.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ConfigError } from "../../../src/grpc/errors.ts";
import { allOf } from "../../../src/middleware/authentication/all-of.ts";
import { anyOf } from "../../../src/middleware/authentication/any-of.ts";
import { apiKey } from "../../../src/middleware/authentication/api-key.ts";
import type { Authenticator } from "../../../src/middleware/authentication/authenticator.ts";
import { jwksUriIn } from "../../../src/middleware/authentication/jwt/jwks-location.ts";
import { type JwtOptions, jwt } from "../../../src/middleware/authentication/jwt/jwt.ts";
import { memoryApiKeyStore } from "../../../src/middleware/authentication/memory-api-key-store.ts";
import { optional } from "../../../src/middleware/authentication/optional.ts";
import { allowAuthenticated } from "../../../src/middleware/authorization/allow-authenticated.ts";
import { createSecureServer } from "../../../src/server/secure-server.ts";
import { callerPolicy, keptLog, secured } from "../../harness/secured.ts";
import { waitMs } from "../../harness/time.ts";
import { audience, signed, signingKey } from "./identity-provider.ts";
import { bearer, verdict } from "./incoming-call.ts";

const key = signingKey("ES256", "one");
const otherKey = signingKey("ES256", "two");

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

/** An issuer whose every path answers as a test says; the rest is not found. */
class Issuer {
  readonly paths: Map<string, Answer> = new Map();
  readonly asked: string[] = [];
  readonly #server: Server;
  readonly url: string;

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      const path = request.url ?? "";
      this.asked.push(path);
      const answer = this.paths.get(path);
      if (answer === undefined) response.writeHead(404).end();
      else answer(response, request);
    });
  }

  static async start(): Promise<Issuer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new Issuer(server);
  }

  /** Serves this at a path. */
  json(path: string, body: unknown): void {
    this.paths.set(path, (response) => response.end(JSON.stringify(body)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

const openid = "/.well-known/openid-configuration";
const oauth = "/.well-known/oauth-authorization-server";

let provider: Issuer;

/** The metadata of an issuer at this path of the provider. */
function metadata(path = "", extra: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return { issuer: `${provider.url}${path}`, jwks_uri: `${provider.url}/keys`, ...extra };
}

function authenticator(path = "", options: Partial<JwtOptions> = {}): Authenticator {
  return jwt({ issuer: `${provider.url}${path}`, audience, ...options });
}

let tokens = 0;

function tokenOf(path = "", by = key) {
  tokens += 1;
  const exp = Math.floor(Date.now() / 1000) + 86_400;
  const header = { alg: by.alg, kid: by.kid };
  return signed(by, header, {
    iss: `${provider.url}${path}`,
    aud: audience,
    sub: "ada",
    exp,
    jti: `${tokens}`,
  });
}

const ofToken = (path = "", by = key) => bearer(tokenOf(path, by));

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date", "performance"] });
  provider = await Issuer.start();
  provider.json("/keys", { keys: [key.jwk] });
});

afterEach(async () => {
  vi.useRealTimers();
  await provider[Symbol.asyncDispose]();
});

describe("discovery", () => {
  it.each<[what: string, path: string, at: string]>([
    ["an issuer without a path", "", openid],
    ["an issuer that ends with a slash", "/", openid],
    ["an issuer with a path", "/realms/shop", `/realms/shop${openid}`],
    ["an issuer with a path and a slash", "/realms/shop/", `/realms/shop${openid}`],
    ["RFC 8414, without a path", "", oauth],
    ["RFC 8414, with a path", "/realms/shop", `${oauth}/realms/shop`],
    ["RFC 8414, with a path and a slash", "/realms/shop/", `${oauth}/realms/shop`],
  ])("A2 finds the keys of %s", async (_what, path, at) => {
    provider.json(at, metadata(path));
    expect(await verdict(authenticator(path), ofToken(path))).toBe("good: ada");
    expect(provider.asked.at(-2)).toBe(at);
    expect(provider.asked.at(-1)).toBe("/keys");
  });

  it("A2 fetches nothing before the first token, and once for all that come together", async () => {
    provider.json(openid, metadata());
    const own = authenticator();
    await new Promise((resolve) => setImmediate(resolve));
    expect(provider.asked).toEqual([]);
    const verdicts = await Promise.all(Array.from({ length: 20 }, () => verdict(own, ofToken())));
    expect(new Set(verdicts)).toEqual(new Set(["good: ada"]));
    expect(provider.asked).toEqual([openid, "/keys"]);
  });

  it("A2 fetches nothing for a token of another issuer", async () => {
    provider.json(openid, metadata());
    expect(await verdict(authenticator("/a"), ofToken("/b"))).toBe("unclaimed");
    expect(provider.asked).toEqual([]);
  });

  const wrong: readonly (readonly [what: string, answer: () => Answer])[] = [
    ["is of another issuer", () => json(metadata("/other"))],
    ["names the issuer with another slash", () => json(metadata("/"))],
    ["names the issuer in another case", () => json(metadata("", { issuer: provider.url.toUpperCase() }))],
    ["names no issuer", () => json({ jwks_uri: `${provider.url}/keys` })],
    ["names a list of issuers", () => json(metadata("", { issuer: [provider.url] }))],
    ["has no jwks_uri", () => json({ issuer: provider.url })],
    ["has a jwks_uri that is a list", () => json(metadata("", { jwks_uri: [`${provider.url}/keys`] }))],
    ["has a relative jwks_uri", () => json(metadata("", { jwks_uri: "/keys" }))],
    ["has a jwks_uri over http elsewhere", () => json(metadata("", { jwks_uri: "http://keys.example/" }))],
    ["has a jwks_uri in a file", () => json(metadata("", { jwks_uri: "file:///etc/keys.json" }))],
    [
      "has a jwks_uri with credentials",
      () => json(metadata("", { jwks_uri: provider.url.replace("//", "//a:b@") })),
    ],
    ["is a list", () => json([metadata()])],
    ["is null", () => json(null)],
    ["is no JSON", () => (response) => response.end("<html>")],
    ["is not UTF-8", () => (response) => response.end(Buffer.from([0x7b, 0xff, 0x7d]))],
    ["is larger than a megabyte", () => json(metadata("", { more: "x".repeat(1024 * 1024) }))],
    [
      "is elsewhere, by a redirect",
      () => (response) => response.writeHead(302, { location: `${provider.url}/elsewhere` }).end(),
    ],
    ["is refused", () => (response) => response.writeHead(403).end()],
    ["fails", () => (response) => response.writeHead(500).end()],
    ["is cut off", () => (response) => response.writeHead(200, { "content-length": "999" }).destroy()],
  ];

  function json(body: unknown): Answer {
    return (response) => response.end(JSON.stringify(body));
  }

  it.each(wrong)(
    "A2 metadata that %s vouches for no key: UNAVAILABLE, and nothing else is asked",
    async (_, answer) => {
      provider.paths.set(openid, answer());
      // Neither what a redirect leads to nor the second document stands in for it.
      provider.json("/elsewhere", metadata());
      provider.json(oauth, metadata());
      expect(await verdict(authenticator(), ofToken())).toMatch(/^failure: Error: the keys at http/);
      expect(provider.asked).toEqual([openid]);
    },
  );

  const password = `hunter2-${"x".repeat(200)}`;
  const others: readonly (readonly [what: string, issuer: () => unknown, shown: () => string])[] = [
    ["another path", () => `${provider.url}/other`, () => `"${provider.url}/other"`],
    ["a slash more", () => `${provider.url}/`, () => `"${provider.url}/"`],
    ["none", () => undefined, () => "missing"],
    ["a list", () => [provider.url], () => `["${provider.url}"]`],
    ["an object", () => ({ issuer: provider.url }), () => "an object"],
    ["a very long text", () => "y".repeat(10_000), () => `"${"y".repeat(126)}…`],
    ["what a terminal obeys", () => "\u001b[2J\u202e\u009b", () => '"\\u001b[2J\ufffd\ufffd"'],
    ["a password", () => "https://ada:hunter2@id.example", () => '"https://[redacted]@id.example"'],
    [
      "a password where the text is cut",
      () => `https://ada:${password}@id.example`,
      () => '"https://[redacted]@id.example"',
    ],
    ["a token", () => `eyJhbGciOiJFUzI1NiJ9.hunter2.hunter2`, () => '"[redacted]"'],
  ];

  it.each(others)(
    "A2 the log names both issuers where the metadata's is %s",
    async (_what, issuer, shown) => {
      provider.json(openid, metadata("", { issuer: issuer() }));
      const { logger, lines } = keptLog();
      await verdict(authenticator(), bearer(tokenOf(), logger));
      const line = lines.find(
        ({ msg }) => msg?.startsWith("the issuer's keys could not be fetched") === true,
      );
      expect(line?.["err"]).toMatchObject({
        message: `the metadata at ${provider.url}${openid} is of the issuer ${shown()}, not "${provider.url}"; give issuer as the metadata has it`,
      });
      expect(JSON.stringify(lines)).not.toContain("hunter2");
    },
  );

  it("A2 keys of another host are taken, where the issuer names it", async () => {
    await using elsewhere = await Issuer.start();
    elsewhere.json("/jwks", { keys: [otherKey.jwk] });
    provider.json(openid, metadata("", { jwks_uri: `${elsewhere.url}/jwks` }));
    const own = authenticator();
    expect(await verdict(own, ofToken("", otherKey))).toBe("good: ada");
    expect(await verdict(own, ofToken("", key))).toBe("invalid");
  });

  it("A2 the metadata is read again after an hour, and when the keys are not where it said", async () => {
    provider.json(openid, metadata());
    const own = authenticator();
    expect(await verdict(own, ofToken())).toBe("good: ada");
    // The keys alone are fetched again while the metadata is young.
    vi.advanceTimersByTime(11 * 60_000);
    expect(await verdict(own, ofToken())).toBe("good: ada");
    expect(provider.asked).toEqual([openid, "/keys", "/keys"]);
    provider.json("/moved", { keys: [key.jwk] });
    provider.json(openid, metadata("", { jwks_uri: `${provider.url}/moved` }));
    vi.advanceTimersByTime(61 * 60_000);
    expect(await verdict(own, ofToken())).toBe("good: ada");
    expect(provider.asked.slice(3)).toEqual([openid, "/moved"]);
    // Gone from there before the hour is over: the last good keys serve meanwhile, and the next request looks again.
    provider.paths.delete("/moved");
    provider.json(openid, metadata());
    vi.advanceTimersByTime(11 * 60_000);
    expect(await verdict(own, ofToken())).toBe("good: ada");
    vi.advanceTimersByTime(4_000);
    expect(await verdict(own, ofToken())).toBe("good: ada");
    await vi.waitFor(() => expect(provider.asked.slice(5)).toEqual(["/moved", openid, "/keys"]), {
      timeout: waitMs,
    });
  });

  it("A2 a token with a key that is not known asks where the keys are now", async () => {
    provider.json(openid, metadata());
    const own = authenticator();
    expect(await verdict(own, ofToken())).toBe("good: ada");
    // The old place stays as it was.
    provider.json("/moved", { keys: [key.jwk, otherKey.jwk] });
    provider.json(openid, metadata("", { jwks_uri: `${provider.url}/moved` }));
    expect(await verdict(own, ofToken("", otherKey))).toBe("good: ada");
    expect(provider.asked.slice(2)).toEqual([openid, "/moved"]);
  });

  it.each<[what: string, answer: Answer]>([
    ["fails", (response) => response.writeHead(503).end()],
    ["is not there", (response) => response.writeHead(404).end()],
    ["is cut off", (response) => response.writeHead(200, { "content-length": "999" }).destroy()],
    ["does not answer", () => {}],
  ])(
    "A2 where metadata %s that was read before, keys are rotated and removed all the same",
    async (_what, answer) => {
      provider.json(openid, metadata());
      const own = authenticator();
      expect(await verdict(own, ofToken())).toBe("good: ada");
      provider.paths.set(openid, answer);
      provider.json("/keys", { keys: [otherKey.jwk] });
      vi.advanceTimersByTime(61 * 60_000);
      expect(await verdict(own, ofToken("", otherKey))).toBe("good: ada");
      expect(await verdict(own, ofToken("", key))).toBe("invalid");
    },
  );

  it("A2 metadata that changed its issuer ends the trust in what it said before", async () => {
    provider.json(openid, metadata());
    const own = authenticator();
    expect(await verdict(own, ofToken())).toBe("good: ada");
    provider.json(openid, metadata("/other"));
    vi.advanceTimersByTime(61 * 60_000);
    // The last good keys, as in an outage, and no new ones from there.
    expect(await verdict(own, ofToken())).toBe("good: ada");
    expect(provider.asked.slice(2)).toEqual([openid]);
  });

  it.each<[what: string, path: string]>([
    ["metadata", openid],
    ["keys", "/keys"],
  ])("A2 %s that never come are given up in time for the call", async (_what, path) => {
    provider.json(openid, metadata());
    provider.paths.set(path, () => {});
    const started = process.hrtime.bigint();
    expect(await verdict(authenticator(), ofToken())).toMatch(/^failure/);
    // Of a check's 5 s; a busy machine may be late.
    expect(Number(process.hrtime.bigint() - started) / 1e6).toBeGreaterThan(3_000);
    expect(provider.asked.at(-1)).toBe(path);
  });

  it("A2 metadata and keys share the time: both together are no slower", async () => {
    const later =
      (answer: Answer): Answer =>
      (response, request) => {
        setTimeout(() => answer(response, request), 2_300);
      };
    provider.paths.set(
      openid,
      later((response) => response.end(JSON.stringify(metadata()))),
    );
    provider.paths.set(
      "/keys",
      later((response) => response.end(JSON.stringify({ keys: [key.jwk] }))),
    );
    const own = authenticator();
    expect(await verdict(own, ofToken())).toMatch(/^failure/);
    // What was found is not forgotten for that: the next time is for the keys alone.
    provider.json("/keys", { keys: [key.jwk] });
    vi.advanceTimersByTime(4_000);
    expect(await verdict(own, ofToken())).toBe("good: ada");
    expect(provider.asked).toEqual([openid, "/keys", "/keys"]);
  });

  it("A2 during an outage the last good keys serve", async () => {
    provider.json(openid, metadata());
    const own = authenticator();
    expect(await verdict(own, ofToken())).toBe("good: ada");
    provider.paths.set(openid, (response) => response.writeHead(503).end());
    provider.paths.set("/keys", (response) => response.writeHead(503).end());
    vi.advanceTimersByTime(61 * 60_000);
    expect(await verdict(own, ofToken())).toBe("good: ada");
    vi.advanceTimersByTime(25 * 60 * 60_000);
    expect(await verdict(own, ofToken())).toMatch(/^failure/);
  });

  it.each([
    ["that is a name", "shop", "expected an absolute https URL; its metadata is read from there"],
    ["over http elsewhere", "http://id.example", "expected https (http only to a loopback address)"],
    ["with credentials", "https://a:b@id.example", "expected a URL without credentials"],
    ["with a query", "https://id.example/?tenant=a", "expected a URL without query"],
    ["with a fragment", "https://id.example/#a", "expected a URL without query"],
    ["with dot segments", "https://id.example/a/../b", "expected a URL without query"],
    ["with encoded dot segments", "https://id.example/%2e%2E", "expected a URL without query"],
    ["with space around it", " https://id.example", "expected a URL without query"],
    ["with a line break at its end", "https://id.example\n", "expected a URL without query"],
    ["with a backslash", "https://id.example\\a", "expected a URL without query"],
    ["without slashes", "https:id.example", "expected a URL without query"],
    ["with an empty user", "https://@id.example", "expected a URL without query"],
  ])("A2 an issuer %s is a ConfigError, unless its keys are given", (_what, issuer, problem) => {
    expect(() => jwt({ issuer, audience })).toThrow(ConfigError);
    expect(() => jwt({ issuer, audience })).toThrow(`jwt.issuer: ${problem}`);
    expect(jwt({ issuer, audience, keys: key.jwk }).name).toBe("jwt");
  });
});

describe("jwks_uri", () => {
  const read = (issuer: string, uri: unknown) =>
    jwksUriIn(JSON.stringify({ issuer, jwks_uri: uri }), issuer).href;

  it.each<[what: string, issuer: string, uri: string]>([
    ["https elsewhere", "https://id.example", "https://keys.example/jwks?v=1"],
    ["http on this machine, from this machine", "http://127.0.0.1:1", "http://localhost:2/jwks"],
  ])("A2 may be %s", (_what, issuer, uri) => {
    expect(read(issuer, uri)).toBe(uri);
  });

  it.each<[what: string, issuer: string, uri: unknown, problem: string]>([
    [
      "http on this machine, for an issuer elsewhere",
      "https://id.example",
      "http://127.0.0.1/jwks",
      "expected https",
    ],
    ["http elsewhere", "http://127.0.0.1:1", "http://keys.example/jwks", "expected https"],
    ["a file", "http://127.0.0.1:1", "file:///etc/keys.json", "expected https"],
    ["data", "https://id.example", "data:application/json,{}", "expected https"],
    ["with credentials", "https://id.example", "https://a:b@keys.example/", "without credentials"],
    ["relative", "https://id.example", "/jwks", "no jwks_uri"],
    ["a number", "https://id.example", 7, "no jwks_uri"],
  ])("A2 may not be %s", (_what, issuer, uri, problem) => {
    expect(() => read(issuer, uri)).toThrow(problem);
  });

  it("A11 is not shown with its credentials and its query", () => {
    const shown = (uri: string) => {
      try {
        return read("https://id.example", uri);
      } catch (error) {
        return String(error);
      }
    };
    expect(shown("http://bob:hunter2@keys.example/jwks?sig=secret")).not.toMatch(/bob|hunter2|secret/);
    expect(shown("http://keys.example/jwks?sig=secret")).not.toMatch(/secret/);
  });
});

describe("warmUp", () => {
  const failureOf = (pending: Promise<unknown>) =>
    pending.then(
      () => undefined,
      (error: unknown) => error,
    );
  /** A port that nobody listens on. */
  const probe = async () => {
    await using taken = await Issuer.start();
    return { port: Number(new URL(taken.url).port) };
  };
  const answers = (port: number) =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
  const withIssuer = (authentication: Authenticator) =>
    secured({ authentication, authorization: callerPolicy });

  it("A2 fetches the keys in listen(), and none for the first token", async () => {
    provider.json(openid, metadata());
    await using wall = await withIssuer(anyOf(authenticator("", { warmUp: true })));
    expect(provider.asked).toEqual([openid, "/keys"]);
    expect(wall.lines.map(({ msg }) => msg)).toContain("listening");
  });

  it("A2 a wrong issuer is an error of listen() that says what is wrong", async () => {
    provider.json(openid, metadata("/other"));
    const failure = await failureOf(withIssuer(authenticator("", { warmUp: true })));
    expect(failure).toBeInstanceOf(ConfigError);
    expect(String(failure)).toContain(
      `jwt.warmUp: the keys at ${provider.url}/ cannot be fetched: the metadata at`,
    );
    expect(String(failure)).toContain(
      `is of the issuer "${provider.url}/other", not "${provider.url}"; give issuer as the metadata has it`,
    );
  });

  it("A2 reaches an authenticator inside of others", async () => {
    provider.json(openid, metadata("/other"));
    const user = authenticator("", { warmUp: true });
    const app = apiKey({ store: memoryApiKeyStore([]) });
    const failure = await failureOf(withIssuer(anyOf(optional(allOf({ principal: user, actor: app })))));
    expect(String(failure)).toContain("jwt.warmUp: ");
  });

  it.each<[what: string, keys: readonly unknown[]]>([
    ["publishes no key", []],
    ["publishes none that verifies", [{ kty: "oct", k: "AAAA" }]],
  ])("A2 an issuer that %s is an error of listen()", async (_what, keys) => {
    provider.json(openid, metadata());
    provider.json("/keys", { keys });
    const failure = await failureOf(withIssuer(authenticator("", { warmUp: true })));
    expect(String(failure)).toContain("jwt.warmUp: the issuer publishes no key");
  });

  it("A2 opens no port before it is done, and none after a shutdown that comes meanwhile", async () => {
    const { port } = await probe();
    provider.paths.set(openid, () => {});
    const server = createSecureServer({
      tls: { plaintext: "loopback" },
      authentication: authenticator("", { warmUp: true }),
      authorization: allowAuthenticated(),
      logger: false,
    });
    const listening = failureOf(server.listen(`127.0.0.1:${port}`));
    await vi.waitFor(() => expect(provider.asked).toEqual([openid]), { timeout: waitMs });
    expect(await answers(port)).toBe(false);
    await server.shutdown({ graceMs: 0, drainDelayMs: 3_600_000 });
    expect(String(await listening)).toContain("listen: the server was shut down before it listened");
    expect(await answers(port)).toBe(false);
  });

  it("A2 without it a server starts whether or not the issuer can be reached", async () => {
    await using wall = await withIssuer(authenticator());
    expect(provider.asked).toEqual([]);
    expect(wall.lines.map(({ msg }) => msg)).toContain("listening");
  });

  it.each(["keys", "jwksUri"])(
    "A2 %s that is undefined is a mistake: nobody gets other keys for that",
    (option) => {
      expect(() => authenticator("", { [option]: undefined })).toThrow(
        `jwt.${option}: is undefined; set the variable`,
      );
    },
  );

  it("A2 is a mistake with keys that are given", () => {
    expect(() => authenticator("", { keys: key.jwk, warmUp: true })).toThrow(
      "jwt.warmUp: applies only to keys",
    );
  });
});
