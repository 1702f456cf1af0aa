package client

import (
	"context"
	"net/url"
	"time"

	"lambent.dev/lambent"
)

// Scale is what a version does now, and what was decided about its instances.
type Scale struct {
	Function string `json:"function"`
	Version  string `json:"version"`
	Ready    int    `json:"ready"`              // instances that take calls
	Busy     int    `json:"busy"`               // of those, the ones that have a call
	Draining int    `json:"draining,omitempty"` // of those, the ones that get no more: out of date, or too many
	Starting int    `json:"starting"`
	Frozen   int    `json:"frozen,omitempty"`
	Waiting  int    `json:"waiting"` // calls without an instance
	// MemoryBytes is what the instances hold, but for frozen ones.
	MemoryBytes int64      `json:"memoryBytes"`
	Running     int        `json:"running"` // calls, waiting ones included
	Calls       uint64     `json:"calls"`   // that have ended, since it was called again after a while without
	Failed      uint64     `json:"failed"`
	P50MS       float64    `json:"p50Ms"`
	P99MS       float64    `json:"p99Ms"`
	Trouble     string     `json:"trouble,omitempty"` // why the last starts have failed
	Held        string     `json:"held,omitempty"`    // how starts had to wait because the host was short of something
	Decisions   []Decision `json:"decisions"`         // oldest first; of a list, the last one alone
}

// Decision is how many instances there shall be, and why.
type Decision struct {
	Since    time.Time `json:"since"` // when it was made first
	At       time.Time `json:"at"`    // and last
	Times    int       `json:"times"`
	Desired  int       `json:"desired"`
	Rule     string    `json:"rule"` // which part of the arithmetic had the last word
	Sentence string    `json:"sentence"`

	// What it was made from, in the measure of the mode.
	Mode        string            `json:"mode"`
	Ready       int               `json:"ready"`
	Waiting     int               `json:"waiting"`
	Stable      float64           `json:"stable"` // average over the stable window
	Panic       float64           `json:"panic"`  // average over the panic window
	Expected    float64           `json:"expected,omitempty"`
	PerInstance float64           `json:"perInstance"`
	Panicking   bool              `json:"panicking,omitempty"`
	IdleSeconds float64           `json:"idleSeconds"`
	Settings    map[string]string `json:"settings"`
}

// ScaleList is the versions of a namespace that are called or have instances.
type ScaleList struct {
	Versions []Scale `json:"versions"`
}

// Recording is a load that was recorded: the calls of one version.
type Recording struct {
	Function string         `json:"function"`
	Version  string         `json:"version"`
	From     time.Time      `json:"from"`
	Cut      bool           `json:"cut,omitempty"` // there were more calls than are kept
	Calls    []RecordedCall `json:"calls"`
}

// RecordedCall is one call, and one line of a trace in our own format.
type RecordedCall struct {
	AtMS   float64 `json:"atMs"`   // since the beginning
	TookMS float64 `json:"tookMs"` // waiting included
}

// RolloutList is the rollouts of a function.
type RolloutList struct {
	Rollouts []lambent.Rollout `json:"rollouts"`
}

// NewRollout is a rollout that is asked for; zero members take the defaults.
type NewRollout struct {
	To           string    `json:"to"`
	Steps        []float64 `json:"steps,omitempty"`
	EverySeconds float64   `json:"everySeconds,omitempty"`
	AbortOn      []string  `json:"abortOn,omitempty"`
	MinCalls     int       `json:"minCalls,omitempty"`
}

// Alias is a name for a version.
type Alias struct {
	Name        string             `json:"name"`
	Version     string             `json:"version"`
	Description string             `json:"description,omitempty"`
	Weights     map[string]float64 `json:"weights,omitempty"` // share of other versions
	// Rules send some calls to a version of their own.
	Rules []lambent.AliasRule `json:"rules,omitempty"`
}

// PutAlias is what an alias shall be. A nil member keeps what it has.
type PutAlias struct {
	Version     *string              `json:"version,omitempty"`
	Description *string              `json:"description,omitempty"`
	Weights     *map[string]float64  `json:"weights,omitempty"`
	Rules       *[]lambent.AliasRule `json:"rules,omitempty"`
}

// AliasList is the aliases of a function.
type AliasList struct {
	Aliases []Alias `json:"aliases"`
}

// Scales asks for all versions that are called or have instances.
func (c *Client) Scales(ctx context.Context) ([]Scale, error) {
	var out ScaleList
	err := c.call(ctx, request{method: "GET", path: "/v1/scale"}, &out)
	return out.Versions, err
}

// Scale asks what was decided about the instances of a version.
func (c *Client) Scale(ctx context.Context, name, qualifier string) (Scale, error) {
	var out Scale
	return out, c.call(ctx, request{method: "GET", path: functionPath(name) + "/scale", query: values("qualifier", qualifier)}, &out)
}

// Record begins to record the calls of a version.
func (c *Client) Record(ctx context.Context, name, qualifier string) error {
	return c.call(ctx, request{method: "POST", path: functionPath(name) + "/recording", query: values("qualifier", qualifier)}, nil)
}

// Recorded ends a recording and returns it.
func (c *Client) Recorded(ctx context.Context, name, qualifier string) (Recording, error) {
	var out Recording
	return out, c.call(ctx, request{method: "DELETE", path: functionPath(name) + "/recording", query: values("qualifier", qualifier)}, &out)
}

// Rollouts asks for the rollouts of a function.
func (c *Client) Rollouts(ctx context.Context, name string) ([]lambent.Rollout, error) {
	var out RolloutList
	err := c.call(ctx, request{method: "GET", path: functionPath(name) + "/rollouts"}, &out)
	return out.Rollouts, err
}

// Rollout begins one.
func (c *Client) Rollout(ctx context.Context, name, alias string, r NewRollout) (lambent.Rollout, error) {
	var out lambent.Rollout
	return out, c.put(ctx, functionPath(name)+"/rollouts/"+url.PathEscape(alias), r, &out)
}

// AbortRollout leads the alias back to the old version.
func (c *Client) AbortRollout(ctx context.Context, name, alias string) (lambent.Rollout, error) {
	var out lambent.Rollout
	return out, c.call(ctx, request{method: "DELETE", path: functionPath(name) + "/rollouts/" + url.PathEscape(alias)}, &out)
}

// Aliases asks for the aliases of a function.
func (c *Client) Aliases(ctx context.Context, name string) ([]Alias, error) {
	var out AliasList
	err := c.call(ctx, request{method: "GET", path: functionPath(name) + "/aliases"}, &out)
	return out.Aliases, err
}

// PutAlias makes an alias, or changes it.
func (c *Client) PutAlias(ctx context.Context, name, alias string, a PutAlias) (Alias, error) {
	var out Alias
	return out, c.put(ctx, functionPath(name)+"/aliases/"+url.PathEscape(alias), a, &out)
}

// DeleteAlias deletes an alias.
func (c *Client) DeleteAlias(ctx context.Context, name, alias string) error {
	return c.call(ctx, request{method: "DELETE", path: functionPath(name) + "/aliases/" + url.PathEscape(alias)}, nil)
}
