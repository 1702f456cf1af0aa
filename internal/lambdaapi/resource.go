package lambdaapi

import (
	"net/http"
	"net/url"
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
		if in, ok := decoded(r, op, params, query).(*wire.CreateFunctionRequest); ok {
			function = deref(in.FunctionName)
		}
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

// PassedRole is the ARN of the role that a request gives to a function, which its
// caller must be allowed to pass on; "" is none.
func PassedRole(r *http.Request) string {
	query := r.URL.Query()
	op, params := wire.Match(r.Method, r.URL.EscapedPath(), query)
	if op == nil || op.Name != "CreateFunction" && op.Name != "UpdateFunctionConfiguration" {
		return ""
	}
	switch in := decoded(r, op, params, query).(type) {
	case *wire.CreateFunctionRequest:
		return deref(in.Role)
	case *wire.UpdateFunctionConfigurationRequest:
		return deref(in.Role)
	}
	return ""
}

// decoded is the request as the operation that was matched will read it; nil where
// that refuses it.
func decoded(r *http.Request, op *wire.Op, params map[string]string, query url.Values) any {
	body, err := auth.Body(r)
	if err != nil {
		return nil
	}
	in, err := op.Decode(wire.Request{Params: params, Query: query, Header: r.Header, Body: body})
	if err != nil {
		return nil
	}
	return in
}
