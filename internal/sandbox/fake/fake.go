// Package fake is a sandbox driver without a sandbox: its instances run a Script
// in the server's own process. It exists to put faults where no real driver can
// be made to have them, and to test what stands on a driver without root, inside
// testing/synctest bubbles too. It isolates nothing and is never wired into a
// server; its real neighbour is package linux.
package fake

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Script is what instances do. Every part may be nil; the zero Script is a
// runtime that is there at once and answers each event with its own payload.
// The functions are called from the goroutine that called the instance and may
// use its context. An error made by [End] is the function's end, any other is the
// platform's.
type Script struct {
	// Start runs before an instance exists.
	Start func(ctx context.Context, spec sandbox.Spec) error
	// Init runs once for each instance.
	Init func(ctx context.Context, i *Instance) error
	// Invoke answers one event.
	Invoke func(ctx context.Context, i *Instance, ev sandbox.Event) (sandbox.Answer, error)
	// AfterAnswer holds Ready back until it returns: the time between an answer
	// and the runtime's next request.
	AfterAnswer func(i *Instance)
	// Stop runs while an instance is stopped.
	Stop func(ctx context.Context, i *Instance) error
	// Freeze runs while an instance is frozen. Only with it can instances be frozen;
	// an event that reaches one which is not thawed is a fault of the caller.
	Freeze func(i *Instance) error
	// Thaw runs while an instance is woken, PageOut while its memory is pushed out.
	Thaw    func(i *Instance) error
	PageOut func(i *Instance) (freed int64, err error)
	// Tmp is what is kept of an instance's /tmp.
	Tmp func(i *Instance) sandbox.Tmp
	// Recover gives the outcome of Driver.Recover.
	Recover func(ctx context.Context) (int, error)
}

// End makes f an error for a Script to return.
func End(f sandbox.Failure) error { return ended{f} }

type ended struct{ sandbox.Failure }

func (e ended) Error() string { return e.Type + ": " + e.Message }

// Driver runs one Script for all its instances.
type Driver struct {
	script Script

	mu     sync.Mutex // guards the rest
	live   map[string]*Instance
	starts int
	closed bool
}

var _ sandbox.Driver = (*Driver)(nil)

// New makes a driver that follows s.
func New(s Script) *Driver { return &Driver{script: s, live: map[string]*Instance{}} }

var validID = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// Start makes an instance.
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Instance, error) {
	if !validID.MatchString(spec.ID) || spec.Version == nil {
		return nil, lambent.Errorf(lambent.CodeInvalid, "sandbox: bad spec %q", spec.ID)
	}
	if d.script.Start != nil {
		if err := d.script.Start(ctx, spec); err != nil {
			return nil, err
		}
	}
	i := &Instance{Spec: spec, driver: d, done: make(chan struct{}), ready: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, lambent.Errorf(lambent.CodeUnavailable, "sandbox: the driver is closed")
	case d.live[spec.ID] != nil:
		return nil, lambent.Errorf(lambent.CodeInternal, "sandbox: there is an instance %s already", spec.ID)
	}
	d.live[spec.ID] = i
	d.starts++
	if d.script.Freeze != nil {
		return sleeper{i}, nil
	}
	return i, nil
}

// sleeper is an instance that can be frozen.
type sleeper struct{ *Instance }

var (
	_ sandbox.Freezer = sleeper{}
	_ sandbox.Pager   = sleeper{}
)

// Freeze halts the instance.
func (s sleeper) Freeze() error { return s.halt(true, s.driver.script.Freeze) }

// Thaw lets it go on.
func (s sleeper) Thaw() error { return s.halt(false, s.driver.script.Thaw) }

func (s sleeper) halt(frozen bool, script func(*Instance) error) error {
	if script != nil {
		if err := script(s.Instance); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = frozen
	return nil
}

// PageOut frees what the script says.
func (s sleeper) PageOut() (int64, error) {
	if s.driver.script.PageOut == nil {
		return 0, nil
	}
	return s.driver.script.PageOut(s.Instance)
}

// Recover does what the script says, or finds nothing.
func (d *Driver) Recover(ctx context.Context) (int, error) {
	if d.script.Recover != nil {
		return d.script.Recover(ctx)
	}
	return 0, nil
}

// Describe says that there is no protection.
func (d *Driver) Describe() sandbox.Description {
	return sandbox.Description{Name: "fake", Warnings: []string{"nothing is isolated"}}
}

// Close stops what is left.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	var left []*Instance
	for _, i := range d.live {
		left = append(left, i)
	}
	d.mu.Unlock()
	var errs []error
	for _, i := range left {
		errs = append(errs, i.Stop(context.Background()))
	}
	return errors.Join(errs...)
}

// Live is how many instances there are that have not been stopped.
func (d *Driver) Live() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.live)
}

// Instances are those that there are.
func (d *Driver) Instances() []*Instance {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.live))
}

// Starts is how many instances have been started.
func (d *Driver) Starts() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.starts
}

// Instance is one run of the script. Spec is what it was started with.
type Instance struct {
	Spec   sandbox.Spec
	driver *Driver
	done   chan struct{}
	init   sync.Once
	work   sync.WaitGroup // script calls that may outlast their caller; Stop waits for them

	mu     sync.Mutex // guards the rest
	ready  chan struct{}
	when   func() // to be called when ready is closed
	why    *sandbox.Failure
	result sandbox.InitResult
	fault  error // of Init
	usage  sandbox.Usage
	busy   bool
	frozen bool
}

// SetUsage says what Usage answers.
func (i *Instance) SetUsage(u sandbox.Usage) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.usage = u
}

// Die ends the instance as if its process had exited.
func (i *Instance) Die(f sandbox.Failure) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.why != nil {
		return
	}
	i.why = &f
	close(i.done)
	i.signal()
}

// signal closes ready. It is called with mu held.
func (i *Instance) signal() {
	select {
	case <-i.ready:
		return
	default:
	}
	close(i.ready)
	if i.when != nil {
		i.work.Go(i.when)
		i.when = nil
	}
}

// Init runs the script's Init the first time it is called.
func (i *Instance) Init(ctx context.Context) (sandbox.InitResult, error) {
	i.init.Do(func() {
		begin := time.Now()
		var err error
		if i.driver.script.Init != nil {
			err = i.driver.script.Init(ctx, i)
		}
		var e ended
		if errors.As(err, &e) {
			i.Die(e.Failure)
			err = nil
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		i.result, i.fault = sandbox.InitResult{Took: time.Since(begin), Failure: i.why}, err
		if err == nil {
			i.signal()
		}
	})
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.result, i.fault
}

// Invoke runs the script's Invoke. The deadline of ctx ends the instance, as does
// a Die from elsewhere.
func (i *Instance) Invoke(ctx context.Context, ev sandbox.Event) (sandbox.Answer, error) {
	if err := i.begin(); err != nil {
		return sandbox.Answer{}, err
	}
	defer i.work.Done()
	begin := time.Now()
	a, err := i.answer(ctx, ev)
	a.Took = time.Since(begin)
	var e ended
	switch {
	case errors.As(err, &e):
		i.Die(e.Failure)
		a, err = sandbox.Answer{Failure: &e.Failure, Took: a.Took}, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		f := sandbox.TimedOut(a.Took)
		i.Die(*f)
		a, err = sandbox.Answer{Failure: f, Took: a.Took}, nil
	}
	i.finish()
	return a, err
}

// answer runs the script and gives up on it when ctx or the instance ends; the
// script has that context too and is expected to return.
func (i *Instance) answer(ctx context.Context, ev sandbox.Event) (sandbox.Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if i.driver.script.Invoke == nil {
		return sandbox.Answer{Payload: ev.Payload, ContentType: "application/json"}, nil
	}
	type outcome struct {
		a   sandbox.Answer
		err error
	}
	got := make(chan outcome, 1)
	i.work.Go(func() {
		a, err := i.driver.script.Invoke(ctx, i, ev)
		got <- outcome{a, err}
	})
	select {
	case o := <-got:
		return o.a, o.err
	case <-ctx.Done():
		return sandbox.Answer{}, ctx.Err()
	case <-i.done:
		return sandbox.Answer{}, ended{*i.Why()}
	}
}

func (i *Instance) begin() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.why != nil:
		return lambent.Errorf(lambent.CodeUnavailable, "the instance has ended (%s)", i.why.Type)
	case i.frozen:
		return lambent.Errorf(lambent.CodeInternal, "the instance is frozen")
	case i.busy:
		return lambent.Errorf(lambent.CodeConflict, "the instance is busy")
	}
	i.busy = true
	i.work.Add(1) // before Stop can wait: it comes after why is set
	i.ready = make(chan struct{})
	return nil
}

func (i *Instance) finish() {
	done := func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.busy = false
		i.signal()
	}
	if i.driver.script.AfterAnswer == nil {
		done()
		return
	}
	i.work.Go(func() {
		i.driver.script.AfterAnswer(i)
		done()
	})
}

// Ready is closed when the instance can take an event, or is dead.
func (i *Instance) Ready() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.ready
}

// WhenReady has f called once when Ready is closed; it is false if it is already.
func (i *Instance) WhenReady(f func()) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.ready:
		return false
	default:
		i.when = f
		return true
	}
}

// Done is closed when the instance is dead.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Why tells why.
func (i *Instance) Why() *sandbox.Failure {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.why
}

// Usage is what SetUsage said.
func (i *Instance) Usage() sandbox.Usage {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.usage
}

// MaxMemory is what SetUsage said.
func (i *Instance) MaxMemory() int64 { return i.Usage().MaxMemoryBytes }

// KeepTmp hands out what the script says; nothing without it.
func (i *Instance) KeepTmp() sandbox.Tmp {
	if i.driver.script.Tmp == nil {
		return nil
	}
	return i.driver.script.Tmp(i)
}

// Stop ends the instance.
func (i *Instance) Stop(ctx context.Context) error {
	i.Die(sandbox.Failure{Type: "Sandbox.Failure", Message: "The sandbox was stopped"})
	if i.driver.script.Stop != nil {
		if err := i.driver.script.Stop(ctx, i); err != nil {
			return err
		}
	}
	i.driver.mu.Lock()
	delete(i.driver.live, i.Spec.ID)
	i.driver.mu.Unlock()
	i.work.Wait()
	return nil
}
