// The grpc-js channel options that a client may set beside ours. Each is known by name: a misspelt one is an error, and
// one that would undo a promise says which option to use instead.
import type {
  CallInvocationTransformer,
  ChannelOptions,
  Interceptor,
  InterceptorProvider,
} from "@grpc/grpc-js";
import { z } from "zod";
import { type OrUndefined, refused, withoutUndefined } from "../config/options.ts";

/** grpc-js's own options for a client, where no option of ours covers them. See grpc-js for their meaning. */
export type ClientChannelOptions = OrUndefined<ClientChannelSettings>;

/** Those that are given. */
export type ClientChannelSettings = Readonly<
  Pick<
    ChannelOptions,
    | "grpc.primary_user_agent"
    | "grpc.secondary_user_agent"
    | "grpc.keepalive_time_ms"
    | "grpc.keepalive_timeout_ms"
    | "grpc.keepalive_permit_without_calls"
    | "grpc.service_config"
    | "grpc.service_config_disable_resolution"
    | "grpc.initial_reconnect_backoff_ms"
    | "grpc.max_reconnect_backoff_ms"
    | "grpc.use_local_subchannel_pool"
    | "grpc.max_send_message_length"
    | "grpc.max_receive_message_length"
    | "grpc.enable_http_proxy"
    | "grpc.default_compression_algorithm"
    | "grpc.enable_channelz"
    | "grpc.dns_min_time_between_resolutions_ms"
    | "grpc.enable_retries"
    | "grpc.per_rpc_retry_buffer_size"
    | "grpc.retry_buffer_size"
    | "grpc.client_idle_timeout_ms"
    | "grpc.lb.ring_hash.ring_size_cap"
    | "grpc-node.max_session_memory"
    | "grpc-node.retry_max_attempts_limit"
    | "grpc-node.flow_control_window"
  > & {
    readonly interceptors?: Interceptor[];
    readonly interceptor_providers?: InterceptorProvider[];
    readonly callInvocationTransformer?: CallInvocationTransformer;
  }
>;

const count = z.number().int().min(0).optional();
const flag = z.literal([0, 1]).optional();
/** -1: no limit. */
const messageLength = z.number().int().min(-1).optional();
const text = z.string().optional();

function callable<T>(): z.ZodCustom<T, T> {
  return z.custom<T>((value) => typeof value === "function", { error: "expected a function" });
}

const given: z.ZodType<OrUndefined<ClientChannelSettings>, ClientChannelOptions> = z.strictObject({
  "grpc.primary_user_agent": text,
  "grpc.secondary_user_agent": text,
  "grpc.keepalive_time_ms": count,
  "grpc.keepalive_timeout_ms": count,
  "grpc.keepalive_permit_without_calls": flag,
  "grpc.service_config": text,
  "grpc.service_config_disable_resolution": flag,
  "grpc.initial_reconnect_backoff_ms": count,
  "grpc.max_reconnect_backoff_ms": count,
  "grpc.use_local_subchannel_pool": flag,
  "grpc.max_send_message_length": messageLength,
  "grpc.max_receive_message_length": messageLength,
  "grpc.enable_http_proxy": flag,
  "grpc.default_compression_algorithm": z.literal([0, 1, 2]).optional(),
  "grpc.enable_channelz": flag,
  "grpc.dns_min_time_between_resolutions_ms": count,
  "grpc.enable_retries": flag,
  "grpc.per_rpc_retry_buffer_size": count,
  "grpc.retry_buffer_size": count,
  "grpc.client_idle_timeout_ms": count,
  "grpc.lb.ring_hash.ring_size_cap": count,
  "grpc-node.max_session_memory": count,
  "grpc-node.retry_max_attempts_limit": count,
  "grpc-node.flow_control_window": count,
  interceptors: z.array(callable<Interceptor>()).optional(),
  interceptor_providers: z.array(callable<InterceptorProvider>()).optional(),
  callInvocationTransformer: callable<CallInvocationTransformer>().optional(),
  "grpc.ssl_target_name_override": refused("use tls.serverName"),
  "grpc.default_authority": refused("use tls.serverName, which is verified too"),
  // Names the host that TLS verifies, like an override, without any proxy being there.
  "grpc.http_connect_target": refused(
    "a proxy comes from the environment variable grpc_proxy or https_proxy",
  ),
  "grpc.http_connect_creds": refused(
    "a proxy's user comes from the environment variable grpc_proxy or https_proxy",
  ),
  "grpc-node.tls_enable_trace": refused("it writes what TLS protects to stderr"),
  channelOverride: refused("the channel is made from target and tls"),
  channelFactoryOverride: refused("the channel is made from target and tls"),
});

export const clientChannelOptionsSchema: z.ZodType<ClientChannelSettings, ClientChannelOptions> =
  given.transform(withoutUndefined<ClientChannelSettings>);
