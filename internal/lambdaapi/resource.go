package lambdaapi

import (
	"net/http"
	"strconv"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// Resource is the ARN of what a request of a namespace is about, for who decides
// whether its caller may do that; "*" where it is about nothing in particular
// ("Actions, resources, and condition keys for AWS Lambda", Service authorization
// reference).
func Resource(r *http.Request, region, namespace string) string {
	query := r.URL.Query()
	op, params := wire.Match(r.Method, r.URL.EscapedPath(), query)
	if op == nil {
		return "*"
	}
	function := params["FunctionName"]
	if op.Name == "CreateFunction" {
		function = nameInBody(r, op)
	}
	switch {
	case function != "":
		ref, err := lambent.ParseFunctionName(function, region)
		if err != nil { // the operation refuses it, too
			return lambent.FunctionARN(region, namespace, function, "")
		}
		if ref.Account != "" {
			namespace = ref.Account
		}
		if ref.Qualifier == "" {
			ref.Qualifier = query.Get("Qualifier")
		}
		return lambent.FunctionARN(region, namespace, ref.Name, ref.Qualifier)
	case strings.HasPrefix(params["LayerName"], "arn:"):
		return params["LayerName"]
	case params["LayerName"] != "":
		number, _ := strconv.Atoi(params["VersionNumber"]) // 0 is the layer itself
		return lambent.LayerARN(region, namespace, params["LayerName"], number)
	case params["Resource"] != "":
		return params["Resource"]
	case op.Name == "GetLayerVersionByArn":
		return query.Get("Arn")
	}
	return "*"
}

// nameInBody is the function that a request to create one names, as the operation
// will read it.
func nameInBody(r *http.Request, op *wire.Op) string {
	body, err := auth.Body(r)
	if err != nil {
		return "" // the operation says so
	}
	in, err := op.Decode(wire.Request{Header: r.Header, Body: body})
	if err != nil {
		return ""
	}
	return deref(in.(*wire.CreateFunctionRequest).FunctionName)
}
