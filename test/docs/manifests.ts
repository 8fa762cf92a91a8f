// The Kubernetes manifests of docs/kubernetes.md: they parse, their parts fit each other, and the times on the page.
import { deepEqual, equal, ok } from "node:assert/strict";
import { type Block, pages } from "./pages.ts";
import { at, documentsIn, listAt } from "./yaml.ts";

const apiVersions: Readonly<Record<string, string>> = {
  ServiceAccount: "v1",
  Deployment: "apps/v1",
  Service: "v1",
  PodDisruptionBudget: "policy/v1",
  NetworkPolicy: "networking.k8s.io/v1",
  Pod: "v1",
};

/** Where the labels of the pods stand that it is about, by kind. */
const selectors: Readonly<Record<string, readonly string[]>> = {
  Deployment: ["spec", "selector", "matchLabels"],
  Service: ["spec", "selector"],
  PodDisruptionBudget: ["spec", "selector", "matchLabels"],
  NetworkPolicy: ["spec", "podSelector", "matchLabels"],
};

const labels = { app: "orders" };

/** How long the program on the page lets calls finish. */
function graceSec(): number {
  const page = pages.find(({ path }) => path === "docs/kubernetes.md");
  return Number(/graceMs: ([\d_]+)/.exec(page?.text ?? "")?.[1]?.replaceAll("_", "")) / 1000;
}

/** Every manifest of a block. Throws for what would not work in a cluster. */
export function checkManifests({ code }: Block): void {
  const manifests = documentsIn(code);
  ok(manifests.length > 0);
  for (const manifest of manifests) checkManifest(manifest);
}

function checkManifest(manifest: unknown): void {
  const kind = String(at(manifest, "kind"));
  equal(at(manifest, "apiVersion"), apiVersions[kind], `the apiVersion of ${kind}`);
  equal(typeof at(manifest, "metadata", "name"), "string", `${kind} has a name`);
  const selector = selectors[kind];
  if (selector !== undefined) deepEqual(at(manifest, ...selector), labels, `${kind} selects the pods`);
  if (kind === "Pod") checkMounts(at(manifest, "spec"));
  if (kind === "Deployment") checkDeployment(at(manifest, "spec", "template"));
  if (kind === "Service") equal(at(manifest, "spec", "ports", 0, "targetPort"), "grpc");
}

function checkDeployment(template: unknown): void {
  deepEqual(at(template, "metadata", "labels"), labels);
  const pod = at(template, "spec");
  checkMounts(pod);
  const container = at(pod, "containers", 0);
  const portNamed = (name: string): unknown =>
    at(
      listAt(container, "ports").find((port) => at(port, "name") === name),
      "containerPort",
    );
  equal(portNamed("grpc"), 50051);
  for (const probe of ["startupProbe", "readinessProbe", "livenessProbe"])
    equal(at(container, probe, "grpc", "port"), portNamed("health"), probe);
  const preStopSec = Number(at(container, "lifecycle", "preStop", "sleep", "seconds"));
  ok(
    Number(at(pod, "terminationGracePeriodSeconds")) > preStopSec + graceSec(),
    "the pod has more time than preStop and graceMs together",
  );
}

/** Each mount has its volume. */
function checkMounts(pod: unknown): void {
  const volumes = listAt(pod, "volumes").map((volume) => at(volume, "name"));
  for (const container of listAt(pod, "containers"))
    deepEqual(
      listAt(container, "volumeMounts").map((mount) => at(mount, "name")),
      volumes,
    );
}
