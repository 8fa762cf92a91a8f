// What one `jose.jwtVerify` costs here and now: the part of a new token's price that nobody can save.
import { readFileSync } from "node:fs";
import { importSPKI, jwtVerify } from "jose";
import { answerAsks } from "../process/ask.ts";
import type { VerifierAsks } from "../process/protocol.ts";
import { cpuMicroseconds } from "../process/usage.ts";

let verify: (token: string) => Promise<unknown> = () => Promise.reject(new Error("not started"));
let tokens: readonly string[] = [];
let next = 0;

answerAsks<VerifierAsks>({
  async start({ trust: { issuer, audience, publicKeyPem }, file }) {
    const key = await importSPKI(publicKeyPem, "RS256");
    tokens = readFileSync(file, "utf8").trimEnd().split("\n");
    verify = (token) => jwtVerify(token, key, { issuer, audience, algorithms: ["RS256"] });
    return undefined;
  },
  async verify({ count, concurrency }) {
    let left = count;
    const before = cpuMicroseconds();
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        next = (next + 1) % tokens.length;
        await verify(tokens[next] ?? "");
      }
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
    return cpuMicroseconds() - before;
  },
});
