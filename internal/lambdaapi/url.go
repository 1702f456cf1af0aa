package lambdaapi

import (
	"context"
	"strconv"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// millis is how AWS writes times of function URLs (AWS Lambda API reference,
// CreateFunctionUrlConfig).
const millis = "2006-01-02T15:04:05.000Z"

func urlTime(t time.Time) *string { return new(t.UTC().Format(millis)) }

func (h *handler) urlARN(u *lambent.URL) *string {
	return new(lambent.FunctionARN(h.Region, u.Namespace, u.Function, u.Qualifier))
}

func (h *handler) createFunctionUrlConfig(ctx context.Context, c caller, in *wire.CreateFunctionUrlConfigRequest) (*wire.CreateFunctionUrlConfigResponse, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	u, err := h.Catalog.CreateURL(ctx, lambent.URL{
		Namespace: c.namespace, Function: t.function, Qualifier: t.qualifier,
		AuthType: *in.AuthType, InvokeMode: deref(in.InvokeMode), CORS: corsOf(in.Cors),
	})
	if err != nil {
		return nil, err
	}
	return &wire.CreateFunctionUrlConfigResponse{
		FunctionUrl: new(h.FunctionURL(u.ID)), FunctionArn: h.urlARN(u), AuthType: &u.AuthType,
		Cors: corsShape(u.CORS), CreationTime: urlTime(u.Created), InvokeMode: in.InvokeMode,
	}, nil
}

func (h *handler) getFunctionUrlConfig(_ context.Context, c caller, in *wire.GetFunctionUrlConfigRequest) (*wire.GetFunctionUrlConfigResponse, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	u, err := h.Catalog.URL(c.namespace, t.function, t.qualifier)
	if err != nil {
		return nil, err
	}
	return &wire.GetFunctionUrlConfigResponse{
		FunctionUrl: new(h.FunctionURL(u.ID)), FunctionArn: h.urlARN(u), AuthType: &u.AuthType, Cors: corsShape(u.CORS),
		CreationTime: urlTime(u.Created), LastModifiedTime: urlTime(u.LastModified), InvokeMode: &u.InvokeMode,
	}, nil
}

func (h *handler) updateFunctionUrlConfig(ctx context.Context, c caller, in *wire.UpdateFunctionUrlConfigRequest) (*wire.UpdateFunctionUrlConfigResponse, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	u, err := h.Catalog.UpdateURL(ctx, catalog.UpdateURL{
		Namespace: c.namespace, Function: t.function, Qualifier: t.qualifier,
		AuthType: in.AuthType, InvokeMode: in.InvokeMode, CORS: corsOf(in.Cors),
	})
	if err != nil {
		return nil, err
	}
	return &wire.UpdateFunctionUrlConfigResponse{
		FunctionUrl: new(h.FunctionURL(u.ID)), FunctionArn: h.urlARN(u), AuthType: &u.AuthType, Cors: corsShape(u.CORS),
		CreationTime: urlTime(u.Created), LastModifiedTime: urlTime(u.LastModified), InvokeMode: in.InvokeMode,
	}, nil
}

func (h *handler) deleteFunctionUrlConfig(ctx context.Context, c caller, in *wire.DeleteFunctionUrlConfigRequest) (*none, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	return empty, h.Catalog.DeleteURL(ctx, c.namespace, t.function, t.qualifier)
}

func (h *handler) listFunctionUrlConfigs(_ context.Context, c caller, in *wire.ListFunctionUrlConfigsRequest) (*wire.ListFunctionUrlConfigsResponse, error) {
	name, p, err := h.pageOfFunction(c, *in.FunctionName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	skip := 0
	if p.after != "" {
		if skip, err = strconv.Atoi(p.after); err != nil {
			return nil, invalid("The Marker is not one that this server has given out.")
		}
	}
	urls, more, err := h.Catalog.URLs(c.namespace, name, skip, p.limit)
	if err != nil {
		return nil, err
	}
	out := &wire.ListFunctionUrlConfigsResponse{FunctionUrlConfigs: []wire.FunctionUrlConfig{}}
	for _, u := range urls {
		out.FunctionUrlConfigs = append(out.FunctionUrlConfigs, wire.FunctionUrlConfig{
			FunctionUrl: new(h.FunctionURL(u.ID)), FunctionArn: h.urlARN(u), AuthType: &u.AuthType, Cors: corsShape(u.CORS),
			CreationTime: urlTime(u.Created), LastModifiedTime: urlTime(u.LastModified), InvokeMode: &u.InvokeMode,
		})
	}
	if more {
		out.NextMarker = marker(strconv.Itoa(skip + len(urls)))
	}
	return out, nil
}

func corsOf(in *wire.Cors) *lambent.CORS {
	if in == nil {
		return nil
	}
	return &lambent.CORS{
		AllowCredentials: deref(in.AllowCredentials), AllowHeaders: in.AllowHeaders, AllowMethods: in.AllowMethods,
		AllowOrigins: in.AllowOrigins, ExposeHeaders: in.ExposeHeaders, MaxAge: int(deref(in.MaxAge)),
	}
}

// corsShape leaves out what was not set.
func corsShape(c *lambent.CORS) *wire.Cors {
	if c == nil {
		return nil
	}
	out := &wire.Cors{AllowHeaders: c.AllowHeaders, AllowMethods: c.AllowMethods, AllowOrigins: c.AllowOrigins, ExposeHeaders: c.ExposeHeaders}
	if c.AllowCredentials {
		out.AllowCredentials = new(true)
	}
	if c.MaxAge > 0 {
		out.MaxAge = new(int64(c.MaxAge))
	}
	return out
}
