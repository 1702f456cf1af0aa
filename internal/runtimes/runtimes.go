// Package runtimes knows the language runtimes: which names AWS has, which of
// them this host can serve and with what, how each is started in a sandbox, and
// how a missing one is installed from package registries. It owns the runtimes
// folder of the data directory, where it also lays out lambent's own bootstraps
// (the top-level package of the same name embeds them). It starts no function
// and knows no record but a version's configuration: the catalog asks it whether
// a name can run, the pool how.
package runtimes

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Options of [Open].
type Options struct {
	// DataDir is the server's data directory; runtimes/ beneath it is this room's.
	DataDir string
	// Search lists glob patterns of interpreters, and of the folders that hold
	// their bin/, outside the data directory, best first. Nil is [DefaultSearch].
	Search []string
	// NPMRegistry is where Node.js is installed from; "" is
	// https://registry.npmjs.org.
	NPMRegistry string
	// PythonIndex is where .NET Core is installed from; "" is
	// https://pypi.org/simple.
	PythonIndex string
	Region      string // of the functions, which blanks expect
	Log         *slog.Logger
}

// Catalog is what this host can run. It is safe for concurrent use.
type Catalog struct {
	o      Options
	dir    string // runtimes/ of the data directory
	layout string // where the bootstraps are
	// distribution is whose package manager can help.
	distribution distribution
	// found is the last scan's result, never modified.
	found atomic.Pointer[[]interpreter]
	// mu makes scans go one at a time and guards scanned.
	mu      sync.Mutex
	scanned time.Time
	// listings and blanks have locks of their own, never taken with mu.
	listings listings
	blanks   blanks
	// pip makes installations of packages go one at a time; never taken with mu.
	pip sync.Mutex
}

// rescanAfter is how old the list of interpreters may be when a name is not in
// it: long enough that refused requests cannot keep the host busy with scans.
const rescanAfter = 2 * time.Second

// State of a runtime on this host.
type State string

// States of a runtime.
const (
	StateReady       State = "ready"       // functions can run
	StateInstallable State = "installable" // Install can put it here
	StateUnsupported State = "unsupported" // AWS has it, lambent cannot run or install it on this host
)

// Info describes one runtime name.
type Info struct {
	Name    string // "python3.12"
	State   State
	Version string // of the interpreter that serves it, "3.12.1"; "" if none
	Where   string // path of the interpreter on the host; "" if none
	Note    string // what to know or do, one sentence; may be empty
}

// Open finds the interpreters of this host and lays out the bootstraps. It
// fails only when the data directory cannot be written.
func Open(ctx context.Context, o Options) (*Catalog, error) {
	if o.Search == nil {
		o.Search = DefaultSearch()
	}
	if o.NPMRegistry == "" {
		o.NPMRegistry = defaultRegistry
	}
	if o.PythonIndex == "" {
		o.PythonIndex = defaultIndex
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(filepath.Join(o.DataDir, "runtimes"))
	if err != nil {
		return nil, fmt.Errorf("find the runtimes folder: %w", err)
	}
	c := &Catalog{o: o, dir: dir, distribution: hostDistribution("/etc/os-release")}
	if c.layout, err = layOut(dir); err != nil {
		return nil, lambent.Errorf(lambent.CodeUnavailable, "lay out the runtimes: %w", err)
	}
	c.sweep()
	c.sweepPackages()
	c.rescan(ctx, 0)
	return c, nil
}

// rescan looks for interpreters again unless that was done less than age ago.
func (c *Catalog) rescan(ctx context.Context, age time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age > 0 && time.Since(c.scanned) < age {
		return
	}
	found := c.scan(ctx)
	c.found.Store(&found)
	c.scanned = time.Now()
}

func (c *Catalog) interpreters() []interpreter {
	if p := c.found.Load(); p != nil {
		return *p
	}
	return nil
}

// Check tells whether functions with this runtime name can be created here.
// The warning, if not empty, is a sentence for the function's state reason. The
// error has CodeInvalid and reason "UnknownRuntime" (AWS refuses the name too)
// or "RuntimeNotInstalled" (the message says what to do).
func (c *Catalog) Check(name, arch string) (warning string, err error) {
	r, ok := lookup(name)
	b, built := builtIns[r.family]
	switch {
	case !ok && retired[name]:
		return "", refusal(name)
	case !ok:
		return "", lambent.Errorf(lambent.CodeInvalid, "Value %s at 'runtime' failed to satisfy constraint: "+
			"Member must satisfy enum value set: [%s] or be a valid ARN", name, enumSet).
			WithReason("UnknownRuntime")
	case built:
		return b.warning(arch), nil
	}
	i, exact, ok := c.serve(r)
	if !ok && retired[name] {
		return "", refusal(name)
	}
	if !ok {
		return "", lambent.Errorf(lambent.CodeInvalid, "The runtime %s is not installed on this host. %s",
			name, c.advice(r)).WithReason("RuntimeNotInstalled")
	}
	if !exact {
		return fmt.Sprintf("The runtime %s is served by %s %s, the nearest version on this host.",
			name, i.language(), i.version), nil
	}
	return foreign("native code", arch), nil
}

// refusal is AWS's of a name that it has retired.
func refusal(name string) error {
	return lambent.Errorf(lambent.CodeInvalid, "The runtime parameter of %s is no longer supported "+
		"for creating or updating AWS Lambda functions. We recommend you use a supported runtime "+
		"while creating or updating functions.", name).WithReason("UnknownRuntime")
}

// serve picks the interpreter for a release and looks again when there is none.
func (c *Catalog) serve(r release) (i interpreter, exact, ok bool) {
	if i, exact, ok = pick(c.interpreters(), r); !ok {
		c.rescan(context.Background(), rescanAfter) // bounded by probeTimeout
		i, exact, ok = pick(c.interpreters(), r)
	}
	return i, exact, ok
}

// foreign warns about an architecture that is not the host's: what of the function is
// built for it, does not run.
func foreign(what, arch string) string {
	host := lambent.HostArch()
	if arch == "" || arch == host {
		return ""
	}
	return fmt.Sprintf("This host is %s: %s built for %s does not run here.", host, what, arch)
}

func (i interpreter) language() string {
	if l, ok := languages[i.family]; ok {
		return l.title
	}
	return map[family]string{familyPython: "Python", familyNode: "Node.js", familyJava: "Java"}[i.family]
}

// Resolve says how the version's runtime is started in a sandbox. The error is
// that of [Catalog.Check].
func (c *Catalog) Resolve(v *lambent.Version) (sandbox.Runtime, error) {
	rt, err := c.resolve(v)
	if err == nil && v.App != nil {
		applicationTools(&rt, v.App)
	}
	return rt, err
}

func (c *Catalog) resolve(v *lambent.Version) (sandbox.Runtime, error) {
	if v.Image != nil {
		return launchImage(v)
	}
	r, ok := lookup(v.Runtime)
	if b, built := builtIns[r.family]; built {
		return b.launch(v.Runtime), nil
	}
	if ok {
		if i, _, ok := c.serve(r); ok {
			return c.launch(v, i, r), nil
		}
	}
	if _, err := c.Check(v.Runtime, v.Arch); err != nil {
		return sandbox.Runtime{}, err
	}
	return sandbox.Runtime{}, lambent.Errorf(lambent.CodeUnavailable,
		"The runtime %s has just gone from this host.", v.Runtime)
}

// List describes every runtime name that new functions can have, AWS's first.
func (c *Catalog) List() []Info {
	out := make([]Info, 0, len(known))
	for _, r := range known {
		info := Info{Name: r.name, State: StateReady}
		if b, built := builtIns[r.family]; built {
			info.Note = b.note
			out = append(out, info)
			continue
		}
		i, exact, ok := pick(c.interpreters(), r)
		switch {
		case ok:
			info.Version, info.Where = i.version, i.program
			if !exact {
				info.Note = fmt.Sprintf("Served by the nearest version, %s %s.", i.language(), i.version)
			}
		default:
			info.State, info.Note = StateUnsupported, c.advice(r)
			if c.installer(r) != nil {
				info.State = StateInstallable
			}
		}
		out = append(out, info)
	}
	return out
}
