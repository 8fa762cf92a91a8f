/**
 * The seam: this folder is the only place that touches what grpc-js does not document. Each function is small and typed,
 * names what it relies on, and was last seen to hold for grpc-js 1.14.7 (test/chain/grpc-js.test.ts is the contract test).
 * `checkSeam` runs when a server is made, so that a grpc-js that changed stops it at start. What only a call can show is
 * looked at when the first one comes: then every call is refused, and the log says why.
 */
import {
  ChannelCredentials,
  type Server,
  ServerCredentials,
  type ServerInterceptingCallInterface,
} from "@grpc/grpc-js";
import { ConfigError } from "../../call/errors.ts";
import { checkGrpcJsVersion } from "./grpc-js-version.ts";
import type { ServerInside } from "./inside.ts";
import type { OwnedBaseCall } from "./own-statuses.ts";
import { isHandlerType } from "./registered.ts";

/** Throws where this grpc-js is not the one the seam was made for. */
export function checkSeam(server: Server): void {
  checkGrpcJsVersion();
  const inside = server as unknown as Partial<ServerInside>;
  const missing = [
    typeof inside.createHttp2Server === "function" ? "" : "Server.createHttp2Server",
    typeof inside._retrieveHandler === "function" ? "" : "Server._retrieveHandler",
    typeof inside.commonServerOptions === "object" ? "" : "Server.commonServerOptions",
    ...missingMethods("ServerCredentials", ServerCredentials.createInsecure(), [
      "_addWatcher",
      "_removeWatcher",
      "_equals",
      "getWatcherCount",
      "updateSecureContextOptions",
    ]),
  ].filter((name) => name !== "");
  if (missing.length > 0) throw lacking(missing);
}

/** The same for channel credentials, which ours override and wrap. Runs when a client is made. */
export function checkChannelSeam(): void {
  checkGrpcJsVersion();
  const names = ["_createSecureConnector", "_equals", "_isSecure"];
  const missing = missingMethods("ChannelCredentials", ChannelCredentials.createInsecure(), names);
  if (missing.length > 0) throw lacking(missing);
}

function missingMethods(of: string, object: object, names: readonly string[]): string[] {
  return names
    .filter((name) => typeof Reflect.get(object, name) !== "function")
    .map((name) => `${of}.${name}`);
}

/** Throws where this grpc-js's base call is not the one the seam was made for. */
export function checkBaseCall(call: ServerInterceptingCallInterface): void {
  const base = call as Partial<OwnedBaseCall>;
  const missing = [
    typeof base.stream === "object" ? "" : "stream",
    typeof base.handler?.func === "function" ? "" : "handler.func",
    typeof base.handler?.serialize === "function" ? "" : "handler.serialize",
    typeof base.handler?.deserialize === "function" ? "" : "handler.deserialize",
    base.handler !== undefined && isHandlerType(base.handler.type) ? "" : "handler.type",
    base.deadlineTimer !== undefined ? "" : "deadlineTimer",
    typeof base.receivedHalfClose === "boolean" ? "" : "receivedHalfClose",
    typeof base.maxReceiveMessageSize === "number" ? "" : "maxReceiveMessageSize",
    typeof base.maxSendMessageSize === "number" ? "" : "maxSendMessageSize",
    typeof base.incomingEncoding === "string" ? "" : "incomingEncoding",
    typeof base.decoder?.maxReadMessageLength === "number" ? "" : "decoder.maxReadMessageLength",
    typeof base.decompressMessage === "function" ? "" : "decompressMessage",
    typeof base.serializeMessage === "function" ? "" : "serializeMessage",
    typeof base.sendStatus === "function" ? "" : "sendStatus",
  ].filter((name) => name !== "");
  if (missing.length > 0) throw lacking(missing.map((name) => `BaseServerInterceptingCall.${name}`));
}

function lacking(missing: readonly string[]): ConfigError {
  return new ConfigError(
    `this version of @grpc/grpc-js lacks ${missing.join(", ")}; use a version that this release was tested with (1.14.0 to 1.14.7)`,
  );
}
