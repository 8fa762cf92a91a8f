// What the chain says once: callers choose how many different problems there are (L10).
import { expect, it } from "vitest";
import { RawConnection } from "../harness/raw-http2.ts";
import { secured } from "../harness/secured.ts";

it("L10 forgets none and remembers no more than a thousand, whatever paths a caller makes up", async () => {
  await using wall = await secured({
    middleware: [{ name: "own", onCall: (call) => call.trailers.set("connection", "close") }],
    rateLimit: { perPeer: false, perPrincipal: false, inFlightPerPrincipal: false },
  });
  await using raw = await RawConnection.open(wall);
  const headers = await wall.authorized();
  const calls = 1_200;
  for (let i = 0; i < calls; i += 50) {
    const some = Array.from({ length: 50 }, (_, n) => raw.call(`/made.up/M${i + n}`, { headers }).answer);
    for (const { name } of await Promise.all(some)) expect(name).toBe("UNIMPLEMENTED");
  }
  const said = wall.lines.filter(({ msg }) => msg?.startsWith("removed response metadata") === true);
  // One for each that is remembered, and one that all others share.
  expect(said).toHaveLength(1_001);
});
