// `grpc-palisade/oauth`: what a service does with an OAuth 2.0 authorization server. oauth4webapi is an optional peer.

export { callerToken } from "./caller-token.ts";
export { type ClientCredentialsOptions, clientCredentials } from "./client-credentials.ts";
export { type IntrospectionOptions, introspection } from "./introspection.ts";
export { type JwtBearerOptions, jwtBearer, type SignedAssertion } from "./jwt-bearer.ts";
export type { OAuthClient, PrivateKeySource } from "./oauth-client.ts";
export { type RefreshTokenOptions, type RefreshTokenStore, refreshToken } from "./refresh-token.ts";
export type { TokenEndpointOptions } from "./token-endpoint.ts";
export { type ExchangedToken, type TokenExchangeOptions, tokenExchange } from "./token-exchange.ts";
