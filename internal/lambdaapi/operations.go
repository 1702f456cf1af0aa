package lambdaapi

import (
	"context"
	"maps"
)

// table names the operations that are answered. All others of the model are
// decoded and checked, and then answered with "not implemented". Invoke and
// InvokeWithResponseStream are not here: they have ways of their own.
func (h *handler) table() map[string]operation {
	all := h.present()
	maps.Copy(all, h.absent())
	return all
}

// present are the operations on what lambent has.
func (h *handler) present() map[string]operation {
	return map[string]operation{
		"CreateFunction":              bind(h.createFunction),
		"GetFunction":                 bind(h.getFunction),
		"GetFunctionConfiguration":    bind(h.getFunctionConfiguration),
		"UpdateFunctionCode":          bind(h.updateFunctionCode),
		"UpdateFunctionConfiguration": bind(h.updateFunctionConfiguration),
		"DeleteFunction":              bind(h.deleteFunction),
		"ListFunctions":               bind(h.listFunctions),

		"PublishVersion":         bind(h.publishVersion),
		"ListVersionsByFunction": bind(h.listVersions),
		"CreateAlias":            bind(h.createAlias),
		"GetAlias":               bind(h.getAlias),
		"UpdateAlias":            bind(h.updateAlias),
		"DeleteAlias":            bind(h.deleteAlias),
		"ListAliases":            bind(h.listAliases),

		"TagResource":   bind(h.tagResource),
		"UntagResource": bind(h.untagResource),
		"ListTags":      bind(h.listTags),

		"AddPermission":    bind(h.addPermission),
		"RemovePermission": bind(h.removePermission),
		"GetPolicy":        bind(h.getPolicy),

		"PublishLayerVersion":          bind(h.publishLayerVersion),
		"GetLayerVersion":              bind(h.getLayerVersion),
		"GetLayerVersionByArn":         bind(h.getLayerVersionByArn),
		"ListLayers":                   bind(h.listLayers),
		"ListLayerVersions":            bind(h.listLayerVersions),
		"DeleteLayerVersion":           bind(h.deleteLayerVersion),
		"AddLayerVersionPermission":    bind(h.addLayerVersionPermission),
		"RemoveLayerVersionPermission": bind(h.removeLayerVersionPermission),
		"GetLayerVersionPolicy":        bind(h.getLayerVersionPolicy),

		"CreateFunctionUrlConfig": bind(h.createFunctionUrlConfig),
		"GetFunctionUrlConfig":    bind(h.getFunctionUrlConfig),
		"UpdateFunctionUrlConfig": bind(h.updateFunctionUrlConfig),
		"DeleteFunctionUrlConfig": bind(h.deleteFunctionUrlConfig),
		"ListFunctionUrlConfigs":  bind(h.listFunctionUrlConfigs),

		"InvokeAsync":                     bind(h.invokeAsync),
		"PutFunctionEventInvokeConfig":    bind(h.putFunctionEventInvokeConfig),
		"UpdateFunctionEventInvokeConfig": bind(h.updateFunctionEventInvokeConfig),
		"GetFunctionEventInvokeConfig":    bind(h.getFunctionEventInvokeConfig),
		"DeleteFunctionEventInvokeConfig": bind(h.deleteFunctionEventInvokeConfig),
		"ListFunctionEventInvokeConfigs":  bind(h.listFunctionEventInvokeConfigs),

		"GetAccountSettings":        bind(h.getAccountSettings),
		"PutFunctionConcurrency":    bind(h.putFunctionConcurrency),
		"GetFunctionConcurrency":    bind(h.getFunctionConcurrency),
		"DeleteFunctionConcurrency": bind(h.deleteFunctionConcurrency),

		"PutProvisionedConcurrencyConfig":    bind(h.putProvisionedConcurrencyConfig),
		"GetProvisionedConcurrencyConfig":    bind(h.getProvisionedConcurrencyConfig),
		"DeleteProvisionedConcurrencyConfig": bind(h.deleteProvisionedConcurrencyConfig),
		"ListProvisionedConcurrencyConfigs":  bind(h.listProvisionedConcurrencyConfigs),

		"GetFunctionCodeSigningConfig":    bind(h.getFunctionCodeSigningConfig),
		"DeleteFunctionCodeSigningConfig": bind(h.deleteFunctionCodeSigningConfig),
		"GetRuntimeManagementConfig":      bind(h.getRuntimeManagementConfig),
		"PutRuntimeManagementConfig":      bind(h.putRuntimeManagementConfig),
		"GetFunctionRecursionConfig":      bind(h.getFunctionRecursionConfig),
		"PutFunctionRecursionConfig":      bind(h.putFunctionRecursionConfig),
		"GetFunctionScalingConfig":        bind(h.getFunctionScalingConfig),
	}
}

// none is the answer of operations without a body.
type none struct{}

var empty = &none{}

// bind lets the table hold operations with typed requests and answers.
func bind[In, Out any](f func(context.Context, caller, *In) (*Out, error)) operation {
	return func(ctx context.Context, c caller, in any) (any, error) {
		out, err := f(ctx, c, in.(*In))
		if err != nil {
			return nil, err
		}
		if any(out) == any(empty) {
			return nil, nil
		}
		return out, nil
	}
}
