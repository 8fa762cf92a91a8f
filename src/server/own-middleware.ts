// The application's own middleware, checked where it is handed in, because a hook with a misspelt name would protect nothing.
import { z } from "zod";
import type { Middleware } from "../chain/middleware.ts";
import { didYouMean } from "../config/nearest-name.ts";

const hooks = ["appliesTo", "needsMessage", "onCall", "onRequest", "confirm", "onResponse", "onEnd"] as const;
const known: ReadonlySet<string> = new Set([...hooks, "observes"]);

/** The names of the server's own middleware: in logs, metrics and audit a name stands for one middleware. */
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

/** What is wrong with a middleware, or undefined. */
function middlewareProblem(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null)
    return 'must be a middleware, such as { name: "quota", onCall(call) { … } }';
  const name: unknown = Reflect.get(value, "name");
  if (typeof name !== "string" || !/^[\w.:-]{1,64}$/.test(name))
    return "name: must be 1 to 64 letters, digits or any of . : _ -";
  const observes: unknown = Reflect.get(value, "observes");
  if (observes !== undefined && typeof observes !== "boolean") return "observes: must be true or false";
  for (const hook of hooks) {
    const member: unknown = Reflect.get(value, hook);
    if (member !== undefined && typeof member !== "function") return `${hook}: must be a function`;
  }
  const misspelt = Object.keys(value).find(
    (key) => /^(?:on[A-Z]|applies|needs)|^(?:confirms|observe|watch(?:es)?)$/i.test(key) && !known.has(key),
  );
  if (misspelt !== undefined)
    return `${misspelt}: no such hook${didYouMean(misspelt, [...known])}; there are ${[...known].join(", ")}`;
  return hooks.some((hook) => hook.startsWith("on") && Reflect.get(value, hook) !== undefined)
    ? undefined
    : "has none of the hooks onCall, onRequest, onResponse, onEnd";
}

const middlewareSchema: z.ZodType<Middleware> = z.custom<Middleware>().superRefine((value, context) => {
  const problem = middlewareProblem(value);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
});

/** Any middleware, the library's own among them: what `toInterceptor` takes. */
export const middlewareListSchema: z.ZodType<readonly Middleware[]> = z
  .array(middlewareSchema)
  .superRefine((chain, context) => {
    const seen = new Set<unknown>();
    chain.forEach((middleware, i) => {
      const name: unknown = middleware?.name;
      if (seen.has(name))
        context.addIssue({ code: "custom", path: [i, "name"], message: `"${String(name)}" is used twice` });
      seen.add(name);
    });
  });

/** The shape of `middleware`. */
export const ownMiddlewareSchema: z.ZodType<readonly Middleware[]> = middlewareListSchema.superRefine(
  (chain, context) => {
    chain.forEach((middleware, i) => {
      if (takenNames.has(middleware?.name))
        context.addIssue({
          code: "custom",
          path: [i, "name"],
          message: `"${middleware.name}" is the name of one of the server's own middleware`,
        });
    });
  },
);
