package sandbox

import (
	"maps"
	"slices"
	"sync"

	"lambent.dev/lambent"
)

// ErrClosed is what a [Registry] answers once it is closed.
var ErrClosed error = lambent.Errorf(lambent.CodeUnavailable, "the driver is closed")

// Registry is what a driver knows of its own instances: which there are, and
// whether more may come. The zero value is open and empty.
type Registry[I any] struct {
	starts sync.WaitGroup // running Starts; Close waits for them

	mu     sync.Mutex // guards the rest
	live   map[string]I
	closed bool
}

// Enter counts a Start, until Leave. It tells whether there may be one.
func (r *Registry[I]) Enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.starts.Add(1)
	return true
}

// Leave ends a Start that has entered.
func (r *Registry[I]) Leave() { r.starts.Done() }

// Add takes a started instance in, which stays until it is dropped. No two of them
// have the same id, and none comes in when the registry is closed ([ErrClosed]).
func (r *Registry[I]) Add(id string, i I) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	if _, ok := r.live[id]; ok {
		return lambent.Errorf(lambent.CodeInternal, "there is an instance %s already", id)
	}
	if r.live == nil {
		r.live = map[string]I{}
	}
	r.live[id] = i
	return nil
}

// Drop forgets an instance.
func (r *Registry[I]) Drop(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, id)
}

// Close lets no more Starts in. It tells whether it was open until now: the caller
// is then the one who closes the driver.
func (r *Registry[I]) Close() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := !r.closed
	r.closed = true
	return was
}

// Left waits for the Starts that were let in and gives the instances that there
// are.
func (r *Registry[I]) Left() []I {
	r.starts.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.live))
}
