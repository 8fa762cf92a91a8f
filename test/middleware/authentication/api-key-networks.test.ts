// From where an API key may be used.
import type { Client } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { Call } from "../../../src/chain/context.ts";
import { CredentialError } from "../../../src/grpc/errors.ts";
import type { Peer } from "../../../src/grpc/peer.ts";
import { apiKey } from "../../../src/middleware/authentication/api-key.ts";
import {
  issueApiKey,
  memoryApiKeyStore,
} from "../../../src/middleware/authentication/memory-api-key-store.ts";
import { allowAuthenticated } from "../../../src/middleware/authorization/allow-authenticated.ts";
import { invoke, kinds } from "../../harness/kinds.ts";
import { secured } from "../../harness/secured.ts";
import { incomingCall } from "./incoming-call.ts";

function callFrom(key: string, peer: Partial<Peer>): Call {
  return incomingCall({ "x-api-key": key }, { peer });
}

async function verdictFrom(networks: readonly string[], peer: Partial<Peer>): Promise<string> {
  const { key, record } = issueApiKey({ owner: "shop", networks });
  try {
    await apiKey({ store: memoryApiKeyStore([record]) }).authenticate(callFrom(key, peer));
    return "good";
  } catch (error) {
    return error instanceof CredentialError ? error.problem : String(error);
  }
}

describe("A3 the networks of an API key", () => {
  it.each<[string, readonly string[], string]>([
    ["10.1.2.3", ["10.0.0.0/8"], "good"],
    ["11.1.2.3", ["10.0.0.0/8"], "invalid"],
    ["192.0.2.7", ["192.0.2.7"], "good"],
    ["192.0.2.8", ["192.0.2.7"], "invalid"],
    ["192.0.2.8", ["10.0.0.0/8", "192.0.2.0/24"], "good"],
    ["2001:db8::1", ["2001:db8::/32"], "good"],
    ["2001:DB8:0:0:0:0:0:1", ["2001:db8::1"], "good"],
    ["2001:db9::1", ["2001:db8::/32"], "invalid"],
    ["::ffff:10.1.2.3", ["10.0.0.0/8"], "good"],
    ["::ffff:a01:203", ["10.0.0.0/8"], "good"],
    ["::ffff:11.1.2.3", ["10.0.0.0/8"], "invalid"],
    ["10.1.2.3", ["::ffff:10.0.0.0/104"], "good"],
    ["11.1.2.3", ["::ffff:10.0.0.0/104"], "invalid"],
    ["::a01:203", ["10.0.0.0/8"], "invalid"],
    ["10.1.2.3", ["2001:db8::/32"], "invalid"],
    ["10.1.2.3", ["0.0.0.0/0"], "good"],
    ["unix", ["10.0.0.0/8", "::/0"], "invalid"],
    ["unix", ["unix"], "good"],
    ["10.1.2.3", ["unix"], "invalid"],
    ["fe80::1%eth0", ["10.0.0.0/8"], "invalid"],
    ["", ["10.0.0.0/8", "::/0"], "invalid"],
    ["10.0.0.1, 192.0.2.1", ["10.0.0.0/8"], "invalid"],
  ])("from %j with %j: %s", async (address, networks, expected) => {
    expect(await verdictFrom(networks, { address })).toBe(expected);
  });

  it("are the caller's and not the proxy's, and a proxy that forwards none is nowhere", async () => {
    const proxy = "10.0.0.5";
    const networks = ["10.0.0.0/8"];
    expect(await verdictFrom(networks, { address: "192.0.2.1", forwardedBy: proxy })).toBe("invalid");
    expect(await verdictFrom(networks, { address: "10.7.7.7", forwardedBy: proxy })).toBe("good");
    expect(await verdictFrom(networks, { address: proxy, forwardedBy: proxy })).toBe("invalid");
  });

  it.each<[readonly string[], string]>([
    [[], "issueApiKey.networks: expected at least one address or network"],
    [["10.0.0.0/33"], 'issueApiKey.networks.0: "10.0.0.0/33" is not an IP address'],
    [["10.0.0.0/8", "shop.example"], 'issueApiKey.networks.1: "shop.example" is not'],
    [["10.0.0.0/8 "], "issueApiKey.networks.0"],
    [["10.0.0"], "issueApiKey.networks.0"],
    [["::/129"], "issueApiKey.networks.0"],
  ])("%j are a ConfigError", (networks, problem) => {
    expect(() => issueApiKey({ owner: "shop", networks })).toThrow(problem);
  });

  it.each<[string, unknown]>([
    ["an empty list", []],
    ["text", "10.0.0.0/8"],
    ["a list of numbers", [10]],
    ["a network that is none", ["10.0.0.0/99"]],
    ["null", null],
  ])("fail closed, as our failure, where a store has %s", async (_what, networks) => {
    const { key, record } = issueApiKey({ owner: "shop" });
    const store = { find: () => ({ ...record, networks: networks as string[] }) };
    const attempt = async () => apiKey({ store }).authenticate(callFrom(key, { address: "10.0.0.1" }));
    await expect(attempt()).rejects.toThrow("a wrong value in networks");
  });

  it.each(kinds)(
    "%s: the caller is told no more than invalid credentials, the log says why",
    async (kind) => {
      const inside = issueApiKey({ owner: "inside", networks: ["127.0.0.1"] });
      const proxied = issueApiKey({ owner: "proxied", networks: ["192.0.2.0/24"] });
      const store = memoryApiKeyStore([inside.record, proxied.record]);
      const authentication = apiKey({ store });
      await using direct = await secured({ authentication, authorization: allowAuthenticated() });
      const told = async (client: Client, key: string, more = {}): Promise<string> => {
        const { name, details } = await invoke(client, kind, { metadata: { "x-api-key": key, ...more } });
        return `${name} ${details}`;
      };
      const client = direct.client();
      expect(await told(client, inside.key)).toBe("OK OK");
      // Nobody believes what a caller forwards.
      const forwarded = { "x-forwarded-for": "192.0.2.7" };
      expect(await told(client, proxied.key, forwarded)).toBe("UNAUTHENTICATED invalid credentials");
      const line = await direct.callLine((each) => each["grpc_code"] === "UNAUTHENTICATED");
      expect(JSON.stringify(line)).toContain("may not be used from the peer's address");
      expect(JSON.stringify(line)).not.toContain(proxied.key);

      await using behind = await secured({
        authentication,
        authorization: allowAuthenticated(),
        peer: { trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for" },
      });
      const through = behind.client();
      expect(await told(through, proxied.key, forwarded)).toBe("OK OK");
      expect(await told(through, inside.key, forwarded)).toBe("UNAUTHENTICATED invalid credentials");
      // The proxy's own address is in the key's network, and says nothing of the caller.
      expect(await told(through, inside.key)).toBe("UNAUTHENTICATED invalid credentials");
    },
  );
});
