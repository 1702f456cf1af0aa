package lambdaapi

import (
	"context"
	"fmt"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

func (h *handler) createFunction(ctx context.Context, c caller, in *wire.CreateFunctionRequest) (*wire.FunctionConfiguration, error) {
	// The limit for new names is stricter than that on how requests may name one.
	if _, err := lambent.ParseFunctionName(*in.FunctionName, ""); lambent.ReasonOf(err) == "NameTooLong" {
		return nil, err
	}
	function, err := h.function(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	if err := unsupported(in); err != nil {
		return nil, err
	}
	src, image, err := newSource(in)
	if err != nil {
		return nil, err
	}
	v := lambent.Version{
		Namespace: c.namespace, Function: function,
		Description: deref(in.Description), Role: *in.Role, PackageType: deref(in.PackageType),
		Runtime: deref(in.Runtime), Handler: deref(in.Handler),
		MemoryMB: int(deref(in.MemorySize)), Timeout: time.Duration(deref(in.Timeout)) * time.Second,
	}
	if len(in.Architectures) > 0 {
		v.Arch = in.Architectures[0]
	}
	if in.EphemeralStorage != nil {
		v.EphemeralMB = int(deref(in.EphemeralStorage.Size))
	}
	if in.Environment != nil {
		v.Env = variables(in.Environment)
	}
	if in.TracingConfig != nil {
		v.TracingMode = deref(in.TracingConfig.Mode)
	}
	if in.SnapStart != nil {
		v.SnapStart = deref(in.SnapStart.ApplyOn)
	}
	setLogging(&v, in.LoggingConfig)
	setImageConfig(&v, in.ImageConfig)
	if err := createExtra(in).keep(&v); err != nil {
		return nil, err
	}
	made, err := h.Catalog.CreateFunction(ctx, catalog.CreateFunction{
		Version: v, Source: src, Image: image, LayerARNs: in.Layers, Tags: in.Tags, Publish: deref(in.Publish),
	})
	if err != nil {
		return nil, err
	}
	return h.detail(made, ""), nil
}

// unsupported refuses what would change how a function is made, signed or run, and
// must not be passed over.
func unsupported(in *wire.CreateFunctionRequest) error {
	switch {
	case in.PublishTo != nil:
		return notImplemented("PublishTo")
	case in.TenancyConfig != nil:
		return notImplemented("TenancyConfig")
	case deref(in.CodeSigningConfigArn) != "":
		return signingNotFound(*in.CodeSigningConfigArn)
	}
	return unsupportedRun(in.DurableConfig, in.CapacityProviderConfig, in.FileSystemConfigs)
}

// unsupportedRun refuses ways of running a function that lambent does not have.
func unsupportedRun(durable *wire.DurableConfig, capacity *wire.CapacityProviderConfig, files []wire.FileSystemConfig) error {
	switch {
	case len(files) > 0:
		return notImplemented("FileSystemConfigs")
	case durable != nil:
		return notImplemented("DurableConfig")
	case capacity != nil:
		return notImplemented("CapacityProviderConfig")
	}
	return nil
}

// variables tells an environment that is there but empty from none: AWS shows
// the one and not the other.
func variables(e *wire.Environment) map[string]string {
	if e.Variables == nil {
		return map[string]string{}
	}
	return e.Variables
}

func source(code *wire.FunctionCode) (artifact.Source, error) {
	src := artifact.Source{
		Zip: code.ZipFile, S3Bucket: deref(code.S3Bucket), S3Key: deref(code.S3Key), S3ObjectVersion: deref(code.S3ObjectVersion),
	}
	return src, checkSource(src)
}

func checkSource(src artifact.Source) error {
	switch {
	case len(src.Zip) > lambent.MaxZipUpload:
		return &lambent.Error{
			Code: lambent.CodeTooLarge, Reason: "RequestEntityTooLargeException",
			Message: fmt.Sprintf("Zipped size must be smaller than %d bytes", lambent.MaxZipUpload),
		}
	case src.Zip != nil && (src.S3Bucket != "" || src.S3Key != ""):
		return invalid("Please do not provide other FunctionCode parameters when providing a ZipFile.")
	case src.Zip == nil && (src.S3Bucket == "" || src.S3Key == ""):
		return invalid("Please provide a source for function code.")
	}
	return nil
}

func (h *handler) getFunction(_ context.Context, c caller, in *wire.GetFunctionRequest) (*wire.GetFunctionResponse, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	e, err := h.Catalog.Get(c.namespace, t.function, t.qualifier)
	if err != nil {
		return nil, err
	}
	out := &wire.GetFunctionResponse{
		Configuration: h.detail(e.Version, t.qualifier),
		Code:          h.codeLocation(c, e.Version),
	}
	if len(e.Function.Tags) > 0 {
		out.Tags = e.Function.Tags
	}
	if n := e.Function.Reserved; n != nil {
		out.Concurrency = &wire.Concurrency{ReservedConcurrentExecutions: new(int64(*n))}
	}
	return out, nil
}

func (h *handler) getFunctionConfiguration(_ context.Context, c caller, in *wire.GetFunctionConfigurationRequest) (*wire.FunctionConfiguration, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	e, err := h.Catalog.Get(c.namespace, t.function, t.qualifier)
	if err != nil {
		return nil, err
	}
	return h.detail(e.Version, t.qualifier), nil
}

func (h *handler) updateFunctionCode(ctx context.Context, c caller, in *wire.UpdateFunctionCodeRequest) (*wire.FunctionConfiguration, error) {
	function, err := h.function(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	e, err := h.Catalog.Get(c.namespace, function, "")
	if err != nil {
		return nil, err
	}
	if in.PublishTo != nil {
		return nil, notImplemented("PublishTo")
	}
	src, err := otherSource(e.Version, in)
	if err != nil {
		return nil, err
	}
	up := catalog.UpdateCode{
		Namespace: c.namespace, Function: function, Source: src, Image: deref(in.ImageUri),
		Publish: deref(in.Publish), DryRun: deref(in.DryRun), RevisionID: deref(in.RevisionId),
	}
	if len(in.Architectures) > 0 {
		up.Arch = in.Architectures[0]
	}
	v, err := h.Catalog.UpdateCode(ctx, up)
	if err != nil {
		return nil, err
	}
	return h.detail(v, publishedNumber(v)), nil
}

// publishedNumber is the number of a published version, and "" for the head.
func publishedNumber(v *lambent.Version) string {
	if v.Published() {
		return v.Number
	}
	return ""
}

func (h *handler) updateFunctionConfiguration(ctx context.Context, c caller, in *wire.UpdateFunctionConfigurationRequest) (*wire.FunctionConfiguration, error) {
	function, err := h.function(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	if err := unsupportedRun(in.DurableConfig, in.CapacityProviderConfig, in.FileSystemConfigs); err != nil {
		return nil, err
	}
	up := catalog.UpdateConfig{
		Namespace: c.namespace, Function: function, RevisionID: deref(in.RevisionId),
		Apply: func(v *lambent.Version) { applyUpdate(v, in) },
	}
	if in.Layers != nil {
		up.LayerARNs = &in.Layers
	}
	v, err := h.Catalog.UpdateConfig(ctx, up)
	if err != nil {
		return nil, err
	}
	return h.detail(v, ""), nil
}

// applyUpdate writes the members that a request has into a copy of the head.
func applyUpdate(v *lambent.Version, in *wire.UpdateFunctionConfigurationRequest) {
	set(&v.Role, in.Role)
	set(&v.Handler, in.Handler)
	set(&v.Description, in.Description)
	set(&v.Runtime, in.Runtime)
	if in.Timeout != nil {
		v.Timeout = time.Duration(*in.Timeout) * time.Second
	}
	if in.MemorySize != nil {
		v.MemoryMB = int(*in.MemorySize)
	}
	if in.EphemeralStorage != nil && in.EphemeralStorage.Size != nil {
		v.EphemeralMB = int(*in.EphemeralStorage.Size)
	}
	if in.Environment != nil {
		v.Env = variables(in.Environment)
	}
	if in.TracingConfig != nil {
		set(&v.TracingMode, in.TracingConfig.Mode)
	}
	if in.SnapStart != nil {
		set(&v.SnapStart, in.SnapStart.ApplyOn)
	}
	setLogging(v, in.LoggingConfig)
	setImageConfig(v, in.ImageConfig)
	_ = updateExtra(in).keep(v) // shapes of our own always marshal
}

func (h *handler) deleteFunction(ctx context.Context, c caller, in *wire.DeleteFunctionRequest) (*none, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	// A qualifier that no version or alias can have says nothing about aliases;
	// AWS was recorded to look for the function first.
	if t.qualifier != "" && t.qualifier != lambent.Latest && !lambent.ValidName(t.qualifier) {
		if _, err := h.Catalog.Get(c.namespace, t.function, ""); err != nil {
			return nil, err
		}
	}
	return empty, h.Catalog.DeleteFunction(ctx, c.namespace, t.function, t.qualifier)
}

func (h *handler) listFunctions(_ context.Context, c caller, in *wire.ListFunctionsRequest) (*wire.ListFunctionsResponse, error) {
	p, err := pageOf(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	all := deref(in.FunctionVersion) == "ALL"
	items, next := h.Catalog.List(c.namespace, all, p.after, p.limit)
	out := &wire.ListFunctionsResponse{NextMarker: marker(next), Functions: make([]wire.FunctionConfiguration, len(items))}
	for i, v := range items {
		qualifier := ""
		if all {
			qualifier = v.Number
		}
		out.Functions[i] = *h.configuration(v, qualifier)
	}
	return out, nil
}
