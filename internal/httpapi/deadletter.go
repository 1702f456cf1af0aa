package httpapi

import (
	"net/http"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
)

// A dead letter's target is a part of a version's configuration, as on AWS, and
// everything else about its events is a record beside it. Who looks at one wants to
// see both.

// showEvents answers what becomes of the asynchronous calls of a qualifier.
func (a *api) showEvents(c *call, name string) error {
	qualifier := c.PathValue("qualifier")
	entry, err := a.o.Catalog.Get(c.id.AccountID, name, qualifier)
	if err != nil {
		return err
	}
	letter := entry.Version.DeadLetter().ARN
	e, err := a.o.Catalog.EventConfig(c.id.AccountID, name, qualifier)
	if err != nil && letter != "" && lambent.CodeOf(err) == lambent.CodeNotFound {
		e, err = &lambent.EventConfig{Qualifier: qualifier}, nil
	}
	if err != nil {
		return err
	}
	out := eventSettings(e)
	if letter != "" {
		out.DeadLetter = &letter
	}
	return c.answer(http.StatusOK, out)
}

// putDeadLetter sets the dead letter's target, or with "" takes it back.
func (a *api) putDeadLetter(c *call, name, arn string) error {
	if c.PathValue("qualifier") != lambent.Latest {
		return lambent.Errorf(lambent.CodeInvalid, "deadLetter is a part of the version: only that of %s can be changed", lambent.Latest)
	}
	to := lambent.Destination{ARN: arn}
	if arn != "" && (to.Service() == "" || strings.HasPrefix(arn, lambent.HTTPDestination)) {
		return lambent.Errorf(lambent.CodeInvalid, "deadLetter %q is not the ARN of a queue or a topic", arn)
	}
	_, err := a.o.Catalog.UpdateConfig(c.Context(), catalog.UpdateConfig{Namespace: c.id.AccountID, Function: name, Apply: func(v *lambent.Version) {
		v.SetDeadLetter(to)
	}})
	if err != nil {
		return err
	}
	err = a.showEvents(c, name)
	if lambent.CodeOf(err) == lambent.CodeNotFound { // nothing is set any more
		return c.answer(http.StatusOK, client.EventSettings{Qualifier: lambent.Latest})
	}
	return err
}
