// opa: a running OPA server decides, over its Data API.
import { z } from "zod";
import type { CallContext } from "../chain/context.ts";
import { principalKey } from "../chain/principal.ts";
import { secretProblem } from "../client/secret-text.ts";
import { TokenFile } from "../client/token-file.ts";
import { milliseconds, parseOptions } from "../config/options.ts";
import { QueueFull, RequestQueue } from "../config/request-queue.ts";
import type { MethodInfo } from "../grpc/method.ts";
import { peerKey } from "../grpc/peer-key.ts";
import type { Authorizer, Decision, Policy } from "../middleware/authorization/authorizer.ts";
import { LogThrottle } from "../observability/log-throttle.ts";
import { loadTrustedCertificates, type PemSource, pemSourceSchema } from "../tls/load-pem.ts";
import { DecisionCache } from "./decision-cache.ts";
import { decisionOf } from "./opa-decision.ts";
import { OpaFailure } from "./opa-failure.ts";
import type { PolicyInput } from "./opa-input.ts";
import { type OpaPolicyOptions, type OpaPolicySettings, opaPolicy, opaPolicyShape } from "./opa-policy.ts";
import { type OpaServer, opaServer } from "./opa-server.ts";

export interface OpaOptions extends OpaPolicyOptions {
  /**
   * Where OPA listens: `https://opa.internal:8181`, `http://127.0.0.1:8181`, or `unix:///run/opa.sock`. http only to a loopback
   * address, unless `plaintext` says otherwise. Redirects and proxies are not followed.
   */
  readonly url: string;
  /** The rule that is asked for: `orders/authz/allow` for the rule `allow` of `package orders.authz`. */
  readonly path: string;
  /** `"mesh"`: http to another machine, because a sidecar encrypts and verifies. A token is not sent then. Default: none. */
  readonly plaintext?: "mesh" | undefined;
  /** The roots that OPA's certificate is verified against, as PEM; read once. Default: Node's. */
  readonly ca?: PemSource | undefined;
  /**
   * What this service shows OPA (`opa run --authentication=token`), as a bearer token: a string, or `{ file }`, which is read
   * again when it changes. Default: none.
   */
  readonly token?:
    | string
    | {
        /** The file's path; a relative one starts at the working directory. */
        readonly file: string;
      }
    | undefined;
  /** How long a decision may take, waiting for its turn included, in milliseconds. Then the call ends UNAVAILABLE. Default: 1,000. */
  readonly timeoutMs?: number | undefined;
  /** Requests to OPA at once. Further decisions wait their turn, within `timeoutMs`. Default: 64. */
  readonly maxConcurrent?: number | undefined;
  /**
   * Decisions that may wait their turn. Callers take turns, and where all places are taken, the caller that has the most gives up its
   * newest: that call ends UNAVAILABLE at once. Default: 1,000.
   */
  readonly maxQueued?: number | undefined;
  /**
   * Use a decision again for calls whose whole input is the same, claims included, and let such calls share one request.
   * `input.requestId` is left out then. What changes in OPA is seen `maxAgeMs` later. Default: none.
   */
  readonly cache?:
    | {
        /** How many decisions are kept at most. Default: 10,000. */
        readonly maxEntries?: number | undefined;
        /** How long a decision is used, from its request on, in milliseconds; at most 60,000. Default: 1,000. */
        readonly maxAgeMs?: number | undefined;
      }
    | undefined;
}

interface OpaSettings extends OpaPolicySettings {
  readonly url: string;
  readonly path: string;
  readonly plaintext?: "mesh" | undefined;
  readonly ca?: PemSource | undefined;
  readonly token?: string | { readonly file: string } | undefined;
  readonly timeoutMs: number;
  readonly maxConcurrent: number;
  readonly maxQueued: number;
  readonly cache?: { readonly maxEntries: number; readonly maxAgeMs: number } | undefined;
}

const text = z.string().min(1);

/** The shape of `opa`'s options; the only place where its defaults stand. */
export const opaSchema: z.ZodType<OpaSettings> = z.strictObject({
  url: text,
  path: z
    .string()
    .refine((path) => !/^data[./]/.test(path), {
      error: "expected the path below data, with slashes: orders/authz/allow for data.orders.authz.allow",
    })
    .refine((path) => /^[^\s/?#]+(?:\/[^\s/?#]+)*$/.test(path) && !/(?:^|\/)\.{1,2}(?:\/|$)/.test(path), {
      error: "expected a path such as orders/authz/allow",
    }),
  plaintext: z.literal("mesh").optional(),
  ca: pemSourceSchema.optional(),
  token: z
    .union([
      z.string().superRefine((token, { addIssue }) => {
        const problem = secretProblem(token);
        if (problem !== undefined) addIssue({ code: "custom", message: problem });
      }),
      z.strictObject({ file: text }),
    ])
    .optional(),
  timeoutMs: milliseconds.default(1_000),
  maxConcurrent: z.int().min(1).max(10_000).default(64),
  maxQueued: z.int().min(0).max(100_000).default(1_000),
  cache: z
    .strictObject({
      maxEntries: z.int().min(1).max(10_000_000).default(10_000),
      maxAgeMs: z.int().min(1).max(60_000).default(1_000),
    })
    .optional(),
  ...opaPolicyShape,
});

/**
 * An Open Policy Agent server decides about every call that is not `public`: its rule `path` is asked for, with `OpaInput` as `input`. The
 * result must be `true` or `false`, or `{ allow, rule?, reason? }` with `allow` `true` or `false`. Everything else denies; so does a rule that
 * is undefined, which the log says at most once in ten minutes.
 *
 * If OPA is away, slow, or answers anything but JSON with status 200 and at most 64 KiB, calls end UNAVAILABLE. `decision_id`
 * of OPA's answer is in log and audit.
 *
 * @throws {ConfigError} for options that are wrong; the token is never shown.
 * @example
 * createSecureServer({ authorization: opa({ url: "http://127.0.0.1:8181", path: "orders/authz/allow" }), … });
 */
export function opa(options: OpaOptions): Authorizer {
  const settings = parseOptions(opaSchema, options, "opa");
  const { ca, token, maxConcurrent } = settings;
  const server = opaServer({
    ...settings,
    plaintext: settings.plaintext,
    ca: ca === undefined ? undefined : loadTrustedCertificates(ca, "opa.ca"),
    token: token === undefined ? undefined : tokenOf(token),
    maxConcurrent,
  });
  return new OpaAuthorizer(settings, server);
}

function tokenOf(token: string | { readonly file: string }): () => string | Promise<string> {
  if (typeof token === "string") return () => token;
  const file = new TokenFile(token.file);
  return () => file.read();
}

class OpaAuthorizer implements Authorizer {
  readonly name = "opa";
  readonly #settings: OpaSettings;
  readonly #server: OpaServer;
  readonly #queue: RequestQueue;
  readonly #cache: DecisionCache | undefined;
  readonly #warnings = new LogThrottle({ periodMs: 600_000 });

  constructor(settings: OpaSettings, server: OpaServer) {
    this.#settings = settings;
    this.#server = server;
    this.#queue = new RequestQueue(settings);
    this.#cache = settings.cache === undefined ? undefined : new DecisionCache(settings.cache);
  }

  compile(methods: readonly MethodInfo[]): Policy {
    const cache = this.#cache;
    return opaPolicy(methods, {
      settings: this.#settings,
      path: this.#settings.path,
      hasRequestId: cache === undefined,
      ask: (input, call) =>
        cache === undefined
          ? this.#ask(input, call, call.signal)
          : cache.get(input.text, () => this.#ask(input, call, undefined)),
    });
  }

  /**
   * `ended`: the request ends with its call, so that cancelled calls do not take the places of others. Where calls may share the
   * request it goes on, up to its time limit.
   */
  async #ask(
    { text: input }: PolicyInput,
    call: CallContext,
    ended: AbortSignal | undefined,
  ): Promise<Decision> {
    const { timeoutMs, path } = this.#settings;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), timeoutMs);
    const signal = ended === undefined ? late.signal : AbortSignal.any([late.signal, ended]);
    try {
      const answer = await this.#queue.run(
        signal,
        () => this.#server.query(`{"input":${input}}`, signal),
        callerOf(call),
      );
      if (answer.result === undefined) this.#tellUndefined(call);
      return decisionOf(answer, path);
    } catch (error) {
      if (error instanceof QueueFull) throw new OpaFailure("too many decisions wait for OPA (maxQueued)");
      if (error === late.signal.reason)
        throw new OpaFailure("no request to OPA could begin in time (maxConcurrent)");
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** A path that is misspelt denies every call. A rule that has no value for some calls alone must not fill the log. */
  #tellUndefined(call: CallContext): void {
    const leftOut = this.#warnings.admit("undefined");
    if (leftOut !== undefined)
      call.log.warn(
        { opa_path: this.#settings.path, ...(leftOut > 0 ? { left_out: leftOut } : {}) },
        "OPA knows no such rule, or it is undefined for this input; calls are denied. Check path, or give the rule a default",
      );
  }
}

/** Whose turn it is to wait behind others: one caller's many calls wait behind one another. */
function callerOf({ principal, peer }: CallContext): string {
  return principal === undefined || principal.kind === "anonymous" ? peerKey(peer) : principalKey(principal);
}
