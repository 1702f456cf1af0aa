package lambdaapi

import (
	"context"
	"encoding/json"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// layer reads a layer's name or ARN, which must be the caller's and of this
// region.
func (h *handler) layer(c caller, nameOrARN string) (lambent.LayerName, error) {
	l, err := lambent.ParseLayerName(nameOrARN)
	if err != nil {
		return l, err
	}
	if l.Region != "" && l.Region != h.Region {
		return l, notFound("Layers from '" + l.Region + "' are not reachable in this region ('" + h.Region + "')")
	}
	if l.Account != "" && l.Account != c.namespace {
		return l, &lambent.Error{
			Code:    lambent.CodeDenied,
			Message: "The account " + c.namespace + " has no access to layers of the account " + l.Account,
		}
	}
	return l, nil
}

// layerVersion is layer with a version number.
func (h *handler) layerVersion(c caller, nameOrARN string, number int64) (lambent.LayerName, error) {
	l, err := h.layer(c, nameOrARN)
	if err != nil {
		return l, err
	}
	if number < 1 {
		return l, invalid("Layer Version Cannot be less than 1")
	}
	l.Version = int(min(number, 1<<31-1))
	return l, nil
}

func (h *handler) publishLayerVersion(ctx context.Context, c caller, in *wire.PublishLayerVersionRequest) (*wire.PublishLayerVersionResponse, error) {
	l, err := h.layer(c, *in.LayerName)
	if err != nil {
		return nil, err
	}
	src := artifact.Source{
		Zip: in.Content.ZipFile, S3Bucket: deref(in.Content.S3Bucket), S3Key: deref(in.Content.S3Key), S3ObjectVersion: deref(in.Content.S3ObjectVersion),
	}
	if err := checkSource(src); err != nil {
		return nil, err
	}
	v, err := h.Catalog.PublishLayer(ctx, catalog.PublishLayer{
		Namespace: c.namespace, Name: l.Name, Description: deref(in.Description), License: deref(in.LicenseInfo),
		Runtimes: in.CompatibleRuntimes, Archs: in.CompatibleArchitectures, Source: src,
	})
	if err != nil {
		return nil, err
	}
	out := wire.PublishLayerVersionResponse(*h.layerDetail(c, v))
	return &out, nil
}

func (h *handler) layerDetail(c caller, v *lambent.LayerVersion) *wire.GetLayerVersionResponse {
	return &wire.GetLayerVersionResponse{
		Content: &wire.LayerVersionContentOutput{
			Location: new(h.codeLink(c, v.Digest)), CodeSha256: new(v.Digest.CodeSHA256()), CodeSize: &v.Size,
		},
		LayerArn: new(v.LayerARN(h.Region)), LayerVersionArn: new(v.ARN(h.Region)),
		Description: &v.Description, CreatedDate: new(v.Created.UTC().Format(timestamp)), Version: new(int64(v.Number)),
		CompatibleArchitectures: v.Archs, CompatibleRuntimes: v.Runtimes, LicenseInfo: some(v.License),
	}
}

func (h *handler) layerItem(v *lambent.LayerVersion) *wire.LayerVersionsListItem {
	return &wire.LayerVersionsListItem{
		LayerVersionArn: new(v.ARN(h.Region)), Version: new(int64(v.Number)), Description: &v.Description,
		CreatedDate:             new(v.Created.UTC().Format(timestamp)),
		CompatibleArchitectures: v.Archs, CompatibleRuntimes: v.Runtimes, LicenseInfo: some(v.License),
	}
}

func (h *handler) getLayerVersion(_ context.Context, c caller, in *wire.GetLayerVersionRequest) (*wire.GetLayerVersionResponse, error) {
	l, err := h.layerVersion(c, *in.LayerName, *in.VersionNumber)
	if err != nil {
		return nil, err
	}
	return h.showLayer(c, l)
}

func (h *handler) getLayerVersionByArn(_ context.Context, c caller, in *wire.GetLayerVersionByArnRequest) (*wire.GetLayerVersionResponse, error) {
	l, err := h.layer(c, *in.Arn)
	if err != nil {
		return nil, err
	}
	return h.showLayer(c, l)
}

func (h *handler) showLayer(c caller, l lambent.LayerName) (*wire.GetLayerVersionResponse, error) {
	v, err := h.Catalog.Layer(c.namespace, l.Name, l.Version)
	if lambent.CodeOf(err) == lambent.CodeNotFound {
		return nil, notFound("The resource you requested does not exist.")
	} else if err != nil {
		return nil, err
	}
	return h.layerDetail(c, v), nil
}

func (h *handler) listLayers(_ context.Context, c caller, in *wire.ListLayersRequest) (*wire.ListLayersResponse, error) {
	p, err := pageOf(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	items, next := h.Catalog.Layers(c.namespace, deref(in.CompatibleRuntime), deref(in.CompatibleArchitecture), p.after, p.limit)
	out := &wire.ListLayersResponse{NextMarker: marker(next), Layers: make([]wire.LayersListItem, len(items))}
	for i, v := range items {
		out.Layers[i] = wire.LayersListItem{LayerName: &v.Name, LayerArn: new(v.LayerARN(h.Region)), LatestMatchingVersion: h.layerItem(v)}
	}
	return out, nil
}

func (h *handler) listLayerVersions(_ context.Context, c caller, in *wire.ListLayerVersionsRequest) (*wire.ListLayerVersionsResponse, error) {
	l, err := h.layer(c, *in.LayerName)
	if err != nil {
		return nil, err
	}
	p, err := pageOf(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	items, next := h.Catalog.LayerVersions(c.namespace, l.Name, deref(in.CompatibleRuntime), deref(in.CompatibleArchitecture), p.after, p.limit)
	out := &wire.ListLayerVersionsResponse{NextMarker: marker(next), LayerVersions: make([]wire.LayerVersionsListItem, len(items))}
	for i, v := range items {
		out.LayerVersions[i] = *h.layerItem(v)
	}
	return out, nil
}

func (h *handler) deleteLayerVersion(ctx context.Context, c caller, in *wire.DeleteLayerVersionRequest) (*none, error) {
	l, err := h.layerVersion(c, *in.LayerName, *in.VersionNumber)
	if err != nil {
		return nil, err
	}
	err = h.Catalog.DeleteLayer(ctx, c.namespace, l.Name, l.Version)
	if lambent.CodeOf(err) == lambent.CodeNotFound {
		err = nil // what is not there is as good as deleted (recorded)
	}
	return empty, err
}

// policyLayer finds the layer version that a permission is about.
func (h *handler) policyLayer(c caller, nameOrARN string, number int64) (arn string, err error) {
	l, err := h.layerVersion(c, nameOrARN, number)
	if err != nil {
		return "", err
	}
	arn = lambent.LayerARN(h.Region, c.namespace, l.Name, l.Version)
	if _, err := h.Catalog.Layer(c.namespace, l.Name, l.Version); lambent.CodeOf(err) == lambent.CodeNotFound {
		return "", notFound("Layer version " + arn + " does not exist.")
	} else if err != nil {
		return "", err
	}
	return arn, nil
}

func (h *handler) addLayerVersionPermission(ctx context.Context, c caller, in *wire.AddLayerVersionPermissionRequest) (*wire.AddLayerVersionPermissionResponse, error) {
	arn, err := h.policyLayer(c, *in.LayerName, *in.VersionNumber)
	if err != nil {
		return nil, err
	}
	who, err := principal(*in.Principal)
	if err != nil {
		return nil, err
	}
	st := statement{Sid: *in.StatementId, Effect: "Allow", Principal: who, Action: *in.Action, Resource: arn}
	if in.OrganizationId != nil {
		st.Condition = &condition{StringEquals: map[string]string{"aws:PrincipalOrgID": *in.OrganizationId}}
	}
	raw, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	p, err := h.Catalog.AddStatement(ctx, arn, catalog.Statement{Sid: st.Sid, JSON: raw}, deref(in.RevisionId))
	if err != nil {
		return nil, err
	}
	return &wire.AddLayerVersionPermissionResponse{Statement: new(string(raw)), RevisionId: &p.RevisionID}, nil
}

func (h *handler) removeLayerVersionPermission(ctx context.Context, c caller, in *wire.RemoveLayerVersionPermissionRequest) (*none, error) {
	arn, err := h.policyLayer(c, *in.LayerName, *in.VersionNumber)
	if err != nil {
		return nil, err
	}
	return empty, h.removeStatement(ctx, arn, *in.StatementId, deref(in.RevisionId))
}

func (h *handler) getLayerVersionPolicy(_ context.Context, c caller, in *wire.GetLayerVersionPolicyRequest) (*wire.GetLayerVersionPolicyResponse, error) {
	arn, err := h.policyLayer(c, *in.LayerName, *in.VersionNumber)
	if err != nil {
		return nil, err
	}
	p, ok := h.Catalog.Policy(arn)
	if !ok {
		return nil, notFound("No policy is associated with the given resource.")
	}
	return &wire.GetLayerVersionPolicyResponse{Policy: new(policyText(p)), RevisionId: &p.RevisionID}, nil
}
