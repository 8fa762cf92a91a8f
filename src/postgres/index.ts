// `grpc-palisade/postgres`: what instances of a service share, in PostgreSQL. The pool of `pg` is yours.

export {
  type PostgresApiKeyStore,
  type PostgresApiKeyStoreOptions,
  postgresApiKeyStore,
} from "./postgres-api-key-store.ts";
export type { PostgresClient, PostgresPool } from "./postgres-pool.ts";
export {
  type PostgresRevocationList,
  type PostgresRevocationListOptions,
  postgresRevocationList,
} from "./postgres-revocation-list.ts";
