package pool

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// host makes up the readings of a host with two processors.
type host struct {
	load Load
	at   time.Time
}

// reads goes on for one step in which the processors were that busy, with that many
// tasks in sight, and that part of the periods of the own limit used up.
func (h *host) reads(busy float64, running int, throttled float64) Load {
	h.load.Processors = 2
	h.load.Total += 2 * paceEvery
	h.load.Busy += time.Duration(busy * 2 * float64(paceEvery))
	h.load.Running = running
	h.load.Periods += 100
	h.load.Throttled += int64(100 * throttled)
	return h.load
}

func TestPace(t *testing.T) {
	type step struct {
		times     int
		busy      float64
		running   int
		throttled float64
		starts    int // each time
		idle      bool
		want      float64 // the rate after it; 0 is not slowed
	}
	tests := map[string]struct {
		full  float64
		steps []step
	}{
		"a burst is over before":              {50, []step{{times: 4, busy: 1, running: 50, starts: 12}, {times: 4, busy: .1, starts: 1}}},
		"half of what was started, then less": {50, []step{{times: 5, busy: 1, running: 9, starts: 10, want: 10}, {times: 2, busy: 1, running: 9, starts: 5, want: 5}, {times: 20, busy: 1, running: 9, starts: 2, want: 4}}},
		"the limit is not raised":             {2, []step{{times: 20, busy: 1, running: 9, starts: 1, want: 2}}},
		"busy but nobody waits":               {50, []step{{times: 20, busy: 1, running: 2, starts: 1}}},
		"many wait for a moment":              {50, []step{{times: 20, busy: .8, running: 20, starts: 1}}},
		"others are busy and nothing starts":  {50, []step{{times: 20, busy: 1, running: 9, idle: true}, {times: 3, busy: 1, running: 9, starts: 12}}},
		"the server's own limit":              {50, []step{{times: 5, busy: .1, throttled: .9, starts: 10, want: 10}}},
		"a limit that is seldom used up":      {50, []step{{times: 20, busy: .1, throttled: .3, starts: 10}}},
		"back when there is time again":       {20, []step{{times: 20, busy: 1, running: 9, starts: 2, want: 4}, {times: 3, busy: .2, starts: 2, want: 13.5}, {times: 1, busy: .2, starts: 2}}},
		"back when nothing starts":            {20, []step{{times: 20, busy: 1, running: 9, starts: 2, want: 4}, {times: 4, busy: 1, running: 9, idle: true}}},
		"no limit":                            {0, []step{{times: 20, busy: 1, running: 9, starts: 50, want: 4}, {times: 12, busy: 0}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var p pace
			h := host{at: time.Unix(1e9, 0)}
			started := 0
			for i, s := range tt.steps {
				for range s.times {
					h.at = h.at.Add(paceEvery)
					started += s.starts
					p.learn(reading{h.at, h.reads(s.busy, s.running, s.throttled), started}, tt.full, !s.idle)
					if p.rate < 0 || tt.full > 0 && p.rate > tt.full {
						t.Fatalf("%v starts per second", p.rate)
					}
				}
				if d := p.rate - s.want; d < -.1 || d > .1 {
					t.Errorf("after step %d %.2f starts per second, want %.2f", i, p.rate, s.want)
				}
			}
		})
	}
}

// A clock that jumps, or a machine that was asleep, says nothing about the time
// between.
func TestPaceAfterAPause(t *testing.T) {
	var p pace
	h := host{at: time.Unix(1e9, 0)}
	for i := range 40 {
		h.at = h.at.Add(time.Hour)
		p.learn(reading{h.at, h.reads(1, 9, 0), i}, 50, true)
	}
	if p.slowed() {
		t.Errorf("slowed to %v by readings an hour apart", p.rate)
	}
}

func TestWhyStartsAreSlowed(t *testing.T) {
	window := []reading{{}, {at: time.Time{}.Add(2 * time.Second), load: Load{Busy: 99, Total: 100, Running: 13, Processors: 2}}}
	if s := short(window); !s.yes() || s.String() != "processors were 99% busy for 2 s, with 6.5 tasks for each" {
		t.Errorf("%v, %q", s.yes(), s)
	}
	window[1].load = Load{Total: 100, Periods: 20, Throttled: 18}
	if s := short(window); !s.yes() || s.String() != "the server's own processor limit was used up in 90% of its periods for 2 s" {
		t.Errorf("%v, %q", s.yes(), s)
	}
}

// overloaded makes a pool on a host whose processors are short while busy is true.
func overloaded(busy *atomic.Bool) func(*Options) {
	return func(o *Options) {
		h, last := host{}, time.Now()
		o.Starts, o.MemoryMB = 500, 1<<20
		o.Processors = func() (Load, bool) {
			var l Load
			for ; last.Before(time.Now()); last = last.Add(paceEvery) {
				if busy.Load() {
					l = h.reads(1, 20, 0)
				} else {
					l = h.reads(.1, 0, 0)
				}
			}
			return l, true
		}
	}
}

// Calls come faster than the processors can work on. Further instances of the
// function that is called so much come slowly; another one's calls are served, and
// another one still gets its first instance.
func TestOverloadSlowsStarts(t *testing.T) {
	var busy atomic.Bool
	busy.Store(true)
	inPool(t, scripted{start: 10 * time.Millisecond}, overloaded(&busy), func(t *testing.T, p *Pool, _ *fake.Driver) {
		call(t, p, version("steady"))
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		var served, refused atomic.Int64
		flood := func() { // 20 calls per second that keep an instance for a minute
			for ctx.Err() == nil {
				wg.Go(func() {
					l, err := p.Acquire(ctx, version("flood"))
					switch {
					case err == nil:
						served.Add(1)
						<-ctx.Done()
						l.Release(time.Now().Add(time.Second))
					case lambent.CodeOf(err) == lambent.CodeThrottled:
						refused.Add(1)
					case ctx.Err() == nil:
						t.Errorf("acquire: %v", err)
					}
				})
				time.Sleep(50 * time.Millisecond)
			}
		}
		wg.Go(flood)
		time.Sleep(10 * time.Second)
		before := served.Load()
		if s := p.Stats(); s.StartRate != 4 || s.Held == 0 {
			t.Errorf("%+v, want 4 starts per second after 10 s of overload", s)
		}
		for i := range 20 {
			began := time.Now()
			if call(t, p, version("steady")) {
				t.Error("a call of the warm function was cold")
			}
			if took := time.Since(began); took > 20*time.Millisecond {
				t.Errorf("a warm call took %v", took)
			}
			if began = time.Now(); !call(t, p, version(fmt.Sprint("new", i))) || time.Since(began) > 100*time.Millisecond {
				t.Errorf("the first call of a function took %v", time.Since(began))
			}
		}
		if p.Warm(version("guess"), "timer") {
			t.Error("an instance is started by a guess while processors are short")
		}
		time.Sleep(10 * time.Second)
		if n := served.Load() - before; n < 35 || n > 50 {
			t.Errorf("%d instances were started in 10 s of overload, want 40", n)
		}
		if n := refused.Load(); n == 0 {
			t.Error("no call was refused at the end of its wait")
		}
		o, _ := p.Observe(KeyOf(version("flood")))
		if o.Held.Times == 0 || o.Held.PerSecond < 4 || !strings.Contains(o.Held.Why, "100% busy") {
			t.Errorf("%+v", o.Held)
		}
		// It is over: all that wait are served.
		busy.Store(false)
		time.Sleep(8 * time.Second)
		synctest.Wait()
		if s := p.Stats(); s.StartRate != 0 || s.Waiting > 1 {
			t.Errorf("%+v, want full speed and nobody waiting but the last", s)
		}
		cancel()
		wg.Wait()
	})
}

// Where the kernel ceases to tell, nothing is slowed for ever.
func TestPaceWithoutReadings(t *testing.T) {
	var busy atomic.Bool
	busy.Store(true)
	var silent atomic.Bool
	inPool(t, scripted{}, func(o *Options) {
		overloaded(&busy)(o)
		read := o.Processors
		o.Processors = func() (Load, bool) {
			l, ok := read()
			return l, ok && !silent.Load()
		}
	}, func(t *testing.T, p *Pool, _ *fake.Driver) {
		for i := range 60 {
			call(t, p, version(fmt.Sprint("f", i)))
			time.Sleep(100 * time.Millisecond)
		}
		if s := p.Stats(); s.StartRate == 0 {
			t.Fatalf("%+v, want slowed starts", s)
		}
		silent.Store(true)
		time.Sleep(time.Second)
		if s := p.Stats(); s.StartRate != 0 {
			t.Errorf("%+v, want full speed", s)
		}
	})
}

// Functions whose starts hang do not keep others from starting, even if they fill all
// places that a first instance has beside the rate.
func TestHangingStartsDoNotHoldOthers(t *testing.T) {
	var busy atomic.Bool
	busy.Store(true)
	hang := func(s sandbox.Spec) error {
		if strings.HasPrefix(s.Version.Function, "hang") {
			time.Sleep(time.Minute)
		}
		return nil
	}
	inPool(t, scripted{onStart: hang}, overloaded(&busy), func(t *testing.T, p *Pool, _ *fake.Driver) {
		for i := range 60 { // until it is slowed
			call(t, p, version(fmt.Sprint("f", i)))
			time.Sleep(100 * time.Millisecond)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() { _, _ = p.Acquire(ctx, version(fmt.Sprint("hang", i))) })
		}
		time.Sleep(3 * time.Second)
		if s := p.Stats(); s.StartRate == 0 || s.Starting != 5 {
			t.Fatalf("%+v, want slowed starts and five that hang", s)
		}
		for i := range 8 {
			began := time.Now()
			call(t, p, version(fmt.Sprint("other", i)))
			if took := time.Since(began); took > 300*time.Millisecond {
				t.Errorf("a first start took %v beside those that hang", took)
			}
		}
		cancel()
		wg.Wait()
		time.Sleep(2 * time.Minute)
	})
}

// A burst on an idle host is at full speed, however busy it makes the host.
func TestBurstIsNotSlowed(t *testing.T) {
	var busy atomic.Bool
	busy.Store(true)
	inPool(t, scripted{start: 300 * time.Millisecond}, overloaded(&busy), func(t *testing.T, p *Pool, _ *fake.Driver) {
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() { call(t, p, version(fmt.Sprint("f", i%25))) })
		}
		wg.Wait()
		if took := time.Since(began); took > 400*time.Millisecond {
			t.Errorf("50 starts took %v, want what one takes", took)
		}
		if s := p.Stats(); s.Held != 0 {
			t.Errorf("%+v, want no start held", s)
		}
	})
}
