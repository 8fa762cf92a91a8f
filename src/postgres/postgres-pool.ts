// What is used of a pool of the package pg, with a time limit for everything that is asked.
import { z } from "zod";
import { StoreRequests } from "../config/store-requests.ts";

/** What is used of `Pool` of the package pg. */
export interface PostgresPool {
  connect(): Promise<PostgresClient>;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "acquire", listener: (client: PostgresClient) => void): unknown;
  readonly options?: { readonly max?: number | undefined } | undefined;
}

/** A connection of it. */
export interface PostgresClient {
  query(text: string, values?: unknown[]): Promise<{ readonly rows: readonly unknown[] }>;
  on(event: "notification" | "error" | "end", listener: () => void): unknown;
  removeListener(event: "notification" | "error" | "end", listener: () => void): unknown;
  /** With `true` the connection is closed and not used again. */
  release(destroy?: boolean): void;
}

/** The shape of the option `pool`. */
export const postgresPool: z.ZodType<PostgresPool, PostgresPool> = z.custom<PostgresPool>(
  isPool,
  "expected a pool of the package pg, such as new Pool({ … })",
);

function isPool(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return (
    typeof Reflect.get(value, "connect") === "function" &&
    typeof Reflect.get(value, "on") === "function" &&
    // A single client connects too, once.
    "totalCount" in value
  );
}

/** Refuses a pool whose only connection would be the one that listens. */
export function checkPoolSize(
  { pool, listen }: { readonly pool: PostgresPool; readonly listen: boolean },
  context: z.RefinementCtx,
): void {
  const max = pool.options?.max;
  if (!listen || max === undefined || max >= 2) return;
  context.addIssue({
    code: "custom",
    path: ["pool"],
    message: `has at most ${max} connection, and listening for changes keeps one; give it max: 2 or more, or set listen: false`,
    input: pool,
  });
}

export type Query = (text: string, values?: unknown[]) => Promise<readonly unknown[]>;

const guarded = new WeakSet<PostgresPool | PostgresClient>();

/**
 * Keeps what happens to its connections from ending the process. The pool listens to the errors of a connection only while it is
 * idle, and whoever asked for it gets it a moment after that: PostgreSQL may end it in between.
 */
function guard(pool: PostgresPool): void {
  if (guarded.has(pool)) return;
  guarded.add(pool);
  pool.on("error", ignore);
  pool.on("acquire", (client) => {
    if (guarded.has(client)) return;
    guarded.add(client);
    client.on("error", ignore);
  });
}

export class PostgresRequests {
  readonly #pool: PostgresPool;
  readonly #timeoutMs: number;
  readonly #requests: StoreRequests;

  constructor(pool: PostgresPool, timeoutMs: number) {
    this.#pool = pool;
    this.#timeoutMs = timeoutMs;
    this.#requests = new StoreRequests({ store: "PostgreSQL", timeoutMs });
    guard(pool);
  }

  /**
   * One transaction on one connection. PostgreSQL ends a statement of it after the time limit; a connection on which
   * nothing comes back in that time is closed.
   */
  transaction<Result>(work: (query: Query) => Promise<Result>): Promise<Result> {
    return this.#requests.send((timeUp) => this.#run(timeUp, work));
  }

  /** The same, ahead of those that wait for their turn. */
  transactionAhead<Result>(work: (query: Query) => Promise<Result>): Promise<Result> {
    return this.#requests.sendAhead((timeUp) => this.#run(timeUp, work));
  }

  async #run<Result>(timeUp: AbortSignal, work: (query: Query) => Promise<Result>): Promise<Result> {
    const client = await this.#pool.connect();
    let released = false;
    const release = (destroy: boolean): void => {
      if (released) return;
      released = true;
      client.release(destroy);
    };
    const giveUp = (): void => release(true);
    timeUp.addEventListener("abort", giveUp);
    try {
      if (timeUp.aborted) throw new Error("PostgreSQL gave a connection too late");
      await client.query(
        `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = ${this.#timeoutMs}`,
      );
      const result = await work(async (text, values) => (await client.query(text, values)).rows);
      await client.query("COMMIT");
      release(false);
      return result;
    } catch (error) {
      await this.#rollBack(client, release);
      throw error;
    } finally {
      timeUp.removeEventListener("abort", giveUp);
    }
  }

  /** A connection that cannot even do this is not used again. */
  async #rollBack(client: PostgresClient, release: (destroy: boolean) => void): Promise<void> {
    try {
      await client.query("ROLLBACK");
      release(false);
    } catch {
      release(true);
    }
  }
}

const firstRetryMs = 250;
const maxRetryMs = 10_000;

/**
 * Listens on a connection that it keeps. Calls `heard` for each notification, and whenever it has a new connection, when some
 * may have been missed. Where it gets none it tries again, less and less often. Returns what ends it.
 */
export function listenOn(pool: PostgresPool, channel: string, heard: () => void): () => void {
  guard(pool);
  let stopped = false;
  let retryMs = firstRetryMs;
  let timer: NodeJS.Timeout | undefined;
  let lose: (() => void) | undefined;

  const retry = (): void => {
    if (stopped) return;
    timer = setTimeout(connect, retryMs).unref();
    retryMs = Math.min(retryMs * 2, maxRetryMs);
  };
  const connect = (): void => {
    pool.connect().then(use, retry);
  };
  const use = (client: PostgresClient): void => {
    const lost = (): void => {
      if (lose !== lost) return;
      lose = undefined;
      client.removeListener("notification", heard);
      client.removeListener("end", lost);
      client.removeListener("error", lost);
      client.release(true);
      retry();
    };
    lose = lost;
    client.on("error", lost);
    if (stopped) {
      lost();
      return;
    }
    client.on("notification", heard);
    client.on("end", lost);
    client.query(`LISTEN "${channel}"`).then(() => {
      retryMs = firstRetryMs;
      heard();
    }, lost);
  };

  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    lose?.();
  };
}

function ignore(): void {}
