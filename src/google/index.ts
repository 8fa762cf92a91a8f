// `grpc-palisade/google`: Google's tokens on calls. google-auth-library is an optional peer.

export { type GoogleCredentialsOptions, googleCredentials } from "./google-credentials.ts";
