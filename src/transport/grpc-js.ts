/**
 * What is touched of grpc-js beyond what it documents: all of it, each with the promise that needs it. It is looked for when
 * a server, a client, credentials or an interceptor is made, so that a grpc-js that lacks it stops the start. What only a call
 * of somebody else's server can show is looked for when the first one comes, and refuses all of them where it is not there.
 */
import type { Http2SecureServer, Http2Server, IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { createSecureContext } from "node:tls";
import {
  ChannelCredentials,
  type Server,
  ServerCredentials,
  type ServerInterceptingCallInterface,
  type UntypedHandleCall,
} from "@grpc/grpc-js";
import { ConfigError } from "../grpc/errors.ts";
import { checkGrpcJsVersion } from "./grpc-js-version.ts";

export type GrpcHandlerType = "unary" | "clientStream" | "serverStream" | "bidi";

/** What grpc-js keeps of a registered method, and runs. */
export interface RegisteredHandler {
  func: UntypedHandleCall;
  serialize: (value: unknown) => Buffer;
  deserialize: (bytes: Buffer) => unknown;
  readonly type: GrpcHandlerType;
  readonly path: string;
}

type StreamHandler = (
  extraInterceptors: unknown,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  rawHeaders: readonly string[],
) => void;

/** Members of `Server`. */
export interface ServerMembers {
  /** Streams are taken here, and nowhere else. */
  _streamHandler: StreamHandler;
  /** The same where channelz is on; it refuses. */
  _channelzHandler: StreamHandler;
  /** Runs the handler of a call that passed the chain, in grpc-js's own four ways. */
  _runHandlerForCall(call: ServerInterceptingCallInterface, handler: RegisteredHandler): boolean;
  /** Counts streams for `limits.maxConnectionIdleMs`. */
  onStreamOpened(stream: ServerHttp2Stream): void;
  /** Every port is made here. */
  createHttp2Server(credentials: ServerCredentials): Http2Server | Http2SecureServer;
  /** HTTP/2 options of every port, plaintext ones too, which ignore those of the credentials. */
  commonServerOptions: Record<string, unknown>;
}

/** Members of the call that grpc-js makes, on a server that somebody else made. */
export interface BaseCallMembers {
  /** Was the certificate verified? Which status left? It is closed behind a refusal. */
  readonly stream: ServerHttp2Stream;
  /** The guard goes round the handler and its codec. */
  readonly handler: RegisteredHandler;
}

type MemberType = "function" | "object" | "string";
type MemberTypes<Members> = Readonly<Record<keyof Members, MemberType>>;

export const serverMemberTypes: MemberTypes<ServerMembers> = {
  _streamHandler: "function",
  _channelzHandler: "function",
  _runHandlerForCall: "function",
  onStreamOpened: "function",
  createHttp2Server: "function",
  commonServerOptions: "object",
};

/** `TlsServerCredentials` counts the ports that are bound with it, and gives them new files. */
export const serverCredentialsMemberTypes: Readonly<Record<string, MemberType>> = {
  _addWatcher: "function",
  _removeWatcher: "function",
  _equals: "function",
  getWatcherCount: "function",
  updateSecureContextOptions: "function",
};

/** Channel credentials of ours stand in front of grpc-js's. */
export const channelCredentialsMemberTypes: Readonly<Record<string, MemberType>> = {
  _createSecureConnector: "function",
  _equals: "function",
  _isSecure: "function",
};

/** What a connector of such credentials asks a server for: an IP address as a server name is taken out of it. */
export const connectorMemberTypes: Readonly<Record<string, MemberType>> = { connectionOptions: "object" };

export const baseCallMemberTypes: MemberTypes<BaseCallMembers> = { stream: "object", handler: "object" };

const handlerMemberTypes: MemberTypes<RegisteredHandler> = {
  func: "function",
  serialize: "function",
  deserialize: "function",
  type: "string",
  path: "string",
};

/** @throws {ConfigError} that names what this grpc-js lacks. */
export function serverMembers(server: Server): ServerMembers {
  checkGrpcJsVersion();
  const members = server as unknown as ServerMembers;
  refuseIfLacking("Server", members, serverMemberTypes);
  checkServerCredentials();
  return members;
}

export function checkServerCredentials(): void {
  checkGrpcJsVersion();
  refuseIfLacking("ServerCredentials", ServerCredentials.createInsecure(), serverCredentialsMemberTypes);
}

export function checkChannelCredentials(): void {
  checkGrpcJsVersion();
  refuseIfLacking("ChannelCredentials", ChannelCredentials.createInsecure(), channelCredentialsMemberTypes);
  const secure = ChannelCredentials.createFromSecureContext(createSecureContext());
  const connector = secure._createSecureConnector({ scheme: "dns", path: "localhost:443" }, {});
  refuseIfLacking("SecureConnector", connector, connectorMemberTypes);
  connector.destroy();
}

/** What only a call can show is looked at when one comes: then every call is refused, and the log says why. */
export function checkInterceptors(): void {
  checkGrpcJsVersion();
}

/** Undefined where the call is not next to the wire: another interceptor stands before ours. */
export function baseCallMembers(call: ServerInterceptingCallInterface): BaseCallMembers | undefined {
  if (!("stream" in call) && !("handler" in call)) return undefined;
  const members = call as Partial<BaseCallMembers>;
  refuseIfLacking("BaseServerInterceptingCall", members, baseCallMemberTypes);
  refuseIfLacking("BaseServerInterceptingCall.handler", members.handler ?? {}, handlerMemberTypes);
  return members as BaseCallMembers;
}

function refuseIfLacking(name: string, object: object, types: Readonly<Record<string, MemberType>>): void {
  const missing = Object.entries(types)
    .filter(([member, type]) => typeof Reflect.get(object, member) !== type)
    .map(([member]) => `${name}.${member}`);
  if (missing.length === 0) return;
  throw new ConfigError(
    `this version of @grpc/grpc-js lacks ${missing.join(", ")}; use a version that this release was tested with (1.14.0 to 1.14.7)`,
  );
}
