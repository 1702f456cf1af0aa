// Package catalog owns what functions there are: their versions, aliases, tags
// and resource policies, and the layers they use. It checks what a request
// means (its wire syntax is the doors' business), commits every change durably
// as one batch, and only then swaps the in-memory snapshot that all reads come
// from, so that resolving a name touches no database and no lock. It neither
// runs code nor holds it: code goes to package artifact, whether a runtime can
// run here is asked of the runtimes, and records are kept by package store.
package catalog

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

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
	Region    string
	Log       *slog.Logger     // discarded when nil
	Now       func() time.Time // time.Now when nil
	NewID     func() string    // makes revision ids; random UUIDs when nil
	// OnChange, when set, is called after a version changed or went away, so
	// that its instances can be retired. It is called without locks held.
	OnChange func(ns, function, number string)
}

// Catalog is the catalog of one server. Its reads come from a snapshot and
// never block; its writes are serialised per function.
type Catalog struct{ opts Options }

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
	LayerARNs []string
	Tags      map[string]string
	Publish   bool
}

// UpdateCode is the input of [Catalog.UpdateCode].
type UpdateCode struct {
	Namespace, Function string
	Source              artifact.Source
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

// Open loads the snapshot from the records.
func Open(ctx context.Context, o Options) (*Catalog, error) { return &Catalog{opts: o}, nil }

// Run drives versions from Pending to Active and updates from InProgress to
// Successful until ctx ends.
func (c *Catalog) Run(ctx context.Context) error { panic("todo") }

// Resolve finds the version that a call of function with qualifier runs.
func (c *Catalog) Resolve(ns, function, qualifier string) (*lambent.Version, error) { panic("todo") }

// Get is Resolve for showing: an alias gives the version it mainly points at.
func (c *Catalog) Get(ns, function, qualifier string) (Entry, error) { panic("todo") }

func (c *Catalog) List(ns string, allVersions bool, after string, limit int) (items []*lambent.Version, next string) {
	panic("todo")
}

func (c *Catalog) Versions(ns, function, after string, limit int) (items []*lambent.Version, next string, err error) {
	panic("todo")
}

func (c *Catalog) Aliases(ns, function, version, after string, limit int) (items []*lambent.Alias, next string, err error) {
	panic("todo")
}

func (c *Catalog) Alias(ns, function, name string) (*lambent.Alias, error) { panic("todo") }

func (c *Catalog) Usage(ns string) (functions int, codeBytes int64) { panic("todo") }

func (c *Catalog) Digests() map[lambent.Digest]bool { panic("todo") }

func (c *Catalog) CreateFunction(ctx context.Context, in CreateFunction) (*lambent.Version, error) {
	panic("todo")
}

func (c *Catalog) UpdateCode(ctx context.Context, in UpdateCode) (*lambent.Version, error) {
	panic("todo")
}

func (c *Catalog) UpdateConfig(ctx context.Context, in UpdateConfig) (*lambent.Version, error) {
	panic("todo")
}

func (c *Catalog) DeleteFunction(ctx context.Context, ns, function, qualifier string) error {
	panic("todo")
}

func (c *Catalog) PublishVersion(ctx context.Context, in PublishVersion) (*lambent.Version, error) {
	panic("todo")
}

func (c *Catalog) CreateAlias(ctx context.Context, in lambent.Alias) (*lambent.Alias, error) {
	panic("todo")
}

func (c *Catalog) UpdateAlias(ctx context.Context, in UpdateAlias) (*lambent.Alias, error) {
	panic("todo")
}

func (c *Catalog) DeleteAlias(ctx context.Context, ns, function, name string) error { panic("todo") }

func (c *Catalog) Tag(ctx context.Context, ns, function string, tags map[string]string) error {
	panic("todo")
}

func (c *Catalog) Untag(ctx context.Context, ns, function string, keys []string) error {
	panic("todo")
}

func (c *Catalog) SetReserved(ctx context.Context, ns, function string, n *int) error { panic("todo") }

func (c *Catalog) PublishLayer(ctx context.Context, in PublishLayer) (*lambent.LayerVersion, error) {
	panic("todo")
}

func (c *Catalog) Layer(ns, name string, number int) (*lambent.LayerVersion, error) { panic("todo") }

func (c *Catalog) Layers(ns, runtime, arch, after string, limit int) (latest []*lambent.LayerVersion, next string) {
	panic("todo")
}

func (c *Catalog) LayerVersions(ns, name, runtime, arch, after string, limit int) (items []*lambent.LayerVersion, next string) {
	panic("todo")
}

func (c *Catalog) DeleteLayer(ctx context.Context, ns, name string, number int) error { panic("todo") }

func (c *Catalog) Policy(resource string) (Policy, bool) { panic("todo") }

func (c *Catalog) AddStatement(ctx context.Context, resource string, st Statement, revision string) (Policy, error) {
	panic("todo")
}

func (c *Catalog) RemoveStatement(ctx context.Context, resource, sid, revision string) error {
	panic("todo")
}
