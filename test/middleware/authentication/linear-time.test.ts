// The time of parsers whose text a caller chooses (L11).
import { Buffer } from "node:buffer";
import { it } from "vitest";
import { apiKey } from "../../../src/middleware/authentication/api-key.ts";
import { bearerToken } from "../../../src/middleware/authentication/authorization-header.ts";
import {
  matchesName,
  parseNamePattern,
} from "../../../src/middleware/authentication/certificate-name-pattern.ts";
import { parseClaimPath } from "../../../src/middleware/authentication/jwt/claim-path.ts";
import { readStrictToken } from "../../../src/middleware/authentication/jwt/strict-token.ts";
import { audienceProblem, readClaims } from "../../../src/middleware/authentication/jwt/token-claims.ts";
import { memoryApiKeyStore } from "../../../src/middleware/authentication/memory-api-key-store.ts";
import { expectLinearTime, type Parsers } from "../../harness/linear-time.ts";
import { callWithField } from "./incoming-call.ts";

const base64url = (text: string): string => Buffer.from(text).toString("base64url");
const key = apiKey({ store: memoryApiKeyStore([]) });
const pattern = (text: string) => {
  const parsed = parseNamePattern(text);
  if (parsed === undefined) throw new Error(`${text} is no pattern`);
  return parsed;
};
const uriPattern = pattern("spiffe://a/*/*");
const dnsPattern = pattern("*.example.com");
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

const parsers: Parsers = {
  authorization: (text) => bearerToken(callWithField("authorization", text)),
  "a bearer token": (text) => bearerToken(callWithField("authorization", `Bearer ${text}`))?.unverified,
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
  "an API key": (text) => key.authenticate(callWithField("x-api-key", text)),
  "a pattern of names": parseNamePattern,
  "a name that meets a pattern": (text) =>
    [matchesName(uriPattern, "uri", text), matchesName(dnsPattern, "dns", text)] as const,
};

it.each(Object.entries(parsers))("L11 %s takes linear time", (_what, parse) => {
  expectLinearTime(parse);
});
