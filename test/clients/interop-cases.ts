// The cases of gRPC's own interoperability tests (grpc/grpc, doc/interop-test-descriptions.md) that every library runs.
export const interopCases: readonly string[] = [
  "empty_unary",
  "large_unary",
  "client_streaming",
  "server_streaming",
  "ping_pong",
  "empty_stream",
  "timeout_on_sleeping_server",
  "cancel_after_begin",
  "cancel_after_first_response",
  "custom_metadata",
  "rpc_soak",
  "channel_soak",
];
