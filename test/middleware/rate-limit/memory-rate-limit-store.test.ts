import { memoryRateLimitStore } from "../../../src/middleware/rate-limit/memory-rate-limit-store.ts";
import { describeStoreContract } from "./store-contract.ts";

const store = memoryRateLimitStore();
describeStoreContract("in memory", () => store);
