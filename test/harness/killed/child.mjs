// A process that stays, and has a child that stays: `child.mjs <name> <port>`. It says its name over a socket, and ends
// with that.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";

const [name, port] = process.argv.slice(2);
const socket = connect(Number(port), "127.0.0.1", () => socket.write(name));
socket.on("error", () => {}).on("close", () => process.exit(1));
if (name !== "grandchild") {
  const args = [import.meta.filename, "grandchild", port];
  const grandchild = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "ignore", "ipc"] });
  await once(grandchild, "message");
}
process.send?.("up");
if (name === "leaves") process.exit(0);
