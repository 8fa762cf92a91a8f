// Imports go down the floors of docs/architecture.md, never up and never in a circle.
const low = ["observability", "grpc", "config"];
const floors = [
  { name: "grpc", may: [] },
  { name: "config", may: ["grpc"] },
  { name: "protobuf", may: ["config", "grpc"] },
  { name: "observability", may: ["config", "grpc"] },
  { name: "transport", may: low },
  { name: "chain", may: ["transport", ...low] },
  { name: "middleware", may: ["chain", "transport", ...low] },
  { name: "tls", may: ["chain", "transport", ...low] },
  { name: "server", may: ["middleware", "tls", "chain", "transport", ...low] },
  { name: "client", may: ["middleware", "tls", "chain", "transport", ...low] },
  {
    name: "cli",
    may: [
      "cel",
      "redis",
      "postgres",
      "testing",
      "server",
      "client",
      "middleware",
      "tls",
      "chain",
      "transport",
      ...low,
    ],
  },
  { name: "nestjs", may: ["server", "client", "middleware", "tls", "chain", "transport", ...low] },
  { name: "oauth", may: ["client", "middleware", "tls", "chain", "transport", ...low] },
  { name: "cel", may: ["protobuf", "middleware", "chain", ...low] },
  { name: "crl", may: ["tls", ...low] },
  { name: "google", may: ["client", "middleware", "tls", "chain", "transport", ...low] },
  { name: "opa", may: ["client", "middleware", "tls", "chain", ...low] },
  { name: "protovalidate", may: ["protobuf", "middleware", "chain", ...low] },
  { name: "redis", may: ["middleware", ...low] },
  { name: "postgres", may: ["middleware", ...low] },
  { name: "testing", may: ["server", "client", "middleware", "tls", "chain", "transport", ...low] },
];

module.exports = {
  forbidden: [
    { name: "no-circles", severity: "error", from: {}, to: { circular: true } },
    ...floors.map(({ name, may }) => ({
      name: `${name}-imports-down`,
      severity: "error",
      from: { path: `^src/${name}/` },
      to: { path: "^src/", pathNot: `^src/(${[name, ...may].join("|")})/` },
    })),
    {
      name: "middlewares-do-not-import-each-other",
      comment: "A middleware is a folder of src/middleware; what two of them share lives on a floor below.",
      severity: "error",
      from: { path: "^src/middleware/([^/]+)/" },
      to: { path: "^src/middleware/", pathNot: "^src/middleware/$1/" },
    },
    {
      name: "index-only-exports",
      comment: "Nothing inside imports the public face.",
      severity: "error",
      from: { path: "^src/[^/]+/" },
      to: { path: "^src/index" },
    },
    { name: "resolvable", severity: "error", from: {}, to: { couldNotResolve: true } },
    {
      name: "shipped-dependencies-only",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/testing/" },
      to: {
        dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"],
        dependencyTypesNot: ["npm-peer", "npm"],
      },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "types", "node", "default"],
    },
  },
};
