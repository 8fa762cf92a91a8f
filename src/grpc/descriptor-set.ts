// The services of a FileDescriptorSet (descriptor.proto), as `protoc --descriptor_set_out` and `buf build` write it, with one
// option of each. Read by hand: of the file only names and that option are wanted, and libraries drop options that they do not know.
import { Buffer } from "node:buffer";
import { messagesIn, textIn, type WireField, wireFields } from "./wire-format.ts";

export interface DescribedMethod {
  readonly name: string;
  /** The option's message as it is encoded; undefined where it is not set. */
  readonly option: Buffer | undefined;
}

export interface DescribedService {
  /** `package.Service` */
  readonly name: string;
  readonly option: Buffer | undefined;
  readonly methods: readonly DescribedMethod[];
}

/** Field numbers of descriptor.proto. */
const fileOfSet = 1;
const inFile = { package: 2, service: 6 } as const;
const inService = { name: 1, method: 2, options: 3 } as const;
const inMethod = { name: 1, options: 4 } as const;

/** `optionNumber`: the field of MethodOptions and of ServiceOptions. Throws `WireError`. */
export function servicesIn(descriptorSet: Uint8Array, optionNumber: number): readonly DescribedService[] {
  return messagesIn(wireFields(descriptorSet), fileOfSet).flatMap((file) => {
    const fields = wireFields(file);
    const packageName = textIn(fields, inFile.package);
    return messagesIn(fields, inFile.service).map((service) => {
      const own = wireFields(service);
      const name = textIn(own, inService.name);
      return {
        name: packageName === "" ? name : `${packageName}.${name}`,
        option: optionIn(own, inService.options, optionNumber),
        methods: messagesIn(own, inService.method).map((method) => {
          const parts = wireFields(method);
          return {
            name: textIn(parts, inMethod.name),
            option: optionIn(parts, inMethod.options, optionNumber),
          };
        }),
      };
    });
  });
}

/** An option that is set in parts is the message of all its parts, one after the other. */
function optionIn(fields: readonly WireField[], options: number, optionNumber: number): Buffer | undefined {
  const parts = messagesIn(fields, options).flatMap((each) => messagesIn(wireFields(each), optionNumber));
  return parts.length === 0 ? undefined : Buffer.concat(parts);
}
