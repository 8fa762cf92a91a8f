// A process of its own that verifies one token, for environments that a test cannot set in its own process.
import https, { Agent, globalAgent } from "node:https";
import { jwt } from "../../../src/middleware/authentication/jwt/jwt.ts";
import { audience, issuer } from "./identity-provider.ts";
import { bearer, verdict } from "./incoming-call.ts";

const [jwksUri = "", token = "", agent] = process.argv.slice(2);
if (agent === "unsafe global agent")
  Object.assign(globalAgent, new Agent({ rejectUnauthorized: false, keepAlive: true }));
// As packages for proxies do: its class is what Node makes of `agent: false`.
if (agent === "unsafe global agent of another class")
  https.globalAgent = new (class extends Agent {
    constructor() {
      super({ rejectUnauthorized: false });
    }
  })();
process.stdout.write(await verdict(jwt({ issuer, audience, jwksUri }), bearer(token)));
