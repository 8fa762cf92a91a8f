// A process of its own that asks providers over https in each way there is, since Node reads the roots that it trusts beside its
// own when it starts: `ask-over-https.ts <json of Questions>`. Prints `Answers`.
import { Buffer } from "node:buffer";
import { Client } from "@grpc/grpc-js";
import { bearerToken } from "../../src/client/bearer-token.ts";
import type { CredentialSource } from "../../src/client/credential-source.ts";
import { createSecureClient, type SecureClientConstructor } from "../../src/client/secure-client.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { type JwtKey, jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { clientCredentials, introspection } from "../../src/oauth/index.ts";
import { createSecureServer } from "../../src/server/secure-server.ts";
import { goodHandlers, invoke, kindsDefinition } from "../harness/kinds.ts";
import { keptLog } from "../harness/secured.ts";
import { waitMs } from "../harness/time.ts";

export interface Questions {
  /** Of the gRPC server here: PEM. */
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly client: { readonly id: string; readonly secret: string };
  readonly audience: string;
  readonly opaqueToken: string;
  /** Verifies the tokens that token endpoints issue, of the issuer `issued`. */
  readonly key: JwtKey;
  readonly providers: readonly Provider[];
}

export interface Provider {
  readonly name: string;
  readonly issuer: string;
  /** Of this issuer, for `audience`. */
  readonly token: string;
  readonly tokenEndpoint: string;
  readonly introspectionEndpoint: string;
}

export interface Answers {
  /** What a call got, by provider and way: its status and text. */
  readonly calls: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** What the server and the clients logged. */
  readonly lines: readonly unknown[];
}

interface Way {
  readonly authentication: Authenticator;
  readonly credentials: CredentialSource;
}

const { tls, client, audience, opaqueToken, key, providers } = JSON.parse(
  process.argv[2] ?? "{}",
) as Questions;
const { logger, lines } = keptLog();
const pem = {
  ca: Buffer.from(tls.ca),
  own: { cert: Buffer.from(tls.cert), key: Buffer.from(tls.key) },
};

function waysOf(provider: Provider): Readonly<Record<string, Way>> {
  const { issuer, tokenEndpoint, introspectionEndpoint: endpoint } = provider;
  const common = { client, audience, requests: { timeoutMs: waitMs } };
  const opaque = bearerToken(() => opaqueToken);
  const issued = jwt({ issuer: "issued", audience, keys: [key] });
  const source = { client, logger, timeoutMs: waitMs };
  return {
    jwt: { authentication: jwt({ issuer, audience }), credentials: bearerToken(() => provider.token) },
    introspection: { authentication: introspection({ issuer, ...common }), credentials: opaque },
    introspectionEndpoint: { authentication: introspection({ endpoint, ...common }), credentials: opaque },
    clientCredentials: {
      authentication: issued,
      credentials: clientCredentials({ issuer, ...source }),
    },
    tokenEndpoint: {
      authentication: issued,
      credentials: clientCredentials({ tokenEndpoint, ...source }),
    },
  };
}

async function ask({ authentication, credentials }: Way): Promise<string> {
  const server = createSecureServer({
    tls: pem.own,
    authentication,
    authorization: allowAuthenticated(),
    deadline: { checkTimeoutMs: waitMs },
    logger,
  });
  server.addService(kindsDefinition, goodHandlers());
  const { port } = await server.listen("127.0.0.1:0");
  const caller = createSecureClient(
    Client as unknown as SecureClientConstructor<Client>,
    `localhost:${port}`,
    {
      tls: { ca: pem.ca },
      credentials,
      logger,
    },
  );
  const { name, details } = await invoke(caller, "unary");
  caller.close();
  await server.shutdown({ graceMs: 0 });
  return `${name} ${details}`;
}

const calls: Record<string, Record<string, string>> = {};
for (const provider of providers) {
  const answers: Record<string, string> = {};
  for (const [name, way] of Object.entries(waysOf(provider))) answers[name] = await ask(way);
  calls[provider.name] = answers;
}
process.stdout.write(JSON.stringify({ calls, lines } satisfies Answers));
