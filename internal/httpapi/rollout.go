package httpapi

import (
	"context"
	"net/http"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
)

// Roller moves aliases from one version to another.
type Roller interface {
	Start(ctx context.Context, in lambent.Rollout) (lambent.Rollout, error)
	Abort(ctx context.Context, namespace, function, alias, reason string) (lambent.Rollout, error)
	Rollouts(namespace, function string) []lambent.Rollout
}

// Defaults of a rollout.
const (
	rolloutEvery = time.Minute
	rolloutCalls = 10
)

func (a *api) listRollouts(c *call) error {
	entry, err := a.entry(c)
	if err != nil {
		return err
	}
	out := client.RolloutList{Rollouts: []lambent.Rollout{}}
	if a.o.Roller != nil {
		out.Rollouts = append(out.Rollouts, a.o.Roller.Rollouts(c.id.AccountID, entry.Function.Name)...)
	}
	return c.answer(http.StatusOK, out)
}

func (a *api) startRollout(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	in := client.NewRollout{EverySeconds: rolloutEvery.Seconds(), MinCalls: rolloutCalls}
	if err := c.read(&in); err != nil {
		return err
	}
	if !(in.EverySeconds > 0 && in.EverySeconds < 1e9) { // so that NaN is refused too
		return lambent.Errorf(lambent.CodeInvalid, "%v is no number of seconds", in.EverySeconds)
	}
	if a.o.Roller == nil {
		return errNoRollouts()
	}
	out, err := a.o.Roller.Start(c.Context(), lambent.Rollout{
		Namespace: c.id.AccountID, Function: name, Alias: c.PathValue("alias"), To: in.To, Steps: in.Steps,
		Every: time.Duration(in.EverySeconds * float64(time.Second)), AbortOn: in.AbortOn, MinCalls: in.MinCalls,
	})
	if err != nil {
		return err
	}
	return c.answer(http.StatusCreated, out)
}

func (a *api) abortRollout(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	if a.o.Roller == nil {
		return errNoRollouts()
	}
	out, err := a.o.Roller.Abort(c.Context(), c.id.AccountID, name, c.PathValue("alias"), "by hand")
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, out)
}

func errNoRollouts() error {
	return lambent.Errorf(lambent.CodeUnsupported, "this server has no rollouts")
}

func alias(a *lambent.Alias) client.Alias {
	return client.Alias{Name: a.Name, Version: a.Version, Description: a.Description, Weights: a.Weights, Rules: a.Rules}
}

func (a *api) listAliases(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	found, _, err := a.o.Catalog.Aliases(c.id.AccountID, name, "", "", 0)
	if err != nil {
		return err
	}
	out := client.AliasList{Aliases: []client.Alias{}}
	for _, x := range found {
		out.Aliases = append(out.Aliases, alias(x))
	}
	return c.answer(http.StatusOK, out)
}

// putAlias makes an alias or changes it.
func (a *api) putAlias(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	var in client.PutAlias
	if err := c.read(&in); err != nil {
		return err
	}
	at, status := c.PathValue("alias"), http.StatusOK
	made, err := a.o.Catalog.UpdateAlias(c.Context(), catalog.UpdateAlias{
		Namespace: c.id.AccountID, Function: name, Name: at, Version: in.Version, Description: in.Description, Weights: in.Weights, Rules: in.Rules,
	})
	if _, there := a.o.Catalog.Alias(c.id.AccountID, name, at); lambent.CodeOf(err) == lambent.CodeNotFound && there != nil && in.Version != nil {
		status = http.StatusCreated
		made, err = a.o.Catalog.CreateAlias(c.Context(), newAlias(c.id.AccountID, name, at, in))
	}
	if err != nil {
		return err
	}
	return c.answer(status, alias(made))
}

func newAlias(namespace, function, name string, in client.PutAlias) lambent.Alias {
	x := lambent.Alias{Namespace: namespace, Function: function, Name: name, Version: *in.Version}
	if in.Description != nil {
		x.Description = *in.Description
	}
	if in.Weights != nil {
		x.Weights = *in.Weights
	}
	if in.Rules != nil {
		x.Rules = *in.Rules
	}
	return x
}

func (a *api) deleteAlias(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	if err := a.o.Catalog.DeleteAlias(c.Context(), c.id.AccountID, name, c.PathValue("alias")); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
