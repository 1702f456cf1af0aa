package invoke

import (
	"context"
	"slices"
	"sync"
	"time"

	"lambent.dev/lambent"
)

// admission counts the calls inside the platform against the account's limit and
// the functions' reserved concurrency, and keeps a bounded queue in front of each
// function for the calls that have to wait for one of them. A call of a function
// with a reservation counts against that alone, as on AWS, where the reservation
// is taken out of the account's limit beforehand.
//
// Within a function the first call to come is the first to go. What the account's
// limit leaves free goes to the namespace that has the fewest calls running, and in
// it to the function that has: a noisy one delays itself.
type admission struct {
	limit int           // of calls without a reservation
	queue int           // calls that may wait in front of one function
	wait  time.Duration // how long

	mu      sync.Mutex // guards all below
	running int        // calls without a reservation
	gates   map[functionKey]*gate
	spare   []*gate        // of functions that are not called now, to be used again
	spaces  map[string]int // neediest's, to be used again
	held    []*gate        // with calls that wait for the account's limit
}

type functionKey struct{ namespace, function string }

// gate is the entrance to one function.
type gate struct {
	key      functionKey
	running  int
	counted  int  // of running, those that count against the account's limit
	reserved *int // what the last call was told; nil is none
	waiters  []*entrant
	isHeld   bool // is in admission.held
}

// entrant is a call that waits. open is closed when it may go in.
type entrant struct {
	open     chan struct{}
	admitted bool
	counted  bool
}

// place is an admitted call's. Its leave ends it.
type place struct {
	of      *admission
	gate    *gate
	counted bool
}

// maxSpare bounds the gates that are kept to be used again.
const maxSpare = 1024

// enter admits a call of v, waits with it, or refuses it with CodeThrottled: at
// once where hurry says so, when nothing can ever come of waiting or when too many
// wait already. Who comes in without waiting costs no memory.
func (a *admission) enter(ctx context.Context, v *lambent.Version, reserved *int, hurry bool) (place, error) {
	a.mu.Lock()
	g := a.gateOf(functionKey{v.Namespace, v.Function})
	g.reserved = reserved
	a.hold(g) // the reservation may be new
	if len(g.waiters) == 0 && a.free(g) {
		p := a.admit(g)
		a.mu.Unlock()
		return p, nil
	}
	if hurry || len(g.waiters) >= a.queue || reserved != nil && *reserved == 0 {
		err := refusal(g)
		a.tidy(g)
		a.mu.Unlock()
		return place{}, err
	}
	e := &entrant{open: make(chan struct{})}
	g.waiters = append(g.waiters, e)
	a.hold(g)
	a.mu.Unlock()
	return a.stand(ctx, g, e)
}

// stand waits in the queue.
func (a *admission) stand(ctx context.Context, g *gate, e *entrant) (place, error) {
	timer := time.NewTimer(a.wait)
	defer timer.Stop()
	var gone error
	select {
	case <-e.open:
		return place{a, g, e.counted}, nil
	case <-timer.C:
	case <-ctx.Done():
		gone = lambent.Errorf(lambent.CodeCanceled, "wait to call %s: %w", g.key.function, ctx.Err())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.admitted && gone == nil {
		return place{a, g, e.counted}, nil
	}
	if e.admitted {
		a.leave(g, e.counted)
		return place{}, gone
	}
	g.waiters = slices.DeleteFunc(g.waiters, func(o *entrant) bool { return o == e })
	err := gone
	if err == nil {
		err = refusal(g)
	}
	a.tidy(g)
	return place{}, err
}

// leave ends the call.
func (p place) leave() {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	p.of.leave(p.gate, p.counted)
}

func (a *admission) leave(g *gate, counted bool) {
	g.running--
	if counted {
		g.counted--
		a.running--
	}
	for len(g.waiters) > 0 && g.reserved != nil && a.free(g) {
		a.next(g)
	}
	for a.running < a.limit {
		h := a.neediest()
		if h == nil {
			break
		}
		a.next(h)
	}
	a.tidy(g)
}

// free tells whether g may have another call.
func (a *admission) free(g *gate) bool {
	if g.reserved != nil {
		return g.running < *g.reserved
	}
	return a.running < a.limit
}

func (a *admission) admit(g *gate) place {
	g.running++
	counted := g.reserved == nil
	if counted {
		g.counted++
		a.running++
	}
	return place{a, g, counted}
}

// next lets g's first waiter in.
func (a *admission) next(g *gate) {
	e := g.waiters[0]
	g.waiters[0] = nil
	g.waiters = g.waiters[1:]
	e.admitted, e.counted = true, a.admit(g).counted
	close(e.open)
	a.tidy(g)
}

// hold keeps held what it says it is.
func (a *admission) hold(g *gate) {
	wants := g.reserved == nil && len(g.waiters) > 0
	switch {
	case wants && !g.isHeld:
		a.held = append(a.held, g)
	case !wants && g.isHeld:
		a.held = slices.DeleteFunc(a.held, func(o *gate) bool { return o == g })
	}
	g.isHeld = wants
}

// neediest is the gate whose turn it is: of the namespace with the fewest calls
// running, the function with the fewest; nil when none waits.
func (a *admission) neediest() *gate {
	if len(a.held) == 0 {
		return nil
	}
	if a.spaces == nil {
		a.spaces = make(map[string]int)
	}
	clear(a.spaces)
	for k, g := range a.gates {
		a.spaces[k.namespace] += g.counted
	}
	return slices.MinFunc(a.held, func(x, y *gate) int {
		if d := a.spaces[x.key.namespace] - a.spaces[y.key.namespace]; d != 0 {
			return d
		}
		return x.counted - y.counted
	})
}

func (a *admission) gateOf(k functionKey) *gate {
	if g := a.gates[k]; g != nil {
		return g
	}
	var g *gate
	if n := len(a.spare); n > 0 {
		g, a.spare = a.spare[n-1], a.spare[:n-1]
	} else {
		g = new(gate)
	}
	g.key = k
	if a.gates == nil {
		a.gates = make(map[functionKey]*gate)
	}
	a.gates[k] = g
	return g
}

// tidy drops what g is not needed for any more.
func (a *admission) tidy(g *gate) {
	a.hold(g)
	if len(g.waiters) > 0 || g.running > 0 || a.gates[g.key] != g {
		return
	}
	delete(a.gates, g.key)
	*g = gate{}
	if len(a.spare) < maxSpare {
		a.spare = append(a.spare, g)
	}
}

// refusal names the limit that g's calls meet, as AWS does.
func refusal(g *gate) error {
	if g.reserved != nil {
		return throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
	}
	return throttled("ConcurrentInvocationLimitExceeded")
}

func throttled(reason string) error {
	return lambent.Errorf(lambent.CodeThrottled, "Rate Exceeded.").WithReason(reason)
}
