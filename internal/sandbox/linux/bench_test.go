package linux

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// BenchmarkColdStart is from Start to the runtime's first request for an event,
// with what each stage took of it, and the time that Stop takes afterwards.
func BenchmarkColdStart(b *testing.B) {
	needRoot(b)
	for _, network := range []struct {
		name string
		kind lambent.Network
	}{{"outbound", lambent.NetworkOutbound}, {"loopback", lambent.NetworkLoopback}} {
		b.Run(network.name, func(b *testing.B) {
			spec := sandboxtest.Spec("", sandboxtest.Probe(b), &sandboxtest.Lines{})
			spec.Version.Network = network.kind
			coldStart(b, spec)
		})
	}
}

// BenchmarkBlankStart is the same from the reserve, with a blank ready.
func BenchmarkBlankStart(b *testing.B) {
	needRoot(b)
	code := sandboxtest.Probe(b)
	coldStart(b, sandboxtest.BlankSpec(sandboxtest.Spec("", code, &sandboxtest.Lines{}), filepath.Join(code, "bootstrap")))
}

// BenchmarkPythonStart is a function that imports json and http, from where it
// may come.
func BenchmarkPythonStart(b *testing.B) {
	needRoot(b)
	p := newPython(b)
	for _, reserve := range []bool{true, false} {
		b.Run(map[bool]string{true: "blank", false: "start"}[reserve], func(b *testing.B) {
			spec := p.spec(b, "import json, http.client\ndef handler(event, context):\n    return event\n", nil)
			spec.Output = &sandboxtest.Lines{}
			if spec.NoReserve = !reserve; !reserve {
				spec.Runtime.Blank = nil
			}
			coldStart(b, spec)
		})
	}
}

func coldStart(b *testing.B, spec sandbox.Spec) {
	d := newDriver(b, Options{DataDir: b.TempDir()})
	defer d.Close()
	var mu sync.Mutex
	stages := map[string]time.Duration{}
	if spec.Runtime.Blank != nil {
		sandboxtest.AwaitReserve(b, d, spec.Runtime)
	}
	spec.Stage = func(name string, _ time.Time, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		stages[name] += took
	}
	var init, stop time.Duration
	n := 0
	for b.Loop() {
		n++
		spec.ID = fmt.Sprintf("cold-%d", n)
		i, err := d.Start(context.Background(), spec)
		if err != nil {
			b.Fatal(err)
		}
		r, err := i.Init(context.Background())
		if err != nil || r.Failure != nil {
			b.Fatal(r.Failure, err)
		}
		init += r.Took
		b.StopTimer()
		begin := time.Now()
		if err := i.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
		stop += time.Since(begin)
		if spec.Runtime.Blank != nil {
			if r.Origin != lambent.OriginBlank {
				b.Fatalf("origin %s", r.Origin)
			}
			sandboxtest.AwaitReserve(b, d, spec.Runtime)
		}
		b.StartTimer()
	}
	for name, d := range stages {
		b.ReportMetric(d.Seconds()*1e6/float64(n), name+"-µs")
	}
	b.ReportMetric(init.Seconds()*1e6/float64(n), "init-µs")
	b.ReportMetric(stop.Seconds()*1e6/float64(n), "stop-µs")
}

// BenchmarkInvoke is a warm invocation, through the Runtime API and back.
func BenchmarkInvoke(b *testing.B) {
	needRoot(b)
	d := newDriver(b, Options{DataDir: b.TempDir()})
	defer d.Close()
	spec := sandboxtest.Spec("warm", sandboxtest.Probe(b), nil)
	spec.Version.MemoryMB = 1769
	l := sandboxtest.Start(b, d, spec)
	ev := sandbox.Event{RequestID: "00000000-0000-4000-8000-000000000000", Payload: []byte(`{"do":"echo","args":["x"]}`),
		Deadline: time.Now().Add(time.Hour)}
	ctx, cancel := context.WithDeadline(context.Background(), ev.Deadline)
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		if a, err := l.Instance.Invoke(ctx, ev); err != nil || a.Failure != nil {
			b.Fatal(a.Failure, err)
		}
		<-l.Ready()
	}
}

// BenchmarkFork makes and ends blanks on demand, as cold starts do that find none.
func BenchmarkFork(b *testing.B) {
	needRoot(b)
	p := newPython(b)
	d := newDriver(b, Options{DataDir: b.TempDir()})
	defer d.Close()
	spec := p.spec(b, light, nil)
	sandboxtest.AwaitReserve(b, d, spec.Runtime)
	eventually(b, "there is a zygote", func() bool { _, z := d.reserve.pids(); return len(z) > 0 })
	defer hold(b, d, spec)()
	d.reserve.mu.Lock()
	z := d.reserve.of(spec.Runtime).root().zygote
	d.reserve.mu.Unlock()
	if z == nil {
		b.Fatal("there is no zygote")
	}
	for n := 0; b.Loop(); n++ {
		bl, err := d.newBlank(context.Background(), blankSpec{name: fmt.Sprintf("%sbench-%d", reservePrefix, n), rt: spec.Runtime, from: z, hurry: true})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		bl.discard(d.opts.Log)
		d.shells.refill()
		for len(d.shells.ready) < cap(d.shells.ready) {
			time.Sleep(time.Millisecond)
		}
		b.StartTimer()
	}
}
