package wasm

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// subjects are the modules that are measured, with an event for each.
var subjects = []struct{ name, file, event string }{
	{"rust-command", "rust/command.wasm", "hello"},
	{"rust-resident", "rust/resident.wasm", "hello"},
	{"go-command", "command", "hello"},
	{"go-resident", "resident", `{"Do":"echo","Args":["a"]}`},
}

func subject(b *testing.B, file string) string {
	if _, built := builds[file]; built {
		return codeOf(b, file)
	}
	module, err := os.ReadFile("testdata/" + file)
	if err != nil {
		b.Skip(err)
	}
	return folder(b, map[string]string{"bootstrap.wasm": string(module)})
}

func event(payload string) sandbox.Event {
	return sandbox.Event{RequestID: "00000000-0000-4000-8000-000000000001", Payload: []byte(payload), Deadline: time.Now().Add(3 * time.Second)}
}

// cold starts, asks once and gives the instance.
func cold(b *testing.B, d *Driver, spec sandbox.Spec, payload string) sandbox.Instance {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the first one compiles
	defer cancel()
	i, err := d.Start(ctx, spec)
	if err != nil {
		b.Fatal(err)
	}
	if r, err := i.Init(ctx); err != nil || r.Failure != nil {
		b.Fatal(r.Failure, err)
	}
	if a, err := i.Invoke(ctx, event(payload)); err != nil || a.Failure != nil || len(a.Payload) == 0 {
		b.Fatal(a, err)
	}
	return i
}

// BenchmarkCold is from Start to the first answer, with the compiled module in
// memory. Stop is outside of the clock.
func BenchmarkCold(b *testing.B) {
	for _, s := range subjects {
		b.Run(s.name, func(b *testing.B) {
			d := newDriver(b, Options{})
			spec := specOf("", subject(b, s.file))
			if err := d.Prepare(b.Context(), spec); err != nil {
				b.Fatal(err)
			}
			var took []time.Duration
			for n := 0; b.Loop(); n++ {
				spec.ID = fmt.Sprint("cold-", n)
				begin := time.Now()
				i := cold(b, d, spec, s.event)
				took = append(took, time.Since(begin))
				b.StopTimer()
				if err := i.Stop(context.Background()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}

// BenchmarkColdFromDisk is the same with the compiled module only on disk, as
// after a restart.
func BenchmarkColdFromDisk(b *testing.B) {
	for _, s := range subjects {
		b.Run(s.name, func(b *testing.B) {
			dir := b.TempDir()
			spec := specOf("one", subject(b, s.file))
			for b.Loop() {
				b.StopTimer()
				d, err := New(Options{DataDir: dir})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				cold(b, d, spec, s.event)
				b.StopTimer()
				if err := d.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkWarm is one event after the other.
func BenchmarkWarm(b *testing.B) {
	for _, s := range subjects {
		b.Run(s.name, func(b *testing.B) {
			d := newDriver(b, Options{})
			i := cold(b, d, specOf("one", subject(b, s.file)), s.event)
			ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
			defer cancel()
			for b.Loop() {
				if a, err := i.Invoke(ctx, event(s.event)); err != nil || a.Failure != nil {
					b.Fatal(a, err)
				}
			}
		})
	}
}

// BenchmarkIdle is what an instance without work holds of the server's memory.
func BenchmarkIdle(b *testing.B) {
	for _, s := range subjects {
		b.Run(s.name, func(b *testing.B) {
			d := newDriver(b, Options{})
			spec := specOf("", subject(b, s.file))
			spec.ID = "first"
			cold(b, d, spec, s.event)
			before, n := resident(b), 0
			for b.Loop() {
				spec.ID = fmt.Sprint("idle-", n)
				cold(b, d, spec, s.event)
				n++
			}
			b.ReportMetric(float64(resident(b)-before)/float64(n)/1024, "KiB/instance")
		})
	}
}

// resident is the process's memory in RAM, in bytes, without garbage.
func resident(b *testing.B) int64 {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// BenchmarkMeter is what the meter costs in a tight loop, in nanoseconds a turn.
func BenchmarkMeter(b *testing.B) {
	d := newDriver(b, Options{})
	l := sandboxtest.Start(b, d, specOf("one", codeOf(b, "resident")))
	begin := time.Now()
	const depth = 24
	for b.Loop() {
		l.Invoke(sandboxtest.Command{Do: "recurse", N: depth}, time.Minute)
	}
	b.ReportMetric(float64(time.Since(begin).Nanoseconds())/float64(b.N)/float64(1<<(depth+1)), "ns/call")
}
