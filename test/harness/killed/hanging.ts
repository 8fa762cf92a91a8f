// A test that never ends, with a child that never ends.
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { it } from "vitest";
import { runNode } from "../child-process.ts";

it("hangs", async () => {
  const port = process.env["KILLED_PORT"] ?? "";
  const socket = connect(Number(port), "127.0.0.1", () => socket.write("worker"));
  socket.on("close", () => process.kill(process.pid, "SIGKILL"));
  await runNode([fileURLToPath(new URL("./child.mjs", import.meta.url)), "child", port]);
});
