package lambdaapi

import (
	"context"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

func (h *handler) publishVersion(ctx context.Context, c caller, in *wire.PublishVersionRequest) (*wire.FunctionConfiguration, error) {
	function, err := h.function(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	v, err := h.Catalog.PublishVersion(ctx, catalog.PublishVersion{
		Namespace: c.namespace, Function: function, Description: in.Description,
		CodeSHA256: deref(in.CodeSha256), RevisionID: deref(in.RevisionId),
	})
	if err != nil {
		return nil, err
	}
	return h.detail(v, v.Number), nil
}

func (h *handler) listVersions(_ context.Context, c caller, in *wire.ListVersionsByFunctionRequest) (*wire.ListVersionsByFunctionResponse, error) {
	function, p, err := h.pageOfFunction(c, *in.FunctionName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	items, next, err := h.Catalog.Versions(c.namespace, function, p.after, p.limit)
	if err != nil {
		return nil, err
	}
	out := &wire.ListVersionsByFunctionResponse{NextMarker: marker(next), Versions: make([]wire.FunctionConfiguration, len(items))}
	for i, v := range items {
		out.Versions[i] = *h.configuration(v, v.Number)
	}
	return out, nil
}

func (h *handler) alias(a *lambent.Alias) *wire.AliasConfiguration {
	out := &wire.AliasConfiguration{
		AliasArn: new(a.ARN(h.Region)), Name: &a.Name, FunctionVersion: &a.Version,
		Description: &a.Description, RevisionId: &a.RevisionID,
	}
	if len(a.Weights) > 0 {
		out.RoutingConfig = &wire.AliasRoutingConfiguration{AdditionalVersionWeights: a.Weights}
	}
	return out
}

func (h *handler) createAlias(ctx context.Context, c caller, in *wire.CreateAliasRequest) (*wire.AliasConfiguration, error) {
	function, err := h.function(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	a := lambent.Alias{
		Namespace: c.namespace, Function: function, Name: *in.Name,
		Version: *in.FunctionVersion, Description: deref(in.Description),
	}
	if in.RoutingConfig != nil {
		a.Weights = in.RoutingConfig.AdditionalVersionWeights
	}
	made, err := h.Catalog.CreateAlias(ctx, a)
	if err != nil {
		return nil, err
	}
	return h.alias(made), nil
}

func (h *handler) getAlias(_ context.Context, c caller, in *wire.GetAliasRequest) (*wire.AliasConfiguration, error) {
	function, err := h.function(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	a, err := h.Catalog.Alias(c.namespace, function, *in.Name)
	if err != nil {
		return nil, err
	}
	return h.alias(a), nil
}

func (h *handler) updateAlias(ctx context.Context, c caller, in *wire.UpdateAliasRequest) (*wire.AliasConfiguration, error) {
	function, err := h.function(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	up := catalog.UpdateAlias{
		Namespace: c.namespace, Function: function, Name: *in.Name,
		Version: in.FunctionVersion, Description: in.Description, RevisionID: deref(in.RevisionId),
	}
	if in.RoutingConfig != nil {
		up.Weights = &in.RoutingConfig.AdditionalVersionWeights
	}
	a, err := h.Catalog.UpdateAlias(ctx, up)
	if err != nil {
		return nil, err
	}
	return h.alias(a), nil
}

func (h *handler) deleteAlias(ctx context.Context, c caller, in *wire.DeleteAliasRequest) (*none, error) {
	function, err := h.function(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	return empty, h.Catalog.DeleteAlias(ctx, c.namespace, function, *in.Name)
}

func (h *handler) listAliases(_ context.Context, c caller, in *wire.ListAliasesRequest) (*wire.ListAliasesResponse, error) {
	function, p, err := h.pageOfFunction(c, *in.FunctionName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	items, next, err := h.Catalog.Aliases(c.namespace, function, deref(in.FunctionVersion), p.after, p.limit)
	if err != nil {
		return nil, err
	}
	out := &wire.ListAliasesResponse{NextMarker: marker(next), Aliases: make([]wire.AliasConfiguration, len(items))}
	for i, a := range items {
		out.Aliases[i] = *h.alias(a)
	}
	return out, nil
}
