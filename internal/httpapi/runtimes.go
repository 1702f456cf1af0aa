package httpapi

import (
	"context"
	"net/http"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

func (a *api) listRuntimes(c *call) error {
	list := client.RuntimeList{Runtimes: []client.Runtime{}}
	for _, r := range a.o.Runtimes.List() {
		list.Runtimes = append(list.Runtimes, client.Runtime{
			Name: r.Name, State: string(r.State), Version: r.Version, Path: r.Where, Note: r.Note,
		})
	}
	return c.answer(http.StatusOK, list)
}

// unknownRuntime is the reason of refusing a name that no runtime has.
const unknownRuntime = "UnknownRuntime"

func noRuntime(code lambent.Code, name string) error {
	return lambent.Errorf(code, "there is no runtime %q: `lambent runtime list` shows the names", clip(name)).WithReason(unknownRuntime)
}

// installRuntime answers a line per step. The caller going away ends the install,
// which leaves nothing half done.
func (a *api) installRuntime(c *call) error {
	name := c.PathValue("name")
	known := false
	for _, r := range a.o.Runtimes.List() {
		known = known || r.Name == name
	}
	if !known {
		return noRuntime(lambent.CodeNotFound, name)
	}
	out := c.lines()
	defer out.end()
	step := func(step string) {
		_ = out.write(client.Progress{Progress: step}, true) // a caller who went away ends the context
	}
	err := a.o.Runtimes.Install(c.Context(), name, step)
	if with := c.URL.Query().Get("with"); err == nil && with != "" {
		err = a.installPackages(c, name, strings.Split(with, ","), step)
	}
	if err != nil {
		a.fail(c, out, err)
		return nil
	}
	_ = out.write(client.Progress{Done: true}, true)
	return nil
}

// packager is what a runtimes room has that can put packages beside an interpreter.
type packager interface {
	InstallPackages(ctx context.Context, name string, packages []string, progress func(string)) error
}

func (a *api) installPackages(c *call, name string, packages []string, progress func(string)) error {
	p, ok := a.o.Runtimes.(packager)
	if !ok {
		return lambent.Errorf(lambent.CodeUnsupported, "this server installs no packages")
	}
	return p.InstallPackages(c.Context(), name, packages, progress)
}
