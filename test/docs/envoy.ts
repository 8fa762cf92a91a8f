// The Envoy configurations of docs/mesh.md: they parse, and say what the page says of them. test/clients/envoy.test.ts
// runs them.
import { equal, ok } from "node:assert/strict";
import type { Block } from "./pages.ts";
import { at, documentsIn, listAt } from "./yaml.ts";

/** Throws for what a reader could not use. */
export function checkEnvoy({ code }: Block): void {
  const [configuration] = documentsIn(code);
  const listener = at(configuration, "static_resources", "listeners", 0);
  const manager = at(listener, "filter_chains", 0, "filters", 0, "typed_config");
  const clusters = listAt(configuration, "static_resources", "clusters");
  const routes = listAt(manager, "route_config", "virtual_hosts", 0, "routes");
  ok(routes.length > 0);
  for (const route of routes) {
    ok(clusters.some((cluster) => at(cluster, "name") === at(route, "route", "cluster")));
    equal(at(route, "route", "timeout"), "0s");
  }
  const filters = listAt(manager, "http_filters").map((filter) => at(filter, "name"));
  equal(filters.at(-1), "envoy.filters.http.router");
  if (filters.includes("envoy.filters.http.grpc_web"))
    equal(at(manager, "use_remote_address"), true, "x-forwarded-for has the browser's address");
  else equal(at(manager, "forward_client_cert_details"), "SANITIZE_SET");
  for (const cluster of clusters)
    ok(at(cluster, "typed_extension_protocol_options") !== undefined, "HTTP/2 to the server");
}
