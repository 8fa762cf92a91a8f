// The grpc-js options that a server may set beside ours. Each is known by name and read by grpc-js's server: a misspelt
// one is an error, and one that would undo a promise says which option to use instead.
import type { ChannelOptions } from "@grpc/grpc-js";
import { z } from "zod";
import { milliseconds, type OrUndefined, refused, withoutUndefined } from "../call/options.ts";

/** grpc-js's own options for a server, where no option of ours covers them. See grpc-js for their meaning. */
export type ServerChannelOptions = OrUndefined<ServerChannelSettings>;

/** Those that are given. */
export type ServerChannelSettings = Readonly<
  Pick<
    ChannelOptions,
    | "grpc.enable_channelz"
    | "grpc.keepalive_time_ms"
    | "grpc.keepalive_timeout_ms"
    | "grpc.max_connection_age_grace_ms"
    | "grpc-node.max_session_memory"
    | "grpc.server_call_metric_recording"
  >
>;

const flag = z.literal([0, 1]).optional();
const delay = milliseconds.optional();

const given: z.ZodType<OrUndefined<ServerChannelSettings>, ServerChannelOptions> = z.strictObject({
  "grpc.enable_channelz": flag,
  "grpc.keepalive_time_ms": delay,
  "grpc.keepalive_timeout_ms": delay,
  "grpc.max_connection_age_grace_ms": delay,
  "grpc-node.max_session_memory": z.int().min(1).optional(),
  "grpc.server_call_metric_recording": flag,
  "grpc.max_connection_age_ms": refused("use limits.maxConnectionAgeMs"),
  "grpc.max_connection_idle_ms": refused("use limits.maxConnectionIdleMs"),
  "grpc.max_concurrent_streams": refused("use limits.maxConcurrentStreams"),
  "grpc.max_receive_message_length": refused("use limits.maxReceiveMessageBytes"),
  "grpc.max_send_message_length": refused("use limits.maxSendMessageBytes"),
  "grpc-node.tls_enable_trace": refused("it writes what TLS protects to standard error"),
  interceptors: refused("the chain stands next to the wire; use the layers of the server"),
});

export const serverChannelOptionsSchema: z.ZodType<ServerChannelSettings, ServerChannelOptions> =
  given.transform(withoutUndefined<ServerChannelSettings>);
