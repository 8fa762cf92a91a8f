// Starts a child as tests do, says its own process id, and waits to be killed: `parent.ts <run or fork> <port>`.
import { fileURLToPath } from "node:url";
import { forkProgram, runNode } from "../child-process.ts";

const [how = "", port = ""] = process.argv.slice(2);
const child = fileURLToPath(new URL("./child.mjs", import.meta.url));
if (how === "run") void runNode([child, "child", port]);
else await forkProgram(child, ["child", port], []);
process.send?.(process.pid);
