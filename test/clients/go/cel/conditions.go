package main

import (
	"errors"
	"fmt"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// requestTypes is the type of `request`, with the FileDescriptorSet that it is in.
type requestTypes struct {
	Files   []byte `json:"files"`
	Request string `json:"request"`
}

// input has a value for each variable of a condition. What is not set is not there.
type input struct {
	Request   []byte         `json:"request"`
	Principal map[string]any `json:"principal"`
	Actor     map[string]any `json:"actor"`
	Method    map[string]any `json:"method"`
	Peer      map[string]any `json:"peer"`
	Metadata  map[string]any `json:"metadata"`
	Now       time.Time      `json:"now"`
}

type question struct {
	Text   string  `json:"text"`
	Inputs []input `json:"inputs"`
}

type answer struct {
	// Why the checker refuses the expression; empty where it does not.
	Refused string `json:"refused"`
	// For each input: true, false, other, or the error behind "error: ".
	Results []string `json:"results"`
}

// conditions is cel-go with the variables of a condition.
type conditions struct {
	env     *cel.Env
	request protoreflect.MessageDescriptor
}

func newConditions(described requestTypes) *conditions {
	registry, err := types.NewRegistry()
	check(err)
	files := filesOf(described.Files)
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		check(registry.RegisterDescriptor(file))
		return true
	})
	found, err := files.FindDescriptorByName(protoreflect.FullName(described.Request))
	check(err)
	env, err := cel.NewEnv(
		cel.CustomTypeProvider(&provider{registry}),
		cel.CustomTypeAdapter(registry),
		cel.Variable("request", cel.ObjectType(described.Request)),
		cel.Variable("principal", cel.ObjectType("principal")),
		cel.Variable("actor", cel.ObjectType("actor")),
		cel.Variable("method", cel.ObjectType("method")),
		cel.Variable("peer", cel.ObjectType("peer")),
		cel.Variable("metadata", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("now", cel.TimestampType),
	)
	check(err)
	return &conditions{env, found.(protoreflect.MessageDescriptor)}
}

// filesOf reads a FileDescriptorSet. Of a file that is compiled into this program the descriptors are those of the program.
func filesOf(set []byte) *protoregistry.Files {
	read := &descriptorpb.FileDescriptorSet{}
	check(proto.Unmarshal(set, read))
	files := &protoregistry.Files{}
	for _, each := range read.File {
		file, err := protoregistry.GlobalFiles.FindFileByPath(each.GetName())
		if err != nil {
			file, err = protodesc.NewFile(each, files)
			check(err)
		}
		check(files.RegisterFile(file))
	}
	return files
}

func answerAll(conditions *conditions, questions []question) []answer {
	answers := make([]answer, len(questions))
	for i, each := range questions {
		answers[i] = conditions.answer(each)
	}
	return answers
}

func (conditions *conditions) answer(asked question) answer {
	program, err := conditions.compile(asked.Text)
	if err != nil {
		return answer{Refused: err.Error()}
	}
	results := make([]string, len(asked.Inputs))
	for i, each := range asked.Inputs {
		results[i] = resultOf(program.Eval(conditions.variables(each)))
	}
	return answer{Results: results}
}

// The whole must be a bool, or what may be one.
func (conditions *conditions) compile(text string) (cel.Program, error) {
	checked, issues := conditions.env.Compile(text)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	whole := checked.OutputType()
	if !whole.IsAssignableType(cel.BoolType) && whole.Kind() != types.DynKind {
		return nil, fmt.Errorf("the condition is %s, not bool", whole)
	}
	program, err := conditions.env.Program(checked)
	if err != nil {
		return nil, err
	}
	return program, nil
}

func (conditions *conditions) variables(given input) map[string]any {
	request := dynamicpb.NewMessage(conditions.request)
	check(proto.Unmarshal(given.Request, request))
	useCompiledTypes(request)
	return map[string]any{
		"request":   request,
		"principal": given.Principal,
		"actor":     given.Actor,
		"method":    given.Method,
		"peer":      given.Peer,
		"metadata":  given.Metadata,
		"now":       given.Now,
	}
}

// useCompiledTypes puts messages of compiled types in the place of dynamic ones: cel-go cannot compare a dynamic Any.
func useCompiledTypes(request protoreflect.Message) {
	request.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() == nil || field.IsList() || field.IsMap() {
			return true
		}
		compiled, err := protoregistry.GlobalTypes.FindMessageByName(field.Message().FullName())
		if err != nil {
			return true
		}
		bytes, err := proto.Marshal(value.Message().Interface())
		check(err)
		message := compiled.New()
		check(proto.Unmarshal(bytes, message.Interface()))
		request.Set(field, protoreflect.ValueOfMessage(message))
		return true
	})
}

func resultOf(value ref.Val, _ *cel.EvalDetails, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	if known, isBool := value.(types.Bool); isBool {
		return fmt.Sprint(bool(known))
	}
	return "other"
}

// provider knows the variables of ours that have fields of their own.
type provider struct {
	*types.Registry
}

var party = map[string]*cel.Type{
	"subject":     cel.StringType,
	"kind":        cel.StringType,
	"scheme":      cel.StringType,
	"issuer":      cel.StringType,
	"tenant":      cel.StringType,
	"roles":       cel.ListType(cel.StringType),
	"permissions": cel.ListType(cel.StringType),
	"claims":      cel.MapType(cel.StringType, cel.DynType),
}

var objects = map[string]map[string]*cel.Type{
	"principal": party,
	"actor":     party,
	"method":    {"path": cel.StringType, "service": cel.StringType, "name": cel.StringType, "kind": cel.StringType},
	"peer":      {"address": cel.StringType, "secure": cel.BoolType},
}

func (provider *provider) FindStructType(name string) (*types.Type, bool) {
	if objects[name] != nil {
		return types.NewTypeTypeWithParam(cel.ObjectType(name)), true
	}
	return provider.Registry.FindStructType(name)
}

func (provider *provider) FindStructFieldNames(name string) ([]string, bool) {
	fields, found := objects[name]
	if !found {
		return provider.Registry.FindStructFieldNames(name)
	}
	names := make([]string, 0, len(fields))
	for each := range fields {
		names = append(names, each)
	}
	return names, true
}

var errNotThere = errors.New("no such field")

func (provider *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	fields, found := objects[name]
	if !found {
		return provider.Registry.FindStructFieldType(name, field)
	}
	fieldType, found := fields[field]
	if !found {
		return nil, false
	}
	return &types.FieldType{
		Type: fieldType,
		IsSet: func(target any) bool {
			_, isSet := target.(map[string]any)[field]
			return isSet
		},
		GetFrom: func(target any) (any, error) {
			value, isSet := target.(map[string]any)[field]
			if !isSet {
				return nil, errNotThere
			}
			return value, nil
		},
	}, true
}
