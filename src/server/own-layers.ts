// Layers of one's own (C7): checked where they are handed in, because a hook with a misspelt name would protect nothing.
import { z } from "zod";
import type { Middleware } from "../chain/middleware.ts";
import { didYouMean } from "../config/nearest-name.ts";

const hooks = ["appliesTo", "needsMessage", "onCall", "onRequest", "confirm", "onResponse", "onEnd"] as const;
const known: ReadonlySet<string> = new Set(hooks);

/** The names of the server's own layers: in logs, metrics and audit a name stands for one layer. */
const takenNames: ReadonlySet<string> = new Set([
  "logging",
  "metrics",
  "tracing",
  "audit",
  "forwarded_certificate",
  "metadata-limit",
  "deadline",
  "peer-rate-limit",
  "failed-authentication",
  "message-rate-limit",
  "rate-limit",
  "authentication",
  "principal-rate-limit",
  "authorization",
  "validation",
  "reflection",
  "method",
]);

/** What is wrong with a layer, or undefined. */
function layerProblem(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null)
    return 'must be a layer, such as { name: "quota", onCall(call) { … } }';
  const name: unknown = Reflect.get(value, "name");
  if (typeof name !== "string" || !/^[\w.:-]{1,64}$/.test(name))
    return "name: must be 1 to 64 letters, digits or any of . : _ -";
  const watches: unknown = Reflect.get(value, "watches");
  if (watches !== undefined && typeof watches !== "boolean") return "watches: must be true or false";
  for (const hook of hooks) {
    const member: unknown = Reflect.get(value, hook);
    if (member !== undefined && typeof member !== "function") return `${hook}: must be a function`;
  }
  const misspelt = Object.keys(value).find(
    (key) => /^(?:on[A-Z]|applies|needs)/i.test(key) && !known.has(key),
  );
  if (misspelt !== undefined)
    return `${misspelt}: no such hook${didYouMean(misspelt, hooks)}; there are ${hooks.join(", ")}`;
  return hooks.some((hook) => hook.startsWith("on") && Reflect.get(value, hook) !== undefined)
    ? undefined
    : "has none of the hooks onCall, onRequest, onResponse, onEnd";
}

const layerSchema: z.ZodType<Middleware> = z.custom<Middleware>().superRefine((value, context) => {
  const problem = layerProblem(value);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
});

/** Any layers, the library's own among them: what `toInterceptor` takes. */
export const layersSchema: z.ZodType<readonly Middleware[]> = z
  .array(layerSchema)
  .superRefine((layers, context) => {
    const seen = new Set<unknown>();
    layers.forEach((layer, i) => {
      const name: unknown = layer?.name;
      if (seen.has(name))
        context.addIssue({ code: "custom", path: [i, "name"], message: `"${String(name)}" is there twice` });
      seen.add(name);
    });
  });

/** The shape of `middleware`. */
export const ownLayersSchema: z.ZodType<readonly Middleware[]> = layersSchema.superRefine(
  (layers, context) => {
    layers.forEach((layer, i) => {
      if (takenNames.has(layer?.name))
        context.addIssue({
          code: "custom",
          path: [i, "name"],
          message: `"${layer.name}" is the name of one of the server's own layers`,
        });
    });
  },
);
