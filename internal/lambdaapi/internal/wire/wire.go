// Package wire is the syntax of the AWS Lambda API: its operations and their
// routes, the shapes of requests and answers, and what a request must satisfy
// before anyone looks at its meaning. The tables are generated from AWS's own
// model; a small interpreter routes, decodes and checks by them. It knows no
// function and no other room; package lambdaapi is its only user.
package wire

//go:generate go run ../modelgen -wheel $BOTOCORE_WHEEL -out .

// Op is one operation of the API.
type Op struct {
	Name   string
	Method string
	Path   string // template, such as "/2015-03-31/functions/{FunctionName}"
	Query  string // "name=value" that must be in the query, or ""
	Status int    // of a successful answer
	input  func() any
}

// Exception is how AWS answers one kind of error.
type Exception struct {
	Status int    // HTTP status
	Member string // of the JSON body that holds the message
}

// Errors that AWS answers without having them in the model, as recorded.
var unmodelled = map[string]Exception{
	"AccessDeniedException":          {Status: 403, Member: "Message"},
	"RequestEntityTooLargeException": {Status: 413, Member: "message"},
	"SerializationException":         {Status: 400, Member: "Message"},
	"UnknownOperationException":      {Status: 404, Member: "message"},
	"ValidationException":            {Status: 400, Member: "message"},
}

// LookupException finds an exception by name. modelled tells whether its body
// may have other members than the message, such as Type.
func LookupException(name string) (x Exception, modelled, ok bool) {
	if x, ok = exceptions[name]; ok {
		return x, true, true
	}
	x, ok = unmodelled[name]
	return x, false, ok
}

func newOf[T any]() any { return new(T) }

// New returns a pointer to an empty request of the operation.
func (o *Op) New() any { return o.input() }
