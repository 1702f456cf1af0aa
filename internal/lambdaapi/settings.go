package lambdaapi

import (
	"context"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

func (h *handler) getAccountSettings(_ context.Context, c caller, _ *wire.GetAccountSettingsRequest) (*wire.GetAccountSettingsResponse, error) {
	functions, size := h.Catalog.Usage(c.namespace)
	return &wire.GetAccountSettingsResponse{
		AccountLimit: &wire.AccountLimit{
			TotalCodeSize:                  new(int64(lambent.MaxCodeStorage)),
			CodeSizeUnzipped:               new(int64(lambent.MaxUnzipped)),
			CodeSizeZipped:                 new(int64(lambent.MaxZipUpload)),
			ConcurrentExecutions:           new(int64(h.Concurrency)),
			UnreservedConcurrentExecutions: new(int64(h.Concurrency - h.Catalog.Taken(c.namespace, ""))),
		},
		AccountUsage: &wire.AccountUsage{FunctionCount: new(int64(functions)), TotalCodeSize: new(size)},
	}, nil
}

// wholeFunction finds the function that a setting of all its versions is for.
func (h *handler) wholeFunction(c caller, name, missing string) (*lambent.Function, error) {
	t, err := h.target(c, name, nil)
	if err != nil {
		return nil, err
	}
	if t.qualifier != "" {
		return nil, invalid("This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. " +
			"Please specify either a function name or an unqualified function ARN.")
	}
	e, err := h.Catalog.Get(c.namespace, t.function, "")
	if lambent.CodeOf(err) == lambent.CodeNotFound {
		return nil, notFound(functionNotFound + lambent.FunctionARN(h.Region, c.namespace, t.function, missing))
	}
	return e.Function, err
}

func (h *handler) putFunctionConcurrency(ctx context.Context, c caller, in *wire.PutFunctionConcurrencyRequest) (*wire.Concurrency, error) {
	f, err := h.wholeFunction(c, *in.FunctionName, lambent.Latest)
	if err != nil {
		return nil, err
	}
	n := int(*in.ReservedConcurrentExecutions)
	if err := h.Catalog.SetReserved(ctx, c.namespace, f.Name, &n); err != nil {
		return nil, err
	}
	return &wire.Concurrency{ReservedConcurrentExecutions: in.ReservedConcurrentExecutions}, nil
}

func (h *handler) getFunctionConcurrency(_ context.Context, c caller, in *wire.GetFunctionConcurrencyRequest) (*wire.GetFunctionConcurrencyResponse, error) {
	f, err := h.wholeFunction(c, *in.FunctionName, "")
	if err != nil {
		return nil, err
	}
	out := &wire.GetFunctionConcurrencyResponse{}
	if f.Reserved != nil {
		out.ReservedConcurrentExecutions = new(int64(*f.Reserved))
	}
	return out, nil
}

func (h *handler) deleteFunctionConcurrency(ctx context.Context, c caller, in *wire.DeleteFunctionConcurrencyRequest) (*none, error) {
	f, err := h.wholeFunction(c, *in.FunctionName, lambent.Latest)
	if err != nil {
		return nil, err
	}
	return empty, h.Catalog.SetReserved(ctx, c.namespace, f.Name, nil)
}

// What follows are settings that lambent does not have: the answers are those of
// a function on which they were never touched, because tools such as Terraform
// and CloudFormation read them of every function.

func (h *handler) getFunctionCodeSigningConfig(_ context.Context, c caller, in *wire.GetFunctionCodeSigningConfigRequest) (*wire.GetFunctionCodeSigningConfigResponse, error) {
	_, err := h.existing(c, *in.FunctionName, nil)
	return &wire.GetFunctionCodeSigningConfigResponse{}, err
}

func (h *handler) deleteFunctionCodeSigningConfig(_ context.Context, c caller, in *wire.DeleteFunctionCodeSigningConfigRequest) (*none, error) {
	_, err := h.existing(c, *in.FunctionName, nil)
	return empty, err
}

func (h *handler) getRuntimeManagementConfig(_ context.Context, c caller, in *wire.GetRuntimeManagementConfigRequest) (*wire.GetRuntimeManagementConfigResponse, error) {
	arn, err := h.existing(c, *in.FunctionName, in.Qualifier)
	return &wire.GetRuntimeManagementConfigResponse{FunctionArn: &arn, UpdateRuntimeOn: new("Auto")}, err
}

// putRuntimeManagementConfig takes what is so anyway: a runtime is always the one
// that the host has.
func (h *handler) putRuntimeManagementConfig(_ context.Context, c caller, in *wire.PutRuntimeManagementConfigRequest) (*wire.PutRuntimeManagementConfigResponse, error) {
	arn, err := h.existing(c, *in.FunctionName, in.Qualifier)
	if err == nil && *in.UpdateRuntimeOn != "Auto" {
		err = notImplemented("UpdateRuntimeOn " + *in.UpdateRuntimeOn)
	}
	return &wire.PutRuntimeManagementConfigResponse{FunctionArn: &arn, UpdateRuntimeOn: in.UpdateRuntimeOn}, err
}

func (h *handler) getFunctionScalingConfig(_ context.Context, c caller, in *wire.GetFunctionScalingConfigRequest) (*wire.GetFunctionScalingConfigResponse, error) {
	arn, err := h.existing(c, *in.FunctionName, in.Qualifier)
	return &wire.GetFunctionScalingConfigResponse{FunctionArn: &arn}, err
}

// existing checks that the version that a request names is there and returns its
// ARN as named.
func (h *handler) existing(c caller, name string, qualifier *string) (string, error) {
	t, err := h.target(c, name, qualifier)
	if err != nil {
		return "", err
	}
	_, err = h.Catalog.Get(c.namespace, t.function, t.qualifier)
	return h.arn(c, t), err
}
