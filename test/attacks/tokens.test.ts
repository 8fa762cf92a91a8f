// Attacks on signed tokens over real TLS, each with its source. None starts a handler, for any of the four kinds of calls.
import { Buffer } from "node:buffer";
import {
  constants,
  createHmac,
  createSign,
  generateKeyPairSync,
  type KeyObject,
  type SignKeyObjectInput,
  sign,
} from "node:crypto";
import { deflateRawSync } from "node:zlib";
import type { Client } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { invoke, kinds } from "../harness/kinds.ts";
import { type Secured, secured } from "../harness/secured.ts";

const issuer = "https://id.example";
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const ed = generateKeyPairSync("ed25519");
/** The issuer's too, on another curve. */
const ec384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
const attackers = generateKeyPairSync("rsa", { modulusLength: 2048 });
const attackersEc = generateKeyPairSync("ec", { namedCurve: "P-256" });

const jwkOf = (key: KeyObject, kid: string, alg: string): Record<string, unknown> => ({
  ...key.export({ format: "jwk" }),
  kid,
  alg,
  use: "sig",
});

let server: Secured;
let client: Client;
beforeAll(async () => {
  server = await secured({
    authentication: jwt({
      issuer,
      audience: "kinds",
      keys: {
        keys: [
          jwkOf(rsa.publicKey, "rsa", "RS256"),
          jwkOf(ec.publicKey, "ec", "ES256"),
          jwkOf(ec384.publicKey, "ec384", "ES384"),
          jwkOf(ed.publicKey, "ed", "EdDSA"),
        ],
      },
    }),
    authorization: allowAuthenticated(),
    rateLimit: { perPeer: false, failedAuthentication: false },
    logger: false,
    audit: undefined,
  });
  client = server.client();
});
afterAll(() => server.close());
beforeEach(() => {
  server.started.length = 0;
});

const nowSec = (): number => Math.floor(Date.now() / 1000);
const good = (): Record<string, unknown> => ({
  iss: issuer,
  aud: "kinds",
  sub: "ada",
  iat: nowSec(),
  exp: nowSec() + 86_400,
});

type Json = Readonly<Record<string, unknown>> | string;
const base64url = (part: Json | Buffer): string =>
  Buffer.from(typeof part === "string" || Buffer.isBuffer(part) ? part : JSON.stringify(part)).toString(
    "base64url",
  );

type Signer = (input: string) => Buffer | string;

/** A text instead of an object is the JSON as it stands. */
function jws(header: Json, payload: Json, signer: Signer): string {
  const input = `${base64url(header)}.${base64url(payload)}`;
  const signature = signer(input);
  return `${input}.${typeof signature === "string" ? signature : signature.toString("base64url")}`;
}

const raw =
  (hash: string | null, key: KeyObject, options: Partial<SignKeyObjectInput> = {}): Signer =>
  (input) =>
    sign(hash, Buffer.from(input), { key, ...options });
const rs256 = raw("sha256", rsa.privateKey);
const es256 = raw("sha256", ec.privateKey, { dsaEncoding: "ieee-p1363" });
const ps256 = raw("sha256", rsa.privateKey, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 });
const nothing: Signer = () => "";
const hmac =
  (hash: string, secret: string | Buffer): Signer =>
  (input) =>
    createHmac(hash, secret).update(input).digest();

const rsHeader = { alg: "RS256", kid: "rsa", typ: "JWT" };
const esHeader = { alg: "ES256", kid: "ec" };
const signed = (payload: Json = good(), header: Json = rsHeader): string => jws(header, payload, rs256);
/** Signed by the issuer itself, with this payload: what a careless or a compromised issuer may say. */
const claiming = (claims: Readonly<Record<string, unknown>>): string => signed({ ...good(), ...claims });
const without = (claim: string): string => {
  const { [claim]: _gone, ...rest } = good();
  return signed(rest);
};
/** The JSON of a good payload with this member, written by hand. */
const withJson = (member: string): string => signed(`${JSON.stringify(good()).slice(0, -1)},${member}}`);

const parts = (token: string): [string, string, string] => token.split(".") as [string, string, string];
const resigned = (signature: (bytes: Buffer) => Buffer, token = signed()): string => {
  const [header, payload, bytes] = parts(token);
  return `${header}.${payload}.${signature(Buffer.from(bytes, "base64url")).toString("base64url")}`;
};
const esToken = (): string => jws(esHeader, good(), es256);
const pem = rsa.publicKey.export({ type: "spki", format: "pem" }) as string;
const pkcs1 = rsa.publicKey.export({ type: "pkcs1", format: "pem" }) as string;
const der = rsa.publicKey.export({ type: "spki", format: "der" });
const modulus = Buffer.from((rsa.publicKey.export({ format: "jwk" }).n ?? "") as string, "base64url");
/** The order of P-256 (SEC 2, section 2.4.2). */
const order = Buffer.from("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", "hex");
const zero = Buffer.alloc(32);
const one = Buffer.concat([Buffer.alloc(31), Buffer.from([1])]);
const ownJwk = { ...attackers.publicKey.export({ format: "jwk" }), kid: "rsa", alg: "RS256" };
const byAttacker = raw("sha256", attackers.privateKey);
const forgedBy = (header: Readonly<Record<string, unknown>>): string =>
  jws({ ...rsHeader, ...header }, { ...good(), sub: "root" }, byAttacker);

type Row = readonly [attack: string, source: string, token: () => string];

const algorithmNone: readonly Row[] = [
  ...["none", "None", "NONE", "nOnE", "none ", " none", "none\0", "nоne", "", "null"].map(
    (alg): Row => [
      `alg ${JSON.stringify(alg)} without a signature`,
      "RFC 8725 section 3.1, CVE-2015-9235",
      () => jws({ alg }, good(), nothing),
    ],
  ),
  ...[null, 0, true, false, [], ["none"], ["RS256"], {}, { alg: "RS256" }].map(
    (alg): Row => [
      `alg ${JSON.stringify(alg)} without a signature`,
      "RFC 7515 section 4.1.1",
      () => jws({ alg }, good(), nothing),
    ],
  ),
  ["no alg, without a signature", "RFC 7515 section 4.1.1", () => jws({ typ: "JWT" }, good(), nothing)],
  ["no alg, with a good signature", "RFC 7515 section 4.1.1", () => jws({ kid: "rsa" }, good(), rs256)],
  [
    "alg none with the signature of another token",
    "CVE-2022-23540",
    () =>
      `${parts(jws({ alg: "none" }, good(), nothing))
        .slice(0, 2)
        .join(".")}.${parts(signed())[2]}`,
  ],
  [
    "alg none after RS256 in one header",
    "RFC 7515 section 4",
    () => jws('{"alg":"RS256","alg":"none"}', good(), nothing),
  ],
  [
    "alg RS256 after none in one header",
    "RFC 7515 section 4",
    () => jws('{"alg":"none","alg":"RS256"}', good(), nothing),
  ],
  ["alg none by an escape", "RFC 8259 section 7", () => jws('{"alg":"\\u006eone"}', good(), nothing)],
];

const hmacWithPublicKey: readonly Row[] = [
  ...(
    [
      ["the PEM", pem],
      ["the PEM without its last line break", pem.trimEnd()],
      ["the PEM on one line", pem.replaceAll("\n", "")],
      ["the PEM with CRLF", pem.replaceAll("\n", "\r\n")],
      ["PKCS #1", pkcs1],
      ["the DER", der],
      ["the modulus", modulus],
      ["the JWK", JSON.stringify(jwkOf(rsa.publicKey, "rsa", "RS256"))],
      ["an empty secret", ""],
      ["the kid", "rsa"],
    ] as const
  ).map(
    ([what, secret]): Row => [
      `HS256 keyed with ${what}`,
      "RFC 8725 section 2.1, CVE-2015-9235, CVE-2016-5431",
      () => jws({ alg: "HS256", kid: "rsa" }, good(), hmac("sha256", secret)),
    ],
  ),
  ["HS384", "RFC 8725 section 2.1", () => jws({ alg: "HS384", kid: "rsa" }, good(), hmac("sha384", pem))],
  ["HS512", "RFC 8725 section 2.1", () => jws({ alg: "HS512", kid: "rsa" }, good(), hmac("sha512", pem))],
  ["hs256", "RFC 7515 section 4.1.1", () => jws({ alg: "hs256", kid: "rsa" }, good(), hmac("sha256", pem))],
  ["RS256 over an HMAC", "CVE-2016-5431", () => jws(rsHeader, good(), hmac("sha256", pem))],
];

const keysOfTheToken: readonly Row[] = [
  ["jwk", "CVE-2018-0114, RFC 7515 section 4.1.3", () => forgedBy({ jwk: ownJwk })],
  ["jwk without kid", "CVE-2018-0114", () => jws({ alg: "RS256", jwk: ownJwk }, good(), byAttacker)],
  [
    "jwk that is a secret",
    "CVE-2018-0114",
    () =>
      jws({ alg: "HS256", jwk: { kty: "oct", k: base64url("secret") } }, good(), hmac("sha256", "secret")),
  ],
  ["jku", "RFC 8725 section 3.10", () => forgedBy({ jku: "https://evil.example/jwks" })],
  [
    "jku behind the issuer's name",
    "RFC 8725 section 3.10",
    () => forgedBy({ jku: `${issuer}@evil.example/jwks` }),
  ],
  [
    "jku as data",
    "RFC 8725 section 3.10",
    () => forgedBy({ jku: `data:application/json,${JSON.stringify({ keys: [ownJwk] })}` }),
  ],
  ["jku as a file", "RFC 8725 section 3.10", () => forgedBy({ jku: "file:///tmp/jwks.json" })],
  ["x5u", "RFC 7515 section 4.1.5", () => forgedBy({ x5u: "https://evil.example/cert.pem" })],
  ["x5c", "RFC 7515 section 4.1.6", () => forgedBy({ x5c: [base64url("certificate")] })],
  ["x5t", "RFC 7515 section 4.1.7", () => forgedBy({ x5t: base64url("thumbprint") })],
  ["kid of the issuer", "RFC 7515 section 4.1.4", () => forgedBy({})],
];

const kidInjection: readonly Row[] = [
  "../../../../../../dev/null",
  "/dev/null",
  "rsa\0",
  "' OR '1'='1",
  "rsa' UNION SELECT 'key' --",
  "| cat /etc/passwd",
  "$(id)",
  "{{7*7}}",
  "https://evil.example/key",
  "RSA",
  " rsa",
  "rsa ",
  "rѕа",
  "",
  "__proto__",
  "constructor",
  "toString",
  "x".repeat(3_000),
].map(
  (kid): Row => [
    `kid ${JSON.stringify(kid).slice(0, 40)}, signed by an attacker`,
    "RFC 8725 section 3.10",
    () => forgedBy({ kid }),
  ],
);
const kidTypes: readonly Row[] = [0, true, null, [], ["rsa"], {}, { toString: "rsa" }].map(
  (kid): Row => [
    `kid ${JSON.stringify(kid)}, signed by an attacker`,
    "RFC 7515 section 4.1.4",
    () => forgedBy({ kid }),
  ],
);

const critical: readonly Row[] = [
  [["exp"], { exp: 1 }],
  [["unknown"], { unknown: true }],
  [[], {}],
  ["exp", {}],
  [["alg"], {}],
  [["b64"], { b64: false }],
  [["b64"], { b64: true }],
  [["b64", "b64"], { b64: true }],
  [[7], {}],
  [null, {}],
  [{ 0: "b64" }, { b64: true }],
].map(
  ([crit, rest]): Row => [
    `crit ${JSON.stringify(crit)} with ${JSON.stringify(rest)}`,
    "RFC 7515 section 4.1.11, RFC 7797 section 6",
    () => signed(good(), { ...rsHeader, crit, ...(rest as object) }),
  ],
);

const signatures: readonly Row[] = [
  ["no signature", "RFC 7515 section 5.2", () => resigned(() => Buffer.alloc(0))],
  ["one byte less", "RFC 7515 section 5.2", () => resigned((bytes) => bytes.subarray(0, -1))],
  ["the first byte less", "RFC 8017 section 8.2.2", () => resigned((bytes) => bytes.subarray(1))],
  [
    "one byte more",
    "RFC 8017 section 8.2.2",
    () => resigned((bytes) => Buffer.concat([bytes, zero.subarray(0, 1)])),
  ],
  [
    "a zero before it",
    "RFC 8017 section 8.2.2",
    () => resigned((bytes) => Buffer.concat([zero.subarray(0, 1), bytes])),
  ],
  [
    "one bit changed",
    "RFC 7515 section 5.2",
    () => resigned((bytes) => bytes.map((byte, at) => (at === 9 ? byte ^ 1 : byte)) as Buffer),
  ],
  ["zeros", "RFC 8017 section 8.2.2", () => resigned((bytes) => Buffer.alloc(bytes.length))],
  [
    "a one",
    "RFC 8017 section 8.2.2",
    () => resigned((bytes) => Buffer.concat([Buffer.alloc(bytes.length - 1), Buffer.from([1])])),
  ],
  ["the modulus", "RFC 8017 section 5.2.2", () => resigned(() => modulus)],
  [
    "that of another token",
    "RFC 7515 section 5.2",
    () =>
      `${parts(claiming({ sub: "root" }))
        .slice(0, 2)
        .join(".")}.${parts(signed())[2]}`,
  ],
  [
    "another header under it",
    "RFC 7515 section 5.2",
    () => `${base64url({ ...rsHeader, typ: "at+jwt" })}.${parts(signed()).slice(1).join(".")}`,
  ],
  ["another key's", "RFC 7515 section 10.1", () => jws(rsHeader, good(), byAttacker)],
  [
    "another key's on the curve",
    "RFC 7515 section 10.1",
    () => jws(esHeader, good(), raw("sha256", attackersEc.privateKey, { dsaEncoding: "ieee-p1363" })),
  ],
  [
    "SHA-1",
    "RFC 8725 section 3.1",
    () => jws(rsHeader, good(), (input) => createSign("sha1").update(input).sign(rsa.privateKey)),
  ],
  ["PSS under RS256", "RFC 8725 section 3.1", () => jws(rsHeader, good(), ps256)],
  ["PKCS #1 under PS256", "RFC 8725 section 3.1", () => jws({ ...rsHeader, alg: "PS256" }, good(), rs256)],
  [
    "RS512, which is not on the list",
    "RFC 8725 section 3.1",
    () => jws({ ...rsHeader, alg: "RS512" }, good(), raw("sha512", rsa.privateKey)),
  ],
  [
    "RS384, which is not on the list",
    "RFC 8725 section 3.1",
    () => jws({ ...rsHeader, alg: "RS384" }, good(), raw("sha384", rsa.privateKey)),
  ],
  [
    "RS1",
    "RFC 8725 section 3.1",
    () => jws({ ...rsHeader, alg: "RS1" }, good(), raw("sha1", rsa.privateKey)),
  ],
  ["ES256 with r = s = 0", "CVE-2022-21449", () => resigned(() => Buffer.concat([zero, zero]), esToken())],
  [
    "ES256 with r = 0",
    "CVE-2022-21449",
    () => resigned((bytes) => Buffer.concat([zero, bytes.subarray(32)]), esToken()),
  ],
  [
    "ES256 with s = 0",
    "CVE-2022-21449",
    () => resigned((bytes) => Buffer.concat([bytes.subarray(0, 32), zero]), esToken()),
  ],
  [
    "ES256 with r = s = n",
    "CVE-2022-21449, SEC 1 section 4.1.4",
    () => resigned(() => Buffer.concat([order, order]), esToken()),
  ],
  [
    "ES256 with r = n, s = 1",
    "SEC 1 section 4.1.4",
    () => resigned(() => Buffer.concat([order, one]), esToken()),
  ],
  ["ES256 with r = s = 1", "SEC 1 section 4.1.4", () => resigned(() => Buffer.concat([one, one]), esToken())],
  [
    "ES256 with r and s exchanged",
    "RFC 7518 section 3.4",
    () => resigned((bytes) => Buffer.concat([bytes.subarray(32), bytes.subarray(0, 32)]), esToken()),
  ],
  [
    "ES256 as DER",
    "RFC 7518 section 3.4",
    () => jws(esHeader, good(), raw("sha256", ec.privateKey, { dsaEncoding: "der" })),
  ],
  [
    "ES256 filled up to the length of ES512",
    "RFC 7518 section 3.4",
    () =>
      resigned(
        (bytes) =>
          Buffer.concat([Buffer.alloc(34), bytes.subarray(0, 32), Buffer.alloc(34), bytes.subarray(32)]),
        esToken(),
      ),
  ],
  [
    "ES384 under the key of ES256",
    "RFC 7518 section 3.4",
    () =>
      jws({ alg: "ES384", kid: "ec" }, good(), raw("sha384", ec.privateKey, { dsaEncoding: "ieee-p1363" })),
  ],
  [
    "ES256 under the key of ES384",
    "RFC 7518 section 3.4",
    () =>
      jws(
        { alg: "ES256", kid: "ec384" },
        good(),
        raw("sha256", ec384.privateKey, { dsaEncoding: "ieee-p1363" }),
      ),
  ],
  [
    "RS256 under the kid of the curve's key",
    "RFC 8725 section 3.1",
    () => jws({ alg: "RS256", kid: "ec" }, good(), rs256),
  ],
  [
    "EdDSA of zeros",
    "RFC 8032 section 5.1.7",
    () => jws({ alg: "EdDSA", kid: "ed" }, good(), () => Buffer.alloc(64)),
  ],
  [
    "EdDSA with S of the group's order",
    "RFC 8032 section 5.1.7",
    () =>
      jws({ alg: "EdDSA", kid: "ed" }, good(), () =>
        Buffer.concat([
          zero,
          Buffer.from("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010", "hex"),
        ]),
      ),
  ],
  [
    "EdDSA under RS256's key",
    "RFC 8725 section 3.1",
    () => jws({ alg: "EdDSA", kid: "rsa" }, good(), raw(null, ed.privateKey)),
  ],
  ["ES256K", "RFC 8812 section 3.2", () => jws({ alg: "ES256K", kid: "ec" }, good(), es256)],
  ["Ed448", "RFC 9864 section 2.2", () => jws({ alg: "Ed448", kid: "ed" }, good(), raw(null, ed.privateKey))],
];

const token = signed();
const [head, body, tail] = parts(token);
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const encodings: readonly Row[] = [
  [
    "stray bits in the last character",
    "RFC 4648 section 3.5",
    () => `${token.slice(0, -1)}${alphabet[alphabet.indexOf(token.slice(-1)) + 1]}`,
  ],
  ["the padding of base64", "RFC 7515 section 2", () => `${token}==`],
  [
    "the alphabet of base64",
    "RFC 4648 section 5",
    () => `${head}.${body}.${tail.replaceAll("-", "+").replaceAll("_", "/")}`,
  ],
  [
    "white space in the signature",
    "RFC 7515 section 2",
    () => `${head}.${body}.${tail.slice(0, 9)} ${tail.slice(9)}`,
  ],
  ["padded signature", "RFC 7515 section 2", () => `${token}=`],
  ["padded header", "RFC 7515 section 2", () => `${head}=.${body}.${tail}`],
  [
    "line break in the payload",
    "RFC 7515 section 2",
    () => `${head}.${body.slice(0, 9)} ${body.slice(9)}.${tail}`,
  ],
  ["white space before a dot", "RFC 7515 section 2", () => `${head} .${body}.${tail}`],
  ["percent-encoded dots", "RFC 7515 section 3.1", () => `${head}%2E${body}%2E${tail}`],
  ["a fourth part", "RFC 7515 section 3.1", () => `${token}.`],
  ["a fourth part with something in it", "RFC 7515 section 3.1", () => `${token}.${tail}`],
  ["five parts", "RFC 7516 section 3.1", () => `${head}.${body}.${tail}.${tail}.${tail}`],
  ["two parts", "RFC 7515 section 3.1", () => `${head}.${body}`],
  ["one part", "RFC 7515 section 3.1", () => head],
  ["dots alone", "RFC 7515 section 3.1", () => ".."],
  ["no header", "RFC 7515 section 3.1", () => `.${body}.${tail}`],
  ["no payload", "RFC 7515 section 3.1", () => `${head}..${tail}`],
  [
    "JSON serialization",
    "RFC 7515 section 7.2",
    () => base64url(JSON.stringify({ protected: head, payload: body, signature: tail })),
  ],
  [
    "JSON serialization as it stands",
    "RFC 7515 section 7.2",
    () => JSON.stringify({ protected: head, payload: body, signature: tail }),
  ],
  [
    "an encrypted token",
    "RFC 7516 section 3.1",
    () =>
      `${base64url({ alg: "dir", enc: "A128GCM" })}..${base64url("iv")}.${base64url("text")}.${base64url("tag")}`,
  ],
  [
    "a compressed, encrypted bomb",
    "RFC 8725 section 3.6, CVE-2024-28176",
    () =>
      `${base64url({ alg: "dir", enc: "A128GCM", zip: "DEF" })}..${base64url("iv")}.${base64url(deflateRawSync(Buffer.alloc(1_000_000)))}.${base64url("tag")}`,
  ],
  [
    "a compressed payload",
    "RFC 7516 section 4.1.3",
    () => {
      const input = `${base64url({ ...rsHeader, zip: "DEF" })}.${base64url(deflateRawSync(Buffer.from(JSON.stringify(good()))))}`;
      return `${input}.${(rs256(input) as Buffer).toString("base64url")}`;
    },
  ],
  ["a token in a token", "RFC 7519 section 5.2", () => jws({ ...rsHeader, cty: "JWT" }, signed(), rs256)],
  ["a payload that is a list", "RFC 7519 section 7.2", () => signed("[]")],
  ["a payload that is text", "RFC 7519 section 7.2", () => signed('"ada"')],
  ["a payload that is null", "RFC 7519 section 7.2", () => signed("null")],
  ["a payload with something behind it", "RFC 7519 section 7.2", () => signed(`${JSON.stringify(good())}x`)],
  [
    "a payload with a byte order mark",
    "RFC 8259 section 8.1",
    () => signed(`\ufeff${JSON.stringify(good())}`),
  ],
  [
    "a payload that is not UTF-8",
    "RFC 7515 section 5.2",
    () => {
      const input = `${base64url(rsHeader)}.${base64url(Buffer.concat([Buffer.from('{"sub":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]))}`;
      return `${input}.${(rs256(input) as Buffer).toString("base64url")}`;
    },
  ],
  ["a header that is a list", "RFC 7515 section 4", () => signed(good(), "[]")],
  ["a header that is null", "RFC 7515 section 4", () => signed(good(), "null")],
  ["a header with a comment", "RFC 8259 section 2", () => signed(good(), '{"alg":"RS256"/**/}')],
  ["thousands of parts", "RFC 8725 section 3.6", () => "x.".repeat(3_000)],
];

const types: readonly Row[] = [
  "logout+jwt",
  "dpop+jwt",
  "secevent+jwt",
  "application/logout+jwt",
  "token-introspection+jwt",
  "oauth-authz-req+jwt",
  "JWT+x",
  "jwt;x",
  "",
  "JOSE+JSON",
].map(
  (typ): Row => [
    `typ ${JSON.stringify(typ)}`,
    "RFC 8725 section 3.11",
    () => signed(good(), { ...rsHeader, typ }),
  ],
);
const typeTypes: readonly Row[] = [7, null, ["JWT"], {}].map(
  (typ): Row => [
    `typ ${JSON.stringify(typ)}`,
    "RFC 7515 section 4.1.9",
    () => signed(good(), { ...rsHeader, typ }),
  ],
);

const hour = 3_600;
const times: readonly Row[] = [
  ["exp a minute ago", "RFC 7519 section 4.1.4", () => claiming({ exp: nowSec() - 60 })],
  ["exp in milliseconds of 1970", "RFC 7519 section 4.1.4", () => claiming({ exp: 1 })],
  ["no exp", "RFC 9068 section 2.2", () => without("exp")],
  ...[String(nowSec() + hour), null, true, [], [nowSec() + hour], {}, "", "never", -1, 0].map(
    (exp): Row => [`exp ${JSON.stringify(exp)}`, "RFC 7519 section 2 (NumericDate)", () => claiming({ exp })],
  ),
  [
    "exp beyond all numbers",
    "RFC 7519 section 2 (NumericDate)",
    () => signed(JSON.stringify(good()).replace(/"exp":\d+/, '"exp":1e999')),
  ],
  ["exp beyond all dates", "RFC 7519 section 2 (NumericDate)", () => claiming({ exp: 1e300 })],
  ["nbf in an hour", "RFC 7519 section 4.1.5", () => claiming({ nbf: nowSec() + hour })],
  ...[String(nowSec()), null, true, [nowSec()], {}].map(
    (nbf): Row => [`nbf ${JSON.stringify(nbf)}`, "RFC 7519 section 2 (NumericDate)", () => claiming({ nbf })],
  ),
  ["nbf beyond all numbers", "RFC 7519 section 2 (NumericDate)", () => withJson('"nbf":1e999')],
  ...["yesterday", null, true, {}].map(
    (iat): Row => [`iat ${JSON.stringify(iat)}`, "RFC 7519 section 2 (NumericDate)", () => claiming({ iat })],
  ),
];

const confusion: readonly Row[] = [
  ["no issuer", "RFC 8725 section 3.8", () => without("iss")],
  ...[
    `${issuer}/`,
    "HTTPS://ID.EXAMPLE",
    "https://id.example.evil.example",
    `${issuer}@evil.example`,
    "https://id",
    "",
    "http://id.example",
    ` ${issuer}`,
    "https://іd.example",
    [issuer],
    { 0: issuer },
    null,
    true,
  ].map((iss): Row => [`iss ${JSON.stringify(iss)}`, "RFC 8725 section 3.8", () => claiming({ iss })]),
  ["no audience", "RFC 8725 section 3.9", () => without("aud")],
  ...[
    "other",
    "Kinds",
    "kinds2",
    "kind",
    " kinds",
    "kinds other",
    "",
    [],
    ["other"],
    [["kinds"]],
    { kinds: true },
    ["kinds", 7],
    7,
    null,
    true,
  ].map((aud): Row => [`aud ${JSON.stringify(aud)}`, "RFC 8725 section 3.9", () => claiming({ aud })]),
  [
    "an ID token, for the client",
    "RFC 9068 section 5",
    () => claiming({ aud: "web-client", nonce: "n", at_hash: "h" }),
  ],
  [
    "a refresh token, for the issuer",
    "RFC 9068 section 5",
    () => claiming({ aud: issuer, token_use: "refresh" }),
  ],
  ["no subject", "RFC 9068 section 2.2", () => without("sub")],
  ...["", 7, null, ["ada"], {}, true].map(
    (sub): Row => [`sub ${JSON.stringify(sub)}`, "RFC 7519 section 4.1.2", () => claiming({ sub })],
  ),
  ...[7, { admin: true }, [7], [["admin"]], true].map(
    (roles): Row => [`roles ${JSON.stringify(roles)}`, "RFC 9068 section 2.2.3", () => claiming({ roles })],
  ),
  [
    "a member __proto__",
    "CVE-2020-8203 (prototype pollution)",
    () => withJson('"__proto__":{"roles":["admin"]}'),
  ],
];

const tables: readonly (readonly [string, readonly Row[]])[] = [
  ["no signature at all", algorithmNone],
  ["the public key as a secret", hmacWithPublicKey],
  ["keys that the token brings", keysOfTheToken],
  ["key ids", [...kidInjection, ...kidTypes]],
  ["critical headers", critical],
  ["signatures", signatures],
  ["encodings", encodings],
  ["types of tokens", [...types, ...typeTypes]],
  ["times", times],
  ["confusion of issuer, audience and subject", confusion],
];

async function answers(authorization: string): Promise<readonly string[]> {
  const results = await Promise.all(
    kinds.map((kind) => invoke(client, kind, { metadata: { authorization } })),
  );
  return results.map(({ name, details }) => `${name} ${details}`);
}

const refused: ReadonlySet<string> = new Set([
  "UNAUTHENTICATED invalid credentials",
  "UNAUTHENTICATED expired credentials",
]);

describe.each(tables)("A1 tokens with hostile %s", (_subject, rows) => {
  it.each(rows)("A1 A11 %s (%s)", async (_attack, _source, make) => {
    const seen = await answers(`Bearer ${make()}`);
    expect(seen.filter((answer) => !refused.has(answer))).toEqual([]);
    // All four are told the same, and nothing more.
    expect(new Set(seen).size).toBe(1);
    expect(server.started).toEqual([]);
  });
});

describe("A1 what must get through", () => {
  it.each<[string, () => string]>([
    ["RS256", () => signed()],
    ["ES256", esToken],
    [
      "ES384",
      () =>
        jws(
          { alg: "ES384", kid: "ec384" },
          good(),
          raw("sha384", ec384.privateKey, { dsaEncoding: "ieee-p1363" }),
        ),
    ],
    ["EdDSA", () => jws({ alg: "EdDSA", kid: "ed" }, good(), raw(null, ed.privateKey))],
    ["typ at+jwt", () => signed(good(), { ...rsHeader, typ: "at+jwt" })],
    ["typ JWT in another case", () => signed(good(), { ...rsHeader, typ: "jWt" })],
    ["no kid", () => jws({ alg: "RS256" }, good(), rs256)],
    ["an exp with a fraction", () => claiming({ exp: nowSec() + hour + 0.5 })],
    ["several audiences", () => claiming({ aud: ["other", "kinds"] })],
  ])("A1 %s", async (_what, make) => {
    expect(new Set(await answers(`Bearer ${make()}`))).toEqual(new Set(["OK OK"]));
    expect([...server.started].sort()).toEqual([...kinds].sort());
  });

  it("A1 has at least 150 attacks above", () => {
    expect(tables.reduce((sum, [, rows]) => sum + rows.length, 0)).toBeGreaterThanOrEqual(150);
  });
});
