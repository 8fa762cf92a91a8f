// How a client proves to a token endpoint who it is: RFC 6749 section 2.3 (a secret), RFC 7523 section 2.2 (a signed assertion).
// Apart from the option types, whose declarations must not need oauth4webapi's.
import { parseOptions } from "../config/options.ts";
import { clientSchema, type OAuthClient, signingKey } from "./oauth-client.ts";
import { type ClientAuth, oauth4webapi } from "./oauth4webapi.ts";

/** @throws {ConfigError} where it is no client, or its private key is none. */
export function clientAuth(where: string, given: OAuthClient): () => Promise<ClientAuth> {
  const client = parseOptions(clientSchema, given, `${where}.client`);
  const { ClientSecretBasic, ClientSecretPost, PrivateKeyJwt } = oauth4webapi();
  if ("secret" in client) {
    const auth = (client.method === "post" ? ClientSecretPost : ClientSecretBasic)(client.secret);
    return async () => auth;
  }
  const key = signingKey(`${where}.client.privateKey`, client.privateKey, client.keyId);
  return async () => {
    const { cryptoKey, keyId } = await key();
    return PrivateKeyJwt(keyId === undefined ? cryptoKey : { key: cryptoKey, kid: keyId });
  };
}
