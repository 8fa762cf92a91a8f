// What OpenTelemetry asks of ES modules: `--import` this before the application.
import { register } from "node:module";

register("@opentelemetry/instrumentation/hook.mjs", import.meta.url);
