// Package rollout moves the calls of an alias from one version to another while it
// watches both. It owns the state of every rollout, which is a record, so that a
// restarted server goes on with it, and the evidence by which one goes back; it
// refuses to measure anything itself and to touch an alias that somebody else has
// changed meanwhile. The doors above start and stop rollouts; beside it is the scale
// room, whose measurements the server hands in; below it are the catalog and the
// store.
package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/store"
)

// Options are the room's neighbours. All are required.
type Options struct {
	Records store.Records
	Catalog Catalog
	// Begin starts to count the calls of a version from now on; what it returns tells
	// the figures up to the moment it is called.
	Begin func(namespace, function, number string) func() lambent.RolloutFigures
	Log   *slog.Logger
}

// Catalog has the aliases.
type Catalog interface {
	Get(namespace, function, qualifier string) (catalog.Entry, error)
	Alias(namespace, function, name string) (*lambent.Alias, error)
	UpdateAlias(ctx context.Context, in catalog.UpdateAlias) (*lambent.Alias, error)
}

// Bounds of what may be asked for.
const (
	maxSteps      = 32
	maxConditions = 16
	minEvery      = time.Second
	maxEvery      = 7 * 24 * time.Hour
)

// tick is how often the figures are looked at, and commitTimeout how long a write waits
// for the store.
const (
	tick          = time.Second
	commitTimeout = 30 * time.Second
)

// Room is safe for use from any goroutine.
type Room struct {
	o Options

	mu sync.Mutex // guards of; never held while calling out
	of map[key]*run
}

type key struct{ namespace, function, alias string }

func (k key) record() string {
	return "rollout/" + k.namespace + "/" + k.function + "/" + k.alias
}

// run is one rollout. gate is held by who changes it; value is replaced, never
// changed.
type run struct {
	gate       sync.Mutex
	value      *lambent.Rollout // guarded by Room.mu
	conditions []condition
	was, is    func() lambent.RolloutFigures
}

// Open reads the rollouts that there are.
func Open(ctx context.Context, o Options) (*Room, error) {
	r := &Room{o: o, of: map[key]*run{}}
	for rec, err := range o.Records.Scan(ctx, "rollout/") {
		if err != nil {
			return nil, fmt.Errorf("read rollouts: %w", err)
		}
		var v lambent.Rollout
		if err := json.Unmarshal(rec.Value, &v); err != nil {
			o.Log.Error("read rollout", "key", rec.Key, "err", err)
			continue
		}
		x := &run{value: &v}
		if x.conditions, err = parseAll(v.AbortOn); err != nil {
			o.Log.Error("read rollout", "key", rec.Key, "err", err)
			continue
		}
		r.of[keyOf(&v)] = x
	}
	return r, nil
}

func keyOf(v *lambent.Rollout) key { return key{v.Namespace, v.Function, v.Alias} }

// Start begins a rollout of in.Alias to in.To by in.Steps, and returns what was
// begun. One that moves already is CodeConflict.
func (r *Room) Start(ctx context.Context, in lambent.Rollout) (lambent.Rollout, error) {
	conditions, err := check(&in)
	if err != nil {
		return in, err
	}
	alias, err := r.o.Catalog.Alias(in.Namespace, in.Function, in.Alias)
	if err != nil {
		return in, err
	}
	if err := r.checkVersions(&in, alias); err != nil {
		return in, err
	}
	in.From, in.Revision = alias.Version, alias.RevisionID
	in.State, in.Reason, in.Step, in.Began, in.Ended, in.Evidence = lambent.RolloutMoving, "", -1, now(), time.Time{}, nil
	x, before, err := r.claim(&in, conditions)
	if err != nil {
		return in, err
	}
	defer x.gate.Unlock()
	if err := r.save(ctx, x.value); err != nil {
		r.disclaim(x, before)
		return in, err
	}
	r.compare(x)
	if err := r.step(ctx, x, 0); err != nil {
		return in, err
	}
	return r.copy(x), nil
}

// compare begins to count the calls of the old version.
func (r *Room) compare(x *run) {
	was := r.o.Begin(x.value.Namespace, x.value.Function, x.value.From)
	r.mu.Lock()
	defer r.mu.Unlock()
	x.was = was
}

// claim makes the rollout the one of its alias; its gate is held then. before is the
// one that was it, and has ended, or nil.
func (r *Room) claim(in *lambent.Rollout, conditions []condition) (x, before *run, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before = r.of[keyOf(in)]
	if before != nil && before.value.State == lambent.RolloutMoving {
		return nil, nil, lambent.Errorf(lambent.CodeConflict, "%s:%s is being rolled out to version %s", in.Function, in.Alias, before.value.To)
	}
	x = &run{value: in, conditions: conditions}
	x.gate.Lock() // nobody else has it yet
	r.of[keyOf(in)] = x
	return x, before, nil
}

// disclaim undoes claim: a rollout that is not on record does not move. Run may wait for
// its gate already, and finds that it has ended.
func (r *Room) disclaim(x, before *run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := keyOf(x.value)
	ended := *x.value
	ended.State = lambent.RolloutLost
	x.value = &ended
	if before == nil {
		delete(r.of, k)
	} else {
		r.of[k] = before
	}
}

// check checks and completes what was asked for.
func check(in *lambent.Rollout) ([]condition, error) {
	invalid := func(format string, args ...any) error {
		return lambent.Errorf(lambent.CodeInvalid, format, args...)
	}
	if len(in.Steps) == 0 {
		in.Steps = []float64{5, 25, 50, 100}
	}
	last := 0.0
	for _, s := range in.Steps {
		if !(s > last && s <= 100) {
			return nil, invalid("steps %v: want percents that rise to 100", in.Steps)
		}
		last = s
	}
	if last < 100 {
		in.Steps = append(slices.Clone(in.Steps), 100)
	}
	switch {
	case len(in.Steps) > maxSteps:
		return nil, invalid("there are %d steps; at most %d are allowed", len(in.Steps), maxSteps)
	case in.Every < minEvery || in.Every > maxEvery:
		return nil, invalid("every %s: want a duration from %s to %s", in.Every, minEvery, maxEvery)
	case len(in.AbortOn) > maxConditions:
		return nil, invalid("there are %d conditions; at most %d are allowed", len(in.AbortOn), maxConditions)
	case in.MinCalls < 0:
		return nil, invalid("calls %d: want a number from 0 on", in.MinCalls)
	}
	return parseAll(in.AbortOn)
}

func (r *Room) checkVersions(in *lambent.Rollout, alias *lambent.Alias) error {
	to, err := r.o.Catalog.Get(in.Namespace, in.Function, in.To)
	switch {
	case err != nil:
		return err
	case !to.Version.Published() || to.Version.Number != in.To:
		return lambent.Errorf(lambent.CodeInvalid, "%q: want the number of a published version", in.To)
	case len(alias.Weights) > 0:
		return lambent.Errorf(lambent.CodeConflict, "%s:%s has weights: end them first", in.Function, in.Alias)
	case alias.Version == in.To:
		return lambent.Errorf(lambent.CodeConflict, "%s:%s leads to version %s already", in.Function, in.Alias, in.To)
	case alias.Version == lambent.Latest:
		return lambent.Errorf(lambent.CodeInvalid, "%s:%s leads to %s, which cannot share calls with another version", in.Function, in.Alias, lambent.Latest)
	}
	return nil
}

// Rollouts are those of a function, moving or ended, by alias.
func (r *Room) Rollouts(namespace, function string) []lambent.Rollout {
	r.mu.Lock()
	var found []*run
	for k, x := range r.of {
		if k.namespace == namespace && k.function == function {
			found = append(found, x)
		}
	}
	r.mu.Unlock()
	out := make([]lambent.Rollout, 0, len(found))
	for _, x := range found {
		out = append(out, r.copy(x))
	}
	slices.SortFunc(out, func(a, b lambent.Rollout) int { return strings.Compare(a.Alias, b.Alias) })
	return out
}

// copy is the rollout now, with the figures of this moment.
func (r *Room) copy(x *run) lambent.Rollout {
	r.mu.Lock()
	v, was, is := *x.value, x.was, x.is
	r.mu.Unlock()
	v.Evidence = slices.Clone(v.Evidence)
	if n := len(v.Evidence); n > 0 && v.State == lambent.RolloutMoving && was != nil && is != nil {
		v.Evidence[n-1].Old, v.Evidence[n-1].New = was(), is()
	}
	return v
}

// Abort leads the alias back to the old version.
func (r *Room) Abort(ctx context.Context, namespace, function, alias, reason string) (lambent.Rollout, error) {
	r.mu.Lock()
	x := r.of[key{namespace, function, alias}]
	r.mu.Unlock()
	if x == nil {
		return lambent.Rollout{}, lambent.Errorf(lambent.CodeNotFound, "%s:%s is not being rolled out", function, alias)
	}
	x.gate.Lock()
	defer x.gate.Unlock()
	if x.value.State != lambent.RolloutMoving {
		return *x.value, lambent.Errorf(lambent.CodeConflict, "the rollout of %s:%s has ended: %s", function, alias, x.value.State)
	}
	err := r.back(ctx, x, reason)
	return r.copy(x), err
}

// Run moves the rollouts until ctx ends.
func (r *Room) Run(ctx context.Context) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		r.mu.Lock()
		all := slices.Collect(maps.Values(r.of))
		r.mu.Unlock()
		for _, x := range all {
			r.look(ctx, x)
		}
	}
}

// look moves one rollout on, if it is time, or back, if it has to.
func (r *Room) look(ctx context.Context, x *run) {
	x.gate.Lock()
	defer x.gate.Unlock()
	v := x.value
	if v.State != lambent.RolloutMoving {
		r.sweep(ctx, x)
		return
	}
	err := r.move(ctx, x)
	if err != nil && ctx.Err() == nil {
		r.o.Log.Warn("move rollout", "fn", v.Function, "alias", v.Alias, "err", err) // and again with the next tick
	}
}

func (r *Room) move(ctx context.Context, x *run) error {
	v := x.value
	alias, err := r.o.Catalog.Alias(v.Namespace, v.Function, v.Alias)
	switch {
	case lambent.CodeOf(err) == lambent.CodeNotFound:
		return r.finish(ctx, x, lambent.RolloutLost, "the alias was deleted")
	case err != nil:
		return err
	case x.is == nil:
		return r.resume(ctx, x, alias)
	case alias.RevisionID != v.Revision:
		return r.finish(ctx, x, lambent.RolloutLost, "somebody else has changed the alias")
	}
	if why := x.verdict(); why != "" {
		return r.back(ctx, x, why)
	}
	if now().Sub(v.Evidence[len(v.Evidence)-1].Began) < v.Every {
		return nil
	}
	if v.Step+1 < len(v.Steps) {
		return r.step(ctx, x, v.Step+1)
	}
	return r.finish(ctx, x, lambent.RolloutDone, "")
}

// resume goes on with a rollout after the server was restarted: with the step that
// the alias is at, which may be one later than the record says, from its beginning.
func (r *Room) resume(ctx context.Context, x *run, alias *lambent.Alias) error {
	r.compare(x)
	next := x.next()
	at := max(next.Step, 0)
	for _, n := range []int{next.Step, next.Step + 1} {
		if n < 0 || n >= len(next.Steps) {
			continue
		}
		if version, weights := position(next, n); alias.Version == version && maps.Equal(alias.Weights, weights) {
			next.Revision, at = alias.RevisionID, n
		}
	}
	if next.Step >= 0 && alias.RevisionID != next.Revision && alias.Version == next.From && len(alias.Weights) == 0 {
		return r.finish(ctx, x, lambent.RolloutAborted, "the server ended while the alias was led back")
	}
	x.set(r, next, nil)
	return r.step(ctx, x, at)
}

// position is what the alias leads to in a step.
func position(v *lambent.Rollout, n int) (version string, weights map[string]float64) {
	if share := v.Steps[n]; share < 100 {
		return v.From, map[string]float64{v.To: share / 100}
	}
	return v.To, map[string]float64{}
}

// verdict is the condition that the figures break now; "" is none.
func (x *run) verdict() string {
	was, is := x.was(), x.is()
	if is.Calls < uint64(max(x.value.MinCalls, 1)) {
		return ""
	}
	for _, c := range x.conditions {
		if why := c.broken(was, is); why != "" {
			return why
		}
	}
	return ""
}

// step makes a step hold: the alias first, which is then known by its revision, and
// the record after it. What was measured in the step before is closed.
func (r *Room) step(ctx context.Context, x *run, n int) error {
	next := x.next()
	share := next.Steps[n]
	version, weights := position(next, n)
	if err := r.lead(ctx, next, version, weights); err != nil {
		x.set(r, x.value, nil) // the change may have been made all the same: see resume
		return r.lost(ctx, x, err)
	}
	next.Step = n
	next.Evidence = append(next.Evidence, lambent.RolloutStep{Percent: share, Began: now()})
	x.set(r, next, r.o.Begin(next.Namespace, next.Function, next.To))
	r.o.Log.Info("rollout", "fn", next.Function, "alias", next.Alias, "to", next.To, "percent", share)
	return r.save(ctx, next)
}

// lead changes the alias, unless it is so already: a server that ended between that
// and the record goes on here.
func (r *Room) lead(ctx context.Context, v *lambent.Rollout, version string, weights map[string]float64) error {
	alias, err := r.o.Catalog.Alias(v.Namespace, v.Function, v.Alias)
	if err != nil {
		return err
	}
	if alias.Version == version && maps.Equal(alias.Weights, weights) {
		v.Revision = alias.RevisionID
		return nil
	}
	changed, err := r.o.Catalog.UpdateAlias(ctx, catalog.UpdateAlias{
		Namespace: v.Namespace, Function: v.Function, Name: v.Alias, Version: &version, Weights: &weights, RevisionID: v.Revision,
	})
	if err == nil {
		v.Revision = changed.RevisionID
	}
	return err
}

// lost ends a rollout whose alias is not as it was left; other errors are handed on.
func (r *Room) lost(ctx context.Context, x *run, err error) error {
	switch lambent.CodeOf(err) {
	case lambent.CodePrecondition, lambent.CodeConflict, lambent.CodeNotFound, lambent.CodeInvalid:
		return r.finish(ctx, x, lambent.RolloutLost, "the alias cannot be changed: "+err.Error())
	}
	return err
}

// back leads the alias to the old version, whatever the step.
func (r *Room) back(ctx context.Context, x *run, why string) error {
	next := x.next()
	if err := r.lead(ctx, next, next.From, map[string]float64{}); err != nil {
		return r.lost(ctx, x, err)
	}
	if n := len(next.Evidence); n > 0 {
		next.Evidence[n-1].Verdict = why
	}
	x.set(r, next, nil)
	return r.finish(ctx, x, lambent.RolloutAborted, why)
}

// finish ends a rollout.
func (r *Room) finish(ctx context.Context, x *run, state lambent.RolloutState, why string) error {
	next := x.next()
	next.State, next.Reason, next.Ended = state, why, now()
	x.set(r, next, nil)
	r.o.Log.Info("rollout ended", "fn", next.Function, "alias", next.Alias, "to", next.To, "state", state, "reason", why)
	return r.save(ctx, next)
}

// next is a copy of the rollout to change, with what is measured now.
func (x *run) next() *lambent.Rollout {
	next := *x.value
	next.Evidence = slices.Clone(next.Evidence)
	if n := len(next.Evidence); n > 0 && next.Evidence[n-1].Ended.IsZero() && x.was != nil && x.is != nil {
		e := &next.Evidence[n-1]
		e.Old, e.New, e.Ended = x.was(), x.is(), now()
	}
	return &next
}

func (x *run) set(r *Room, next *lambent.Rollout, is func() lambent.RolloutFigures) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x.value, x.is = next, is
}

func (r *Room) save(ctx context.Context, v *lambent.Rollout) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	value, err := json.Marshal(v)
	if err == nil {
		_, err = r.o.Records.Commit(ctx, store.Op{Key: keyOf(v).record(), Value: value})
	}
	if err != nil {
		return fmt.Errorf("write the rollout of %s:%s: %w", v.Function, v.Alias, err)
	}
	return nil
}

// sweep forgets an ended rollout whose function is gone.
func (r *Room) sweep(ctx context.Context, x *run) {
	v := x.value
	if _, err := r.o.Catalog.Get(v.Namespace, v.Function, ""); lambent.CodeOf(err) != lambent.CodeNotFound {
		return
	}
	if _, err := r.o.Records.Commit(ctx, store.Op{Key: keyOf(v).record(), Delete: true}); err != nil {
		return // and again with the next tick
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[keyOf(v)] == x {
		delete(r.of, keyOf(v))
	}
}

func now() time.Time { return time.Now().UTC() }
