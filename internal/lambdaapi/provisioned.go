package lambdaapi

import (
	"context"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// seconds is how AWS writes times of provisioned concurrency (AWS Lambda API
// reference, PutProvisionedConcurrencyConfig).
const seconds = "2006-01-02T15:04:05-0700"

// The states of provisioned concurrency.
const (
	provisionInProgress = "IN_PROGRESS"
	provisionReady      = "READY"
	provisionFailed     = "FAILED"
)

// provision is what AWS tells of provisioned concurrency, in each of its shapes.
type provision struct {
	requested, allocated, available *int64
	status, reason, modified        *string
}

// allocation asks how far p has come.
func (h *handler) allocation(p *lambent.Provisioned) (lambent.Allocation, bool) {
	if h.Provisioner == nil {
		return lambent.Allocation{}, false
	}
	return h.Provisioner.Allocation(p)
}

func (h *handler) provision(p *lambent.Provisioned) provision {
	a, known := h.allocation(p)
	status := provisionInProgress
	switch {
	case a.Failure != "":
		status = provisionFailed
	case known && a.Available >= a.Wanted:
		status = provisionReady
	}
	return shape(p, a, status)
}

func shape(p *lambent.Provisioned, a lambent.Allocation, status string) provision {
	return provision{
		requested: new(int64(p.Requested)), allocated: new(int64(a.Allocated)), available: new(int64(a.Available)),
		status: &status, reason: some(a.Failure), modified: new(p.LastModified.UTC().Format(seconds)),
	}
}

func (h *handler) putProvisionedConcurrencyConfig(ctx context.Context, c caller, in *wire.PutProvisionedConcurrencyConfigRequest) (*wire.PutProvisionedConcurrencyConfigResponse, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	// What is there already counts from the start; how the rest comes along is
	// for later calls to tell.
	var before lambent.Allocation
	if p, err := h.Catalog.Provisioned(c.namespace, t.function, t.qualifier); err == nil {
		before, _ = h.allocation(p)
		before.Failure = ""
	}
	p, err := h.Catalog.PutProvisioned(ctx, catalog.PutProvisioned{
		Namespace: c.namespace, Function: t.function, Qualifier: t.qualifier,
		Requested: int(*in.ProvisionedConcurrentExecutions),
	})
	if err != nil {
		return nil, err
	}
	s := shape(p, before, provisionInProgress)
	return &wire.PutProvisionedConcurrencyConfigResponse{
		RequestedProvisionedConcurrentExecutions: s.requested,
		AllocatedProvisionedConcurrentExecutions: s.allocated,
		AvailableProvisionedConcurrentExecutions: s.available,
		Status:                                   s.status, StatusReason: s.reason, LastModified: s.modified,
	}, nil
}

func (h *handler) getProvisionedConcurrencyConfig(_ context.Context, c caller, in *wire.GetProvisionedConcurrencyConfigRequest) (*wire.GetProvisionedConcurrencyConfigResponse, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	p, err := h.Catalog.Provisioned(c.namespace, t.function, t.qualifier)
	if err != nil {
		return nil, err
	}
	s := h.provision(p)
	return &wire.GetProvisionedConcurrencyConfigResponse{
		RequestedProvisionedConcurrentExecutions: s.requested,
		AllocatedProvisionedConcurrentExecutions: s.allocated,
		AvailableProvisionedConcurrentExecutions: s.available,
		Status:                                   s.status, StatusReason: s.reason, LastModified: s.modified,
	}, nil
}

func (h *handler) deleteProvisionedConcurrencyConfig(ctx context.Context, c caller, in *wire.DeleteProvisionedConcurrencyConfigRequest) (*none, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	return empty, h.Catalog.DeleteProvisioned(ctx, c.namespace, t.function, t.qualifier)
}

func (h *handler) listProvisionedConcurrencyConfigs(_ context.Context, c caller, in *wire.ListProvisionedConcurrencyConfigsRequest) (*wire.ListProvisionedConcurrencyConfigsResponse, error) {
	function, page, err := h.pageOfFunction(c, *in.FunctionName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	items, next, err := h.Catalog.ListProvisioned(c.namespace, function, page.after, page.limit)
	if err != nil {
		return nil, err
	}
	out := &wire.ListProvisionedConcurrencyConfigsResponse{
		NextMarker: marker(next), ProvisionedConcurrencyConfigs: make([]wire.ProvisionedConcurrencyConfigListItem, len(items)),
	}
	for i, p := range items {
		s := h.provision(p)
		out.ProvisionedConcurrencyConfigs[i] = wire.ProvisionedConcurrencyConfigListItem{
			FunctionArn:                              new(lambent.FunctionARN(h.Region, c.namespace, p.Function, p.Qualifier)),
			RequestedProvisionedConcurrentExecutions: s.requested,
			AllocatedProvisionedConcurrentExecutions: s.allocated,
			AvailableProvisionedConcurrentExecutions: s.available,
			Status:                                   s.status, StatusReason: s.reason, LastModified: s.modified,
		}
	}
	return out, nil
}
