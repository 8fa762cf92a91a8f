// Handlers of the four kinds that count what reaches them, by the case that the caller named in `x-case`.
import type { EventEmitter } from "node:events";
import type { Metadata, UntypedServiceImplementation } from "@grpc/grpc-js";
import type { Note } from "../harness/kinds.ts";

/** What handlers saw of one case. */
export interface Reached {
  readonly starts: number;
  readonly messages: number;
  /** How often the request came to its end: that is what an upload would commit on. */
  readonly ends: number;
}

interface HandlerCall extends EventEmitter {
  readonly metadata: Metadata;
  readonly request: Note;
  write(note: Note): void;
  end(): void;
}

type Callback = (error: null, value: Note) => void;

export class CountedKinds {
  readonly #reached: Map<string, Reached> = new Map();
  readonly handlers: UntypedServiceImplementation = {
    unary: (call: HandlerCall, callback: Callback) => {
      this.#count(call, { starts: 1, messages: 1, ends: 1 });
      callback(null, { text: call.request.text });
    },
    serverStream: (call: HandlerCall) => {
      this.#count(call, { starts: 1, messages: 1, ends: 1 });
      for (let i = 0; i < 3; i++) call.write({ text: call.request.text });
      call.end();
    },
    clientStream: (call: HandlerCall, callback: Callback) => {
      this.#count(call, { starts: 1, messages: 0, ends: 0 });
      call.on("data", () => this.#count(call, { starts: 0, messages: 1, ends: 0 }));
      call.on("end", () => {
        this.#count(call, { starts: 0, messages: 0, ends: 1 });
        callback(null, { text: "all" });
      });
    },
    bidiStream: (call: HandlerCall) => {
      this.#count(call, { starts: 1, messages: 0, ends: 0 });
      call.on("data", (note: Note) => {
        this.#count(call, { starts: 0, messages: 1, ends: 0 });
        call.write(note);
      });
      call.on("end", () => {
        this.#count(call, { starts: 0, messages: 0, ends: 1 });
        call.end();
      });
    },
  } as unknown as UntypedServiceImplementation;

  reached(name: string): Reached {
    return this.#reached.get(name) ?? { starts: 0, messages: 0, ends: 0 };
  }

  #count(call: HandlerCall, more: Reached): void {
    const name = String(call.metadata.get("x-case")[0]);
    const before = this.reached(name);
    this.#reached.set(name, {
      starts: before.starts + more.starts,
      messages: before.messages + more.messages,
      ends: before.ends + more.ends,
    });
  }
}
