package lambdaapi

import (
	"context"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// taggedKinds are the resources other than functions that can have tags on AWS,
// with what it says when there is no such thing. There are none here yet.
var taggedKinds = map[string]string{
	"capacity-provider":    "Capacity provider not found: ",
	"code-signing-config":  "Code signing config not found: ",
	"event-source-mapping": "Event source mapping not found: ",
	"layer":                "Layer not found: ",
}

// otherKind is what an ARN names that is no function; "" for one that is.
func otherKind(arn string) string {
	if parts := strings.SplitN(arn, ":", 7); len(parts) == 7 && parts[5] != "function" {
		return parts[5]
	}
	return ""
}

// tagged finds the function that a tag operation's ARN names.
func (h *handler) tagged(c caller, arn string) (string, error) {
	if kind := otherKind(arn); kind != "" {
		return "", notFound(taggedKinds[kind] + arn)
	}
	t, err := h.target(c, arn, nil)
	if err != nil {
		return "", err
	}
	if t.qualifier != "" {
		return "", invalid("Tags on function aliases and versions are not supported. Please specify a function ARN.")
	}
	_, err = h.Catalog.Get(c.namespace, t.function, "")
	return t.function, err
}

func (h *handler) tagResource(ctx context.Context, c caller, in *wire.TagResourceRequest) (*none, error) {
	function, err := h.tagged(c, *in.Resource)
	if err != nil {
		return nil, err
	}
	if len(in.Tags) == 0 {
		return nil, &lambent.Error{Code: lambent.CodeInvalid, Message: "An error occurred and the request cannot be processed."}
	}
	return empty, h.Catalog.Tag(ctx, c.namespace, function, in.Tags)
}

func (h *handler) untagResource(ctx context.Context, c caller, in *wire.UntagResourceRequest) (*none, error) {
	function, err := h.tagged(c, *in.Resource)
	if err != nil {
		return nil, err
	}
	return empty, h.Catalog.Untag(ctx, c.namespace, function, in.TagKeys)
}

func (h *handler) listTags(_ context.Context, c caller, in *wire.ListTagsRequest) (*wire.ListTagsResponse, error) {
	function, err := h.tagged(c, *in.Resource)
	if err != nil {
		return nil, err
	}
	e, err := h.Catalog.Get(c.namespace, function, "")
	if err != nil {
		return nil, err
	}
	out := &wire.ListTagsResponse{Tags: e.Function.Tags}
	if out.Tags == nil {
		out.Tags = map[string]string{}
	}
	return out, nil
}
