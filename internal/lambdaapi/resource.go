package lambdaapi

import (
	"cmp"
	"net/http"
	"strconv"

	"lambent.dev/lambent"
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
		in, _ := decoded(r, op, params, query) // the operation says what is wrong
		if in, ok := in.(*wire.CreateFunctionRequest); ok {
			function = deref(in.FunctionName)
		}
	}
	switch {
	case function != "":
		return functionResource(op, function, query.Get("Qualifier"), region, namespace)
	case params["LayerName"] != "":
		number, _ := strconv.Atoi(params["VersionNumber"]) // 0 is the layer itself
		return layerResource(params["LayerName"], &number, region, namespace)
	case params["Resource"] != "": // of tags
		if otherKind(params["Resource"]) != "" {
			return params["Resource"]
		}
		return functionResource(op, params["Resource"], "", region, namespace)
	case op.Name == "GetLayerVersionByArn":
		return layerResource(query.Get("Arn"), nil, region, namespace)
	}
	return "*"
}

// functionResource is the ARN of a function, and of a version or alias of it only for
// an operation that is about those: others are about the function, whatever the request
// says beside its name.
func functionResource(op *wire.Op, name, qualifier, region, namespace string) string {
	ref, err := lambent.ParseFunctionName(name, region)
	if err != nil { // the operation refuses it, too
		return lambent.FunctionARN(region, namespace, name, "")
	}
	switch takes := op.Takes("Qualifier"); {
	case !takes && op.Name != "InvokeAsync":
		ref.Qualifier = ""
	case takes:
		ref.Qualifier = cmp.Or(ref.Qualifier, qualifier)
	}
	return lambent.FunctionARN(region, cmp.Or(ref.Account, namespace), ref.Name, ref.Qualifier)
}

// layerResource is the ARN of a layer, and of a version of it: the one of that number,
// unless it is 0, or the one that the name says itself.
func layerResource(name string, number *int, region, namespace string) string {
	l, err := lambent.ParseLayerName(name)
	if err != nil { // the operation refuses it, too
		return name
	}
	if number != nil {
		l.Version = *number
	}
	return lambent.LayerARN(cmp.Or(l.Region, region), cmp.Or(l.Account, namespace), l.Name, l.Version)
}

// PassedRole is the ARN of the role that a request gives to a function, which its
// caller must be allowed to pass on; "" is none.
func PassedRole(r *http.Request) string {
	query := r.URL.Query()
	op, params := wire.Match(r.Method, r.URL.EscapedPath(), query)
	if op == nil || op.Name != "CreateFunction" && op.Name != "UpdateFunctionConfiguration" {
		return ""
	}
	in, _ := decoded(r, op, params, query) // the operation says what is wrong
	switch in := in.(type) {
	case *wire.CreateFunctionRequest:
		return deref(in.Role)
	case *wire.UpdateFunctionConfigurationRequest:
		return deref(in.Role)
	}
	return ""
}
