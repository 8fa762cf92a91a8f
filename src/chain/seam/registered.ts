// The methods that a server has registered.
import type { Server, UntypedHandleCall } from "@grpc/grpc-js";
import type { MethodKind } from "../../call/method.ts";
import type { GrpcHandlerType, RegisteredHandler, ServerInside } from "./inside.ts";

/** Lets methods that nobody registered pass the chain (C8): `fallback` stands in as their handler. */
export function handleUnknownMethods(server: Server, fallback: (path: string) => RegisteredHandler): void {
  const inside = server as unknown as ServerInside;
  const retrieve = inside._retrieveHandler;
  inside._retrieveHandler = function retrieveOrFallBack(path) {
    return retrieve.call(this, path) ?? fallback(path);
  };
}

/**
 * Makes `handler` the one that runs, whatever wrapped it while it was registered. `@opentelemetry/instrumentation-grpc`
 * does so from a patched `Server.prototype.register`: its span would be a second one, starts beside the chain's, and its
 * callback loses trailers (U6).
 */
export function keepHandler(server: Server, path: string, handler: UntypedHandleCall): void {
  const registered = (server as unknown as ServerInside)._retrieveHandler(path);
  if (registered !== null && registered.func !== handler) registered.func = handler;
}

const kinds: Readonly<Record<GrpcHandlerType, MethodKind>> = {
  unary: "unary",
  clientStream: "client_stream",
  serverStream: "server_stream",
  bidi: "bidi_stream",
};

export function methodKind(type: GrpcHandlerType): MethodKind {
  return kinds[type];
}

/** Does grpc-js run handlers of this type? */
export function isHandlerType(type: string): type is GrpcHandlerType {
  return Object.hasOwn(kinds, type);
}
