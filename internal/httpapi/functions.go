package httpapi

import (
	"net/http"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

func (a *api) listFunctions(c *call) error {
	after, limit, err := c.page()
	if err != nil {
		return err
	}
	items, next := a.o.Catalog.List(c.id.AccountID, false, after, limit)
	page := client.FunctionList{Functions: make([]client.Function, 0, len(items)), Next: next}
	for _, v := range items {
		page.Functions = append(page.Functions, a.function(v, nil))
	}
	return c.answer(http.StatusOK, page)
}

func (a *api) getFunction(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	entry, err := a.o.Catalog.Get(c.id.AccountID, name, c.URL.Query().Get("qualifier"))
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, a.function(entry.Version, entry.Function.Tags))
}

func (a *api) deleteFunction(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	if err := a.o.Catalog.DeleteFunction(c.Context(), c.id.AccountID, name, c.URL.Query().Get("qualifier")); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// function is the name in the path. This dialect takes bare names only.
func (c *call) function() (string, error) {
	name := c.PathValue("name")
	if !lambent.ValidName(name) || len(name) > lambent.MaxFunctionName {
		return "", lambent.Errorf(lambent.CodeInvalid,
			"function name %q: want 1 to %d letters, digits, hyphens and underscores", clip(name), lambent.MaxFunctionName).WithReason("InvalidName")
	}
	return name, nil
}

// clip shortens what a caller sent, for a message.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// networks are our names for the networks of a function.
var networks = map[string]lambent.Network{
	"outbound": lambent.NetworkOutbound, "loopback": lambent.NetworkLoopback, "none": lambent.NetworkNone,
}

func networkName(n lambent.Network) string {
	for name, network := range networks {
		if network == n {
			return name
		}
	}
	return string(n)
}

// function is a version in our dialect.
func (a *api) function(v *lambent.Version, tags map[string]string) client.Function {
	f := client.Function{
		Name: v.Function, ARN: v.ARN(a.o.Region), Version: v.Number, Description: v.Description,
		Runtime: v.Runtime, Handler: v.Handler, Arch: v.Arch,
		MemoryMB: v.MemoryMB, EphemeralMB: v.EphemeralMB, TimeoutSeconds: v.Timeout.Seconds(),
		Role: v.Role, Env: v.Env, Network: networkName(v.Network),
		CodeSHA256: v.CodeSHA256(), CodeBytes: v.Code.Size, LogGroup: v.LogGroup(),
		State: string(v.State), StateReason: v.StateReason, UpdateStatus: string(v.UpdateStatus),
		RevisionID: v.RevisionID, LastModified: v.LastModified, Tags: tags,
	}
	if v.Image != nil {
		f.Image, f.ImageDigest, f.ImagePort = v.Image.Reference, v.Image.Digest, v.Image.Port
	}
	if app := v.App; app != nil {
		f.App = &client.App{Port: app.Port, Command: app.Command, Health: app.Health, StartTimeout: app.StartTimeout.Seconds(), Concurrency: app.Concurrency, IdleTimeout: app.IdleTimeout.Seconds()}
	}
	for _, l := range v.Layers {
		f.Layers = append(f.Layers, l.ARN)
	}
	return f
}
