// Comes first, because what comes after it is made of classes of these packages: whoever lacks one is told so.
import { loadOptional } from "../config/optional-package.ts";

const installed = {
  neededBy: "grpc-palisade/nestjs",
  install: "@nestjs/common @nestjs/core @nestjs/microservices reflect-metadata rxjs",
};

for (const name of ["reflect-metadata", "rxjs", "@nestjs/common", "@nestjs/microservices"]) {
  loadOptional(name, installed);
}
