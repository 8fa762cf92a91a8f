// grpc-java, over each of its transports.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe } from "vitest";
import { foreignLibrary } from "./client-suite.ts";
import { runWell } from "./run.ts";
import { installed, installTimeoutMs, lacks } from "./tools.ts";

const source = new URL("./java/", import.meta.url).pathname;
const copyDependencies = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

async function install() {
  const pom = join(source, "pom.xml");
  const libraries = await installed({
    name: "grpc-java",
    pins: `${copyDependencies}\n${await readFile(pom, "utf8")}`,
    async make(directory) {
      const maven = ["--batch-mode", "--quiet", "--file", pom, copyDependencies];
      await runWell("mvn", [...maven, `-DoutputDirectory=${directory}`], { timeoutMs: installTimeoutMs });
    },
  });
  const files = (await readdir(source)).filter((name) => name.endsWith(".java")).sort();
  const texts = await Promise.all(files.map((name) => readFile(join(source, name), "utf8")));
  const classes = await installed({
    name: "java-client",
    pins: [libraries, ...texts].join("\n"),
    async make(directory) {
      const paths = files.map((name) => join(source, name));
      await runWell("javac", ["-cp", join(libraries, "*"), "-d", directory, ...paths], {
        timeoutMs: installTimeoutMs,
      });
    },
  });
  return { command: "java", args: ["-cp", `${join(libraries, "*")}:${classes}`, "Client"], env: {} };
}

describe.skipIf(lacks("java", "javac", "mvn"))("Java", () => {
  foreignLibrary({
    transports: ["netty", "okhttp"],
    cases: [
      "empty_unary_with_retries",
      "gzip_unary",
      "gzip_client_stream",
      "gzip_unary_response",
      "gzip_server_stream",
      "gzip_largest",
      "full_duplex",
      "half_duplex",
      "very_large_request",
      "very_large_response",
      "deadline_not_exceeded",
      "deadline_in_past",
      "graceful_shutdown",
    ],
    // Its window stays at 64 KiB, whatever the distance.
    delayedCalls: { okhttp: 2 },
    oldTls: ["okhttp with its default TLS"],
    install,
  });
});
