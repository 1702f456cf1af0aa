package lambdaapi

import (
	"context"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// absent are the operations on things that cannot be made here yet. What they
// answer is true all the same: lists are empty, and nothing of that name is
// there. Tools that look before they act can then go on.
func (h *handler) absent() map[string]operation {
	return map[string]operation{
		"ListEventSourceMappings":  list(&wire.ListEventSourceMappingsResponse{EventSourceMappings: []wire.EventSourceMappingConfiguration{}}),
		"GetEventSourceMapping":    missing,
		"UpdateEventSourceMapping": missing,
		"DeleteEventSourceMapping": missing,

		"ListCodeSigningConfigs":           list(&wire.ListCodeSigningConfigsResponse{CodeSigningConfigs: []wire.CodeSigningConfig{}}),
		"GetCodeSigningConfig":             unsigned(func(in *wire.GetCodeSigningConfigRequest) *string { return in.CodeSigningConfigArn }),
		"UpdateCodeSigningConfig":          unsigned(func(in *wire.UpdateCodeSigningConfigRequest) *string { return in.CodeSigningConfigArn }),
		"DeleteCodeSigningConfig":          unsigned(func(in *wire.DeleteCodeSigningConfigRequest) *string { return in.CodeSigningConfigArn }),
		"ListFunctionsByCodeSigningConfig": unsigned(func(in *wire.ListFunctionsByCodeSigningConfigRequest) *string { return in.CodeSigningConfigArn }),
		"PutFunctionCodeSigningConfig": bind(func(_ context.Context, _ caller, in *wire.PutFunctionCodeSigningConfigRequest) (*none, error) {
			return nil, signingNotFound(*in.CodeSigningConfigArn)
		}),

		"ListCapacityProviders":                  list(&wire.ListCapacityProvidersResponse{CapacityProviders: []wire.CapacityProvider{}}),
		"GetCapacityProvider":                    missing,
		"UpdateCapacityProvider":                 missing,
		"DeleteCapacityProvider":                 missing,
		"ListFunctionVersionsByCapacityProvider": missing,

		"ListDurableExecutionsByFunction": bind(h.listDurableExecutions),
		"GetDurableExecution":             missing,
		"GetDurableExecutionHistory":      missing,
		"StopDurableExecution":            missing,
	}
}

// list answers with an empty list.
func list(out any) operation {
	return func(context.Context, caller, any) (any, error) { return out, nil }
}

// missing answers as for an id that nothing has.
func missing(context.Context, caller, any) (any, error) {
	return nil, notFound("The resource you requested does not exist.")
}

// unsigned answers as for a code signing configuration, which arn finds in a request.
func unsigned[In any](arn func(*In) *string) operation {
	return bind(func(_ context.Context, _ caller, in *In) (*none, error) {
		return nil, notFound(noSigningConfig + *arn(in) + " can not be found.")
	})
}

// signingNotFound is for a function that shall have a code signing configuration.
func signingNotFound(arn string) error {
	return &lambent.Error{
		Code: lambent.CodeNotFound, Reason: "CodeSigningConfigNotFoundException",
		Message: "The code signing configuration cannot be found. Check that the provided configuration is not deleted: " + arn + ".",
	}
}

func (h *handler) listDurableExecutions(_ context.Context, c caller, in *wire.ListDurableExecutionsByFunctionRequest) (*wire.ListDurableExecutionsByFunctionResponse, error) {
	_, err := h.existing(c, *in.FunctionName, in.Qualifier)
	return &wire.ListDurableExecutionsByFunctionResponse{DurableExecutions: []wire.Execution{}}, err
}
