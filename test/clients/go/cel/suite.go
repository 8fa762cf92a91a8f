package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"cel.dev/cel-go/common/types"
	celpb "cel.dev/expr"
	_ "cel.dev/expr/conformance/proto2"
	_ "cel.dev/expr/conformance/proto3"
	testpb "cel.dev/expr/conformance/test"
	"google.golang.org/protobuf/encoding/prototext"
)

// suite has the cases of the conformance suite as expressions over a request, which holds what a case has in variables and in
// messages that it makes.
type suite struct {
	Types requestTypes `json:"types"`
	Cases []suiteCase  `json:"cases"`
	Left  []leftOut    `json:"left"`
}

type suiteCase struct {
	// File, section and name.
	Name    string `json:"name"`
	Text    string `json:"text"`
	Request []byte `json:"request"`
	// What the suite says: true, false or error; empty where it does not check types, so that there may be no answer.
	Expected string `json:"expected"`
}

// leftOut are the cases of one section that are left out for one reason.
type leftOut struct {
	Section string `json:"section"`
	Why     string `json:"why"`
	Count   int    `json:"count"`
}

// Files and sections in which every case is about something that no condition has.
var notOurs = []struct {
	section *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`^(bindings_ext|block_ext|encoders_ext|lists_ext|math_ext|network_ext|proto2_ext|string_ext)/`), "functions and macros of extensions"},
	{regexp.MustCompile(`^macros2/`), "macros with two variables"},
	{regexp.MustCompile(`^optionals/`), "optional values"},
	{regexp.MustCompile(`^type_deduction/`), "which type an expression has is not seen"},
	{regexp.MustCompile(`^enums/strong_`), "enumerations as types of their own"},
}

func readSuite(directory string) suite {
	paths, err := filepath.Glob(filepath.Join(directory, "*.textproto"))
	check(err)
	if len(paths) == 0 {
		check(fmt.Errorf("no files of the suite in %s", directory))
	}
	reader := &suiteReader{fields: newFields()}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		check(err)
		file := &testpb.SimpleTestFile{}
		check(prototext.Unmarshal(text, file))
		for _, section := range file.Section {
			for _, test := range section.Test {
				reader.read(file.Name+"/"+section.Name, test)
			}
		}
	}
	return reader.finish()
}

type suiteReader struct {
	fields *fields
	cases  []suiteCase
	values [][]assignment
	left   []leftOut
}

func (reader *suiteReader) finish() suite {
	described, encode := reader.fields.describe()
	for i := range reader.cases {
		reader.cases[i].Request = encode(reader.values[i])
	}
	return suite{described, reader.cases, reader.left}
}

func (reader *suiteReader) read(section string, test *testpb.SimpleTest) {
	written, err := reader.write(section, test)
	if err == nil {
		written.Name = section + "/" + test.Name
		reader.cases = append(reader.cases, written.suiteCase)
		reader.values = append(reader.values, written.values)
		return
	}
	why := err.Error()
	for i := range reader.left {
		if reader.left[i].Section == section && reader.left[i].Why == why {
			reader.left[i].Count++
			return
		}
	}
	reader.left = append(reader.left, leftOut{section, why, 1})
}

type writtenCase struct {
	suiteCase
	values []assignment
}

// write gives the case as a condition, or why that cannot be.
func (reader *suiteReader) write(section string, test *testpb.SimpleTest) (writtenCase, error) {
	for _, each := range notOurs {
		if each.section.MatchString(section+"/") || each.section.MatchString(section) {
			return writtenCase{}, errors.New(each.why)
		}
	}
	if test.DisableMacros {
		return writtenCase{}, errors.New("macros are turned off")
	}
	if test.CheckOnly {
		return writtenCase{}, errors.New("only the type is told")
	}
	rewriter, err := newRewriter(reader.fields, test)
	if err != nil {
		return writtenCase{}, err
	}
	text, err := rewriter.rewrite(test.Expr)
	if err != nil {
		return writtenCase{}, err
	}
	text, expected, err := asCondition(text, test, rewriter)
	if err != nil {
		return writtenCase{}, err
	}
	if test.DisableCheck {
		expected = ""
	}
	return writtenCase{suiteCase{Text: text, Expected: expected}, rewriter.values}, nil
}

// asCondition makes a bool of an expression: what the suite expects stands in it.
func asCondition(text string, test *testpb.SimpleTest, rewriter *rewriter) (string, string, error) {
	value := test.GetValue()
	if typed := test.GetTypedResult(); typed != nil {
		value = typed.Result
	}
	switch {
	case test.ResultMatcher == nil:
		return text, "true", nil
	case test.GetEvalError() != nil:
		if rewriter.gives(test.Expr, types.BoolType) {
			return text, "error", nil
		}
		return "[" + text + "] == []", "error", nil
	case value == nil:
		return "", "", errors.New("several answers, or unknown values")
	}
	if known, isBool := value.Kind.(*celpb.Value_BoolValue); isBool {
		return text, fmt.Sprint(known.BoolValue), nil
	}
	if rewriter.isNaN(value) {
		return "(" + text + ") != (" + text + ")", "true", nil
	}
	expected, err := rewriter.literal(value)
	if err != nil {
		return "", "", err
	}
	// Where the checker does not let them be compared, they still may be equal.
	if rewriter.gives(test.Expr, nil) && !rewriter.gives("("+test.Expr+") == "+expected, types.BoolType) && !strings.Contains(expected, "request.") {
		text = "dyn(" + text + ")"
	}
	return "(" + text + ") == " + expected, "true", nil
}

// literal writes a value as it stands in an expression.
func (rewriter *rewriter) literal(value *celpb.Value) (string, error) {
	switch kind := value.Kind.(type) {
	case *celpb.Value_NullValue:
		return "null", nil
	case *celpb.Value_BoolValue:
		return fmt.Sprint(kind.BoolValue), nil
	case *celpb.Value_Int64Value:
		return fmt.Sprint(kind.Int64Value), nil
	case *celpb.Value_Uint64Value:
		return fmt.Sprintf("%du", kind.Uint64Value), nil
	case *celpb.Value_DoubleValue:
		return doubleLiteral(kind.DoubleValue), nil
	case *celpb.Value_StringValue:
		return stringLiteral(kind.StringValue), nil
	case *celpb.Value_BytesValue:
		return bytesLiteral(kind.BytesValue), nil
	case *celpb.Value_ListValue:
		elements, err := each(kind.ListValue.Values, rewriter.literal)
		return "[" + strings.Join(elements, ", ") + "]", err
	case *celpb.Value_MapValue:
		entries, err := each(kind.MapValue.Entries, func(entry *celpb.MapValue_Entry) (string, error) {
			pair, err := each([]*celpb.Value{entry.Key, entry.Value}, rewriter.literal)
			return strings.Join(pair, ": "), err
		})
		return "{" + strings.Join(entries, ", ") + "}", err
	case *celpb.Value_ObjectValue:
		message, err := kind.ObjectValue.UnmarshalNew()
		if err != nil {
			return "", err
		}
		name := message.ProtoReflect().Descriptor().FullName()
		return rewriter.inRequest(fieldKind{message: name}, rewriter.env.CELTypeAdapter().NativeToValue(message)), nil
	case *celpb.Value_EnumValue:
		return "", errors.New("enumerations as types of their own")
	case *celpb.Value_TypeValue:
		return "", errors.New("its result is a type")
	default:
		return "", fmt.Errorf("a result of kind %T", kind)
	}
}

func each[From, To any](all []From, change func(From) (To, error)) ([]To, error) {
	changed := make([]To, len(all))
	for i, one := range all {
		var err error
		if changed[i], err = change(one); err != nil {
			return nil, err
		}
	}
	return changed, nil
}
