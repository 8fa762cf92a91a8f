// The same protections in a sidecar: Envoy in front of bare grpc-js, which listens without TLS on the loopback address.
// Envoy's defaults hold where nothing is said; so each token is verified on each call.
import { type ChildProcess, spawn } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ServerCredentials } from "@grpc/grpc-js";
import type { ServerSettings } from "../process/protocol.ts";
import { pathOfMany, paths } from "./contract.ts";
import { startGrpcJs } from "./grpc-js.ts";
import { serve } from "./serve.ts";

serve(async (settings) => {
  const upstream = await startGrpcJs(settings, {}, ServerCredentials.createInsecure());
  const port = await freePort();
  const envoy = startEnvoy(settings, configuration(settings, port, upstream.port));
  await listening(envoy, port);
  if (envoy.pid === undefined) throw new Error("Envoy has no process");
  return { port, besidePid: envoy.pid };
});

/** Envoy tells the port that it was given through its admin interface alone, which is off. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** The shell becomes Envoy. What it leaves behind ends Envoy when the pipe from here closes: this process is killed in the end. */
const untilPipeCloses = 'exec 3<&0; { read -r _ <&3; kill -s KILL $$; } & exec "$@" </dev/null 3<&-';

function startEnvoy({ envoy, directory }: ServerSettings, config: object): ChildProcess {
  const file = join(directory, "envoy.json");
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  const options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];
  return spawn("sh", ["-c", untilPipeCloses, "sh", envoy, "--config-path", file, ...options], {
    stdio: ["pipe", "ignore", "inherit"],
  });
}

async function listening(envoy: ChildProcess, port: number): Promise<void> {
  while (envoy.exitCode === null && envoy.signalCode === null) {
    const socket = connect(port, "127.0.0.1");
    const reached = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (reached) return;
    await sleep(20);
  }
  throw new Error("Envoy has ended; see its output above");
}

function typed(name: string, fields: object): object {
  return { "@type": `type.googleapis.com/envoy.extensions.${name}`, ...fields };
}

function configuration(settings: ServerSettings, port: number, upstreamPort: number): object {
  const connectionManager = typed("filters.network.http_connection_manager.v3.HttpConnectionManager", {
    stat_prefix: "bench",
    codec_type: "HTTP2",
    access_log: [accessLog(join(settings.directory, "access.log"))],
    http_filters: [
      { name: jwtFilter, typed_config: tokens(settings) },
      { name: "envoy.filters.http.rbac", typed_config: roles(settings) },
      { name: "envoy.filters.http.local_ratelimit", typed_config: rateLimit() },
      { name: "envoy.filters.http.router", typed_config: typed("filters.http.router.v3.Router", {}) },
    ],
    route_config: {
      virtual_hosts: [
        {
          name: "bench",
          domains: ["*"],
          routes: [
            {
              match: { prefix: "/" },
              // The caller's deadline, however long.
              route: {
                cluster: "bench",
                timeout: "0s",
                max_stream_duration: { grpc_timeout_header_max: "0s" },
              },
            },
          ],
        },
      ],
    },
  });
  return {
    static_resources: {
      listeners: [
        {
          name: "bench",
          address: address(port),
          // Another process on this port is an error.
          enable_reuse_port: false,
          filter_chains: [
            {
              transport_socket: { name: "envoy.transport_sockets.tls", typed_config: mutualTls(settings) },
              filters: [
                { name: "envoy.filters.network.http_connection_manager", typed_config: connectionManager },
              ],
            },
          ],
        },
      ],
      clusters: [
        {
          name: "bench",
          type: "STATIC",
          load_assignment: {
            cluster_name: "bench",
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstreamPort) } }] }],
          },
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
              "upstreams.http.v3.HttpProtocolOptions",
              { explicit_http_config: { http2_protocol_options: {} } },
            ),
          },
        },
      ],
    },
  };
}

function address(port: number): object {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}

function mutualTls({ identities: { ca, server } }: ServerSettings): object {
  return typed("transport_sockets.tls.v3.DownstreamTlsContext", {
    require_client_certificate: true,
    common_tls_context: {
      alpn_protocols: ["h2"],
      tls_certificates: [
        { certificate_chain: { inline_string: server.cert }, private_key: { inline_string: server.key } },
      ],
      validation_context: { trusted_ca: { inline_string: ca } },
    },
  });
}

const jwtFilter = "envoy.filters.http.jwt_authn";

/** Where the token's claims stand in a call's metadata. */
const claims = "claims";

function tokens({ trust: { issuer, audience, publicKeyPem } }: ServerSettings): object {
  const key = { ...createPublicKey(publicKeyPem).export({ format: "jwk" }), alg: "RS256", use: "sig" };
  return typed("filters.http.jwt_authn.v3.JwtAuthentication", {
    providers: {
      bench: {
        issuer,
        audiences: [audience],
        local_jwks: { inline_string: JSON.stringify({ keys: [key] }) },
        payload_in_metadata: claims,
      },
    },
    rules: [{ match: { prefix: "/" }, requires: { provider_name: "bench" } }],
  });
}

/** `caller` may call each of the methods, `admin` everything; nobody else anything. */
function roles({ methods }: ServerSettings): object {
  const everyPath = [...Object.values(paths), ...Array.from({ length: methods }, (_, at) => pathOfMany(at))];
  const withRole = (role: string): object => ({
    sourced_metadata: {
      metadata_matcher: {
        filter: jwtFilter,
        path: [{ key: claims }, { key: "roles" }],
        value: { list_match: { one_of: { string_match: { exact: role } } } },
      },
    },
  });
  return typed("filters.http.rbac.v3.RBAC", {
    rules: {
      action: "ALLOW",
      policies: {
        caller: {
          permissions: everyPath.map((exact) => ({ url_path: { path: { exact } } })),
          principals: [withRole("caller")],
        },
        admin: { permissions: [{ any: true }], principals: [withRole("admin")] },
      },
    },
  });
}

/** One bucket for all: it counts, and refuses nothing. */
function rateLimit(): object {
  const always = { default_value: { numerator: 100, denominator: "HUNDRED" } };
  return typed("filters.http.local_ratelimit.v3.LocalRateLimit", {
    stat_prefix: "bench",
    token_bucket: { max_tokens: 1_000_000_000, tokens_per_fill: 1_000_000_000, fill_interval: "1s" },
    filter_enabled: always,
    filter_enforced: always,
  });
}

function accessLog(path: string): object {
  return {
    name: "envoy.access_loggers.file",
    typed_config: typed("access_loggers.file.v3.FileAccessLog", {
      path,
      log_format: {
        json_format: {
          time: "%START_TIME%",
          method: "%REQ(:PATH)%",
          code: "%GRPC_STATUS%",
          durationMs: "%DURATION%",
          peer: "%DOWNSTREAM_REMOTE_ADDRESS%",
          certificate: "%DOWNSTREAM_PEER_URI_SAN%",
          subject: `%DYNAMIC_METADATA(${jwtFilter}:${claims}:sub)%`,
        },
      },
    }),
  };
}
