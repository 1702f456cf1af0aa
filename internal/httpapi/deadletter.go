package httpapi

import (
	"net/http"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// A dead letter's target is a part of a version's configuration, as on AWS, and
// everything else about its events is a record beside it. Who looks at one wants to
// see both.

// events are what becomes of the asynchronous calls of a qualifier. The error is
// CodeNotFound when nothing is set.
func (a *api) events(c *call, name string) (client.EventSettings, error) {
	qualifier := c.PathValue("qualifier")
	entry, err := a.o.Catalog.Get(c.id.AccountID, name, qualifier)
	if err != nil {
		return client.EventSettings{}, err
	}
	letter := entry.Version.DeadLetter().ARN
	e, err := a.o.Catalog.EventConfig(c.id.AccountID, name, qualifier)
	if err != nil && letter != "" && lambent.CodeOf(err) == lambent.CodeNotFound {
		e, err = &lambent.EventConfig{Qualifier: qualifier}, nil
	}
	if err != nil {
		return client.EventSettings{Qualifier: qualifier}, err
	}
	out := eventSettings(e)
	if letter != "" {
		out.DeadLetter = &letter
	}
	return out, nil
}

// getQueue tells how many of a function's asynchronous calls wait, and for how long.
func (a *api) getQueue(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	if _, err := a.o.Catalog.Get(c.id.AccountID, name, ""); err != nil {
		return err
	}
	q, err := a.o.Events.Queue(c.Context(), c.id.AccountID, name)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, client.EventQueue{Waiting: q.Waiting, Running: q.Running, OldestSeconds: q.Oldest.Seconds()})
}
