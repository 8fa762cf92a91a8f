// What may you do: callers who are who they say, and ask for what is not theirs.
import { apiKeyCredentials } from "grpc-palisade";
import type { DemoCall } from "../demo-call.ts";
import { callUnknownMethod, cancelOrder, getOrder, uploadOrders } from "./orders.ts";

export const permissionCalls: readonly DemoCall[] = [
  {
    call: "CancelOrder by a customer",
    expected: "PERMISSION_DENIED permission denied",
    make: (demo) => cancelOrder(demo.as("ada", "customer"), "o-1"),
  },
  {
    call: "UploadOrders with an API key alone",
    expected: "PERMISSION_DENIED permission denied",
    make: (demo) => uploadOrders(demo.client(apiKeyCredentials(demo.apiKeys.good)), [{ id: "o-6" }]),
  },
  {
    call: "GetOrder of another tenant",
    expected: "NOT_FOUND no such order",
    make: (demo) => getOrder(demo.as("ada", "customer"), "g-1"),
  },
  {
    call: "method that does not exist, by a stranger",
    expected: "UNAUTHENTICATED missing credentials",
    make: (demo) => callUnknownMethod(demo.client()),
  },
  {
    call: "method that does not exist, by a customer",
    expected: "UNIMPLEMENTED unknown method",
    make: (demo) => callUnknownMethod(demo.as("ada", "customer")),
  },
];
