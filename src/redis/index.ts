// `grpc-palisade/redis`: what instances of a service share, in Redis. The ioredis client is yours.

export {
  type RedisClient,
  type RedisRateLimitStoreOptions,
  redisRateLimitStore,
} from "./redis-rate-limit-store.ts";
