// No parser of text that a caller chose takes more than linear time (L11): hostile text of growing size, and the time for
// a byte stays what it was.

import { Buffer } from "node:buffer";
import { Metadata } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { methodInfo } from "../../src/grpc/method.ts";
import type { Peer } from "../../src/grpc/peer.ts";
import { addressKey } from "../../src/grpc/peer-key.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import { bearerToken } from "../../src/middleware/authentication/authorization-header.ts";
import {
  matchesName,
  parseNamePattern,
} from "../../src/middleware/authentication/certificate-name-pattern.ts";
import { parseClaimPath } from "../../src/middleware/authentication/jwt/claim-path.ts";
import { readStrictToken } from "../../src/middleware/authentication/jwt/strict-token.ts";
import { audienceProblem, readClaims } from "../../src/middleware/authentication/jwt/token-claims.ts";
import { memoryApiKeyStore } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { describeError } from "../../src/observability/error-description.ts";
import { boundedText, redactSecrets } from "../../src/observability/redaction.ts";
import { forwardedPeer } from "../../src/server/forwarded-peer.ts";
import { forwardedCertificate, forwardedPeers } from "../../src/tls/forwarded-certificate.ts";
import { identityFrom, onlyPlain, parseSubjectAltName } from "../../src/tls/peer-certificate.ts";
import { notGrpc } from "../../src/transport/not-grpc.ts";
import { headerListBytes, parseTimeout, readHead } from "../../src/transport/request-head.ts";
import { incomingCall } from "../middleware/authentication/incoming-call.ts";

/** From what an ordinary header has to four times what HTTP/2 lets through by default. */
const sizes = [1, 4, 16, 64].map((kilobytes) => kilobytes * 1024);

/** A quadratic parser is 64 times slower for a byte of the largest text than of the smallest one. */
const mostTimesSlower = 8;
/** And no parser of ours needs as long as this for a byte, on a slow and busy machine: below it nothing is compared. */
const fastEnoughMs = 5e-3;

/** Where each text begins, what is repeated in it, and where it ends: what a parser took must not fit in the end. */
const hostile: readonly (readonly [begin: string, repeated: string, end: string])[] = [
  ["", "a", ""],
  ["", "a", "\u0000"],
  ["", " ", ""],
  ["", " ", '"'],
  ["a=", " ", '"'],
  ["a=b", " ", '"'],
  ["a=b", "  \t", "x"],
  ["", "\t ", "="],
  ["a=", '"', ""],
  ["", 'a="b"', ""],
  ['a="', "\\", ""],
  ['a="', "\\\\", '"'],
  ['a="', '\\"', ""],
  ['a="', "\\\"'", "\\"],
  ["", ",", ""],
  ["", ";", ""],
  ["", "a=b;", '"'],
  ["", "a=b,", '"'],
  ["", "a=", ""],
  ["", "=", ""],
  ["", "%", ""],
  ["", "%41", "%"],
  ["", "%E0%A4%A", ""],
  ["", "1", ""],
  ["", "1", "x"],
  ["", "1.", ""],
  ["", "1.1.1.1,", ""],
  ["", "127.0.0.1,", "x"],
  ["", "127.0.0.1 ,", ""],
  ["", "[::1],", ""],
  ["[", ":", "]"],
  ["", "[", ""],
  ["CN=", "\\,", '"'],
  ["CN=", "a+b", '"'],
  ["CN=", "a=b,", '"'],
  ["", "CN=a,", '"'],
  ["CN=", "\\C3\\A9", "\\"],
  ["", "DNS:a, ", "!"],
  ["", 'URI:"', ""],
  ['URI:"', "\\", ""],
  ["URI:", " ", '"'],
  ["spiffe://a", "/a", "#"],
  ["spiffe://a", "/", ""],
  ["", "a.", ""],
  ["", "a-", "!"],
  ["", "{", ""],
  ["", '{"a":', ""],
  ["", "[", "]"],
  ["", '\\"', '"'],
  ["", "Bearer ", ""],
  ["bearer", " ", ""],
  ["", "password", "="],
  ["", "password=", ""],
  ["", 'token":"', ""],
  ["", "authorization: ", "\n"],
  ["", "cookie\\\\\\'", ""],
  ["", "://", "@"],
  ["://", "a", ""],
  ["", "://a:b", "@"],
  ["", "-----BEGIN PRIVATE KEY-----", ""],
  ["-----BEGIN ", "A ", "-----"],
  ["", "eyJ", "."],
  ["eyJ", "a.", ""],
  ["", "plsd_", ""],
  ["Basic ", "a", "="],
  ["", "/", ""],
  ["/a", ".", "/b"],
  ["", "\u00e9", ""],
  ["", "\u202e", ""],
  ["", "\ud800", ""],
  ["", "\n", ""],
  ["application/grpc", "+", ""],
  ["application/grpc-web", "-text", ""],
  ["00-", "0", "-01"],
];

function textOf([begin, repeated, end]: (typeof hostile)[number], length: number): string {
  const times = Math.max(0, Math.floor((length - begin.length - end.length) / repeated.length));
  // Flat, as a text from the wire is.
  return Buffer.from(begin + repeated.repeat(times) + end, "utf16le").toString("utf16le");
}

const proxy: Peer = { address: "127.0.0.1", port: 1, secure: true, certificate: undefined };
const hash = "46".repeat(32);
const header = (name: string, text: string) => ({
  get: (key: string) => (key === name ? [text] : []),
  getMap: () => ({}),
});
const call = (name: string, text: string) => {
  const made = incomingCall();
  made.metadata.get = header(name, text).get;
  return made;
};
/** Fields of forty characters, all of one name. */
const fieldsOf = (name: string, text: string): string[] =>
  (text.match(/[\s\S]{1,40}/g) ?? []).flatMap((value) => [name, value]);
const base64url = (text: string): string => Buffer.from(text).toString("base64url");
const key = apiKey({ store: memoryApiKeyStore([]) });
const pattern = (text: string) => {
  const parsed = parseNamePattern(text);
  if (parsed === undefined) throw new Error(`${text} is no pattern`);
  return parsed;
};
const uriPattern = pattern("spiffe://a/*/*");
const dnsPattern = pattern("*.example.com");
const fromXff = forwardedPeer({ trustedProxies: ["127.0.0.0/8", "::1"], addressFrom: "x-forwarded-for" });
const fromHops = forwardedPeer({ trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for", hops: 32 });
const fromEnvoy = forwardedPeer({ trustedProxies: ["127.0.0.1"], addressFrom: "x-envoy-external-address" });
const behindMesh = forwardedPeers();
const claimAt = (name: string) => ({ text: name, names: [name] });
const claimsWith = (claims: Readonly<Record<string, unknown>>): unknown =>
  readClaims(
    { iss: "https://id.example", aud: "orders", exp: 4e9, sub: "ada", ...claims },
    {
      issuer: "https://id.example",
      audiences: new Set(["orders"]),
      clockToleranceSec: 30,
      maxTokenAgeSec: undefined,
      requiredClaims: [claimAt("sub")],
      certificateBound: "if-present",
      paths: {
        subject: claimAt("sub"),
        roles: [claimAt("roles")],
        permissions: [claimAt("scope")],
        tenant: claimAt("tenant"),
      },
    },
  );
/** As much JSON as there is text: parsed by Node, as deep as it goes. */
const json = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
};

const parsers: Readonly<Record<string, (text: string) => unknown>> = {
  "the forwarded certificate": forwardedCertificate,
  "its subject": (text) => forwardedCertificate(`Hash=${hash};Subject="${text}"`),
  "its escaped subject": (text) =>
    forwardedCertificate(`Hash=${hash};Subject="CN=${text.replaceAll(/["\\]/g, "\\$&")}"`),
  "its URI": (text) => forwardedCertificate(`Hash=${hash};URI=${text}`),
  "its DNS name": (text) => forwardedCertificate(`Hash=${hash};DNS="${text}"`),
  "its encoded certificate": (text) => forwardedCertificate(`Hash=${hash};Cert="${text}"`),
  "its hash": (text) => forwardedCertificate(`Hash=${text}`),
  "the peer behind a sidecar": (text) => behindMesh(proxy, text),
  "x-forwarded-for": (text) => fromXff(proxy, header("x-forwarded-for", text)),
  "x-forwarded-for with hops": (text) => fromHops(proxy, header("x-forwarded-for", text)),
  "x-envoy-external-address": (text) => fromEnvoy(proxy, header("x-envoy-external-address", text)),
  "an address": addressKey,
  "grpc-timeout": parseTimeout,
  "many header fields": (text) => readFields(fieldsOf("x-a", text)),
  "many credentials": (text) => readFields(fieldsOf("authorization", text)),
  "many fields of x-forwarded-for": (text) => readFields(fieldsOf("x-forwarded-for", text)),
  "the names of header fields": (text) => readFields(fieldsOf("x", text).reverse()),
  "metadata, taken apart": (text) => {
    const legal = text.replaceAll(/[^ -~]/g, "");
    return Metadata.fromHttp2Headers({ "x-a": legal, "x-b-bin": legal }).getMap();
  },
  authorization: (text) => bearerToken(call("authorization", text)),
  "a bearer token": (text) => bearerToken(call("authorization", `Bearer ${text}`))?.unverified,
  "a token": readStrictToken,
  "the header of a token": (text) => readStrictToken(`${base64url(text)}.${base64url("{}")}.AAAA`),
  "the payload of a token": (text) => readStrictToken(`${base64url("{}")}.${base64url(text)}.AAAA`),
  "the signature of a token": (text) => readStrictToken(`${base64url("{}")}.${base64url("{}")}.${text}`),
  "claims of a token": (text) => claimsWith({ roles: text, scope: text, tenant: text, nested: json(text) }),
  "the audiences of a token": (text) => claimsWith({ aud: text.match(/[\s\S]{1,8}/g) }),
  "the audiences of another service": (text) =>
    audienceProblem(text.match(/[\s\S]{1,8}/g), new Set(["orders"])),
  "the path of a claim": parseClaimPath,
  "the binding of a token": (text) => claimsWith({ cnf: { "x5t#S256": text } }),
  "an API key": (text) => key.authenticate(call("x-api-key", text)),
  traceparent: (text) => call("traceparent", text).traceId,
  "a request id": (text) => call("x-request-id", text).requestId,
  "alternative names of a certificate": parseSubjectAltName,
  "the name in a certificate": (text) =>
    [onlyPlain([text]), identityFrom({ uris: [], dnsNames: [] }, [text])] as const,
  "a pattern of names": parseNamePattern,
  "a name that meets a pattern": (text) =>
    [matchesName(uriPattern, "uri", text), matchesName(dnsPattern, "dns", text)] as const,
  "text with secrets": (text) => redactSecrets(text, text.length),
  "text for a log": (text) => boundedText(text, text.length),
  "an error": (text) =>
    describeError(Object.assign(new Error(text), { code: text, name: text, stack: text })),
  "the path of a method": (text) => methodInfo(text, "unary", false),
  "a content type": (text) => notGrpc({ ":method": "POST", "content-type": text }),
};

function readFields(rawHeaders: readonly string[]): unknown {
  // As Node makes them.
  const headers: Record<string, string> = {};
  const parts = new Map<string, string[]>();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? "";
    const values = parts.get(name);
    if (values === undefined) parts.set(name, [rawHeaders[i + 1] ?? ""]);
    else values.push(rawHeaders[i + 1] ?? "");
  }
  for (const [name, values] of parts) headers[name] = values.join(", ");
  return readHead(headers, rawHeaders, { metadataBytes: headerListBytes(rawHeaders), tooLarge: false });
}

function msPerByte(parse: (text: string) => unknown, text: string): number {
  const times = Math.max(1, Math.floor(16_384 / text.length));
  const started = performance.now();
  for (let i = 0; i < times; i++) {
    try {
      parse(text);
    } catch {
      // Refusing is an answer too.
    }
  }
  return (performance.now() - started) / (times * text.length);
}

/** The best of several runs, of which there are no more than it needs. */
function best(parse: (text: string) => unknown, text: string, goodEnough: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 4 && least > goodEnough; i++) least = Math.min(least, msPerByte(parse, text));
  return least;
}

describe("L11 the time that a parser takes grows with its text, and no faster", () => {
  it.each(Object.entries(parsers))("L11 %s", (_what, parse) => {
    for (const each of hostile) {
      const small = best(parse, textOf(each, sizes[0] ?? 0), 0);
      const most = Math.max(fastEnoughMs, mostTimesSlower * small);
      for (const size of sizes) {
        const taken = best(parse, textOf(each, size), most);
        expect(taken, `${size} characters of ${JSON.stringify(each)}`).toBeLessThanOrEqual(most);
      }
    }
  });
});
