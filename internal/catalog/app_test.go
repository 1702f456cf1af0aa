package catalog

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
)

// TestApplication keeps what makes a version an application, and refuses what
// would make none. The fixture compares everything with what a restart reads.
func TestApplication(t *testing.T) {
	x := open(t)
	app := func() *lambent.App {
		return &lambent.App{Port: 8080, Command: []string{"python3", "app.py"}, Health: "/healthz", StartTimeout: 30 * time.Second, Concurrency: 80, IdleTimeout: time.Minute}
	}
	in := input("web")
	in.Version.App, in.Version.Handler = app(), ""
	_, err := x.CreateFunction(t.Context(), in)
	x.ok(err)
	x.settleAll()
	if got := x.head("web").App; !reflect.DeepEqual(got, app()) {
		t.Errorf("the head has %+v", got)
	}
	if v := x.publishVersion("web"); v.App == nil || v.App.Port != 8080 {
		t.Errorf("the published version has %+v", v.App)
	}
	for name, change := range map[string]func(*lambent.App){
		"no port":         func(a *lambent.App) { a.Port = 0 },
		"high port":       func(a *lambent.App) { a.Port = 65536 },
		"no concurrency":  func(a *lambent.App) { a.Concurrency = 0 },
		"concurrency":     func(a *lambent.App) { a.Concurrency = lambent.MaxConcurrency + 1 },
		"short start":     func(a *lambent.App) { a.StartTimeout = time.Millisecond },
		"long start":      func(a *lambent.App) { a.StartTimeout = time.Hour },
		"short idle":      func(a *lambent.App) { a.IdleTimeout = time.Millisecond },
		"long idle":       func(a *lambent.App) { a.IdleTimeout = 48 * time.Hour },
		"relative health": func(a *lambent.App) { a.Health = "healthz" },
		"health":          func(a *lambent.App) { a.Health = "/a b" },
		"zero byte":       func(a *lambent.App) { a.Command = []string{"a", "b\x00"} },
		"no program":      func(a *lambent.App) { a.Command = []string{""} },
		"long command":    func(a *lambent.App) { a.Command = []string{strings.Repeat("x", maxCommand)} },
	} {
		_, err := x.UpdateConfig(t.Context(), UpdateConfig{Namespace: ns, Function: "web", Apply: func(v *lambent.Version) {
			v.App = app()
			change(v.App)
		}})
		if lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = x.UpdateConfig(t.Context(), UpdateConfig{Namespace: ns, Function: "web", Apply: func(v *lambent.Version) { v.App, v.Handler = nil, "app.handler" }})
	x.ok(err)
	x.settleAll()
	if got := x.head("web").App; got != nil {
		t.Errorf("a function again, it has %+v", got)
	}
}
