// The connections of one load generator to one server, and the calls that it makes on them.
import { Buffer } from "node:buffer";
import {
  type CallOptions,
  ChannelCredentials,
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { bearerToken, createSecureClient } from "grpc-palisade";
import type { Connect, Load, Tokens } from "../process/protocol.ts";
import { pathOfMany, paths } from "../servers/contract.ts";
import type { TokenPool } from "./token-pool.ts";

/** Far longer than any call here takes; there, because calls have deadlines. */
const deadlineMs = 120_000;

/** No pool shared with other channels, so that each channel is a connection of its own. */
const channelOptions = { "grpc.use_local_subchannel_pool": 1, "grpc.enable_channelz": 0 };

/** A server of Node's ends a connection with more: 1,000 at once, and 33 a second after that. */
const cancelledPerConnection = 900;

export class LoadClient {
  readonly #connect: Connect;
  readonly #tokens: TokenPool;
  #clients: readonly Client[];
  /** Those before. They stay open until they are replaced in turn: their last calls have ended by then. */
  #retired: readonly Client[] = [];
  #calls = 0;
  #cancelled = 0;

  constructor(connect: Connect, tokens: TokenPool) {
    this.#connect = connect;
    this.#tokens = tokens;
    this.#clients = this.#newClients();
  }

  /** One call to its end. Rejects where it fails, or brings anything but what was asked for. */
  call(load: Load): Promise<void> {
    if (load.kind === "unary") return this.#unary(load);
    return load.kind === "serverStream" ? this.#serverStream(load) : this.#bidiStream(load);
  }

  /** One stream that is given up while it is open at both ends: after a message there and back. */
  cancel({ bytes, tokens }: Load): Promise<void> {
    if (this.#cancelled === cancelledPerConnection * this.#clients.length) this.#reconnect();
    this.#cancelled += 1;
    const stream = this.#openBidiStream(tokens);
    stream.write(request(bytes, 0));
    stream.once("data", () => stream.cancel());
    return new Promise((resolve, reject) => {
      stream.once("error", (error: ServiceError) =>
        error.code === status.CANCELLED ? resolve() : reject(error),
      );
      stream.once("end", () => reject(new Error("a stream that was to be cancelled has ended")));
    });
  }

  /** Resolves when the call that waits there is answered. */
  hold(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#next().makeUnaryRequest(
        paths.hold,
        asBytes,
        asBytes,
        request(64, 0),
        this.#tokens.metadata("one", this.#calls),
        { deadline: Date.now() + deadlineMs },
        (error) => (error === null ? resolve() : reject(error)),
      );
    });
  }

  #unary({ bytes, tokens, methods }: Load): Promise<void> {
    return new Promise((resolve, reject) => {
      const path = methods === 0 ? paths.unary : pathOfMany(this.#calls % methods);
      const sent = request(bytes, 0);
      this.#next().makeUnaryRequest(
        path,
        asBytes,
        asBytes,
        sent,
        this.#tokens.metadata(tokens, this.#calls),
        options(),
        (error, answer) => {
          if (error !== null) return reject(error);
          if (answer?.length !== sent.length)
            return reject(new Error(`${answer?.length} bytes for ${sent.length}`));
          resolve();
        },
      );
    });
  }

  #serverStream({ bytes, messages, tokens }: Load): Promise<void> {
    const stream = this.#next().makeServerStreamRequest(
      paths.serverStream,
      asBytes,
      asBytes,
      request(bytes, messages),
      this.#tokens.metadata(tokens, this.#calls),
      options(),
    );
    let received = 0;
    stream.on("data", () => {
      received += 1;
    });
    return new Promise((resolve, reject) => {
      stream.on("error", reject);
      stream.on("end", () => (received === messages ? resolve() : reject(countWrong(received, messages))));
    });
  }

  #bidiStream({ bytes, messages, tokens }: Load): Promise<void> {
    const stream = this.#openBidiStream(tokens);
    const message = request(bytes, 0);
    let received = 0;
    let left = messages;
    const write = (): void => {
      while (left > 0) {
        left -= 1;
        if (!stream.write(message)) return void stream.once("drain", write);
      }
      stream.end();
    };
    stream.on("data", () => {
      received += 1;
    });
    write();
    return new Promise((resolve, reject) => {
      stream.on("error", reject);
      stream.on("end", () => (received === messages ? resolve() : reject(countWrong(received, messages))));
    });
  }

  #openBidiStream(tokens: Tokens): ClientDuplexStream<Buffer, Buffer> {
    return this.#next().makeBidiStreamRequest(
      paths.bidiStream,
      asBytes,
      asBytes,
      this.#tokens.metadata(tokens, this.#calls),
      options(),
    );
  }

  #newClients(): readonly Client[] {
    return Array.from({ length: this.#connect.connections }, () => newClient(this.#connect, this.#tokens));
  }

  #reconnect(): void {
    for (const client of this.#retired) client.close();
    this.#retired = this.#clients;
    this.#clients = this.#newClients();
    this.#cancelled = 0;
  }

  #next(): Client {
    const client = this.#clients[this.#calls % this.#clients.length];
    this.#calls += 1;
    if (client === undefined) throw new Error("a load needs at least one connection");
    return client;
  }
}

function countWrong(received: number, messages: number): Error {
  return new Error(`a stream brought ${received} of ${messages} messages`);
}

function options(): CallOptions {
  return { deadline: Date.now() + deadlineMs };
}

/** Messages are bytes already: what the client spends on them is no concern here. */
function asBytes(message: Buffer): Buffer {
  return message;
}

const requests = new Map<string, Buffer>();

/** `Request` of that many bytes in all, field 2 left out where it is 0 (proto3). */
function request(bytes: number, messages: number): Buffer {
  const key = `${bytes} ${messages}`;
  const known = requests.get(key);
  if (known !== undefined) return known;
  const payload = Buffer.alloc(bytes - 1 - varint(bytes).length, "p");
  const count = messages === 0 ? [] : [0x10, ...varint(messages)];
  const made = Buffer.concat([Buffer.from([0x0a, ...varint(payload.length)]), payload, Buffer.from(count)]);
  requests.set(key, made);
  return made;
}

function varint(value: number): readonly number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

function newClient({ port, identities, client }: Connect, tokens: TokenPool): Client {
  const target = `localhost:${port}`;
  const [ca, cert, key] = [identities.ca, identities.client.cert, identities.client.key].map((pem) =>
    Buffer.from(pem),
  );
  if (ca === undefined || cert === undefined || key === undefined) throw new Error("no identities");
  if (client === "palisade" || client === "palisade-credentials") {
    return createSecureClient(Client, target, {
      tls: { ca, cert, key },
      ...(client === "palisade" ? {} : { credentials: bearerToken(() => tokens.one) }),
      channelOptions,
    });
  }
  const tls = ChannelCredentials.createSsl(ca, key, cert);
  if (client === "grpc-js") return new Client(target, tls, channelOptions);
  const attach = credentials.createFromMetadataGenerator((_call, done) => {
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${tokens.one}`);
    done(null, metadata);
  });
  return new Client(target, credentials.combineChannelCredentials(tls, attach), channelOptions);
}
