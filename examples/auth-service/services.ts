// What the .proto files say, for TypeScript: the services' definitions, their messages, and clients.
import { fileURLToPath } from "node:url";
import {
  type ChannelCredentials,
  type Client,
  type ClientOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  loadPackageDefinition,
  type requestCallback,
  type ServiceDefinition,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

export interface User {
  readonly id: string;
  readonly email: string;
  readonly tenant: string;
  readonly roles: readonly string[];
}

export interface LoginResponse {
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly expiresIn: number;
  readonly user: User;
}

export interface Permission {
  readonly resource: string;
  readonly action: string;
}

export interface Role {
  readonly name: string;
  readonly permissions: readonly Permission[];
}

export interface UserRoles {
  readonly userId: string;
  readonly roles: readonly Role[];
}

export interface KeyValidity {
  readonly valid: boolean;
  readonly clientId: string;
  readonly permissions: readonly Permission[];
  readonly expiresAt: number;
}

export interface Profile {
  readonly subject: string;
  readonly tenant: string;
  readonly documents: readonly string[];
}

type Unary<Request, Response> = (request: Request, callback: requestCallback<Response>) => ClientUnaryCall;
type Empty = Readonly<Record<string, never>>;

export interface AuthClient extends Client {
  readonly login: Unary<{ readonly email: string; readonly password: string }, LoginResponse>;
  readonly refreshToken: Unary<{ readonly refreshToken: string }, LoginResponse>;
  readonly logout: Unary<Empty, Empty>;
  readonly getUserRoles: Unary<Empty, UserRoles>;
}

export interface ApiKeyClient extends Client {
  readonly issueApiKey: Unary<
    {
      readonly clientId: string;
      readonly permissions?: readonly Permission[];
      readonly lifetimeSeconds?: number;
    },
    { readonly id: string; readonly key: string }
  >;
  readonly validateApiKey: Unary<{ readonly key: string }, KeyValidity>;
  readonly revokeApiKey: Unary<{ readonly id: string }, Empty>;
}

export interface ProfilesClient extends Client {
  readonly getProfile: Unary<Empty, Profile>;
  watchProfile(request: Empty): ClientReadableStream<Profile>;
}

export interface DocumentsClient extends Client {
  readonly listDocuments: Unary<Empty, { readonly titles: readonly string[] }>;
}

interface Loaded<C> {
  new (address: string, credentials: ChannelCredentials, options?: ClientOptions): C;
  readonly service: ServiceDefinition;
}

function load(proto: string): ReturnType<typeof loadPackageDefinition> {
  const path = fileURLToPath(new URL(proto, import.meta.url));
  return loadPackageDefinition(loadSync(path, { defaults: true, longs: Number }));
}

// What proto-loader returns has no types of its own.
const auth = load("../../protos/auth/v1/auth.proto") as unknown as {
  readonly auth: {
    readonly v1: { readonly AuthService: Loaded<AuthClient>; readonly ApiKeyService: Loaded<ApiKeyClient> };
  };
};
const neighbours = load("neighbours.proto") as unknown as {
  readonly neighbours: {
    readonly v1: { readonly Profiles: Loaded<ProfilesClient>; readonly Documents: Loaded<DocumentsClient> };
  };
};

export const AuthClient: Loaded<AuthClient> = auth.auth.v1.AuthService;
export const ApiKeyClient: Loaded<ApiKeyClient> = auth.auth.v1.ApiKeyService;
export const ProfilesClient: Loaded<ProfilesClient> = neighbours.neighbours.v1.Profiles;
export const DocumentsClient: Loaded<DocumentsClient> = neighbours.neighbours.v1.Documents;
