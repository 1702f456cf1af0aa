package lambdaapi

import (
	"context"
	"net/http"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/async"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// Events keeps calls to be made later. An answer means that the call is durable.
type Events interface {
	Accept(ctx context.Context, r async.Request) (id string, again bool, err error)
}

// event answers an Invoke of type Event. The id of the call is the request's, one
// that the store's index likes.
func (h *handler) event(w http.ResponseWriter, r *http.Request, inv *lambent.Invocation) error {
	if h.Events == nil {
		return notImplemented("InvocationType Event")
	}
	inv.RequestID, inv.Source = async.NewID(), "event"
	w.Header()["X-Amzn-Requestid"] = []string{inv.RequestID}
	if _, _, err := h.Events.Accept(r.Context(), async.Request{Invocation: inv}); err != nil {
		return err
	}
	if inv.TraceID != "" {
		w.Header()["X-Amzn-Trace-Id"] = []string{inv.TraceID}
	}
	w.Header()["Content-Length"] = []string{"0"}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// invokeAsync is the older form of an Invoke of type Event.
func (h *handler) invokeAsync(ctx context.Context, c caller, in *wire.InvokeAsyncRequest) (*wire.InvokeAsyncResponse, error) {
	t, err := h.target(c, *in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	payload, err := checkEvent(in.InvokeArgs)
	if err != nil {
		return nil, err
	}
	if h.Events == nil {
		return nil, notImplemented("InvokeAsync")
	}
	_, _, err = h.Events.Accept(ctx, async.Request{Invocation: &lambent.Invocation{
		RequestID: async.NewID(), Namespace: c.namespace, Function: t.function, Qualifier: t.qualifier,
		Payload: payload, Source: "event", Arrived: h.Now(),
	}})
	return &wire.InvokeAsyncResponse{Status: new(int64(http.StatusAccepted))}, err
}

// eventConfig is an event configuration in AWS's shape, which shows both
// destinations always.
func (h *handler) eventConfig(e *lambent.EventConfig) *wire.FunctionEventInvokeConfig {
	out := &wire.FunctionEventInvokeConfig{
		LastModified: new(float64(e.LastModified.UnixMilli()) / 1000),
		FunctionArn:  new(lambent.FunctionARN(h.Region, e.Namespace, e.Function, e.Qualifier)),
		DestinationConfig: &wire.DestinationConfig{
			OnSuccess: &wire.OnSuccess{Destination: some(e.OnSuccess.ARN)},
			OnFailure: &wire.OnFailure{Destination: some(e.OnFailure.ARN)},
		},
	}
	if e.MaxRetries != nil {
		out.MaximumRetryAttempts = new(int64(*e.MaxRetries))
	}
	if e.MaxAge > 0 {
		out.MaximumEventAgeInSeconds = new(int64(e.MaxAge / time.Second))
	}
	return out
}

// eventChange reads the members that both forms of a change have.
func eventChange(c caller, t target, retries, age *int64, d *wire.DestinationConfig) catalog.EventChange {
	in := catalog.EventChange{Namespace: c.namespace, Function: t.function, Qualifier: t.qualifier}
	if retries != nil {
		in.MaxRetries = new(int(*retries))
	}
	if age != nil {
		in.MaxAge = new(time.Duration(*age) * time.Second)
	}
	if d != nil && d.OnSuccess != nil {
		in.OnSuccess = &lambent.Destination{ARN: deref(d.OnSuccess.Destination)}
	}
	if d != nil && d.OnFailure != nil {
		in.OnFailure = &lambent.Destination{ARN: deref(d.OnFailure.Destination)}
	}
	return in
}

func (h *handler) putFunctionEventInvokeConfig(ctx context.Context, c caller, in *wire.PutFunctionEventInvokeConfigRequest) (*wire.FunctionEventInvokeConfig, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	e, err := h.Catalog.PutEventConfig(ctx, eventChange(c, t, in.MaximumRetryAttempts, in.MaximumEventAgeInSeconds, in.DestinationConfig), false)
	if err != nil {
		return nil, err
	}
	return h.eventConfig(e), nil
}

func (h *handler) updateFunctionEventInvokeConfig(ctx context.Context, c caller, in *wire.UpdateFunctionEventInvokeConfigRequest) (*wire.FunctionEventInvokeConfig, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	e, err := h.Catalog.PutEventConfig(ctx, eventChange(c, t, in.MaximumRetryAttempts, in.MaximumEventAgeInSeconds, in.DestinationConfig), true)
	if err != nil {
		return nil, err
	}
	return h.eventConfig(e), nil
}

func (h *handler) getFunctionEventInvokeConfig(_ context.Context, c caller, in *wire.GetFunctionEventInvokeConfigRequest) (*wire.FunctionEventInvokeConfig, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	e, err := h.Catalog.EventConfig(c.namespace, t.function, t.qualifier)
	if err != nil {
		return nil, err
	}
	return h.eventConfig(e), nil
}

func (h *handler) deleteFunctionEventInvokeConfig(ctx context.Context, c caller, in *wire.DeleteFunctionEventInvokeConfigRequest) (*none, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	return empty, h.Catalog.DeleteEventConfig(ctx, c.namespace, t.function, t.qualifier)
}

func (h *handler) listFunctionEventInvokeConfigs(_ context.Context, c caller, in *wire.ListFunctionEventInvokeConfigsRequest) (*wire.ListFunctionEventInvokeConfigsResponse, error) {
	function, page, err := h.pageOfFunction(c, *in.FunctionName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	items, next, err := h.Catalog.EventConfigs(c.namespace, function, page.after, page.limit)
	if err != nil {
		return nil, err
	}
	out := &wire.ListFunctionEventInvokeConfigsResponse{NextMarker: marker(next), FunctionEventInvokeConfigs: make([]wire.FunctionEventInvokeConfig, len(items))}
	for i, e := range items {
		out.FunctionEventInvokeConfigs[i] = *h.eventConfig(e)
	}
	return out, nil
}

func (h *handler) getFunctionRecursionConfig(_ context.Context, c caller, in *wire.GetFunctionRecursionConfigRequest) (*wire.GetFunctionRecursionConfigResponse, error) {
	f, err := h.wholeFunction(c, *in.FunctionName, "")
	if err != nil {
		return nil, err
	}
	return &wire.GetFunctionRecursionConfigResponse{RecursiveLoop: loops(f.Settings)}, nil
}

func (h *handler) putFunctionRecursionConfig(ctx context.Context, c caller, in *wire.PutFunctionRecursionConfigRequest) (*wire.PutFunctionRecursionConfigResponse, error) {
	f, err := h.wholeFunction(c, *in.FunctionName, "")
	if err != nil {
		return nil, err
	}
	set, err := h.Catalog.SetSettings(ctx, c.namespace, f.Name, func(s *lambent.Settings) error {
		s.AllowLoops = *in.RecursiveLoop == "Allow"
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &wire.PutFunctionRecursionConfigResponse{RecursiveLoop: loops(set)}, nil
}

// loops is AWS's word for whether a chain of calls may come through a function as
// often as it likes.
func loops(s lambent.Settings) *string {
	if s.AllowLoops {
		return new("Allow")
	}
	return new("Terminate")
}
