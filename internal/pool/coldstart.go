package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/sandbox"
)

// ColdStart tells how an instance came to be.
type ColdStart struct {
	ID     string
	Stream string // log stream
	Began  time.Time
	Total  time.Duration
	Init   time.Duration // of the runtime and the function's own initialisation
	Stages []lambent.Stage
}

// coldStart is step 5 of the walk unfolded: code, sandbox, runtime. It runs in a
// goroutine of the pool, is paid for by a waiter, and delivers to whichever
// waiter is first.
func (p *Pool) coldStart(g *group, v *lambent.Version, print string, memory int) {
	m := &member{group: g, print: print, version: v, memory: memory}
	m.cold.ID = p.o.NewID()
	m.cold.Began = time.Now()
	m.cold.Stream = streamName(m.cold.Began, v.Number, m.cold.ID)
	m.stream = p.o.Logs.Open(v.Namespace, v.LogGroup(), m.cold.Stream)

	// A cold start may outlive the call that asked for it: the next one uses it.
	ctx, cancel := context.WithTimeout(context.Background(), lambent.InitTimeout+v.Timeout)
	defer cancel()
	failure, err := p.start(ctx, m)
	m.cold.Total = time.Since(m.cold.Began)

	p.o.Metrics.ColdStarted(v.Runtime, m.cold.Stages)
	if err != nil {
		p.end(m, "failed to start")
	}
	// What failed for the function's own reasons is still leased, so that the
	// caller can write into its log; Release ends it.
	p.deliver(g, outcome{m: m, failure: failure, err: err, started: true})
}

// start takes the steps of a cold start in order, each with its own span.
func (p *Pool) start(ctx context.Context, m *member) (*sandbox.Failure, error) {
	v := m.version
	stage := m.stages()
	begin := time.Now()
	rt, err := p.o.Runtimes.Resolve(v)
	if err != nil {
		return nil, fmt.Errorf("resolve runtime %s: %w", v.Runtime, err)
	}
	at := time.Now()
	if line := logs.FormatOf(v.Logging).InitStart(nil, at, versionText(rt), runtimeARN(p.o.Region, rt)); len(line) > 0 {
		m.stream.WriteLine(at, line)
	}
	spec := sandbox.Spec{
		ID:      m.cold.ID,
		Version: v,
		Region:  p.o.Region,
		Runtime: rt,
		Env:     p.o.Environment(v, m.cold.Stream),
		Output:  m.stream,
		Stage:   stage,
	}
	if err := p.pin(ctx, m, &spec); err != nil {
		return nil, err
	}
	spec.Tmp = p.heirloom(m)
	stage("code", begin, time.Since(begin))
	inst, err := p.o.Driver.Start(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start instance of %s: %w", v.Function, err)
	}
	m.inst = inst
	begin = time.Now()
	init, err := inst.Init(ctx)
	m.cold.Init = time.Since(begin)
	stage("init", begin, m.cold.Init)
	if ctx.Err() != nil {
		// The runtime had all the time that it may have: the function's failure.
		return &sandbox.Failure{Type: "Sandbox.Timedout", //nolint:nilerr // see above
			Message: fmt.Sprintf("Task timed out after %.2f seconds", v.Timeout.Seconds())}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("initialise instance of %s: %w", v.Function, err)
	}
	return init.Failure, nil
}

// pin fills spec's directories and remembers how to let go of them.
func (p *Pool) pin(ctx context.Context, m *member, spec *sandbox.Spec) error {
	var releases []func()
	m.release = func() {
		for _, r := range releases {
			r()
		}
	}
	dir, release, err := p.o.Artifacts.Use(ctx, m.version.Code.Digest)
	if err != nil {
		return fmt.Errorf("mount code of %s: %w", m.version.Function, err)
	}
	releases = append(releases, release)
	spec.Code = dir
	for _, l := range m.version.Layers {
		dir, release, err := p.o.Artifacts.Use(ctx, l.Digest)
		if err != nil {
			return fmt.Errorf("mount layer %s: %w", l.ARN, err)
		}
		releases = append(releases, release)
		spec.Layers = append(spec.Layers, dir)
	}
	return nil
}

// stages returns a recorder for the steps; a driver may call it from a thread of
// its own.
func (m *member) stages() func(string, time.Time, time.Duration) {
	var mu sync.Mutex
	return func(name string, start time.Time, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		m.cold.Stages = append(m.cold.Stages, lambent.Stage{Name: name, Start: start, Took: took})
	}
}

// streamName is how Lambda names the log stream of an instance.
func streamName(at time.Time, version, id string) string {
	return at.UTC().Format("2006/01/02") + "/[" + version + "]" + id
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
