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
	"log/slog"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Options of [Open].
type Options struct {
	// DataDir is the server's data directory; runtimes/ beneath it is this room's.
	DataDir string
	// Search lists glob patterns of interpreter prefixes and programs outside the
	// data directory, best first. Nil is [DefaultSearch].
	Search []string
	// NPMRegistry is where Node is installed from; "" is https://registry.npmjs.org.
	NPMRegistry string
	Log         *slog.Logger
}

// Catalog is what this host can run. It is safe for concurrent use.
type Catalog struct {
	o Options
}

// State of a runtime on this host.
type State string

// States of a runtime.
const (
	StateReady       State = "ready"       // functions can run
	StateInstallable State = "installable" // Install can put it here
	StateUnsupported State = "unsupported" // AWS has it, lambent cannot run it on this host
)

// Info describes one runtime name.
type Info struct {
	Name    string // "python3.12"
	State   State
	Version string // of the interpreter that serves it, "3.12.1"; "" if none
	Where   string // path of the interpreter on the host; "" if none
	Note    string // what to know or do, one sentence; may be empty
}

// Open finds the interpreters of this host and lays out the bootstraps.
func Open(ctx context.Context, o Options) (*Catalog, error) {
	return &Catalog{o: o}, nil
}

// Check tells whether functions with this runtime name can be created here.
// The warning, if not empty, is a sentence for the function's state reason. The
// error has CodeInvalid and reason "UnknownRuntime" (AWS refuses the name too)
// or "RuntimeNotInstalled" (the message says what to do).
func (c *Catalog) Check(name, arch string) (warning string, err error) { return "", nil }

// Resolve says how the version's runtime is started in a sandbox.
func (c *Catalog) Resolve(v *lambent.Version) (sandbox.Runtime, error) {
	return sandbox.Runtime{Name: v.Runtime}, nil
}

// List describes every runtime name that AWS still accepts.
func (c *Catalog) List() []Info { return nil }

// Install puts a runtime into the data directory, or, where only the
// distribution has it, says the command that does. progress takes one line per
// step and may be nil.
func (c *Catalog) Install(ctx context.Context, name string, progress func(string)) error { return nil }

// Env is what [Environment] needs to know.
type Env struct {
	Version   *lambent.Version
	Region    string
	LogStream string
	// Credentials for the function; all empty leaves the variables out.
	AccessKeyID, SecretAccessKey, SessionToken string
}

// Environment is the whole environment of a function's runtime but for
// AWS_LAMBDA_RUNTIME_API, as "Using Lambda environment variables" (AWS Lambda
// developer guide) lists it. No name occurs twice; the function's own variables
// win over everything but the reserved ones.
func Environment(e Env) []string { return nil }
