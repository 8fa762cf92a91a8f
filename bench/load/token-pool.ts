// The tokens of a load generator: signed beforehand, so that no call waits for a signature.
import { readFileSync } from "node:fs";
import { Metadata } from "@grpc/grpc-js";
import type { Tokens } from "../process/protocol.ts";

const none = new Metadata();

export class TokenPool {
  #tokens: readonly string[] = [];
  #first = none;

  read(file: string): number {
    this.#tokens = readFileSync(file, "utf8").trimEnd().split("\n");
    this.#first = bearing(this.one);
    return this.#tokens.length;
  }

  get one(): string {
    const [first] = this.#tokens;
    if (first === undefined) throw new Error("there are no tokens yet");
    return first;
  }

  /** What the `call`-th call brings. */
  metadata(tokens: Tokens, call: number): Metadata {
    if (tokens === "none") return none;
    if (tokens === "one") return this.#first;
    const token = this.#tokens[call % tokens];
    if (token === undefined) throw new Error(`there are only ${this.#tokens.length} tokens, not ${tokens}`);
    return bearing(token);
  }
}

function bearing(token: string): Metadata {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}
