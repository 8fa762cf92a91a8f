import { createPublicKey } from "node:crypto";
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  importSPKI,
  jwtVerify,
} from "jose";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { createTokenIssuer, type SignOptions, type TokenAlgorithm } from "../../src/testing/token-issuer.ts";

import { bearer, verdict } from "../middleware/authentication/incoming-call.ts";

const algorithms: readonly TokenAlgorithm[] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];

describe("O5 the token issuer", () => {
  it("O5 signs with each algorithm, and its JWKS endpoint has the keys", async () => {
    await using issuer = await createTokenIssuer();
    const keys = createRemoteJWKSet(new URL(issuer.jwksUri));
    for (const alg of algorithms) {
      const token = await issuer.sign({ roles: ["admin"] }, { alg });
      const { payload, protectedHeader } = await jwtVerify(token, keys, {
        issuer: issuer.issuer,
        audience: issuer.audience,
        algorithms: [alg],
      });
      expect(payload).toMatchObject({ sub: "user-1", roles: ["admin"] });
      expect(protectedHeader).toEqual({ alg, typ: "JWT", kid: `${alg}-1` });
      await expect(
        jwtVerify(token, await importSPKI(await issuer.publicKeyPem(alg), alg)),
      ).resolves.toBeDefined();
    }
    expect(issuer.jwksRequests).toBe(1);
  });

  it("O5 has its keys found by discovery, and fails there too as it is told to", async () => {
    await using issuer = await createTokenIssuer();
    const token = await issuer.sign();
    const own = () => jwt({ issuer: issuer.issuer, audience: issuer.audience });
    issuer.behave("unavailable");
    expect(await verdict(own(), bearer(token))).toMatch(/^failure/);
    issuer.behave("up");
    expect(await verdict(own(), bearer(token))).toBe("good: user-1");
    expect(issuer.jwksRequests).toBe(1);
  });

  it("O5 publishes public keys only", async () => {
    await using issuer = await createTokenIssuer();
    const { keys } = issuer.jwks();
    expect(keys).toHaveLength(5);
    for (const key of keys) {
      expect(key).not.toHaveProperty("d");
      expect(createPublicKey({ key, format: "jwk" }).type).toBe("public");
    }
  });

  it("O5 fills in the claims, and lets each be replaced or left out", async () => {
    await using issuer = await createTokenIssuer({ algorithms: ["ES256"], audience: "orders" });
    const claims = decodeJwt(await issuer.sign());
    expect(claims).toEqual({
      iss: issuer.issuer,
      aud: "orders",
      sub: "user-1",
      iat: expect.any(Number),
      exp: (claims.iat ?? 0) + 300,
    });
    const changed = await issuer.sign({
      aud: ["a", "b"],
      iat: undefined,
      exp: undefined,
      sub: "alice",
      nbf: 5,
    });
    expect(decodeJwt(changed)).toEqual({ iss: issuer.issuer, aud: ["a", "b"], sub: "alice", nbf: 5 });
  });

  it("O5 makes tokens that have expired, and headers that are odd", async () => {
    await using issuer = await createTokenIssuer({ algorithms: ["ES256"], issuer: "https://id.example" });
    const token = await issuer.sign({}, { expiresInSec: -60, kid: null, typ: null, header: { cty: "x" } });
    expect(decodeProtectedHeader(token)).toEqual({ alg: "ES256", cty: "x" });
    expect(decodeProtectedHeader(await issuer.sign({}, { kid: "other", typ: "at+jwt" }))).toEqual({
      alg: "ES256",
      kid: "other",
      typ: "at+jwt",
    });
    await expect(jwtVerify(token, createLocalJWKSet(issuer.jwks()))).rejects.toThrow(
      '"exp" claim timestamp check failed',
    );
    expect(decodeJwt(token).iss).toBe("https://id.example");
  });

  it("O5 rotates: the new key verifies, the old one is gone", async () => {
    await using issuer = await createTokenIssuer({ algorithms: ["ES256"] });
    const before = await issuer.sign();
    await issuer.rotate();
    const keys = createLocalJWKSet(issuer.jwks());
    await expect(jwtVerify(before, keys)).rejects.toThrow("no applicable key");
    await expect(jwtVerify(await issuer.sign(), keys)).resolves.toMatchObject({
      protectedHeader: { kid: "ES256-2" },
    });
  });

  it("O5 fails as it is told to, and recovers", async () => {
    await using issuer = await createTokenIssuer({ algorithms: ["ES256"] });
    issuer.behave("unavailable");
    expect((await fetch(issuer.jwksUri)).status).toBe(503);
    issuer.behave("garbage");
    await expect((await fetch(issuer.jwksUri)).json()).rejects.toThrow();
    issuer.behave("disconnect");
    await expect(fetch(issuer.jwksUri)).rejects.toThrow();
    issuer.behave("up");
    expect(await (await fetch(issuer.jwksUri)).json()).toEqual(issuer.jwks());
    expect(issuer.jwksRequests).toBe(4);
    expect((await fetch(`${issuer.jwksUri}/other`)).status).toBe(404);
    expect(issuer.jwksRequests).toBe(4);
  });

  it("O5 hangs until it is told otherwise", async () => {
    await using issuer = await createTokenIssuer({ algorithms: ["ES256"] });
    issuer.behave("hang");
    const answer = fetch(issuer.jwksUri);
    await expect.poll(() => issuer.jwksRequests).toBe(1);
    issuer.behave("up");
    expect(await (await answer).json()).toEqual(issuer.jwks());
  });

  it("O5 closes, with requests still hanging, and twice", async () => {
    const issuer = await createTokenIssuer({ algorithms: ["ES256"] });
    issuer.behave("hang");
    const answer = fetch(issuer.jwksUri).catch((error: unknown) => error);
    await expect.poll(() => issuer.jwksRequests).toBe(1);
    await issuer.close();
    await issuer.close();
    expect(await answer).toBeInstanceOf(TypeError);
  });

  it("O5 refuses options that it does not know", async () => {
    await using issuer = await createTokenIssuer({ algorithms: ["ES256"] });
    await expect(createTokenIssuer({ algorithms: ["HS256"] as never })).rejects.toThrow(ConfigError);
    await expect(issuer.sign({}, { expires: 5 } as SignOptions)).rejects.toThrow("expires: unknown option");
    await expect(issuer.sign({}, { alg: "RS256" })).rejects.toThrow("has no key for RS256");
  });
});
