package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"lambent.dev/lambent"
)

// field is a member of a shape, as its tag describes it.
type field struct {
	index    int
	name     string // member name
	shape    *constraint
	place    string // "", "path", "query", "header", "status" or "payload"
	key      string // name in that place
	required bool
}

var plans sync.Map // reflect.Type of a struct -> []field

func plan(t reflect.Type) []field {
	if p, ok := plans.Load(t); ok {
		return p.([]field)
	}
	fields := make([]field, t.NumField())
	for i := range fields {
		sf := t.Field(i)
		f := field{index: i, name: sf.Name}
		parts := strings.Fields(sf.Tag.Get("aws"))
		for len(parts) > 1 {
			switch parts[1] {
			case "required":
				f.required = true
			case "payload", "status":
				f.place = parts[1]
			default:
				f.place, f.key = parts[1], parts[2]
				parts = parts[1:]
			}
			parts = append(parts[:1:1], parts[2:]...)
		}
		if shape, _, _ := strings.Cut(sf.Tag.Get("aws"), " "); shape != "" && shape != "-" {
			f.shape = constraints[shape]
		}
		fields[i] = f
	}
	p, _ := plans.LoadOrStore(t, fields)
	return p.([]field)
}

// Takes tells whether a request of the operation has a member of this name in its query.
func (o *Op) Takes(name string) bool {
	fields := plan(reflect.TypeOf(o.New()).Elem())
	return slices.ContainsFunc(fields, func(f field) bool { return f.place == "query" && f.key == name })
}

// Request is what a request is decoded from.
type Request struct {
	Params Params
	Query  url.Values
	Header http.Header
	Body   []byte
}

// Decode reads a request of the operation and checks it. The result is a pointer
// to the operation's request type. Its errors are lambent.Errors whose reason is
// the name of AWS's exception.
func (o *Op) Decode(r Request) (any, error) {
	in := o.New()
	v := reflect.ValueOf(in).Elem()
	fields := plan(v.Type())
	if err := decodeBody(r.Body, fields, v, in); err != nil {
		return nil, err
	}
	for _, f := range fields {
		var values []string
		switch f.place {
		case "path":
			if s, ok := r.Params[f.key]; ok {
				values = []string{s}
			}
		case "query":
			values = r.Query[f.key]
		case "header":
			values = r.Header.Values(f.key)
		}
		if len(values) == 0 {
			continue
		}
		if err := setText(v.Field(f.index), f.name, values); err != nil {
			return nil, err
		}
	}
	if err := Validate(in); err != nil {
		return nil, err
	}
	return in, nil
}

func decodeBody(body []byte, fields []field, v reflect.Value, in any) error {
	for _, f := range fields {
		if f.place != "payload" {
			continue
		}
		if dst := v.Field(f.index); dst.Kind() == reflect.Slice {
			dst.SetBytes(body)
			return nil
		} else if len(bytes.TrimSpace(body)) > 0 {
			dst.Set(reflect.New(dst.Type().Elem()))
			return unmarshal(body, dst.Interface())
		}
		return nil
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	return unmarshal(body, in)
}

func unmarshal(body []byte, in any) error {
	err := json.Unmarshal(body, in)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		kind, _, _ := strings.Cut(wrong.Value, " ") // "number 1.5"
		return serialization(fmt.Sprintf("%s_VALUE can not be converted to %s at '%s'", strings.ToUpper(kind), javaType(wrong.Type), wrong.Field))
	case strings.Contains(err.Error(), "base64"):
		return serialization("the value of a blob is not base64")
	}
	return &lambent.Error{
		Code: lambent.CodeInvalid, Reason: "InvalidRequestContentException",
		Message: "Could not parse request body into json: " + err.Error(), Cause: err,
	}
}

func serialization(message string) error {
	return &lambent.Error{Code: lambent.CodeInvalid, Reason: "SerializationException", Message: message}
}

func javaType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int64:
		return "an Integer"
	case reflect.Float64:
		return "a Double"
	case reflect.Bool:
		return "a Boolean"
	case reflect.Slice:
		return "a List"
	case reflect.Struct, reflect.Map:
		return "an Object"
	}
	return "a String"
}

// setText sets a member from the path, the query or a header.
func setText(dst reflect.Value, name string, values []string) error {
	if dst.Kind() == reflect.Slice {
		if dst.Type().Elem().Kind() == reflect.String {
			dst.Set(reflect.ValueOf(values))
		}
		return nil
	}
	dst.Set(reflect.New(dst.Type().Elem()))
	text, target := values[0], dst.Elem()
	var err error
	switch target.Kind() {
	case reflect.String:
		target.SetString(text)
	case reflect.Int64:
		var n int64
		n, err = strconv.ParseInt(text, 10, 64)
		target.SetInt(n)
	case reflect.Float64:
		var n float64
		n, err = strconv.ParseFloat(text, 64)
		target.SetFloat(n)
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(text)
		target.SetBool(b)
	}
	if err != nil {
		return serialization(fmt.Sprintf("STRING_VALUE can not be converted to %s at '%s'", javaType(target.Type()), name))
	}
	return nil
}
