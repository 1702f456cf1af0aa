package cli

import (
	"cmp"
	"fmt"
	"maps"
	"strings"

	"lambent.dev/lambent/internal/cli/project"
	"lambent.dev/lambent/internal/client"
)

// port is where an application is told to listen.
func (s *source) port() int { return cmp.Or(s.manifest.Port, project.DefaultPort) }

// application puts what the source says of an HTTP application into the deploy;
// what is none ceases to be one.
func (s *source) application(d *client.Deploy) {
	d.MinInstances = s.manifest.MinInstances
	app := s.guess.App
	if app == nil {
		d.App = &client.App{}
		return
	}
	m := s.manifest
	d.App = &client.App{
		Port: s.port(), Command: app.Command, Health: m.Health, Concurrency: m.Concurrency, StartTimeout: float64(m.StartTimeout),
		IdleTimeout: float64(m.IdleTimeout),
	}
	if len(app.Env) > 0 {
		env := maps.Clone(app.Env)
		maps.Copy(env, m.Env)
		d.Env = &env
	}
}

// commandText is a command as a person reads it.
func commandText(command []string) string {
	switch {
	case len(command) == 0:
		return "the program bootstrap"
	case len(command) == 3 && command[1] == "-c":
		return strings.TrimPrefix(command[2], "exec ")
	}
	return strings.Join(command, " ")
}

// handlerText says what a function runs.
func handlerText(f client.Function) string {
	if f.App != nil {
		return fmt.Sprintf("port %d, %s", f.App.Port, commandText(f.App.Command))
	}
	return f.Handler
}
