// The chain as people write it by hand: one interceptor for each concern, each with its own listener and responder, and
// the token verified on each call.
import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import {
  type Metadata,
  ResponderBuilder,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  ServerListenerBuilder,
  status,
} from "@grpc/grpc-js";
import { metrics } from "@opentelemetry/api";
import { importSPKI, type JWTPayload, jwtVerify } from "jose";
import type { Logger } from "pino";
import type { TokenTrust } from "../process/protocol.ts";
import { startGrpcJs } from "./grpc-js.ts";
import { fileLogger } from "./log-file.ts";
import { registerMetricsSdk } from "./metrics-sdk.ts";
import { serve } from "./serve.ts";

serve(async (settings) => {
  const collect = registerMetricsSdk();
  // Who is known after authentication: later interceptors find it by the metadata object that they all are handed.
  const claims = new WeakMap<Metadata, JWTPayload>();
  const { port } = await startGrpcJs(settings, {
    interceptors: [
      recovery(),
      logging(fileLogger(settings.directory)),
      measuring(),
      limiting(),
      await authenticating(settings.trust, claims),
      authorizing(claims),
      auditing(join(settings.directory, "audit.jsonl"), claims),
    ],
  });
  return { port, collect };
});

/** An interceptor that hears how calls end. */
function watching(
  watch: (path: string, code: status, durationMs: number, peer: string) => void,
): ServerInterceptor {
  return (method, call) => {
    const startedAt = performance.now();
    const responder = new ResponderBuilder()
      .withSendStatus((sent, next) => {
        watch(method.path, sent.code ?? status.UNKNOWN, performance.now() - startedAt, call.getPeer());
        next(sent);
      })
      .build();
    return new ServerInterceptingCall(call, responder);
  };
}

/** An interceptor that lets a call pass, or ends it with a status. */
function checking(
  check: (metadata: Metadata, call: ServerInterceptingCallInterface) => Promise<status>,
): ServerInterceptor {
  return (_method, call) =>
    new ServerInterceptingCall(call, {
      start(next) {
        const listener = new ServerListenerBuilder()
          .withOnReceiveMetadata((metadata, pass) => {
            check(metadata, call).then((code) => {
              if (code === status.OK) pass(metadata);
              else call.sendStatus({ code, details: "refused" });
            });
          })
          .build();
        next(listener);
      },
    });
}

function recovery(): ServerInterceptor {
  return (_method, call) =>
    new ServerInterceptingCall(call, {
      start(next) {
        const guarded = <T>(pass: (value: T) => void, value: T): void => {
          try {
            pass(value);
          } catch {
            call.sendStatus({ code: status.INTERNAL, details: "internal error" });
          }
        };
        next(
          new ServerListenerBuilder()
            .withOnReceiveMetadata((metadata, pass) => guarded(pass, metadata))
            .withOnReceiveMessage((message, pass) => guarded(pass, message))
            .build(),
        );
      },
    });
}

function logging(logger: Logger): ServerInterceptor {
  return watching((method, code, durationMs, peer) => {
    logger.info({ method, code: status[code], durationMs, peer }, "call");
  });
}

function measuring(): ServerInterceptor {
  const meter = metrics.getMeter("hand-written");
  const calls = meter.createCounter("grpc.server.calls");
  const durations = meter.createHistogram("grpc.server.call.duration", { unit: "s" });
  return watching((method, code, durationMs) => {
    const attributes = { "grpc.method": method, "grpc.status": status[code] };
    calls.add(1, attributes);
    durations.record(durationMs / 1_000, attributes);
  });
}

/** A fixed window for each peer, behind a promise, as the stores of such limiters are. */
function limiting(): ServerInterceptor {
  const windows = new Map<string, { endsAt: number; points: number }>();
  const consume = async (key: string): Promise<boolean> => {
    const now = Date.now();
    const window = windows.get(key);
    if (window === undefined || now >= window.endsAt) {
      windows.set(key, { endsAt: now + 1_000, points: 1 });
      return true;
    }
    window.points += 1;
    return window.points <= 1_000_000_000;
  };
  return checking(async (_metadata, call) =>
    (await consume(call.getPeer())) ? status.OK : status.RESOURCE_EXHAUSTED,
  );
}

async function authenticating(
  { issuer, audience, publicKeyPem }: TokenTrust,
  claims: WeakMap<Metadata, JWTPayload>,
): Promise<ServerInterceptor> {
  const key = await importSPKI(publicKeyPem, "RS256");
  return checking(async (metadata) => {
    const [header] = metadata.get("authorization");
    if (typeof header !== "string" || !header.startsWith("Bearer ")) return status.UNAUTHENTICATED;
    try {
      const { payload } = await jwtVerify(header.slice(7), key, { issuer, audience, algorithms: ["RS256"] });
      claims.set(metadata, payload);
      return status.OK;
    } catch {
      return status.UNAUTHENTICATED;
    }
  });
}

function authorizing(claims: WeakMap<Metadata, JWTPayload>): ServerInterceptor {
  return checking(async (metadata) => {
    const roles = claims.get(metadata)?.["roles"];
    return Array.isArray(roles) && roles.includes("caller") ? status.OK : status.PERMISSION_DENIED;
  });
}

function auditing(file: string, claims: WeakMap<Metadata, JWTPayload>): ServerInterceptor {
  const lines = createWriteStream(file, { flags: "a", mode: 0o600 });
  return (method, call) => {
    let subject: string | undefined;
    const responder = new ResponderBuilder()
      .withStart((next) => {
        const listener = new ServerListenerBuilder()
          .withOnReceiveMetadata((metadata, pass) => {
            subject = claims.get(metadata)?.sub;
            pass(metadata);
          })
          .build();
        next(listener);
      })
      .withSendStatus((sent, next) => {
        const entry = {
          time: new Date().toISOString(),
          method: method.path,
          subject,
          peer: call.getPeer(),
          code: sent.code,
        };
        lines.write(`${JSON.stringify(entry)}\n`);
        next(sent);
      })
      .build();
    return new ServerInterceptingCall(call, responder);
  };
}
