// What stands around the blocks of the documentation: the names that they declare as a reader's own.
import {
  type Client,
  type ClientUnaryCall,
  Metadata,
  makeClientConstructor,
  type ServiceDefinition,
  type ServiceError,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import {
  type Authorizer,
  allowAuthenticated,
  requirePrincipal,
  type SecureClientConstructor,
} from "../../src/index.ts";

export interface Answer {
  readonly id?: string;
  readonly owner?: string;
  readonly roles?: readonly string[];
}

type Unary = (
  request: { readonly id: string; readonly owner?: string },
  metadata: Metadata,
  callback: (error: ServiceError | null, answer?: Answer) => void,
) => ClientUnaryCall;

export interface Orders extends Client {
  readonly getOrder: Unary;
  readonly cancelOrder: Unary;
  readonly getTerms: Unary;
  readonly export: Unary;
  readonly upload: Unary;
}

const toBytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const fromBytes = (bytes: Buffer): unknown => JSON.parse(bytes.toString("utf8"));

function unary(name: string): ServiceDefinition[string] {
  return {
    path: `/orders.v1.Orders/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: toBytes,
    requestDeserialize: fromBytes,
    responseSerialize: toBytes,
    responseDeserialize: fromBytes,
  };
}

export const OrdersService: ServiceDefinition = {
  getOrder: unary("GetOrder"),
  cancelOrder: unary("CancelOrder"),
  getTerms: unary("GetTerms"),
  export: unary("Export"),
  upload: unary("Upload"),
};

// grpc-js makes classes at run time: their methods are known to us alone.
export const OrdersClient: SecureClientConstructor<Orders> = makeClientConstructor(
  OrdersService,
  "Orders",
) as unknown as SecureClientConstructor<Orders>;

const getOrder: UntypedServiceImplementation[string] = async (
  call: Parameters<typeof requirePrincipal>[0],
) => {
  const { subject, roles } = requirePrincipal(call);
  return { id: "7", owner: subject, roles: [...roles] };
};

export const handlers: UntypedServiceImplementation = {
  getOrder,
  cancelOrder: getOrder,
  // With a callback: bare grpc-js knows no other handlers.
  getTerms: (_call: unknown, callback: (error: null, answer: Answer) => void) =>
    callback(null, { id: "terms" }),
  export: getOrder,
  upload: getOrder,
};

export const policy: Authorizer = allowAuthenticated();

/** Calls, and answers with what came back: the message, or `CODE details`. */
export function call(
  client: Orders,
  method: "getOrder" | "cancelOrder" | "getTerms" | "export" | "upload",
  {
    id = "7",
    owner,
    headers = {},
  }: {
    readonly id?: string;
    readonly owner?: string;
    readonly headers?: Readonly<Record<string, string>>;
  } = {},
): Promise<Answer | string> {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return new Promise((settle) => {
    client[method]({ id, ...(owner === undefined ? {} : { owner }) }, metadata, (error, answer = {}) =>
      settle(error?.message ?? answer),
    );
  });
}

/** Serial numbers of client certificates that were locked. */
export const lockedSerialNumbers: ReadonlySet<string> = new Set(["01"]);
