package pool

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/filetree"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/telemetry"
)

// ColdStart tells how an instance came to be.
type ColdStart struct {
	ID      string
	Stream  string // log stream
	Began   time.Time
	Total   time.Duration
	Init    time.Duration // of the function's own initialisation
	Origin  lambent.Origin
	Ahead   string // why it was started before a call asked for it; "" otherwise
	Failure string // type of what ended it; "" otherwise
	Stages  []lambent.Stage
}

// provisionedInit is how long an instance may take to initialise that is started
// for provisioned concurrency (AWS Lambda developer guide, "Lambda execution
// environment").
const provisionedInit = 15 * time.Minute

// coldStart is the walk's step "acquire" unfolded: code, sandbox, runtime. It runs in a
// goroutine of the pool, is paid for by a waiter unless it is ahead of demand, and
// delivers to whichever waiter is first.
func (p *Pool) coldStart(m *member, ahead string) {
	v := m.version
	m.ahead = ahead
	m.cold = ColdStart{ID: p.o.NewID(), Began: time.Now(), Ahead: ahead}
	m.aheadAt = m.cold.Began
	m.cold.Stream = streamName(m.cold.Began, v.Number, m.cold.ID)
	m.stream = p.o.Logs.Open(v.Namespace, v.LogGroup(), m.cold.Stream)

	// A cold start may outlive the call that asked for it: the next one uses it.
	limit := lambent.InitTimeout + v.Timeout
	switch {
	case v.App != nil:
		limit = v.App.StartTimeout + appSlack
	case ahead == ReasonProvisioned:
		limit = provisionedInit
	}
	p.unpack(v)
	ctx, cancel := context.WithTimeout(p.life, limit)
	defer cancel()
	if ahead != "" {
		defer time.AfterFunc(aheadPatience, func() { p.overstay(m) }).Stop()
	}
	spans := &spans{}
	failure, err := p.start(ctx, m, spans)
	m.cold.Total = time.Since(m.cold.Began)
	m.cold.Stages = spans.take()
	switch {
	case err != nil:
		m.cold.Failure, m.cold.Origin = string(lambent.CodeOf(err)), ""
	case failure != nil:
		m.cold.Failure, m.cold.Origin = failure.Type, ""
	}
	p.history.add(KeyOf(v), m.cold)
	p.o.Metrics.ColdStarted(v.Runtime, m.cold.Origin, m.cold.Stages)
	if err != nil {
		if ahead != "" {
			p.o.Log.Warn("start instance ahead", "fn", v.Function, "version", v.Number, "reason", ahead, "err", err)
		}
		p.end(m, "failed to start")
	}
	// What failed for the function's own reasons is still leased, so that the
	// caller can write into its log; Release ends it.
	told := p.deliver(m.group, outcome{m: m, failure: failure, err: err, came: started})
	if told { // the call goes on first, also where this has the only processor
		runtime.Gosched()
	}
	if !told || err != nil { // no call's trace shows it
		start := m.cold.Trace()
		p.o.Traces.Started(v, &start)
	}
	// Until now it counted against the host's memory with all that it may use: what it
	// has left may be enough for those that wait.
	p.lookAtHost()
	p.mu.Lock()
	p.feedLocked()
	p.mu.Unlock()
}

// Trace is c as traces show it.
func (c *ColdStart) Trace() telemetry.Start {
	return telemetry.Start{Instance: c.Stream, Reason: c.Ahead, Failure: c.Failure, Origin: c.Origin, Began: c.Began, Took: c.Total, Stages: c.Stages}
}

// unpackTimeout bounds the unpacking of an image that the cache has lost.
const unpackTimeout = 10 * time.Minute

// unpack makes the layers of an image be in the cache. They may be large, and the
// time for it is not the function's. What fails here fails again when they are
// pinned, and is said there.
func (p *Pool) unpack(v *lambent.Version) {
	if v.Image == nil {
		return
	}
	ctx, cancel := context.WithTimeout(p.life, unpackTimeout)
	defer cancel()
	for _, d := range v.Image.Layers {
		if _, release, coming := p.tree(d); coming {
			release()
			continue
		}
		_, release, err := p.o.Artifacts.Use(ctx, d)
		if err != nil {
			return
		}
		release()
	}
}

// start takes the steps of a cold start in order. The driver times those between
// [Pool.gather] and the function's own initialisation.
func (p *Pool) start(ctx context.Context, m *member, spans *spans) (*sandbox.Failure, error) {
	v := m.version
	spec, err := p.gather(ctx, m, spans)
	if err != nil {
		return nil, err
	}
	inst, err := p.o.Driver.Start(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start instance of %s: %w", v.Function, err)
	}
	m.inst = inst
	if l, ok := inst.(sandbox.Lingerer); ok {
		m.lingers = l.Lingers()
	}
	at := time.Now()
	init, err := inst.Init(ctx)
	if p.life.Err() != nil {
		return nil, errStopping()
	}
	if ctx.Err() != nil {
		// The runtime had all the time that it may have: the function's failure.
		f := sandbox.TimedOut(v.Timeout)
		m.reportInit(time.Since(at), f)
		return f, nil //nolint:nilerr // see above
	}
	if err != nil {
		return nil, fmt.Errorf("initialise instance of %s: %w", v.Function, err)
	}
	m.cold.Init, m.cold.Origin = init.Took, cmp.Or(init.Origin, lambent.OriginStart)
	if t, ok := inst.(sandbox.Teller); ok && t.Listening() {
		m.teller = t
	}
	spans.add(lambent.StageInit, time.Now().Add(-init.Took), init.Took)
	if init.Failure != nil {
		m.reportInit(init.Took, init.Failure)
	}
	return init.Failure, nil
}

// reportInit writes into m's log how its initialisation failed. What goes well is in the
// report of the first call.
func (m *member) reportInit(took time.Duration, f *sandbox.Failure) {
	now := time.Now()
	line := logs.FormatOf(m.version.Logging).InitReport(nil, now, initType(m.cold), took, cmp.Or(f.ReportType, f.Type))
	if len(line) > 0 {
		m.stream.WriteLine(now, line)
	}
}

// gather finds what the instance is started from: runtime, code, layers and what
// was prepared; then environment, output and the /tmp of a predecessor.
func (p *Pool) gather(ctx context.Context, m *member, spans *spans) (sandbox.Spec, error) {
	v := m.version
	spec := sandbox.Spec{ID: m.cold.ID, Version: v, Region: p.o.Region, Output: logs.Leveled(m.stream, v.Logging), Stage: spans.add}
	began := time.Now()
	rt, err := p.o.Runtimes.Resolve(v)
	if err != nil {
		return spec, fmt.Errorf("resolve runtime %s: %w", cmp.Or(v.Runtime, "of an image"), err)
	}
	spec.Runtime = rt
	spec.NoReserve = p.settings(v).NoReserve
	if err := p.pin(ctx, m, &spec); err != nil {
		return spec, err
	}
	at := time.Now()
	spans.add(lambent.StageCode, began, at.Sub(began))
	init := logs.Init{Runtime: versionText(rt), RuntimeARN: runtimeARN(p.o.Region, rt), Type: initType(m.cold)}
	spec.Begun = sandbox.Begun(init)
	if line := logs.FormatOf(v.Logging).InitStart(nil, at, init); len(line) > 0 {
		m.stream.WriteLine(at, line)
	}
	spec.Env = p.o.Environment(v, m.cold)
	spec.Tmp = p.heirloom(m)
	spans.add(lambent.StageFiles, at, time.Since(at))
	return spec, nil
}

// settings are v's function's.
func (p *Pool) settings(v *lambent.Version) lambent.Settings {
	if p.o.Settings == nil {
		return lambent.Settings{}
	}
	return p.o.Settings(v.Namespace, v.Function)
}

// pin fills spec's directories, and what its runtime makes of them, and remembers how to let go of them.
func (p *Pool) pin(ctx context.Context, m *member, spec *sandbox.Spec) error {
	var releases []func()
	m.release = func() {
		for _, r := range releases {
			r()
		}
	}
	code, into := []lambent.Digest{m.version.Code.Digest}, func(dir string) { spec.Code = dir }
	if i := m.version.Image; i != nil {
		code, into = i.Layers, func(dir string) { spec.Root = append(spec.Root, dir) }
	}
	for _, d := range code {
		if tree, release, coming := p.tree(d); coming {
			releases = append(releases, release)
			if spec.Trees == nil {
				spec.Trees = map[int]*filetree.Tree{}
			}
			spec.Trees[len(spec.Root)] = tree
			into("")
			continue
		}
		dir, release, err := p.o.Artifacts.Use(ctx, d)
		if err != nil {
			return unusable("code of "+m.version.Function, err)
		}
		releases = append(releases, release)
		into(dir)
	}
	for _, l := range m.version.Layers {
		dir, release, err := p.o.Artifacts.Use(ctx, l.Digest)
		if err != nil {
			return unusable("layer "+l.ARN, err)
		}
		releases = append(releases, release)
		spec.Layers = append(spec.Layers, dir)
	}
	if p.o.Prepared != nil {
		if with, dir, release, ok := p.o.Prepared.Use(m.version, spec.Runtime); ok {
			releases = append(releases, release)
			spec.Runtime, spec.Cache = with, dir
		}
	}
	p.o.Runtimes.Fit(&spec.Runtime, m.version, spec.Code, spec.Layers)
	return nil
}

// unusable is why what an instance needs cannot be mounted. That its files are gone is the
// server's fault, and no function that does not exist: the caller is told what to do.
func unusable(what string, err error) error {
	if lambent.CodeOf(err) == lambent.CodeNotFound {
		return lambent.Errorf(lambent.CodeUnavailable, "the %s is not on the server any more: deploy it again, or restore the server from a backup: %w", what, err).
			WithReason(lambent.ReasonOf(err))
	}
	return fmt.Errorf("mount %s: %w", what, err)
}

// Trees gives layers whose content is fetched when it is read, and pins them until
// release is called; coming is false for all others.
type Trees interface {
	Tree(d lambent.Digest) (t *filetree.Tree, release func(), coming bool)
}

// tree gives a layer that is still coming in; coming is false for all else.
func (p *Pool) tree(d lambent.Digest) (t *filetree.Tree, release func(), coming bool) {
	if p.o.Trees == nil {
		return nil, nil, false
	}
	return p.o.Trees.Tree(d)
}

// spans records a start's timed steps; a driver may call it from threads of its
// own, and late.
type spans struct {
	mu    sync.Mutex // guards the rest
	all   []lambent.Stage
	taken bool
}

func (s *spans) add(name string, start time.Time, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.taken {
		s.all = append(s.all, lambent.Stage{Name: name, Start: start, Took: took})
	}
}

// take ends the recording.
func (s *spans) take() []lambent.Stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = true
	return s.all
}

// streamName is how Lambda names the log stream of an instance.
func streamName(at time.Time, version, id string) string {
	return at.UTC().Format("2006/01/02") + "/[" + version + "]" + id
}

// initType is what the log calls the reason for an initialisation.
func initType(c ColdStart) string {
	if c.Ahead == ReasonProvisioned {
		return ReasonProvisioned
	}
	return "on-demand"
}

// versionText names a runtime as INIT_START does: "python:3.12.1".
func versionText(rt sandbox.Runtime) string {
	family := strings.TrimRight(rt.Name, "0123456789.x")
	if rt.Version == "" {
		return rt.Name
	}
	return family + ":" + rt.Version
}

// runtimeARN names the interpreter that is used, as AWS names its own: by a hash.
func runtimeARN(region string, rt sandbox.Runtime) string {
	sum := sha256.Sum256([]byte(rt.Name + " " + rt.Version))
	return "arn:aws:lambda:" + region + "::runtime:" + hex.EncodeToString(sum[:])
}
