package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimeapi"
	"lambent.dev/lambent/internal/sandbox"
)

// Instance is one process tree that has a function, and what it has on the host.
type Instance struct {
	*guest
	id      string
	session *runtimeapi.Session
	share   float64 // processors, once initialised
	origin  lambent.Origin
	serves  bool                   // the runtime goes on at its control socket
	ours    bool                   // the runtime speaks the control protocol
	learn   func(modules []string) // takes what the function imports; may be nil
	doubt   func()                 // is for one that was told what it failed to load; may be nil

	done chan struct{} // closed when no event can be taken
	over chan struct{} // closed when all that follows exited is through
	gone chan struct{} // closed when Stop is through

	made    time.Time     // when the session was
	began   time.Time     // when the runtime did
	turned  chan struct{} // closed when it has turned to the function's code, or will not say so
	serving sync.WaitGroup

	extensions []*extension
	aside      *output                         // what extensions write; nil without any
	writing    sync.Mutex                      // has the log's lines of output and aside come one after the other
	parting    atomic.Bool                     // the instance is being ended
	fault      atomic.Pointer[sandbox.Failure] // what has ended it, if not its runtime

	stopOnce    sync.Once
	throughOnce sync.Once

	// mu guards the rest, and the group's counters and limits.
	mu      sync.Mutex
	stage   func(name string, start time.Time, took time.Duration) // may be nil
	turn    time.Time                                              // when the function's own code began
	tmp     *volume                                                // nil when it was kept
	why     *sandbox.Failure
	last    *sandbox.Usage // counters as they were in the end
	stopErr error
}

var (
	_ sandbox.Instance  = (*Instance)(nil)
	_ sandbox.Announcer = (*Instance)(nil)
	_ sandbox.Freezer   = (*Instance)(nil)
	_ sandbox.Keeper    = (*Instance)(nil)
	_ sandbox.Teller    = (*Instance)(nil)
	_ sandbox.Lingerer  = (*Instance)(nil)
)

// run starts the instance's goroutines, beside those of the guest. Stop waits for
// them.
func (i *Instance) run() {
	i.serving.Go(func() { _ = i.session.Serve(i.listener) })
	if i.control != nil {
		i.serving.Go(i.follow)
	}
	if i.aside != nil {
		alone := make(chan struct{})
		i.serving.Go(func() {
			defer close(alone)
			i.accompanyAll()
		})
		i.serving.Go(func() { i.aside.runUntil(alone) })
		i.serving.Go(i.letRun)
	}
	i.serving.Go(func() {
		defer close(i.over)
		<-i.exited
		f := i.failure(i.status)
		i.end(f)
		i.session.Exited(*f)
	})
}

// follow listens to what the runtime says of its start, until it has nothing more
// to say or says what it may not.
func (i *Instance) follow() {
	serves := false
	defer func() { i.hangUp(serves) }()
	defer i.turnedAt(time.Time{})
	for {
		w, err := i.control.next()
		if err != nil {
			return
		}
		switch w.kind {
		case saidTurn:
			i.turnedAt(w.at)
		case saidModules:
			if i.learn != nil {
				i.learn(w.modules)
			}
			serves = i.serves
			return
		default:
			return
		}
	}
}

// hangUp ends the control protocol: the Runtime API has the socket from here on, or
// nobody.
func (i *Instance) hangUp(serves bool) {
	if serves {
		i.session.Open(i.control.sock)
		return
	}
	i.control.close()
}

// turnedAt notes when the function's own code began, and reports the runtime's
// stage. The zero time is for a runtime that did not tell. The first word counts.
func (i *Instance) turnedAt(at time.Time) {
	i.mu.Lock()
	if !i.turn.IsZero() {
		i.mu.Unlock()
		return
	}
	i.turn = i.began
	if at.After(i.began) { // before it, only a program that is none of ours can say
		i.turn = at
	}
	stage, turn := i.stage, i.turn
	i.mu.Unlock()
	if stage != nil && !at.IsZero() {
		stage(lambent.StageRuntime, i.began, turn.Sub(i.began))
	}
	close(i.turned)
}

// turnPatience is how long the end of the initialisation waits for a word that the
// runtime must have said before: it is in the socket.
const turnPatience = 50 * time.Millisecond

// awaitTurn is when the function's own code began.
func (i *Instance) awaitTurn() time.Time {
	select {
	case <-i.turned:
	case <-time.After(turnPatience):
		i.turnedAt(time.Time{})
		<-i.turned
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.turn
}

// failure words an exit as AWS does.
func (i *Instance) failure(status syscall.WaitStatus) *sandbox.Failure {
	if f := i.fault.Load(); f != nil {
		return f
	}
	if i.process.entry != nil {
		return i.process.entry
	}
	if f := i.trees.failure(); f != nil {
		return f
	}
	f := &sandbox.Failure{Type: "Runtime.ExitError"}
	switch {
	case status.Signaled():
		f.Message = "Runtime exited with error: signal: " + status.Signal().String()
		if i.Usage().OOMKills > 0 {
			f.ReportType = sandbox.OutOfMemory
		}
	case status.ExitStatus() == 0:
		f.Message = "Runtime exited without providing a reason"
	default:
		f.Message = fmt.Sprintf("Runtime exited with error: exit status %d", status.ExitStatus())
	}
	return f
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

// instance is a guest with a function.
func (b *builder) instance(g *guest, origin lambent.Origin) *Instance {
	v := b.spec.Version
	i := &Instance{guest: g, id: b.spec.ID, share: v.CPUs(), origin: origin, stage: b.spec.Stage, made: time.Now(),
		ours: b.spec.Runtime.Control, extensions: b.extensions, aside: b.aside,
		done: make(chan struct{}), over: make(chan struct{}), gone: make(chan struct{}), turned: make(chan struct{})}
	i.session = runtimeapi.NewSession(runtimeapi.Options{FunctionName: v.Function, FunctionVersion: v.Number,
		Handler: v.Handler, AccountID: v.Namespace, Log: b.driver.opts.Log, Extensions: b.names, Telemetry: i.telemetry(b.spec),
		GiveUp: func(f sandbox.Failure) { i.fail(&f) }, Calls: i.calls(v), CallsOnly: v.App != nil})
	if len(b.names) > 0 { // they may want to know what was written before they could ask
		i.tap(b.spec.Output)
	}
	if b.spec.Background {
		i.throughOnce.Do(func() {}) // it is not counted
	}
	return i
}

// calls is who answers the function when it calls the API; nil is nobody.
func (i *Instance) calls(v *lambent.Version) func(c net.Conn) {
	if i.driver.opts.Calls == nil {
		return nil
	}
	return i.driver.opts.Calls(sandbox.Caller{ID: i.id, Version: v, Trace: func() string { return i.session.Trace() }})
}

// Init waits for the runtime, and takes the processor's extra share back.
func (i *Instance) Init(ctx context.Context) (sandbox.InitResult, error) {
	r, err := i.session.Init(ctx)
	i.through()
	if err != nil {
		i.mu.Lock()
		i.stage = nil // nobody listens any more
		i.mu.Unlock()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			f := &sandbox.Failure{Type: "Sandbox.Timedout", Message: "The initialisation timed out"}
			i.fault.CompareAndSwap(nil, f)
			i.end(f)
		}
		return r, err
	}
	r.Origin = i.origin
	// A bootstrap that does not say when it turned to the function's code may be heard
	// after it was ready; an initialisation that took nothing would be none in the report.
	r.Took = max(time.Nanosecond, i.made.Add(r.Took).Sub(i.awaitTurn()))
	i.drain()
	if r.Failure != nil {
		if i.doubt != nil {
			i.doubt()
		}
		return r, nil
	}
	i.driver.traffic.afterwards(func() {
		if i.share <= 1 && !i.ours { // our own are no Go programs
			relaxMonitor(i.process.pid)
		}
		if err := i.confine(); err != nil && !i.ended() {
			i.driver.opts.Log.Error("an instance ends for lack of a limit", "inst", i.id, "err", err)
			i.fail(&sandbox.Failure{Type: sandbox.ByPlatform, Message: "The sandbox could not limit its processor"})
		}
	})
	return r, nil
}

// confine leaves the instance the processors that it shall have from now on.
func (i *Instance) confine() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.last != nil {
		return nil // it is over
	}
	return i.group.limit(limits{cpus: i.share})
}

// through ends the cold start: what was made ahead for it may be made up for.
func (i *Instance) through() {
	i.throughOnce.Do(i.driver.through)
}

func (i *Instance) ended() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

// killTimeout is how long an invocation that timed out waits for the process to
// be gone before it answers without its last words.
const killTimeout = 2 * time.Second

// Invoke hands the event to the runtime. Whatever the function wrote before its
// answer has been passed on when Invoke returns.
func (i *Instance) Invoke(ctx context.Context, ev sandbox.Event) (sandbox.Answer, error) {
	a, err := i.session.Invoke(ctx, ev)
	if err != nil {
		return a, err
	}
	if f := a.Failure; f != nil && (f.Type == "Sandbox.Timedout" || f.Type == sandbox.ByPlatform) {
		// The process is somewhere in the middle of it, and stays there.
		i.end(f)
		i.killRuntime()
		select {
		case <-i.over:
		case <-time.After(killTimeout):
		}
	}
	i.drain()
	if rest := a.Rest; rest != nil {
		a.Rest = func() sandbox.Rest {
			i.drain()
			return rest()
		}
	}
	return a, nil
}

// drain passes on all that has been written so far.
func (i *Instance) drain() {
	i.output.drain()
	if i.aside != nil {
		i.aside.drain()
	}
}

// Ready is the session's.
func (i *Instance) Ready() <-chan struct{} { return i.session.Ready() }

// WhenReady is the session's, too.
func (i *Instance) WhenReady(f func()) bool { return i.session.WhenReady(f) }

// Done is closed when the process has ended or is being ended.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Why tells why Done is closed.
func (i *Instance) Why() *sandbox.Failure {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.why
}

// Usage reads the cgroup's counters, or the last ones of an instance that ended.
func (i *Instance) Usage() sandbox.Usage {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.last != nil {
		return *i.last
	}
	return i.group.usage()
}

// MaxMemory reads the one counter that every invocation reports.
func (i *Instance) MaxMemory() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.last != nil {
		return i.last.MaxMemoryBytes
	}
	return i.group.peak()
}

// KeepTmp takes the content of /tmp out of the instance's end.
func (i *Instance) KeepTmp() sandbox.Tmp {
	i.mu.Lock()
	defer i.mu.Unlock()
	v := i.tmp
	if v == nil || !v.mapped {
		return nil
	}
	i.tmp = nil
	return v
}

// Freeze halts every process of the instance where it is.
func (i *Instance) Freeze() error {
	i.holdTelemetry()
	err := i.group.freeze(true)
	if err != nil {
		i.session.Resume()
	}
	return err
}

// Stop kills everything in the sandbox and gives back what it had on the host.
// If ctx ends first, the rest is done in the background, and Close waits for it.
func (i *Instance) Stop(ctx context.Context) error {
	i.stopOnce.Do(func() {
		reason := i.shutdownReason()
		i.end(&sandbox.Failure{Type: sandbox.ByPlatform, Message: "The sandbox was stopped"})
		i.sayGoodbye(ctx, reason)
		i.kill()
		i.through()
		go func() {
			defer close(i.gone)
			i.work.Wait()
			i.serving.Wait()
			i.finish()
		}()
		i.session.Close()
	})
	select {
	case <-i.gone:
		i.mu.Lock()
		defer i.mu.Unlock()
		return i.stopErr
	case <-ctx.Done():
		return lambent.Errorf(lambent.CodeTimeout, "stop sandbox %s: %w", i.id, ctx.Err())
	}
}

// shutdownReason is what extensions are told of why the instance ends, in AWS's words
// ("Using the Lambda Extensions API", "Shutdown phase").
func (i *Instance) shutdownReason() string {
	why := i.Why()
	if why == nil {
		why = i.session.Gone() // it has said so, and may still exist
	}
	switch {
	case why == nil && i.session.Overdue(), why != nil && why.Type == "Sandbox.Timedout":
		return "timeout"
	case why == nil:
		return "spindown"
	}
	return "failure"
}

// shutdownGrace is how long a runtime with an internal extension has after it was
// told of its end (AWS Lambda developer guide, "Lambda execution environment",
// "Shutdown phase"); one without is not told.
const shutdownGrace = 500 * time.Millisecond

// bid asks a process that listens for it to end by itself, and waits for a while, or
// until that is in vain, which it asks now and then.
func (i *Instance) bid(ctx context.Context, by unix.Signal, grace time.Duration, vain func() bool) {
	if i.dead() || !catches(i.process.pid, by) {
		return
	}
	_ = i.group.freeze(false)
	_ = unix.PidfdSendSignal(i.process.pidfd, by, nil, 0) // it may have ended
	tick := time.NewTicker(bidTick)
	defer tick.Stop()
	for until := time.Now().Add(grace); time.Now().Before(until) && !vain(); {
		select {
		case <-i.exited:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// bidTick is how often a process that was asked to end is looked at.
const bidTick = 100 * time.Millisecond

// never is for what is not in vain.
func never() bool { return false }

// finish gives everything back. Nothing of the instance runs any more.
func (i *Instance) finish() {
	i.mu.Lock()
	u := i.group.usage()
	i.last = &u
	if i.tmp != nil {
		_ = i.tmp.Close()
		i.tmp = nil
	}
	i.mu.Unlock()

	if i.aside != nil {
		_ = i.aside.pipe.Close()
	}
	err := i.teardown()
	if err != nil {
		err = lambent.Errorf(lambent.CodeInternal, "clean up sandbox %s: %w", i.id, err)
	}
	i.mu.Lock()
	i.stopErr = err
	i.mu.Unlock()
	i.driver.live.Drop(i.id)
}
