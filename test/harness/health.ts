// Probes: the three methods of the standard health service, called over a real client.
import { type Client, type Metadata, type StatusObject, status } from "@grpc/grpc-js";
import { healthDefinition } from "../../src/server/health.ts";
import { toMetadata } from "./kinds.ts";
import { eventually } from "./secured.ts";
import { inTime } from "./time.ts";

type Headers = Metadata | Readonly<Record<string, string>>;

export interface HealthAnswer {
  readonly name: string;
  readonly details: string;
  readonly value: unknown;
}

function definitionOf(name: "Check" | "Watch" | "List") {
  const definition = healthDefinition[name];
  if (definition === undefined) throw new Error(`no method ${name}`);
  return definition;
}

export interface ProbeOptions {
  readonly deadline?: number;
  readonly path?: string;
}

function ask(
  client: Client,
  method: "Check" | "List",
  request: object,
  metadata: Headers | undefined,
  options: ProbeOptions,
): Promise<HealthAnswer> {
  const { path, requestSerialize, responseDeserialize } = definitionOf(method);
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      options.path ?? path,
      requestSerialize,
      responseDeserialize,
      request,
      toMetadata(metadata),
      { deadline: options.deadline ?? inTime() },
      (error, value) =>
        resolve({
          name: status[error?.code ?? status.OK] ?? "?",
          details: error?.details ?? "OK",
          value,
        }),
    );
  });
}

/** `value` is `{ status: "SERVING" }` and the like. */
export function check(
  client: Client,
  service: string,
  metadata?: Headers,
  options: ProbeOptions = {},
): Promise<HealthAnswer> {
  return ask(client, "Check", { service }, metadata, options);
}

/** `value` is `{ statuses: { … } }`. */
export function list(client: Client, metadata?: Headers): Promise<HealthAnswer> {
  return ask(client, "List", {}, metadata, {});
}

export interface Watch {
  /** What was told so far. */
  readonly told: readonly string[];
  readonly ended: Promise<{ readonly name: string; readonly details: string }>;
  /** Waits until the last thing told is this. */
  next(servingStatus: string): Promise<unknown>;
  cancel(): void;
}

export function watch(
  client: Client,
  service: string,
  metadata?: Headers,
  options: ProbeOptions = {},
): Watch {
  const { path, requestSerialize, responseDeserialize } = definitionOf("Watch");
  const told: string[] = [];
  const call = client.makeServerStreamRequest(
    options.path ?? path,
    requestSerialize,
    responseDeserialize,
    { service },
    toMetadata(metadata),
    { deadline: options.deadline ?? inTime() },
  );
  call.on("data", (answer: { readonly status: string }) => told.push(answer.status));
  call.on("error", () => {});
  const ended = new Promise<{ readonly name: string; readonly details: string }>((resolve) => {
    call.on("status", ({ code, details }: StatusObject) => resolve({ name: status[code] ?? "?", details }));
  });
  return {
    told,
    ended,
    next: (servingStatus) => eventually(() => told.at(-1) === servingStatus, `a watch told ${servingStatus}`),
    cancel: () => call.cancel(),
  };
}
