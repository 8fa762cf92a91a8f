// Descriptor sets as protoc and buf write them, made here from a few lines, so that a test shows the rules that it is about.
import { create, fromBinary, type MessageInitShape, setExtension, toBinary } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  DescriptorProtoSchema,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  type FieldDescriptorProtoSchema,
  FieldOptionsSchema,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  file_google_protobuf_any,
  file_google_protobuf_descriptor,
  file_google_protobuf_duration,
  file_google_protobuf_field_mask,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
  MessageOptionsSchema,
  OneofOptionsSchema,
} from "@bufbuild/protobuf/wkt";
import {
  type FieldRules,
  FieldRulesSchema,
  field as fieldOption,
  file_buf_validate_validate,
  MessageRulesSchema,
  message as messageOption,
  OneofRulesSchema,
  oneof as oneofOption,
  PredefinedRulesSchema,
  predefined as predefinedOption,
  type RuleSchema,
  type StringRules,
  StringRulesSchema,
} from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";

export type Rules = MessageInitShape<typeof FieldRulesSchema>;
export type MessageRules = MessageInitShape<typeof MessageRulesSchema>;

/** As an encoder knows them that has more fields: `number` is set to 1. */
export function withField(number: number, rules: Rules): FieldRules {
  const made = create(FieldRulesSchema, rules);
  made.$unknown = [{ no: number, wireType: 0, data: new Uint8Array([1]) }];
  return made;
}

/** Rules of a text, one of which is an extension that is set to 1. */
export function withExtension(
  number: number,
  rules: MessageInitShape<typeof StringRulesSchema> = {},
): StringRules {
  const made = create(StringRulesSchema, rules);
  made.$unknown = [{ no: number, wireType: 0, data: new Uint8Array([1]) }];
  return made;
}

/** `string`, `.google.protobuf.Timestamp`, `enum .t.v1.State`. */
type TypeName = string;

export interface FieldShape {
  readonly type: TypeName;
  readonly repeated?: true;
  /** The type of the keys; `type` is that of the values. */
  readonly map?: TypeName;
  readonly optional?: true;
  readonly oneof?: string;
  readonly rules?: Rules;
}

export interface MessageShape {
  readonly fields: Readonly<Record<string, FieldShape>>;
  readonly rules?: MessageRules;
  /** Oneofs of which one member must be set. */
  readonly required?: readonly string[];
}

export interface FileShape {
  /** Default: proto3. */
  readonly syntax?: "proto2";
  readonly messages: Readonly<Record<string, MessageShape>>;
  readonly enums?: Readonly<Record<string, readonly string[]>>;
  /** Rules that extend those of a type: `StringRules`. */
  readonly predefined?: readonly {
    readonly name: string;
    readonly number: number;
    readonly extendee: string;
    readonly type: TypeName;
    readonly cel: readonly MessageInitShape<typeof RuleSchema>[];
  }[];
}

export const packageName = "t.v1";
export const serviceName = `${packageName}.Checks`;

/** The four kinds, each with the message `Request`. */
export const methodNames = {
  unary: "Unary",
  client_stream: "ClientStream",
  server_stream: "ServerStream",
  bidi_stream: "BidiStream",
} as const;

const wellKnownFiles: readonly FileDescriptorProto[] = [
  file_google_protobuf_descriptor,
  file_google_protobuf_any,
  file_google_protobuf_duration,
  file_google_protobuf_field_mask,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
].map(({ proto }) => proto);

export const validateFile: FileDescriptorProto = file_buf_validate_validate.proto;

function typeOf(
  name: TypeName,
): Pick<MessageInitShape<typeof FieldDescriptorProtoSchema>, "type" | "typeName"> {
  if (name.startsWith("enum ")) return { type: FieldDescriptorProto_Type.ENUM, typeName: name.slice(5) };
  if (name.startsWith(".")) return { type: FieldDescriptorProto_Type.MESSAGE, typeName: name };
  const type = Object.entries(FieldDescriptorProto_Type).find(([key]) => key === name.toUpperCase())?.[1];
  if (typeof type !== "number") throw new Error(`${name} is no type`);
  return { type };
}

function optionsOf(rules: Rules | undefined) {
  const options = create(FieldOptionsSchema);
  if (rules !== undefined) setExtension(options, fieldOption, create(FieldRulesSchema, rules));
  return options;
}

function messageOf(name: string, { fields, rules, required = [] }: MessageShape): DescriptorProto {
  const oneofs = [
    ...new Set(Object.values(fields).flatMap(({ oneof }) => (oneof === undefined ? [] : [oneof]))),
  ];
  const message = create(DescriptorProtoSchema, {
    name,
    oneofDecl: oneofs.map((each) => {
      const options = create(OneofOptionsSchema);
      if (required.includes(each))
        setExtension(options, oneofOption, create(OneofRulesSchema, { required: true }));
      return { name: each, options };
    }),
  });
  Object.entries(fields).forEach(([fieldName, shape], index) => {
    const { repeated, map, optional, oneof } = shape;
    const field: MessageInitShape<typeof FieldDescriptorProtoSchema> = {
      name: fieldName,
      number: index + 1,
      label:
        repeated || map !== undefined
          ? FieldDescriptorProto_Label.REPEATED
          : FieldDescriptorProto_Label.OPTIONAL,
      options: optionsOf(shape.rules),
      ...typeOf(shape.type),
    };
    if (map !== undefined) {
      const entry = `${fieldName.replace(/(?:^|_)(.)/g, (_, first: string) => first.toUpperCase())}Entry`;
      message.nestedType.push(
        create(DescriptorProtoSchema, {
          name: entry,
          options: { mapEntry: true },
          field: [
            { name: "key", number: 1, label: FieldDescriptorProto_Label.OPTIONAL, ...typeOf(map) },
            { name: "value", number: 2, label: FieldDescriptorProto_Label.OPTIONAL, ...typeOf(shape.type) },
          ],
        }),
      );
      Object.assign(field, typeOf(`.${packageName}.${name}.${entry}`));
    }
    if (oneof !== undefined) field.oneofIndex = oneofs.indexOf(oneof);
    if (optional) {
      field.proto3Optional = true;
      field.oneofIndex = message.oneofDecl.length;
      message.oneofDecl.push(
        ...create(DescriptorProtoSchema, { oneofDecl: [{ name: `_${fieldName}` }] }).oneofDecl,
      );
    }
    message.field.push(...create(DescriptorProtoSchema, { field: [field] }).field);
  });
  if (rules !== undefined) {
    message.options = create(MessageOptionsSchema);
    setExtension(message.options, messageOption, create(MessageRulesSchema, rules));
  }
  return message;
}

/** A file `checks.proto` with these messages and a service of the four kinds. */
export function fileOf({ syntax, messages, enums = {}, predefined = [] }: FileShape): FileDescriptorProto {
  const streams = {
    Unary: [false, false],
    ClientStream: [true, false],
    ServerStream: [false, true],
    BidiStream: [true, true],
  };
  return create(FileDescriptorProtoSchema, {
    name: "checks.proto",
    package: packageName,
    syntax: syntax ?? "proto3",
    dependency: [validateFile.name, ...wellKnownFiles.map(({ name }) => name)],
    messageType: [
      ...Object.entries(messages).map(([name, shape]) => messageOf(name, shape)),
      create(DescriptorProtoSchema, { name: "Answer" }),
    ],
    enumType: Object.entries(enums).map(([name, values]) => ({
      name,
      value: values.map((value, number) => ({ name: value, number })),
    })),
    extension: predefined.map(({ name, number, extendee, type, cel }) => {
      const options = create(FieldOptionsSchema);
      setExtension(options, predefinedOption, create(PredefinedRulesSchema, { cel: [...cel] }));
      return {
        name,
        number,
        label: FieldDescriptorProto_Label.OPTIONAL,
        extendee: `.buf.validate.${extendee}`,
        options,
        ...typeOf(type),
      };
    }),
    service: [
      {
        name: "Checks",
        method: Object.entries(streams).map(([name, [clientStreaming, serverStreaming]]) => ({
          name,
          inputType: `.${packageName}.Request`,
          outputType: `.${packageName}.Answer`,
          clientStreaming: clientStreaming === true,
          serverStreaming: serverStreaming === true,
        })),
      },
    ],
  });
}

export function setOf(...files: readonly FileDescriptorProto[]): Uint8Array {
  return toBinary(
    FileDescriptorSetSchema,
    create(FileDescriptorSetSchema, { file: [...wellKnownFiles, validateFile, ...files] }),
  );
}

/** The set of `protoc --include_imports`. */
export function describedBy(shape: FileShape): Uint8Array {
  return setOf(fileOf(shape));
}

/** Without its rules, for whatever does not know them. */
export function withoutRules(set: Uint8Array): Uint8Array {
  const parsed = fromBinary(FileDescriptorSetSchema, set);
  parsed.file = parsed.file.filter(({ name }) => name !== validateFile.name);
  for (const file of parsed.file) {
    file.dependency = file.dependency.filter((name) => name !== validateFile.name);
    if (file.package.startsWith("google.")) continue;
    file.extension = [];
    for (const message of file.messageType) {
      delete message.options;
      for (const each of message.field) delete each.options;
      for (const each of message.oneofDecl) delete each.options;
    }
  }
  return toBinary(FileDescriptorSetSchema, parsed);
}

/** The set of other services, with rules for some of their fields: `shop.v1.ById.id`. */
export function withRules(set: Uint8Array, rules: Readonly<Record<string, Rules>>): Uint8Array {
  const parsed = fromBinary(FileDescriptorSetSchema, set);
  const left = new Map(Object.entries(rules));
  for (const file of parsed.file)
    for (const message of file.messageType)
      for (const field of message.field) {
        const name = `${file.package}.${message.name}.${field.name}`;
        const own = left.get(name);
        if (own === undefined) continue;
        field.options = optionsOf(own);
        file.dependency.push(validateFile.name);
        left.delete(name);
      }
  if (left.size > 0) throw new Error(`there is no ${[...left.keys()].join(", ")}`);
  for (const file of parsed.file) file.dependency = [...new Set(file.dependency)];
  const own = parsed.file.filter(({ name }) => !wellKnownFiles.some((each) => each.name === name));
  return setOf(...own);
}
