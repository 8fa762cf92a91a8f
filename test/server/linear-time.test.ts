// The time of parsers whose text a caller chooses (L11).
import { it } from "vitest";
import type { Peer } from "../../src/grpc/peer.ts";
import { forwardedPeer } from "../../src/server/forwarded-peer.ts";
import { expectLinearTime, header, type Parsers } from "../harness/linear-time.ts";

const proxy: Peer = { address: "127.0.0.1", port: 1, secure: true, certificate: undefined };
const fromXff = forwardedPeer({ trustedProxies: ["127.0.0.0/8", "::1"], addressFrom: "x-forwarded-for" });
const fromHops = forwardedPeer({ trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for", hops: 32 });
const fromEnvoy = forwardedPeer({ trustedProxies: ["127.0.0.1"], addressFrom: "x-envoy-external-address" });

const parsers: Parsers = {
  "x-forwarded-for": (text) => fromXff(proxy, header("x-forwarded-for", text)),
  "x-forwarded-for with hops": (text) => fromHops(proxy, header("x-forwarded-for", text)),
  "x-envoy-external-address": (text) => fromEnvoy(proxy, header("x-envoy-external-address", text)),
};

it.each(Object.entries(parsers))("L11 %s takes linear time", (_what, parse) => {
  expectLinearTime(parse);
});
