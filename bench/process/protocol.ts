// What servers and load generators are asked.

/** The same for every server and client: one CA, one key pair each, PEM. */
export interface Identities {
  readonly ca: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly client: { readonly cert: string; readonly key: string };
}

export interface TokenTrust {
  readonly issuer: string;
  readonly audience: string;
  /** RS256, the public half. */
  readonly publicKeyPem: string;
}

export interface ServerSettings {
  readonly identities: Identities;
  readonly trust: TokenTrust;
  /** Where logs and audit records go. */
  readonly directory: string;
  /** Registered methods beside the four of the contract, each with its rule. */
  readonly methods: number;
  /** Distinct principals that will come. */
  readonly principals: number;
  /** Of bare grpc-js, whose default is true. */
  readonly channelz: boolean;
  /** Of Palisade: logging and audit to files. */
  readonly records: boolean;
  /** Of Palisade: an OpenTelemetry SDK that reads its metrics. */
  readonly metricsSdk: boolean;
  /** Of Palisade: what is asked about a token beside its signature. */
  readonly identity: "token" | "revocations" | "introspection";
  /** Of the sidecar: Envoy's program. */
  readonly envoy: string;
  /** How long what the last calls left behind may take, in milliseconds. */
  readonly settleMs: number;
}

export interface Memory {
  /** The heap after a full collection, with what V8 knows to hang on it. */
  readonly heapBytes: number;
  readonly residentBytes: number;
}

export type ServerAsks = {
  /** `pids`: every process that serves, this one and those beside it. */
  start: readonly [ServerSettings, { readonly port: number; readonly pids: readonly number[] }];
  /** CPU time since these processes started, user and system, all threads, in microseconds. */
  cpu: readonly [undefined, number];
  /** The same once all that the last calls left behind (log lines, audit batches, young garbage) is done. */
  settledCpu: readonly [undefined, number];
  /** Collects every metric once. What that took in CPU time, its garbage included, in microseconds; 0 for a server without metrics. */
  collect: readonly [undefined, number];
  memory: readonly [undefined, Memory];
  /** How many calls of `Hold` wait. */
  held: readonly [undefined, number];
  release: readonly [undefined, undefined];
};

export type CallKind = "unary" | "serverStream" | "bidiStream";
export type ClientKind = "grpc-js" | "grpc-js-call-credentials" | "palisade" | "palisade-credentials";
/** `one`: the same on every call. A number: that many in turn, so that each is new again when its turn comes. */
export type Tokens = "none" | "one" | number;

export interface Connect {
  /** Calls name their connection by it. */
  readonly target: string;
  readonly port: number;
  readonly identities: Identities;
  readonly connections: number;
  readonly client: ClientKind;
}

export interface Load {
  readonly target: string;
  readonly kind: CallKind;
  readonly calls: number;
  readonly concurrency: number;
  /** The size of a request message, and of a response. */
  readonly bytes: number;
  /** Messages of each stream. */
  readonly messages: number;
  readonly tokens: Tokens;
  /** The methods that calls go to in turn; 0: those of the contract. */
  readonly methods: number;
}

export interface PacedLoad extends Load {
  readonly callsPerSec: number;
  /** Made at the same pace before the others, and not timed. */
  readonly untimedCalls: number;
}

export interface LoadResult {
  readonly elapsedMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export type LoadAsks = {
  /** A file with a token a line. */
  tokens: readonly [{ readonly file: string }, { readonly count: number }];
  connect: readonly [Connect, undefined];
  run: readonly [Load, LoadResult];
  /** Bidirectional streams that are cancelled when their first message has come back. */
  cancelled: readonly [Load, LoadResult];
  paced: readonly [PacedLoad, LoadResult];
  handshakes: readonly [
    { readonly target: string; readonly count: number; readonly concurrency: number },
    LoadResult,
  ];
  /** Starts calls of `Hold` and leaves them waiting. */
  hold: readonly [{ readonly target: string; readonly calls: number }, undefined];
  /** Waits until every call of `Hold` is answered. */
  released: readonly [undefined, undefined];
  cpu: readonly [undefined, number];
};

export type VerifierAsks = {
  start: readonly [{ readonly trust: TokenTrust; readonly file: string }, undefined];
  /** Verifies so many tokens; CPU time in microseconds. */
  verify: readonly [{ readonly count: number; readonly concurrency: number }, number];
};

export type DecisionAsks = {
  /** `bundle`: a policy that OPA compiled. Answers the ways to decide, by name. */
  start: readonly [{ readonly identities: Identities; readonly bundle: string }, readonly string[]];
  /** Makes so many decisions in one way; microseconds for each. */
  decide: readonly [{ readonly way: string; readonly count: number }, number];
};

export type SignerAsks = {
  sign: readonly [
    {
      readonly privateKeyPem: string;
      readonly trust: TokenTrust;
      readonly first: number;
      readonly count: number;
      readonly file: string;
    },
    undefined,
  ];
};

export type LimiterAsks = {
  /** Feeds that many peers that were never seen before to the limiter's table. */
  feed: readonly [{ readonly peers: number }, Memory & { readonly keys: number }];
};
