// googleCredentials: application default credentials, by google-auth-library. grpc-js's own createFromGoogleCredential sends
// nothing with that library's headers.
import type { Logger } from "pino";
import { z } from "zod";
import type { CredentialSource } from "../client/credential-source.ts";
import { type FetchedToken, kindOf, TokenFailure } from "../client/renewed-token.ts";
import { tokenSource } from "../client/token-source.ts";
import { loggerSchema } from "../config/logger-option.ts";
import { loadOptional } from "../config/optional-package.ts";
import { milliseconds, parseOptions } from "../config/options.ts";

export interface GoogleCredentialsOptions {
  /**
   * Send an ID token for this audience: the URL of a Cloud Run service, or what your own service verifies. Printable ASCII without
   * spaces, `&` and `#`. Default: none, an access token is sent.
   */
  readonly audience?: string | undefined;
  /**
   * What an access token is good for. Not with `audience`. Default: `["https://www.googleapis.com/auth/cloud-platform"]`.
   */
  readonly scopes?: readonly string[] | undefined;
  /** How long one fetch may take, in milliseconds. Default: 10,000. */
  readonly timeoutMs?: number | undefined;
  /**
   * A pino logger for fetches that fail, at most once in 10 s, or `false` for none. Default: process warnings
   * (`PalisadeWarning`).
   */
  readonly logger?: Logger | false | undefined;
}

interface GoogleCredentialsSettings {
  readonly audience?: string | undefined;
  readonly scopes: readonly string[];
  readonly timeoutMs: number;
  readonly logger?: Logger | false | undefined;
}

const cloudPlatform = "https://www.googleapis.com/auth/cloud-platform";

export const googleCredentialsSchema: z.ZodType<GoogleCredentialsSettings> = z
  .strictObject({
    // It becomes a part of a URL as it is.
    audience: z
      .string()
      .regex(/^[\x21\x22\x24\x25\x27-\x7e]+$/, { error: "expected printable ASCII without spaces, & and #" })
      .optional(),
    scopes: z.array(z.string().min(1)).min(1).optional(),
    timeoutMs: milliseconds.default(10_000),
    logger: z.union([loggerSchema, z.literal(false)]).optional(),
  })
  .refine(({ audience, scopes }) => audience === undefined || scopes === undefined, {
    error: "not with audience: an ID token has no scopes",
    path: ["scopes"],
  })
  .transform((given) => ({ ...given, scopes: given.scopes ?? [cloudPlatform] }));

/** What is used of google-auth-library. */
interface GoogleAuthLibrary {
  readonly GoogleAuth: new (options: { readonly scopes: readonly string[] }) => GoogleAuth;
}
interface GoogleAuth {
  getClient(): Promise<GoogleClient>;
  getIdTokenClient(audience: string): Promise<GoogleClient & { getRequestHeaders(): Promise<Headers> }>;
}
interface GoogleClient {
  readonly credentials: { readonly expiry_date?: number | null };
  getAccessToken(): Promise<{ readonly token?: string | null }>;
}

/**
 * Sends a token of Google's application default credentials: those of the file that `GOOGLE_APPLICATION_CREDENTIALS` names, of
 * gcloud, or of the machine's metadata server. With `audience` it is an ID token, which your own services and Cloud Run verify;
 * without, an access token for Google's APIs, which you should send to nobody else.
 *
 * It is fetched with the first call, once for all calls that wait, renewed at 80 percent of its life, and sent until 30
 * seconds before it expires. While there is none, calls end UNAVAILABLE, and the next fetch waits for 1 s, then longer, up to 2
 * minutes.
 *
 * @throws ConfigError where an option is wrong or google-auth-library is not installed
 * @example
 * googleCredentials({ audience: "https://orders-7f3k.a.run.app" });
 */
export function googleCredentials(options: GoogleCredentialsOptions = {}): CredentialSource {
  const { audience, scopes, timeoutMs, logger } = parseOptions(
    googleCredentialsSchema,
    options,
    "googleCredentials",
  );
  const library = loadOptional("google-auth-library", {
    neededBy: "grpc-palisade/google",
    install: "google-auth-library",
  }) as GoogleAuthLibrary;
  return tokenSource({ name: "google", timeoutMs, logger }, async () => {
    try {
      // A new one each time: it keeps a token of its own, which it would give again.
      const auth = new library.GoogleAuth({ scopes });
      return await (audience === undefined ? accessToken(auth) : idToken(auth, audience));
    } catch (error) {
      throw error instanceof TokenFailure ? error : new TokenFailure(whatFailed(error));
    }
  });
}

async function accessToken(auth: GoogleAuth): Promise<FetchedToken> {
  const client = await auth.getClient();
  const { token } = await client.getAccessToken();
  return fetched(token, client);
}

async function idToken(auth: GoogleAuth, audience: string): Promise<FetchedToken> {
  const client = await auth.getIdTokenClient(audience);
  const header = (await client.getRequestHeaders()).get("authorization");
  return fetched(header?.replace(/^Bearer /, ""), client);
}

function fetched(token: string | null | undefined, { credentials }: GoogleClient): FetchedToken {
  if (typeof token !== "string") throw new TokenFailure("google-auth-library gave no token");
  const { expiry_date: expiryDate } = credentials;
  const lifeMs = typeof expiryDate === "number" ? expiryDate - Date.now() : undefined;
  return { token, lifeMs };
}

/** The library's own texts may hold what Google answered, and the answer a token. */
function whatFailed(error: unknown): string {
  if (!(error instanceof Error)) return "google-auth-library failed";
  if (error.message.startsWith("Could not load the default credentials"))
    return "there are no application default credentials";
  if (error.message.startsWith("Cannot fetch ID token in this environment"))
    return "these credentials give no ID tokens; use a service account or the metadata server";
  const status: unknown = Reflect.get(error, "status");
  if (typeof status === "number" && Number.isInteger(status)) return `Google answered HTTP ${status}`;
  return `Google could not be asked: ${kindOf(error)}`;
}
