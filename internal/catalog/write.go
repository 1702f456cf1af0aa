package catalog

import (
	"context"
	"errors"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// commitTimeout bounds how long a write waits for the store.
const commitTimeout = 30 * time.Second

// gates hand out the right to change one thing at a time, by key. Unlike a
// mutex a gate is given up on when the context ends, and it may be held across
// a call to the store.
type gates struct {
	mu   sync.Mutex // guards held
	held map[string]chan struct{}
}

// enter waits for the gate. Its error is CodeCanceled or CodeTimeout.
func (g *gates) enter(ctx context.Context, key string) (leave func(), err error) {
	for {
		g.mu.Lock()
		busy, ok := g.held[key]
		if !ok {
			mine := make(chan struct{})
			if g.held == nil {
				g.held = map[string]chan struct{}{}
			}
			g.held[key] = mine
			g.mu.Unlock()
			return func() { g.leave(key, mine) }, nil
		}
		g.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ended(ctx, key)
		}
	}
}

func (g *gates) leave(key string, mine chan struct{}) {
	g.mu.Lock()
	delete(g.held, key)
	g.mu.Unlock()
	close(mine)
}

// ended is the error of a context that ended while waiting.
func ended(ctx context.Context, what string) *lambent.Error {
	code := lambent.CodeCanceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code = lambent.CodeTimeout
	}
	return &lambent.Error{Code: code, Message: "the request ended before " + what + " could be changed", Cause: context.Cause(ctx)}
}

// commitFunction makes next, which was made from old, what the function is: in
// the store first and then in the snapshot. Either may be nil: none yet, none
// any more. The gate of the function is held.
func (c *Catalog) commitFunction(ctx context.Context, k id, old, next *function) error {
	ops, err := functionOps(k, old, next)
	if err != nil {
		return err
	}
	rev, err := c.commit(ctx, ops)
	if err != nil {
		c.refreshFunction(ctx, k, old)
		return c.commitError(err, "function "+k.name, lambent.FunctionARN(c.o.Region, k.ns, k.name, ""))
	}
	if next != nil {
		next.rev = rev
	}
	c.swapFunction(k, next)
	return nil
}

// commitLayer is commitFunction for a layer.
func (c *Catalog) commitLayer(ctx context.Context, k id, old, next *layer) error {
	ops, err := layerOps(k, old, next)
	if err != nil {
		return err
	}
	rev, err := c.commit(ctx, ops)
	if err != nil {
		c.refreshLayer(ctx, k, old)
		return c.commitError(err, "layer "+k.name, lambent.LayerARN(c.o.Region, k.ns, k.name, 0))
	}
	next.rev = rev
	c.swapLayer(k, next)
	return nil
}

// commit writes ops. A caller that goes away does not interrupt it: what has
// been begun is either done or not, and we want to know which.
func (c *Catalog) commit(ctx context.Context, ops []store.Op) (int64, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	return c.o.Records.Commit(ctx, ops...)
}

func (c *Catalog) commitError(err error, what, arn string) error {
	switch {
	case errors.Is(err, store.ErrConflict):
		e := updateInProgress(arn)
		e.Cause = err
		return e
	case errors.Is(err, context.Canceled):
		return &lambent.Error{Code: lambent.CodeCanceled, Message: "the request ended before " + what + " was written", Cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &lambent.Error{Code: lambent.CodeTimeout, Message: "the store did not answer in time; " + what + " may have been written", Cause: err}
	}
	e := &lambent.Error{Code: lambent.CodeUnavailable, Message: "the store could not write " + what, Cause: err}
	switch reason := lambent.ReasonOf(err); reason {
	case store.ReasonDiskFull, store.ReasonReadOnly:
		e.Reason, e.Message = reason, e.Message+": "+err.Error() // the operator can mend these
	}
	return e
}

// refreshFunction brings the snapshot back to the store after a failed commit,
// of which the store alone knows whether it was applied. When the store cannot
// tell, or nothing was applied, the snapshot stays as it was.
func (c *Catalog) refreshFunction(ctx context.Context, k id, old *function) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	var known int64
	if old != nil {
		known = old.rev
	}
	now, err := c.revision(ctx, k.functionKey())
	if err != nil || now == known {
		return
	}
	l := newLoader()
	if err := l.readFunction(ctx, c.o.Records, k); err != nil {
		c.o.Log.Error("reread function after a failed commit", "ns", k.ns, "fn", k.name, "err", err)
		return
	}
	f := l.functions[k]
	if f != nil {
		f = f.settled()
	}
	c.swapFunction(k, f)
}

// refreshLayer is refreshFunction for a layer.
func (c *Catalog) refreshLayer(ctx context.Context, k id, old *layer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	var known int64
	if old != nil {
		known = old.rev
	}
	now, err := c.revision(ctx, k.layerKey())
	if err != nil || now == known {
		return
	}
	l := newLoader()
	if err := l.readLayer(ctx, c.o.Records, k); err != nil {
		c.o.Log.Error("reread layer after a failed commit", "ns", k.ns, "layer", k.name, "err", err)
		return
	}
	c.swapLayer(k, l.layers[k])
}

// revision is the store revision of a record, 0 when it is absent.
func (c *Catalog) revision(ctx context.Context, key string) (int64, error) {
	r, err := c.o.Records.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return r.Revision, err
}

func (c *Catalog) swapFunction(k id, next *function) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.functions.get(k)
	c.functions.set(k, next)
	c.swapURLs(old, next)
	u := c.usage[k.ns]
	u.codeBytes += next.codeBytes() - old.codeBytes()
	u.functions += boolInt(next != nil) - boolInt(old != nil)
	c.usage[k.ns] = u
	if next == nil || len(next.unsettled) == 0 {
		return
	}
	c.makeDue(k)
}

func (c *Catalog) swapLayer(k id, next *layer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.usage[k.ns]
	u.codeBytes += next.codeBytes() - c.layers.get(k).codeBytes()
	c.usage[k.ns] = u
	c.layers.set(k, next)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// changed tells the owner of instances that versions changed or went away.
func (c *Catalog) changed(k id, numbers ...string) {
	if c.o.OnChange == nil {
		return
	}
	for _, n := range numbers {
		c.o.OnChange(k.ns, k.name, n)
	}
}

// wanted tells the owner of instances that another number of them is wanted.
func (c *Catalog) wanted(k id) {
	if c.o.OnWanted != nil {
		c.o.OnWanted(k.ns, k.name)
	}
}
