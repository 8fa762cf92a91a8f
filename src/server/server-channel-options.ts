// The grpc-js options that a server may set beside ours. Each is known by name and read by grpc-js's server: a misspelt
// one is an error, and one that would undo a promise says which option to use instead.
import type { ChannelOptions } from "@grpc/grpc-js";
import { z } from "zod";
import { milliseconds, type OrUndefined, refused, withoutUndefined } from "../config/options.ts";

/** grpc-js's own options for a server, where no option of ours covers them. See grpc-js for their meaning. */
export type ServerChannelOptions = OrUndefined<ServerChannelSettings>;

/** Those that are given. */
export type ServerChannelSettings = Readonly<
  Pick<
    ChannelOptions,
    | "grpc.keepalive_time_ms"
    | "grpc.keepalive_timeout_ms"
    | "grpc.max_connection_age_grace_ms"
    | "grpc-node.max_session_memory"
  >
>;

const delay = milliseconds.optional();

const given: z.ZodType<OrUndefined<ServerChannelSettings>, ServerChannelOptions> = z.strictObject({
  "grpc.keepalive_time_ms": delay,
  "grpc.keepalive_timeout_ms": delay,
  "grpc.max_connection_age_grace_ms": delay,
  "grpc-node.max_session_memory": z.int().min(1).optional(),
  "grpc.max_connection_age_ms": refused("use limits.maxConnectionAgeMs"),
  "grpc.max_connection_idle_ms": refused("use limits.maxConnectionIdleMs"),
  "grpc.max_concurrent_streams": refused("use limits.maxConcurrentStreams"),
  "grpc.max_receive_message_length": refused("use limits.maxReceiveMessageBytes"),
  "grpc.max_send_message_length": refused("use limits.maxSendMessageBytes"),
  "grpc.enable_channelz": refused("grpc-js does not see the calls of this server; use metrics"),
  "grpc.server_call_metric_recording": refused("metrics of single calls (ORCA) are not sent"),
  "grpc-node.tls_enable_trace": refused("it writes what TLS protects to standard error"),
  interceptors: refused("the chain must be the only interceptor; use the option middleware"),
});

export const serverChannelOptionsSchema: z.ZodType<ServerChannelSettings, ServerChannelOptions> =
  given.transform(withoutUndefined<ServerChannelSettings>);
