// Package catalog owns what functions there are: their versions, aliases, tags,
// settings, provisioned concurrency, URLs and resource policies, the layers they
// use, and the routes and API keys of the gateway. It checks what a request means
// (its wire syntax is the doors' business), commits every change durably as one
// batch, and only then swaps the in-memory snapshot that all reads come from, so
// that resolving a name touches no database and no lock. It neither runs code nor holds it: code goes to package
// artifact, whether a runtime can run here is asked of the runtimes, and records
// are kept by package store.
package catalog

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/store"
)

// Artifacts stores and unpacks code. Its errors are lambent.Errors whose
// messages may be shown as they are. [artifact.Store] is one.
type Artifacts interface {
	Put(ctx context.Context, src artifact.Source) (artifact.Info, error)
}

// Runtimes tells whether functions with a runtime name can run on this node.
type Runtimes interface {
	// Check returns "" or a sentence to show as the version's state reason.
	// Its error is a CodeInvalid with the reason "UnknownRuntime" (AWS refuses
	// the name too) or "RuntimeNotInstalled" (the message says what to do).
	Check(name, arch string) (warning string, err error)
}

// Options are what a Catalog is made of. Records, Artifacts, Runtimes and
// Region are required.
type Options struct {
	Records   store.Records
	Artifacts Artifacts
	Runtimes  Runtimes
	Images    Images // functions with images are refused when nil
	Region    string
	// Concurrency is the account's limit of simultaneous invocations;
	// [lambent.DefaultConcurrency] when zero.
	Concurrency int
	Log         *slog.Logger     // discarded when nil
	Now         func() time.Time // time.Now when nil
	NewID       func() string    // makes revision ids; random UUIDs when nil
	// Trusts tells whether a role lets a function, by its ARN, have it; nil is always.
	Trusts func(role, function string) bool
	// May tells why a version's role does not let it call a function, by its ARN; nil is
	// that it does, and without it all do.
	May func(from *lambent.Version, function string) error
	// OnChange, when set, is called after a version changed or went away, so
	// that its instances can be retired. It is called without locks held.
	OnChange func(ns, function, number string)
	// OnWanted, when set, is called after something changed that says how many
	// instances a function should have ready: its provisioned concurrency, its
	// settings, where an alias leads, or that a version can be started now. It is
	// called without locks held.
	OnWanted func(ns, function string)
}

// Catalog is the catalog of one server. Its reads come from a snapshot and
// never block; writes to one function follow each other, writes to different
// ones go side by side. It is safe for concurrent use.
type Catalog struct {
	o         Options
	functions table[function]
	layers    table[layer]
	urls      table[Entrance] // by the URL's id; the namespace is empty
	routing   routing
	gates     gates
	wake      chan struct{} // tells Run that due is not empty

	mu    sync.Mutex // guards writing to the tables, and the fields below
	usage map[string]usage
	due   map[id]bool // functions with versions to settle
}

// usage is what a namespace uses.
type usage struct {
	functions int
	codeBytes int64
}

// Entry is what a name and qualifier stand for.
type Entry struct {
	Function *lambent.Function
	Version  *lambent.Version
	Alias    *lambent.Alias // nil unless the qualifier named one
}

// CreateFunction is the input of [Catalog.CreateFunction].
type CreateFunction struct {
	// Version is the configuration, with Namespace and Function set. Code,
	// layers, number, revision and states are the catalog's to fill in; empty
	// members get AWS's defaults.
	Version   lambent.Version
	Source    artifact.Source
	Image     string // a reference, in place of Source, when PackageType is Image
	LayerARNs []string
	Tags      map[string]string
	Publish   bool
}

// UpdateCode is the input of [Catalog.UpdateCode].
type UpdateCode struct {
	Namespace, Function string
	Source              artifact.Source
	Image               string // a reference, in place of Source, when the function has an image
	Arch                string // "" keeps the architecture
	Publish, DryRun     bool
	RevisionID          string // "" is not checked
}

// UpdateConfig is the input of [Catalog.UpdateConfig].
type UpdateConfig struct {
	Namespace, Function string
	RevisionID          string    // "" is not checked
	LayerARNs           *[]string // nil keeps the layers
	// Apply edits a private copy of the head; the maps in it are copies too.
	Apply func(*lambent.Version)
}

// PublishVersion is the input of [Catalog.PublishVersion].
type PublishVersion struct {
	Namespace, Function string
	Description         *string // nil takes the head's
	CodeSHA256          string  // base64; "" is not checked
	RevisionID          string  // "" is not checked
}

// UpdateAlias is the input of [Catalog.UpdateAlias]; nil members stay as they are.
type UpdateAlias struct {
	Namespace, Function, Name string
	Version, Description      *string
	Weights                   *map[string]float64
	Rules                     *[]lambent.AliasRule
	RevisionID                string // "" is not checked
}

// PublishLayer is the input of [Catalog.PublishLayer].
type PublishLayer struct {
	Namespace, Name      string
	Description, License string
	Runtimes, Archs      []string
	Source               artifact.Source
}

// Statement is one statement of a resource policy.
type Statement struct {
	Sid  string          `json:"sid"`
	JSON json.RawMessage `json:"json"` // the whole statement, Sid included
}

// Policy is the resource policy of a function, a version, an alias or a layer
// version. A function's policy has the revision of what it is attached to, as
// on AWS; a layer version's has its own.
type Policy struct {
	Statements []Statement
	RevisionID string
}

// Open loads the snapshot from the records. Versions that were Pending, and
// updates that were InProgress, when their server ended are Active and
// Successful in it, unless they still wait for an image.
func Open(ctx context.Context, o Options) (*Catalog, error) {
	if o.Records == nil || o.Artifacts == nil || o.Runtimes == nil || o.Region == "" {
		return nil, lambent.Errorf(lambent.CodeInternal, "open catalog: records, artifacts, runtimes and region are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Concurrency == 0 {
		o.Concurrency = lambent.DefaultConcurrency
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewID == nil {
		o.NewID = uuid.NewString
	}
	c := &Catalog{o: o, wake: make(chan struct{}, 1), usage: map[string]usage{}, due: map[id]bool{}}
	c.functions.init()
	c.layers.init()
	c.urls.init()
	if err := c.load(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// now is the time as records keep it.
func (c *Catalog) now() time.Time { return c.o.Now().UTC().Truncate(time.Millisecond) }

// Run drives versions from Pending to Active and updates from InProgress to
// Successful, within a moment of the write that made them so, or when their image
// is here. It returns nil when ctx ends.
func (c *Catalog) Run(ctx context.Context) error {
	p := newPulls()
	defer p.work.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		}
		for k := range c.takeDue() {
			c.settle(ctx, k)
			c.bring(ctx, p, k)
			c.wanted(k)
		}
	}
}

func (c *Catalog) takeDue() map[id]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := c.due
	c.due = map[id]bool{}
	return due
}

// settle ends the pending states of a function but those that wait for an image.
// Nothing is written: the record
// has held the settled state since the write, so a restart comes to the same.
// Nothing happens when ctx ends first.
func (c *Catalog) settle(ctx context.Context, k id) {
	leave, err := c.gates.enter(ctx, k.functionKey())
	if err != nil {
		return
	}
	defer leave()
	if f := c.functions.get(k); f != nil && len(f.unsettled) > len(f.waiting()) {
		c.swapFunction(k, f.settled())
	}
}
