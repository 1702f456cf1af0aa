package catalog

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/cron"
)

// Bounds of what a [lambent.Window] may say. They are ours: AWS has no windows
// in a provisioned concurrency configuration.
const (
	maxWindows    = 32
	maxWindowTime = 7 * 24 * time.Hour
)

// PutProvisioned is the input of [Catalog.PutProvisioned].
type PutProvisioned struct {
	Namespace, Function string
	Qualifier           string // a published version's number, or an alias
	Requested           int    // 0 only where there are windows
	// Windows replaces the windows; nil keeps them.
	Windows *[]lambent.Window
}

// most is the largest number of instances that in asks for at any time.
func (in PutProvisioned) most(windows []lambent.Window) int {
	n := in.Requested
	for _, w := range windows {
		n = max(n, w.Count)
	}
	return n
}

// PutProvisioned sets the provisioned concurrency of a version or an alias. The
// rules are AWS's (AWS Lambda developer guide, "Configuring provisioned
// concurrency"): only for what is published, once per version, not together
// with SnapStart, and within the function's reserved concurrency or else the
// account's unreserved one.
func (c *Catalog) PutProvisioned(ctx context.Context, in PutProvisioned) (*lambent.Provisioned, error) {
	k := id{in.Namespace, in.Function}
	if err := checkWindows(in.Windows, c.o.Concurrency); err != nil {
		return nil, err
	}
	// The sum over all functions must hold, so one at a time in a namespace.
	leave, err := c.gates.enter(ctx, "reserved/"+k.ns)
	if err != nil {
		return nil, err
	}
	defer leave()
	var made *lambent.Provisioned
	err = c.change(ctx, k, func(old *function) (*function, error) {
		if err := c.checkProvision(k, old, in.Qualifier); err != nil {
			return nil, err
		}
		p := &lambent.Provisioned{
			Namespace: k.ns, Function: k.name, Qualifier: in.Qualifier, Requested: in.Requested, LastModified: c.now(),
		}
		if was := old.provision(in.Qualifier); was != nil {
			p.Windows = was.Windows
		}
		if in.Windows != nil {
			p.Windows = slices.Clone(*in.Windows)
		}
		if in.Requested < 0 || in.Requested == 0 && len(p.Windows) == 0 {
			return nil, invalid("Requested", "%d instances are no provisioned concurrency; it is ended by deleting it", in.Requested)
		}
		if err := c.checkRoom(k, old, in, in.most(p.Windows)); err != nil {
			return nil, err
		}
		next := old.clone()
		next.putProvision(p)
		made = p
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	c.wanted(k)
	return made, nil
}

// checkProvision checks what a new configuration is for. The function may be nil.
func (c *Catalog) checkProvision(k id, f *function, qualifier string) error {
	if qualifier == "" || qualifier == lambent.Latest {
		return unpublished()
	}
	v, a, err := c.provisionable(k, f, qualifier)
	if err != nil {
		return err
	}
	if a != nil && len(a.Weights) > 0 {
		return invalid("WeightedAlias", "Alias with weights can not be used with Provisioned Concurrency")
	}
	return c.checkTarget(f, qualifier, v)
}

// provisionable finds the version, and the alias if there is one, that a
// qualifier stands for. The function may be nil.
func (c *Catalog) provisionable(k id, f *function, qualifier string) (*lambent.Version, *lambent.Alias, error) {
	var v *lambent.Version
	var a *lambent.Alias
	if f != nil {
		v, a = f.resolve(qualifier)
	}
	switch {
	case v != nil:
		return v, a, nil
	case isNumber(qualifier):
		return nil, nil, c.functionNotFound(k, qualifier)
	}
	return nil, nil, c.aliasNotFound(k, qualifier)
}

// checkTarget tells whether the provisioned concurrency of a qualifier may lead to v.
func (c *Catalog) checkTarget(f *function, qualifier string, v *lambent.Version) error {
	if !v.Published() {
		return unpublished()
	}
	if v.SnapStart == "PublishedVersions" {
		return invalid("SnapStart", "Provisioned Concurrency is not supported for SnapStart enabled functions.")
	}
	for _, p := range f.provisioned {
		other, _ := f.resolve(p.Qualifier)
		switch {
		case p.Qualifier == qualifier || other == nil || other.Number != v.Number:
		case isNumber(qualifier):
			return lambent.Errorf(lambent.CodeConflict, "Version is pointed by a Provisioned Concurrency alias")
		default: // also when it is another alias that has provisioned the version
			return lambent.Errorf(lambent.CodeConflict, "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version")
		}
	}
	return nil
}

func unpublished() *lambent.Error {
	return invalid("Unpublished", "Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
}

// checkRoom tells whether there is concurrency for n instances. The gate of the
// namespace's reservations is held.
func (c *Catalog) checkRoom(k id, f *function, in PutProvisioned, n int) error {
	if reserved := f.shared.Reserved; reserved != nil {
		if f.provisionedSum(in.Qualifier)+n > *reserved {
			return invalid("ReservedTooLow", "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function")
		}
		return nil
	}
	unreserved := c.o.Concurrency - c.reservedBesides(k) - f.provisionedSum(in.Qualifier) - c.provisionedBesides(k)
	switch {
	case n > unreserved:
		return invalid("UnreservedTooLow", "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [%d].", max(unreserved, 0))
	case n > unreserved-minUnreserved:
		return invalid("UnreservedTooLow", "Specified ConcurrentExecutions for function decreases account's "+
			"UnreservedConcurrentExecution below its minimum value of [%d].", minUnreserved)
	}
	return nil
}

// provisionedSum is the most that f provisions at any time, but for one qualifier.
func (f *function) provisionedSum(except string) (sum int) {
	for _, p := range f.provisioned {
		if p.Qualifier != except {
			sum += PutProvisioned{Requested: p.Requested}.most(p.Windows)
		}
	}
	return sum
}

// provisionedBesides is what the other functions provision out of the account's
// unreserved concurrency.
func (c *Catalog) provisionedBesides(k id) (sum int) {
	for other, f := range c.functions.all {
		if other.ns == k.ns && other != k && f.shared.Reserved == nil {
			sum += f.provisionedSum("")
		}
	}
	return sum
}

func checkWindows(windows *[]lambent.Window, concurrency int) error {
	if windows == nil {
		return nil
	}
	if len(*windows) > maxWindows {
		return invalid("Windows", "there are %d windows; at most %d are allowed", len(*windows), maxWindows)
	}
	for i, w := range *windows {
		_, err := cron.Parse(w.Start)
		switch {
		case err != nil:
			return invalid("Windows", "window %d: its start: %s", i+1, err)
		case w.Duration < time.Minute || w.Duration > maxWindowTime:
			return invalid("Windows", "window %d: its duration %s is not from 1m to %s", i+1, w.Duration, maxWindowTime)
		case w.Count < 0 || w.Count > concurrency:
			return invalid("Windows", "window %d: its count %d is not from 0 to %d", i+1, w.Count, concurrency)
		}
	}
	return nil
}

// Provisioned finds the provisioned concurrency of a version or an alias. There
// being none is CodeNotFound with the name of AWS's exception as the reason.
func (c *Catalog) Provisioned(ns, fn, qualifier string) (*lambent.Provisioned, error) {
	k := id{ns, fn}
	f := c.functions.get(k)
	if err := c.namesProvisionable(k, f, qualifier); err != nil {
		return nil, err
	}
	if p := f.provision(qualifier); p != nil {
		return p, nil
	}
	return nil, lambent.Errorf(lambent.CodeNotFound, "No Provisioned Concurrency Config found for this function").
		WithReason("ProvisionedConcurrencyConfigNotFoundException")
}

// namesProvisionable checks a qualifier that is asked about. The function may be nil.
func (c *Catalog) namesProvisionable(k id, f *function, qualifier string) error {
	if qualifier == "" || qualifier == lambent.Latest {
		return invalid("Unpublished", "The function resource provided must be an alias or a published version.")
	}
	_, _, err := c.provisionable(k, f, qualifier)
	return err
}

// DeleteProvisioned ends the provisioned concurrency of a version or an alias.
// Where there is none it does nothing, as on AWS.
func (c *Catalog) DeleteProvisioned(ctx context.Context, ns, fn, qualifier string) error {
	k := id{ns, fn}
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if err := c.namesProvisionable(k, old, qualifier); err != nil {
			return nil, err
		}
		i, ok := old.provisionIndex(qualifier)
		if !ok {
			return old, nil
		}
		next := old.clone()
		next.provisioned = slices.Delete(next.provisioned, i, i+1)
		return next, nil
	})
	if err == nil {
		c.wanted(k)
	}
	return err
}

// ListProvisioned returns the provisioned concurrency of a function by
// qualifier, paged as in [Catalog.List].
func (c *Catalog) ListProvisioned(ns, fn, after string, limit int) (items []*lambent.Provisioned, next string, err error) {
	k := id{ns, fn}
	f := c.functions.get(k)
	if f == nil {
		return nil, "", c.functionNotFound(k, "")
	}
	items, next = byProvisioned.page(f.provisioned, after, limit)
	return items, next, nil
}

// Kept is a function that asks for instances to be kept ready: by provisioned
// concurrency, by its settings, or both.
type Kept struct {
	Function    *lambent.Function
	Provisioned []*lambent.Provisioned // by qualifier; not to be modified
}

// Kept yields every function that asks for instances, in no order. It touches
// the snapshot only.
func (c *Catalog) Kept() iter.Seq[Kept] {
	return func(yield func(Kept) bool) {
		for _, f := range c.functions.all {
			if len(f.provisioned) == 0 && len(f.shared.Settings.MinInstances) == 0 {
				continue
			}
			if !yield(Kept{Function: f.shared, Provisioned: f.provisioned}) {
				return
			}
		}
	}
}

// maxMinInstances bounds the instances that a function's settings may ask for
// per qualifier, so that a slip does not fill the host.
const maxMinInstances = lambent.DefaultConcurrency

// SetSettings changes the settings of a function. edit gets a private copy; its
// error is handed on and nothing is changed then.
func (c *Catalog) SetSettings(ctx context.Context, ns, fn string, edit func(*lambent.Settings) error) (lambent.Settings, error) {
	k := id{ns, fn}
	var set lambent.Settings
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if old == nil {
			return nil, c.functionNotFound(k, "")
		}
		s := old.shared.Settings
		s.MinInstances = maps.Clone(s.MinInstances)
		if err := edit(&s); err != nil {
			return nil, err
		}
		s.MinInstances = maps.Clone(s.MinInstances) // what edit put in belongs to the caller
		maps.DeleteFunc(s.MinInstances, func(_ string, n int) bool { return n == 0 })
		if err := c.checkSettings(k, old, s); err != nil {
			return nil, err
		}
		next := old.clone()
		next.shared.Settings = s
		set = s
		return next, nil
	})
	if err != nil {
		return lambent.Settings{}, err
	}
	c.wanted(k)
	return set, nil
}

func (c *Catalog) checkSettings(k id, f *function, s lambent.Settings) error {
	if err := checkAsyncTimeout(s.AsyncTimeout); err != nil {
		return err
	}
	for _, qualifier := range slices.Sorted(maps.Keys(s.MinInstances)) {
		if v, _ := f.resolve(qualifier); v == nil || qualifier == "" {
			return c.functionNotFound(k, qualifier)
		}
		if n := s.MinInstances[qualifier]; n < 0 || n > maxMinInstances {
			return outOfRange(fmt.Sprintf("The minimum of instances of %q", qualifier), n, 0, maxMinInstances)
		}
	}
	return nil
}
