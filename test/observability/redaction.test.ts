import { generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import { boundedText, redactSecrets } from "../../src/observability/redaction.ts";
import { expectRelativeCost } from "../harness/relative-cost.ts";

const secret = "S3cr3tS3cr3tS3cr3t";
const jwt = `eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.${secret}`;
const pem = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const keyBody = pem.split("\n")[1] ?? "";

const leaks: readonly (readonly [name: string, text: string, secret: string])[] = [
  ["a JWT", `cannot parse ${jwt} here`, secret],
  ["the payload of a JWT that was cut off", `cannot parse ${jwt.slice(0, 30)}`, "eyJzdWI"],
  ["a bearer token", `sent Bearer ${secret} twice`, secret],
  ["a DPoP token", `sent dpop ${secret}`, secret],
  ["basic credentials", `sent Basic ${secret}==`, secret],
  ["a raw authorization header", `authorization: Custom a ${secret}\r\nhost: x`, secret],
  ["a proxy-authorization header", `proxy-authorization: ${secret}`, secret],
  ["an authorization header in JSON", `{"authorization":"Custom a ${secret}","host":"x"}`, secret],
  ["an authorization header in JSON in JSON", `{\\"Authorization\\":\\"Custom a ${secret}\\"}`, secret],
  ["inspected metadata", `Map(1) { 'authorization' => [ 'Custom ${secret}' ] }`, secret],
  ["a raw header list", `[ 'x-api-key', '${secret}', 'host' ]`, secret],
  ["digest credentials", `Authorization: Digest username="bob", response="${secret}"`, secret],
  ["a cookie", `set-cookie: a=1; sid=${secret}`, secret],
  ["an API key header", `x-api-key: ${secret}`, secret],
  ["an API key header in JSON", `{"x-api-key":"${secret}"}`, secret],
  ["an API key in metadata", `{"x-api-key":["${secret}"]}`, secret],
  ["one of our own API keys", `no key plsd_${secret} here`, secret],
  ["a password", `login failed: user=bob password=${secret}`, secret],
  ["a password with spaces in quotes", `{"password": "correct ${secret} battery"}`, secret],
  ["an environment variable", `DB_PASSWORD=${secret} is wrong`, secret],
  ["a client secret", `clientSecret: '${secret}'`, secret],
  ["an access token in a query", `GET /cb?access_token=${secret}&x=1`, secret],
  ["a URL with a password", `connect postgres://bob:${secret}@db.example:5432/x failed`, secret],
  [
    "a URL with a password that has @ and / in it",
    `connect redis://:a/b@${secret}@db.example failed`,
    secret,
  ],
  ["a private key", `bad key ${pem} in options`, keyBody],
  ["a private key on one line", `bad key ${JSON.stringify(pem)}`, keyBody],
  ["a private key without its end", `bad key ${pem.slice(0, 80)}`, keyBody.slice(0, 20)],
  ["a secret that the cut goes through", `${"word ".repeat(3_273)}postgres://bob:${secret}@db`, "bob"],
];

describe("redactSecrets", () => {
  it.each(leaks)("U4 removes %s", (_name, text, leaked) => {
    expect(text).toContain(leaked);
    expect(redactSecrets(text, 20_000)).not.toContain(leaked);
  });

  it("U4 leaves the words around a secret", () => {
    expect(redactSecrets(`connect postgres://bob:${secret}@db.example:5432/orders: refused`, 200)).toBe(
      "connect postgres://[redacted]@db.example:5432/orders: refused",
    );
    expect(redactSecrets(`{"authorization":"Bearer ${jwt}","host":"x"}`, 200)).toBe(
      '{"authorization":[redacted]","host":"x"}',
    );
  });

  it.each([
    "connect ECONNREFUSED 127.0.0.1:5432",
    'issuer https://id.example:8443/realms/a is not trusted, "exp" is in the past',
    "Unexpected token 'o', \"not json\" is not valid JSON",
    "rule /orders.v1.Orders/* needs order:write",
  ])("U4 leaves harmless text alone: %s", (text) => {
    expect(redactSecrets(text, 200)).toBe(text);
  });

  it.each([
    ["begin lines", "-----BEGIN PRIVATE KEY-----"],
    ["half begin lines", "-----BEGIN A A A A A A A A A A"],
    ["scheme ends", "://"],
    ["userinfo without end", "://aaaaaaaa"],
    ["names", "token"],
    ["names and dashes", "token-token-"],
    ["names and spaces", "password        "],
    ["token heads", "eyJ"],
    ["token dots", "eyJaaaaaaaa."],
    ["escaped quotes", 'authorization\\"'],
    ["one long word", "a"],
    ["spaces", " "],
  ])("U4 takes no time out of proportion for a megabyte of %s", (_name, part) => {
    const harmless = "a word or two, ".repeat(1_092);
    // As much as is searched whole, and more. The worst of these takes some fifteen times as long as harmless text.
    for (const characters of [16_384, 1_000_000]) {
      const hostile = part.repeat(Math.floor(characters / part.length));
      expectRelativeCost(
        () => redactSecrets(hostile, 1_024),
        () => redactSecrets(harmless, 1_024),
        50,
      );
    }
  });
});

describe("boundedText", () => {
  it("leaves short text, and marks a cut", () => {
    expect(boundedText("abcd", 4)).toBe("abcd");
    expect(boundedText("abcde", 4)).toBe("abc…");
  });

  it("never leaves half a surrogate pair", () => {
    expect(boundedText("ab😀cd", 4).isWellFormed()).toBe(true);
  });
});
