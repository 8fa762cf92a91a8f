// refreshToken: access tokens for a refresh token that somebody got by a login (RFC 6749 section 6).
import { z } from "zod";
import { tokenFailures } from "../client/credential-failures.ts";
import type { CredentialSource } from "../client/credential-source.ts";
import { kindOf, TokenFailure } from "../client/renewed-token.ts";
import { secretProblem } from "../client/secret-text.ts";
import { tokenSource } from "../client/token-source.ts";
import { parseOptions } from "../config/options.ts";
import {
  endpointShape,
  type RequestToken,
  type TokenAnswer,
  type TokenEndpointOptions,
  type TokenEndpointSettings,
  tokenEndpoint,
} from "./token-endpoint.ts";

/** Where a refresh token is kept. One process uses it at a time: two that refresh at once look like a thief. */
export interface RefreshTokenStore {
  /** The current one. Asked before each refresh. */
  load(): string | Promise<string>;
  /** Keeps the new one in place of the old one, which is spent. Waited for before anything is sent with the new tokens. */
  save(refreshToken: string): void | Promise<void>;
}

export interface RefreshTokenOptions extends TokenEndpointOptions {
  /**
   * The refresh token, or where it is kept. A server that rotates refresh tokens (RFC 9700 section 4.14.2) gives a new one with
   * each answer: it is used from then on, and lost when the process ends, unless `save` keeps it.
   */
  readonly refreshToken: string | RefreshTokenStore;
}

interface RefreshTokenSettings extends TokenEndpointSettings {
  readonly refreshToken: RefreshTokenOptions["refreshToken"];
}

export const refreshTokenSchema: z.ZodType<RefreshTokenSettings> = z.strictObject({
  ...endpointShape,
  refreshToken: z.union([
    z.string().min(1),
    z.custom<RefreshTokenStore>(isStore, { error: "expected a refresh token, or { load, save }" }),
  ]),
});

function isStore(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return ["load", "save"].every((name) => typeof Reflect.get(value, name) === "function");
}

/**
 * How long an answer is waited for after calls gave up. The next refresh has to wait for it: the server may have spent the
 * refresh token already, and takes its second use for a theft.
 */
const maxAnswerMs = 60_000;
const maxStoreMs = 30_000;

/**
 * Sends an access token that a refresh token gives. There is never more than one refresh at a time. Fetched, renewed
 * and sent as with `clientCredentials`.
 *
 * An answer that is lost on its way loses the new refresh token with it, if the server rotates them: then somebody has to log in
 * again.
 *
 * @throws ConfigError where an option is wrong or oauth4webapi is not installed; tokens and secrets are never shown
 * @example
 * refreshToken({
 *   issuer: "https://id.example",
 *   client: { id: "desk", secret: process.env.CLIENT_SECRET },
 *   refreshToken: { load: () => vault.read("refresh-token"), save: (token) => vault.write("refresh-token", token) },
 * });
 */
export function refreshToken(options: RefreshTokenOptions): CredentialSource {
  const where = "refreshToken";
  const settings = parseOptions(refreshTokenSchema, options, where);
  const { timeoutMs, logger } = settings;
  const name = "refresh-token";
  const say = tokenFailures(logger);
  const refresh = new Refresh({
    request: tokenEndpoint(where, settings),
    store: storeOf(settings.refreshToken),
    timeoutMs: Math.max(timeoutMs, maxAnswerMs),
    onUnsaved: (error) =>
      say(`${name} save`, `the new refresh token could not be saved: ${kindOf(error)}`, true),
  });
  return tokenSource({ name, timeoutMs, logger }, () => refresh.once());
}

interface RefreshOptions {
  readonly request: RequestToken;
  readonly store: RefreshTokenStore;
  readonly timeoutMs: number;
  readonly onUnsaved: (error: unknown) => void;
}

class Refresh {
  readonly #options: RefreshOptions;
  /** Newer than what the store has. */
  #unsaved: string | undefined = undefined;
  #running: Promise<TokenAnswer> | undefined = undefined;

  constructor(options: RefreshOptions) {
    this.#options = options;
  }

  /** Not ended by those who wait for it: what the server answers is needed in any case. */
  once(): Promise<TokenAnswer> {
    this.#running ??= this.#refresh().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #refresh(): Promise<TokenAnswer> {
    const { request, timeoutMs } = this.#options;
    const unsaved = this.#unsaved;
    if (unsaved !== undefined) await this.#save(unsaved);
    const current = unsaved ?? (await this.#load());
    const answer = await request({
      grantType: "refresh_token",
      parameters: { refresh_token: current },
      signal: AbortSignal.timeout(timeoutMs),
    });
    if (answer.refreshToken !== undefined && answer.refreshToken !== current) {
      this.#unsaved = answer.refreshToken;
      await this.#save(answer.refreshToken);
    }
    return answer;
  }

  async #load(): Promise<string> {
    const loaded: unknown = await inTime(this.#options.store.load());
    const problem = secretProblem(loaded);
    if (problem !== undefined) throw new TokenFailure(`the refresh token ${problem}`);
    return String(loaded);
  }

  /** One that is not saved is used all the same, and is saved with the next refresh. */
  async #save(token: string): Promise<void> {
    try {
      await inTime(this.#options.store.save(token));
      if (this.#unsaved === token) this.#unsaved = undefined;
    } catch (error) {
      this.#options.onUnsaved(error);
    }
  }
}

/** A store that never answers must not keep every later refresh waiting. */
async function inTime<T>(answer: T | Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(Object.assign(new Error("no answer in time"), { code: "ETIMEDOUT" })),
      maxStoreMs,
    );
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

function storeOf(given: string | RefreshTokenStore): RefreshTokenStore {
  if (typeof given !== "string") return given;
  let current = given;
  return {
    load: () => current,
    save: (next) => {
      current = next;
    },
  };
}
