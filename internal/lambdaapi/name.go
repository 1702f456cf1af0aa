package lambdaapi

import (
	"strings"

	"lambent.dev/lambent"
)

// target is a function, and which of its versions or aliases, as a request
// names it.
type target struct {
	function  string
	qualifier string // "" when the request names none
}

const (
	functionNotFound = "Function not found: "
	mismatch         = "The derived qualifier from the function name does not match the specified qualifier."
)

// target reads a function's name in any of its forms, of which the model's
// pattern has been checked already. An explicit qualifier must not contradict
// one in the name.
func (h *handler) target(c caller, name string, qualifier *string) (target, error) {
	ref, err := lambent.ParseFunctionName(name, h.Region)
	switch lambent.ReasonOf(err) {
	case "":
	case "NameTooLong": // refused when it is made, and else merely not there
		ref = longName(name)
	case "InvalidName":
		return target{}, notFound(functionNotFound + lambent.FunctionARN(h.Region, c.namespace, name, ""))
	default:
		return target{}, err
	}
	if ref.Account != "" && ref.Account != c.namespace {
		return target{}, &lambent.Error{
			Code:    lambent.CodeDenied,
			Message: "The account " + c.namespace + " has no access to functions of the account " + ref.Account,
		}
	}
	t := target{function: ref.Name, qualifier: ref.Qualifier}
	switch q := deref(qualifier); {
	case q == "" || q == t.qualifier:
	case t.qualifier != "":
		return target{}, invalid(mismatch)
	default:
		t.qualifier = q
	}
	return t, nil
}

// longName takes apart a name that no function can have, so that it can be said
// not to be found.
func longName(name string) lambent.FunctionRef {
	if i := strings.LastIndex(name, "function:"); i >= 0 {
		name = name[i+len("function:"):]
	}
	function, qualifier, _ := strings.Cut(name, ":")
	return lambent.FunctionRef{Name: function, Qualifier: qualifier}
}

// function is target for operations on the function as a whole.
func (h *handler) function(c caller, name string) (string, error) {
	t, err := h.target(c, name, nil)
	return t.function, err
}

// arn is the ARN of t, as the request named it.
func (h *handler) arn(c caller, t target) string {
	return lambent.FunctionARN(h.Region, c.namespace, t.function, t.qualifier)
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// some returns a pointer to s, or nil for "": an empty member is left out.
func some(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
