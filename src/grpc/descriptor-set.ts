// The services of a FileDescriptorSet (descriptor.proto), as `protoc --descriptor_set_out` and `buf build` write it, with one
// option of each. Read by hand: of the file only names and that option are wanted, and libraries drop options that they do not know.
import { Buffer } from "node:buffer";

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

/** One field of an encoded message. */
export type WireField =
  | { readonly number: number; readonly bytes: Buffer }
  | { readonly number: number; readonly value: bigint };

/** Not protobuf, or not all of it. */
export class WireError extends Error {}

/** Field numbers of descriptor.proto. */
const fileOfSet = 1;
const inFile = { package: 2, service: 6 } as const;
const inService = { name: 1, method: 2, options: 3 } as const;
const inMethod = { name: 1, options: 4 } as const;

/** `optionNumber`: the field of MethodOptions and of ServiceOptions. Throws `WireError`. */
export function servicesIn(descriptorSet: Uint8Array, optionNumber: number): readonly DescribedService[] {
  return messages(wireFields(descriptorSet), fileOfSet).flatMap((file) => {
    const fields = wireFields(file);
    const packageName = textOf(fields, inFile.package);
    return messages(fields, inFile.service).map((service) => {
      const own = wireFields(service);
      const name = textOf(own, inService.name);
      return {
        name: packageName === "" ? name : `${packageName}.${name}`,
        option: optionIn(own, inService.options, optionNumber),
        methods: messages(own, inService.method).map((method) => {
          const parts = wireFields(method);
          return {
            name: textOf(parts, inMethod.name),
            option: optionIn(parts, inMethod.options, optionNumber),
          };
        }),
      };
    });
  });
}

/** The fields of a message, in their order. Throws `WireError`. */
export function wireFields(message: Uint8Array): readonly WireField[] {
  const bytes = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
  const fields: WireField[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new WireError("ends in the middle of a number");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new WireError("has a number of more than ten bytes");
  };
  const take = (length: number): Buffer => {
    if (length > bytes.length - at) throw new WireError("ends in the middle of a field");
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const number = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        fields.push({ number, value: varint() });
        break;
      case 1:
        fields.push({ number, bytes: take(8) });
        break;
      case 2:
        fields.push({ number, bytes: take(Number(varint())) });
        break;
      case 5:
        fields.push({ number, bytes: take(4) });
        break;
      default:
        throw new WireError("has a field of an unknown kind");
    }
  }
  return fields;
}

function messages(fields: readonly WireField[], number: number): readonly Buffer[] {
  return fields.flatMap((field) => (field.number === number && "bytes" in field ? [field.bytes] : []));
}

function textOf(fields: readonly WireField[], number: number): string {
  return messages(fields, number).at(-1)?.toString("utf8") ?? "";
}

/** An option that is set in parts is the message of all its parts, one after the other. */
function optionIn(fields: readonly WireField[], options: number, optionNumber: number): Buffer | undefined {
  const parts = messages(fields, options).flatMap((each) => messages(wireFields(each), optionNumber));
  return parts.length === 0 ? undefined : Buffer.concat(parts);
}
