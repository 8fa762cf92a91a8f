package main

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	celpb "cel.dev/expr"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// fieldKind is what a field of the request can hold: a scalar or a message, many of them, or a map of them.
type fieldKind struct {
	scalar  descriptorpb.FieldDescriptorProto_Type
	message protoreflect.FullName
	isList  bool
	// Not 0 for a map.
	key descriptorpb.FieldDescriptorProto_Type
}

// assignment is a value of one field.
type assignment struct {
	field string
	value ref.Val
}

// fields are those of the request's message, made as cases need them.
type fields struct {
	names map[fieldKind][]string
	kinds []fieldKind
}

func newFields() *fields {
	return &fields{names: map[fieldKind][]string{}}
}

// name of the nth field of a kind.
func (fields *fields) name(kind fieldKind, n int) string {
	for len(fields.names[kind]) <= n {
		fields.names[kind] = append(fields.names[kind], fmt.Sprintf("f%d", len(fields.kinds)+1))
		fields.kinds = append(fields.kinds, kind)
	}
	return fields.names[kind][n]
}

const (
	casesPackage = "cases.v1"
	caseMessage  = "Case"
)

// describe gives the message with all fields, in a service with one method, and what makes one of values.
func (fields *fields) describe() (requestTypes, func([]assignment) []byte) {
	message := &descriptorpb.DescriptorProto{Name: proto.String(caseMessage)}
	dependencies := map[string]bool{}
	number := int32(0)
	for i, kind := range fields.kinds {
		number++
		message.Field = append(message.Field, fields.describeField(message, fmt.Sprintf("f%d", i+1), number, kind))
		if kind.message != "" {
			dependencies[messageType(kind.message).Descriptor().ParentFile().Path()] = true
		}
	}
	name := "." + casesPackage + "." + caseMessage
	file := &descriptorpb.FileDescriptorProto{
		Name:        proto.String("cases.proto"),
		Package:     proto.String(casesPackage),
		Syntax:      proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{message},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name:   proto.String("Cases"),
			Method: []*descriptorpb.MethodDescriptorProto{{Name: proto.String("Ask"), InputType: &name, OutputType: &name}},
		}},
	}
	file.Dependency = slices.Sorted(maps.Keys(dependencies))
	made, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	check(err)
	set := &descriptorpb.FileDescriptorSet{}
	addFile(set, made, map[string]bool{})
	bytes, err := proto.Marshal(set)
	check(err)
	described := made.Messages().ByName(caseMessage)
	return requestTypes{bytes, casesPackage + "." + caseMessage}, func(values []assignment) []byte {
		request := dynamicpb.NewMessage(described)
		for _, each := range values {
			field := described.Fields().ByName(protoreflect.Name(each.field))
			check(setField(request, field, each.value))
		}
		bytes, err := proto.Marshal(request)
		check(err)
		return bytes
	}
}

func addFile(set *descriptorpb.FileDescriptorSet, file protoreflect.FileDescriptor, added map[string]bool) {
	if added[file.Path()] {
		return
	}
	added[file.Path()] = true
	for i := range file.Imports().Len() {
		addFile(set, file.Imports().Get(i).FileDescriptor, added)
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
}

func (fields *fields) describeField(message *descriptorpb.DescriptorProto, name string, number int32, kind fieldKind) *descriptorpb.FieldDescriptorProto {
	optional := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
	repeated := descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	field := fieldOf(name, number, kind)
	if kind.key != 0 {
		entry := strings.ToUpper(name[:1]) + name[1:] + "Entry"
		message.NestedType = append(message.NestedType, &descriptorpb.DescriptorProto{
			Name:    &entry,
			Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
			Field:   []*descriptorpb.FieldDescriptorProto{fieldOf("key", 1, fieldKind{scalar: kind.key}), fieldOf("value", 2, kind)},
		})
		for _, each := range message.NestedType[len(message.NestedType)-1].Field {
			each.Label = &optional
		}
		field.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
		field.TypeName = proto.String("." + casesPackage + "." + caseMessage + "." + entry)
	}
	field.Label = &optional
	if kind.isList || kind.key != 0 {
		field.Label = &repeated
	}
	return field
}

func fieldOf(name string, number int32, kind fieldKind) *descriptorpb.FieldDescriptorProto {
	field := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Type: &kind.scalar}
	if kind.message != "" {
		field.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
		field.TypeName = proto.String("." + string(kind.message))
	}
	return field
}

func messageType(name protoreflect.FullName) protoreflect.MessageType {
	found, err := protoregistry.GlobalTypes.FindMessageByName(name)
	check(err)
	return found
}

func setField(request *dynamicpb.Message, field protoreflect.FieldDescriptor, value ref.Val) error {
	switch {
	case field.IsMap():
		entries := request.Mutable(field).Map()
		keys := value.(traits.Mapper).Iterator()
		for keys.HasNext() == types.True {
			key := keys.Next()
			name, err := convertedValue(field.MapKey(), key)
			if err != nil {
				return err
			}
			held, err := convertedValue(field.MapValue(), value.(traits.Mapper).Get(key))
			if err != nil {
				return err
			}
			entries.Set(name.MapKey(), held)
		}
		return nil
	case field.IsList():
		list := request.Mutable(field).List()
		elements := value.(traits.Lister).Iterator()
		for elements.HasNext() == types.True {
			held, err := convertedValue(field, elements.Next())
			if err != nil {
				return err
			}
			list.Append(held)
		}
		return nil
	default:
		held, err := convertedValue(field, value)
		if err == nil {
			request.Set(field, held)
		}
		return err
	}
}

// convertedValue is a value as a field holds it.
func convertedValue(field protoreflect.FieldDescriptor, value ref.Val) (protoreflect.Value, error) {
	if field.Message() != nil {
		native, err := nativeOf(messageType(field.Message().FullName()), value)
		if err != nil {
			return protoreflect.Value{}, err
		}
		return protoreflect.ValueOfMessage(native), nil
	}
	native, isNative := nativeTypes[field.Kind()]
	if !isNative {
		return protoreflect.Value{}, fmt.Errorf("a field of kind %s", field.Kind())
	}
	held, err := value.ConvertToNative(native)
	if err != nil {
		return protoreflect.Value{}, err
	}
	return protoreflect.ValueOf(held), nil
}

// nativeOf is a value as a message of a type.
func nativeOf(of protoreflect.MessageType, value ref.Val) (protoreflect.Message, error) {
	native, err := value.ConvertToNative(reflect.TypeOf(of.New().Interface()))
	if err != nil {
		return nil, err
	}
	return native.(proto.Message).ProtoReflect(), nil
}

var nativeTypes = map[protoreflect.Kind]reflect.Type{
	protoreflect.BoolKind:   reflect.TypeFor[bool](),
	protoreflect.Int64Kind:  reflect.TypeFor[int64](),
	protoreflect.Uint64Kind: reflect.TypeFor[uint64](),
	protoreflect.DoubleKind: reflect.TypeFor[float64](),
	protoreflect.StringKind: reflect.TypeFor[string](),
	protoreflect.BytesKind:  reflect.TypeFor[[]byte](),
}

var scalarsOfTypes = map[celpb.Type_PrimitiveType]descriptorpb.FieldDescriptorProto_Type{
	celpb.Type_BOOL:   descriptorpb.FieldDescriptorProto_TYPE_BOOL,
	celpb.Type_INT64:  descriptorpb.FieldDescriptorProto_TYPE_INT64,
	celpb.Type_UINT64: descriptorpb.FieldDescriptorProto_TYPE_UINT64,
	celpb.Type_DOUBLE: descriptorpb.FieldDescriptorProto_TYPE_DOUBLE,
	celpb.Type_STRING: descriptorpb.FieldDescriptorProto_TYPE_STRING,
	celpb.Type_BYTES:  descriptorpb.FieldDescriptorProto_TYPE_BYTES,
}

var wrappersOfTypes = map[celpb.Type_PrimitiveType]protoreflect.FullName{
	celpb.Type_BOOL:   "google.protobuf.BoolValue",
	celpb.Type_INT64:  "google.protobuf.Int64Value",
	celpb.Type_UINT64: "google.protobuf.UInt64Value",
	celpb.Type_DOUBLE: "google.protobuf.DoubleValue",
	celpb.Type_STRING: "google.protobuf.StringValue",
	celpb.Type_BYTES:  "google.protobuf.BytesValue",
}

var messagesOfTypes = map[celpb.Type_WellKnownType]protoreflect.FullName{
	celpb.Type_ANY:       "google.protobuf.Any",
	celpb.Type_TIMESTAMP: "google.protobuf.Timestamp",
	celpb.Type_DURATION:  "google.protobuf.Duration",
}

// fieldKindOf is the kind of field whose type in an expression this is.
func fieldKindOf(of *celpb.Type) (fieldKind, error) {
	none := errors.New("a variable of a type that no field has")
	switch kind := of.GetTypeKind().(type) {
	case *celpb.Type_Primitive:
		return fieldKind{scalar: scalarsOfTypes[kind.Primitive]}, nil
	case *celpb.Type_Wrapper:
		return fieldKind{message: wrappersOfTypes[kind.Wrapper]}, nil
	case *celpb.Type_WellKnown:
		return fieldKind{message: messagesOfTypes[kind.WellKnown]}, nil
	case *celpb.Type_MessageType:
		name := protoreflect.FullName(kind.MessageType)
		if _, err := protoregistry.GlobalTypes.FindMessageByName(name); err != nil {
			return fieldKind{}, none
		}
		return fieldKind{message: name}, nil
	case *celpb.Type_ListType_:
		element, err := fieldKindOf(kind.ListType.ElemType)
		if err != nil || element.isList || element.key != 0 {
			return fieldKind{}, none
		}
		element.isList = true
		return element, nil
	case *celpb.Type_MapType_:
		key, err := fieldKindOf(kind.MapType.KeyType)
		if err != nil || key.message != "" || key.isList {
			return fieldKind{}, none
		}
		value, err := fieldKindOf(kind.MapType.ValueType)
		if err != nil || value.isList || value.key != 0 {
			return fieldKind{}, none
		}
		value.key = key.scalar
		return value, nil
	default:
		return fieldKind{}, none
	}
}
