// `grpc-palisade/redis`: what instances of a service share, in Redis. The ioredis client is yours.

export {
  type RedisApiKeyClient,
  type RedisApiKeyStore,
  type RedisApiKeyStoreOptions,
  redisApiKeyStore,
} from "./redis-api-key-store.ts";
export type { RedisSubscriber } from "./redis-connection.ts";
export {
  type RedisClient,
  type RedisRateLimitStoreOptions,
  redisRateLimitStore,
} from "./redis-rate-limit-store.ts";
export {
  type RedisRevocationList,
  type RedisRevocationListOptions,
  redisRevocationList,
} from "./redis-revocation-list.ts";
