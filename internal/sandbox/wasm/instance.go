package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Instance is one function's module with what it needs to run: for a module that
// stays, its one guest; for a command, a guest for each event.
type Instance struct {
	driver *Driver
	spec   sandbox.Spec
	shelf  *shelf // where mod is from
	mod    *module
	env    []string
	*kit

	life   context.Context // ends with the instance
	cancel context.CancelFunc
	turn   chan struct{}  // holds a token while a guest runs
	spared bool           // a guest is made ahead in place of its first; used in turn
	clears sync.WaitGroup // ends of guests that go on; waited for in turn
	inited chan struct{}  // closed when init is set
	init   sandbox.InitResult
	done   chan struct{} // closed when no event can be taken
	gone   chan struct{} // closed when Stop is through
	ran    atomic.Int64  // nanoseconds that guests were busy

	stopOnce sync.Once

	// mu guards what follows.
	mu    sync.Mutex
	why   *sandbox.Failure
	ready chan struct{}
	size  int64 // bytes of memory now
	peak  int64
	ooms  int64
}

var (
	_ sandbox.Instance = (*Instance)(nil)
	_ sandbox.Keeper   = (*Instance)(nil)
)

// start makes the first guest, so that the platform's part of a cold start is in
// Start, and leaves the function's own part to a goroutine.
func (i *Instance) start(ctx context.Context) error {
	begin := time.Now()
	if i.mod.refusal != "" {
		i.finish(sandbox.InitResult{Failure: invalidEntrypoint(i.mod)})
		return nil
	}
	if limit := int64(i.spec.Version.MemoryMB) << 20; i.mod.least > limit {
		i.finish(sandbox.InitResult{Failure: &sandbox.Failure{Type: "Runtime.InvalidEntrypoint",
			Message: fmt.Sprintf("module %s: it starts with %d MB of memory, and the function has %d MB",
				i.mod.name, i.mod.least>>20, limit>>20)}})
		return nil
	}
	g, end, err := i.firstGuest(ctx)
	i.stage(lambent.StageSandbox, begin)
	if err != nil {
		return err
	}
	if end != nil {
		i.finish(sandbox.InitResult{Failure: i.failure(ctx, end, true)})
		return nil
	}
	i.guest = g
	i.note(g)
	if !i.mod.resident || g.mod.ExportedFunction(exportInit) == nil {
		i.finish(sandbox.InitResult{})
		return nil
	}
	i.turn <- struct{}{}
	go func() { // Stop waits for its turn
		defer i.leave()
		begin := time.Now()
		c := &call{env: i.env}
		_, end := g.call(i.life, c, exportInit)
		i.note(g)
		r := sandbox.InitResult{}
		switch {
		case end != nil:
			r.Failure = i.failure(i.life, end, true)
		case c.report != nil:
			r.Failure = &sandbox.Failure{Type: sandbox.ErrorType(c.report.kind), Message: c.report.message,
				Payload: c.report.object(), Raw: true}
		}
		i.lines.Flush(time.Now())
		r.Took = time.Since(begin)
		i.finish(r)
	}()
	return nil
}

// finish ends the initialisation.
func (i *Instance) finish(r sandbox.InitResult) {
	r.Origin = lambent.OriginModule
	i.init = r
	if r.Failure != nil {
		i.end(r.Failure)
	}
	i.setReady()
	close(i.inited)
}

func (i *Instance) stage(name string, begin time.Time) {
	if i.spec.Stage != nil {
		i.spec.Stage(name, begin, time.Since(begin))
	}
}

// end records why no further event can be taken; the first reason counts.
func (i *Instance) end(f *sandbox.Failure) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.why == nil {
		i.why = f
		close(i.done)
	}
}

func (i *Instance) dead() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

func (i *Instance) leave() { <-i.turn }

// Init waits for the module's own initialisation.
func (i *Instance) Init(ctx context.Context) (sandbox.InitResult, error) {
	select {
	case <-i.inited:
		return i.init, nil
	case <-ctx.Done():
		return sandbox.InitResult{}, contextError(ctx, "wait for the module to initialise")
	}
}

func contextError(ctx context.Context, what string) error {
	code := lambent.CodeCanceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code = lambent.CodeTimeout
	}
	return lambent.Errorf(code, "%s: %w", what, ctx.Err())
}

// Invoke runs the module on one event. Whatever it wrote has been passed on when
// Invoke returns, and no code of it runs any more.
func (i *Instance) Invoke(ctx context.Context, ev sandbox.Event) (sandbox.Answer, error) {
	select {
	case i.turn <- struct{}{}:
		defer i.leave()
	case <-ctx.Done():
		return sandbox.Answer{}, contextError(ctx, "wait for the module to take the event")
	}
	if i.dead() {
		return sandbox.Answer{}, lambent.Errorf(lambent.CodeUnavailable, "the module has ended")
	}
	i.mu.Lock()
	i.ready = make(chan struct{})
	i.mu.Unlock()
	defer i.setReady()

	begin := time.Now()
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(i.life, cancel)()
	a, err := i.answer(run, begin, &ev)
	i.lines.Flush(time.Now())
	a.Took = time.Since(begin)
	if !i.spared { // beside the answer: before it, it would add to a cold start
		i.spared = true
		i.driver.library.hold(i.shelf)
		i.driver.stops.Go(func() { i.driver.spare(context.Background(), i.shelf, &i.spec) })
	}
	return a, err
}

// setReady tells that no event is being handled.
func (i *Instance) setReady() {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.ready:
	default:
		close(i.ready)
	}
}

// answer takes the guest that is there, or a new one, through the event.
func (i *Instance) answer(ctx context.Context, begin time.Time, ev *sandbox.Event) (sandbox.Answer, error) {
	g := i.guest
	if g == nil {
		var end *ending
		var err error
		if g, end, err = i.newGuest(ctx); err != nil {
			return sandbox.Answer{}, err
		}
		if end != nil {
			return i.ended(ctx, begin, ev, end), nil
		}
	}
	c := &call{env: i.env, event: ev}
	if i.mod.resident {
		b, failure, end := g.handle(ctx, c, ev.Payload)
		i.note(g)
		switch {
		case end != nil:
			return i.ended(ctx, begin, ev, end), nil
		case failure != nil:
			return sandbox.Answer{Failure: failure}, nil
		case c.report != nil:
			return c.report.answer(), nil
		}
		return sandbox.Answer{Payload: b, ContentType: "application/json"}, nil
	}
	defer i.clear(g)
	c.env = append(i.env[:len(i.env):len(i.env)], environmentOf(ev)...)
	g.stdin.Reset(ev.Payload)
	_, end := g.call(ctx, c, exportStart)
	i.note(g)
	success := end == nil || end.exit && end.status == 0
	switch {
	case !success && !end.exit, !success && g.stdout.object() == "":
		return i.ended(ctx, begin, ev, end), nil
	case g.stdout.large:
		return sandbox.Answer{Failure: sandbox.TooLarge(lambent.MaxPayload)}, nil
	case !success:
		return sandbox.Answer{Payload: g.stdout.b, ContentType: "application/json",
			FunctionError: true, ErrorType: sandbox.ErrorType(g.stdout.object())}, nil
	case c.report != nil:
		return c.report.answer(), nil
	}
	return sandbox.Answer{Payload: g.stdout.b, ContentType: "application/json"}, nil
}

// clear ends a command's guest. The first one's end does not add to a cold start: it
// goes on beside the answer, and is over before there is another guest. Later on
// that would cost more than it spares.
func (i *Instance) clear(g *guest) {
	if g == i.guest {
		i.guest = nil
		i.clears.Go(g.close)
		return
	}
	g.close()
}

// object gives the errorType of a command's output if that is an error object.
func (a *answer) object() string {
	var object struct {
		Type    *string `json:"errorType"`
		Message *string `json:"errorMessage"`
	}
	if a.large || json.Unmarshal(a.b, &object) != nil || object.Type == nil || object.Message == nil {
		return ""
	}
	return *object.Type
}

// ended is the answer of a guest that ended; the instance ends with it.
func (i *Instance) ended(ctx context.Context, begin time.Time, ev *sandbox.Event, e *ending) sandbox.Answer {
	f := i.failure(ctx, e, i.mod.resident)
	if e.broken && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		at := ev.Deadline
		if at.IsZero() {
			at, _ = ctx.Deadline()
		}
		f = sandbox.TimedOut(at.Sub(begin))
	}
	i.end(f)
	return sandbox.Answer{Failure: f}
}

// maxStack bounds what a trap writes into the log, in lines.
const maxStack = 40

// failure words the end of a guest as AWS words that of a process. What a trap
// has to tell beyond that goes into the function's log.
func (i *Instance) failure(ctx context.Context, e *ending, stays bool) *sandbox.Failure {
	f := &sandbox.Failure{Type: "Runtime.ExitError"}
	switch {
	case e.broken && i.life.Err() != nil:
		return &sandbox.Failure{Type: sandbox.ByPlatform, Message: "The sandbox was stopped"}
	case e.broken:
		return &sandbox.Failure{Type: sandbox.ByPlatform, Message: "The invocation was canceled"}
	case e.oom:
		i.mu.Lock()
		i.ooms++
		i.mu.Unlock()
		f.Message, f.ReportType = "Runtime exited with error: signal: killed", sandbox.OutOfMemory
	case e.host != "":
		i.driver.opts.Log.WarnContext(ctx, "a host function failed a module", "instance", i.spec.ID, "err", e.host)
		f.Message = "Runtime exited with error: a call to the host failed"
	case e.trap != "":
		f.Message = "Runtime exited with error: " + e.trap
	case e.status == 0 && stays:
		f.Message = "Runtime exited without providing a reason"
	default:
		f.Message = fmt.Sprintf("Runtime exited with error: exit status %d", e.status)
	}
	if e.trap != "" {
		now := time.Now()
		i.lines.Flush(now)
		i.lines.Take(now, []byte("trap: "+e.trap+"\n"))
		for n, line := range strings.Split(e.stack, "\n") {
			if line = strings.TrimSpace(line); line != "" && n < maxStack {
				i.lines.Take(now, []byte("    at "+line+"\n"))
			}
		}
	}
	return f
}

// note remembers how much memory a guest has got, its tables included.
func (i *Instance) note(g *guest) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.size = g.memory.size.Load() + i.mod.beside
	i.peak = max(i.peak, i.size)
}

// Ready is closed when the module can take an event, or is dead.
func (i *Instance) Ready() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.ready
}

// Done is closed when no further event can be taken.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Why tells why Done is closed.
func (i *Instance) Why() *sandbox.Failure {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.why
}

// Usage tells of the linear memory, and of the time that guests ran.
func (i *Instance) Usage() sandbox.Usage {
	i.mu.Lock()
	defer i.mu.Unlock()
	return sandbox.Usage{MemoryBytes: i.size, MaxMemoryBytes: i.peak, CPU: time.Duration(i.ran.Load()), OOMKills: i.ooms}
}

// MaxMemory is the most that a guest has had.
func (i *Instance) MaxMemory() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.peak
}

// KeepTmp takes /tmp out of the instance's end.
func (i *Instance) KeepTmp() sandbox.Tmp { return i.disk.keep() }

// Stop ends the guest and frees everything.
func (i *Instance) Stop(ctx context.Context) error {
	i.stopOnce.Do(func() {
		i.end(&sandbox.Failure{Type: sandbox.ByPlatform, Message: "The sandbox was stopped"})
		i.setReady()
		i.cancel()
		i.driver.stops.Go(func() {
			defer close(i.gone)
			i.turn <- struct{}{} // whoever runs stops soon
			defer i.leave()
			i.release()
			i.driver.live.Drop(i.spec.ID)
		})
	})
	select {
	case <-i.gone:
		return nil
	case <-ctx.Done():
		return lambent.Errorf(lambent.CodeTimeout, "stop module %s: %w", i.spec.ID, ctx.Err())
	}
}

// release frees what the instance has; no guest of it runs.
func (i *Instance) release() {
	i.clears.Wait()
	i.discard()
	i.mu.Lock()
	i.size = 0
	i.mu.Unlock()
	i.driver.library.put(i.shelf)
}
