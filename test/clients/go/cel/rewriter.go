package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	celpb "cel.dev/expr"
	proto2pb "cel.dev/expr/conformance/proto2"
	proto3pb "cel.dev/expr/conformance/proto3"
	testpb "cel.dev/expr/conformance/test"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// rewriter writes an expression over a request: its variables, and the messages that it makes, become fields of that, and names
// that its container completes are written in full.
type rewriter struct {
	fields    *fields
	env       *cel.Env
	text      string
	container string
	variables map[string]variable
	used      map[fieldKind]int
	// Of variables that have one already.
	assigned map[string]string
	values   []assignment
}

type variable struct {
	kind fieldKind
	// Why it can be no field.
	err   error
	value ref.Val
}

func newRewriter(fields *fields, test *testpb.SimpleTest) (*rewriter, error) {
	options := []cel.EnvOption{
		cel.Container(test.Container),
		cel.Types(&proto2pb.TestAllTypes{}, &proto2pb.NestedTestAllTypes{}, &proto3pb.TestAllTypes{}, &proto3pb.NestedTestAllTypes{}),
	}
	kinds := map[string]variable{}
	for _, each := range test.TypeEnv {
		if each.GetIdent() == nil {
			return nil, errors.New("functions of its own")
		}
		option, err := cel.ProtoAsDeclaration(each)
		if err != nil {
			return nil, errors.New("a variable of a type that no field has")
		}
		options = append(options, option)
		kind, err := fieldKindOf(each.GetIdent().Type)
		kinds[each.Name] = variable{kind: kind, err: err}
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, errors.New("its variables cannot be declared")
	}
	variables := map[string]variable{}
	for name, declared := range kinds {
		bound := test.Bindings[name].GetValue()
		if bound == nil {
			return nil, errors.New("a variable without a value")
		}
		if declared.value, err = cel.ProtoAsValue(env.CELTypeAdapter(), bound); err != nil {
			return nil, err
		}
		variables[name] = declared
	}
	for name := range test.Bindings {
		if _, isDeclared := variables[name]; !isDeclared {
			variables[name] = variable{err: errors.New("a variable whose type is not told")}
		}
	}
	return &rewriter{
		fields:    fields,
		env:       env,
		text:      test.Expr,
		container: test.Container,
		variables: variables,
		used:      map[fieldKind]int{},
		assigned:  map[string]string{},
	}, nil
}

// gives tells whether the expression passes the checker, and gives such a value; nil: any.
func (rewriter *rewriter) gives(text string, want *types.Type) bool {
	checked, issues := rewriter.env.Compile(text)
	return issues.Err() == nil && (want == nil || checked.OutputType().IsExactType(want))
}

// inRequest puts a value into the request, and gives the expression that reads it.
func (rewriter *rewriter) inRequest(kind fieldKind, value ref.Val) string {
	field := rewriter.fields.name(kind, rewriter.used[kind])
	rewriter.used[kind]++
	rewriter.values = append(rewriter.values, assignment{field, value})
	return "request." + field
}

// A token of an expression: white space and comments, a text, a number, names joined by dots, or one other character.
var token = regexp.MustCompile(`(?s)^(?:` + strings.Join([]string{
	`(\s+|//[^\n]*)`,
	`(?:[bB]?[rR]|[rR][bB])(?:""".*?"""|'''.*?'''|"[^"]*"|'[^']*')`,
	`[bB]?(?:"""(?:\\.|.)*?"""|'''(?:\\.|.)*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')`,
	`0x[0-9a-fA-F]+[uU]?|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?[uU]?|\.[0-9]+(?:[eE][+-]?[0-9]+)?`,
	`(\.?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)`,
	`.`,
}, "|") + `)`)

type piece struct {
	text string
	// Is it white space, are they names?
	isSpace, isPath bool
}

func piecesOf(text string) []piece {
	var pieces []piece
	for text != "" {
		found := token.FindStringSubmatch(text)
		pieces = append(pieces, piece{found[0], found[1] != "", found[2] != ""})
		text = text[len(found[0]):]
	}
	return pieces
}

var endsValue = regexp.MustCompile("[)\\]}\"'`A-Za-z0-9_]$")

var reserved = map[string]bool{"true": true, "false": true, "null": true, "in": true}

func (rewriter *rewriter) rewrite(text string) (string, error) {
	pieces := piecesOf(text)
	var written strings.Builder
	before := ""
	for i := 0; i < len(pieces); i++ {
		each := pieces[i]
		isMember := strings.HasPrefix(each.text, ".") && endsValue.MatchString(before)
		if !each.isPath || isMember || reserved[each.text] {
			written.WriteString(each.text)
		} else if end := endOfMessage(pieces, i); end > i {
			made, err := rewriter.message(each.text, join(pieces[i:end+1]))
			if err != nil {
				return "", err
			}
			written.WriteString(made)
			i = end
		} else {
			named, err := rewriter.named(each.text)
			if err != nil {
				return "", err
			}
			written.WriteString(named)
		}
		if !each.isSpace {
			before = pieces[i].text
		}
	}
	return written.String(), nil
}

func join(pieces []piece) string {
	var all strings.Builder
	for _, each := range pieces {
		all.WriteString(each.text)
	}
	return all.String()
}

// endOfMessage is the brace that ends the message whose type stands at a place; the place itself where there is none.
func endOfMessage(pieces []piece, at int) int {
	depth := 0
	for i := at + 1; i < len(pieces); i++ {
		switch {
		case pieces[i].text == "{":
			depth++
		case depth == 0 && !pieces[i].isSpace:
			return at
		case pieces[i].text == "}":
			depth--
			if depth == 0 {
				return i
			}
		}
	}
	return at
}

// message has cel-go make the message that an expression makes.
func (rewriter *rewriter) message(name, text string) (string, error) {
	checked, issues := rewriter.env.Compile(text)
	if issues.Err() != nil {
		return "", errors.New("it makes a message of a variable of a loop, or one that cannot be")
	}
	program, err := rewriter.env.Program(checked)
	if err != nil {
		return "", err
	}
	bound := map[string]any{}
	for each, known := range rewriter.variables {
		bound[each] = known.value
	}
	value, _, err := program.Eval(bound)
	if err != nil {
		return "", errors.New("it makes a message of a variable of a loop, or one that cannot be")
	}
	for _, candidate := range rewriter.candidates(name) {
		if _, found := rewriter.env.CELTypeProvider().FindStructType(candidate); !found {
			continue
		}
		full := protoreflect.FullName(candidate)
		if _, err := protoregistry.GlobalTypes.FindMessageByName(full); err != nil {
			break
		}
		if err := canHold(full, value); err != nil {
			return "", err
		}
		return rewriter.inRequest(fieldKind{message: full}, value), nil
	}
	return "", fmt.Errorf("a message of the type %s", name)
}

func canHold(name protoreflect.FullName, value ref.Val) error {
	if _, err := nativeOf(messageType(name), value); err != nil {
		return errors.New("it makes a message that is another value in CEL")
	}
	return nil
}

// candidates are the names that a name may stand for in the container, in the order in which they are looked for.
func (rewriter *rewriter) candidates(name string) []string {
	if absolute, isAbsolute := strings.CutPrefix(name, "."); isAbsolute {
		return []string{absolute}
	}
	var all []string
	for container := rewriter.container; container != ""; {
		all = append(all, container+"."+name)
		cut := strings.LastIndex(container, ".")
		if cut < 0 {
			break
		}
		container = container[:cut]
	}
	return append(all, name)
}

// Names of loops in the expression are no variables of the case.
var ownNames = regexp.MustCompile(`\.(?:all|exists|exists_one|filter|map)\(\s*([A-Za-z_][A-Za-z0-9_]*)\s*,`)

func (rewriter *rewriter) isOwnName(name string) bool {
	for _, found := range ownNames.FindAllStringSubmatch(rewriter.text, -1) {
		if found[1] == name {
			return true
		}
	}
	return false
}

// named writes names that may begin with a variable, or be those of a value of an enumeration.
func (rewriter *rewriter) named(path string) (string, error) {
	names := strings.Split(path, ".")
	if rewriter.isOwnName(names[0]) {
		return path, nil
	}
	for count := len(names); count > 0; count-- {
		prefix := strings.Join(names[:count], ".")
		for _, candidate := range rewriter.candidates(prefix) {
			if _, isVariable := rewriter.variables[candidate]; !isVariable {
				continue
			}
			read, err := rewriter.variable(candidate)
			return strings.Join(append([]string{read}, names[count:]...), "."), err
		}
	}
	for _, candidate := range rewriter.candidates(path) {
		if _, found := rewriter.env.CELTypeProvider().FindIdent(candidate); found && strings.Contains(candidate, ".") {
			return candidate, nil
		}
	}
	return path, nil
}

func (rewriter *rewriter) variable(name string) (string, error) {
	if read, isAssigned := rewriter.assigned[name]; isAssigned {
		return read, nil
	}
	known := rewriter.variables[name]
	if known.err != nil {
		return "", known.err
	}
	if known.kind.message != "" && !known.kind.isList && known.kind.key == 0 {
		if err := canHold(known.kind.message, known.value); err != nil {
			return "", err
		}
	}
	rewriter.assigned[name] = rewriter.inRequest(known.kind, known.value)
	return rewriter.assigned[name], nil
}

func (rewriter *rewriter) isNaN(value *celpb.Value) bool {
	double, isDouble := value.Kind.(*celpb.Value_DoubleValue)
	return isDouble && math.IsNaN(double.DoubleValue)
}

func doubleLiteral(value float64) string {
	switch {
	case math.IsInf(value, 1):
		return "(1.0 / 0.0)"
	case math.IsInf(value, -1):
		return "(-1.0 / 0.0)"
	}
	text := strconv.FormatFloat(value, 'e', -1, 64)
	return text
}

func stringLiteral(value string) string {
	var text strings.Builder
	text.WriteByte('"')
	for _, char := range value {
		if char < ' ' || char == '"' || char == '\\' || char > '~' {
			fmt.Fprintf(&text, `\U%08x`, char)
		} else {
			text.WriteRune(char)
		}
	}
	text.WriteByte('"')
	return text.String()
}

func bytesLiteral(value []byte) string {
	var text strings.Builder
	text.WriteString(`b"`)
	for _, each := range value {
		fmt.Fprintf(&text, `\x%02x`, each)
	}
	text.WriteByte('"')
	return text.String()
}
