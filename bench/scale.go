package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// slow is how long the requests take that need an instance each.
const slow = time.Second

// scaleUp sends 50 slow requests at once to a function without an instance.
func scaleUp(ctx context.Context, b *bed) ([]result, error) {
	s := subjects[0]
	s.memory = 256 // so that the host's memory does not bound what is measured
	if _, err := s.deploy(ctx, b, "up"); errors.Is(err, errAbsent) {
		return []result{{Name: s.name + because(err)}}, nil
	} else if err != nil {
		return nil, err
	}
	quick, err := b.signed(ctx, "up", event)
	if err != nil {
		return nil, err
	}
	sleepy, err := b.signed(ctx, "up", fmt.Appendf(nil, `{"sleep":%g}`, slow.Seconds()))
	if err != nil {
		return nil, err
	}
	ratio := result{Name: fmt.Sprintf("0 to %d concurrent slow requests: the last one runs, over one cold start", burst), Unit: "x", Bar: 8, Below: true}
	last := result{Name: fmt.Sprintf("0 to %d concurrent slow requests: the last one runs", burst), Unit: "ms"}
	alone := result{Name: "one cold start of that function alone: p50", Unit: "ms"}
	all := make([]target, burst)
	for i := range all {
		all[i] = sleepy
	}
	for round := range b.rounds {
		var singles []float64
		for i := range 5 {
			time.Sleep(settle)
			took, err := b.cold(ctx, "up", 10*round+i, quick)
			if err != nil {
				return nil, err
			}
			singles = append(singles, millis(took))
		}
		if err := b.outdate(ctx, "up", 1000+round); err != nil {
			return nil, err
		}
		time.Sleep(2 * time.Second) // the instances of the last round end
		took, err := atOnce(ctx, all)
		if err != nil {
			return nil, err
		}
		alone.add(median(singles))
		last.add(slices.Max(took) - millis(slow))
		ratio.add((slices.Max(took) - millis(slow)) / median(singles))
	}
	return []result{ratio, last, alone}, nil
}

// steadily sends requests at fixed times, whatever becomes of those before, and
// returns how long each took from when it was due, in order.
func steadily(perSecond float64, last time.Duration, send func(i int) error) ([]time.Duration, error) {
	n := int(perSecond * last.Seconds())
	took := make([]time.Duration, n)
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range n {
		due := begin.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
		time.Sleep(time.Until(due))
		wg.Go(func() {
			if err := send(i); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
			took[i] = time.Since(due)
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return took, nil
}

// scaleStep raises the rate of a function's requests from 10 to 200 per second.
func scaleStep(ctx context.Context, b *bed) ([]result, error) {
	if _, err := subjects[0].deploy(ctx, b, "step"); errors.Is(err, errAbsent) {
		return []result{{Name: subjects[0].name + because(err)}}, nil
	} else if err != nil {
		return nil, err
	}
	t, err := b.signed(ctx, "step", []byte(`{"sleep":0.02}`))
	if err != nil {
		return nil, err
	}
	send := func(int) error { _, err := once(ctx, t); return err }
	ratio := result{Name: "step from 10 to 200 requests/s: p99 of its first 5 s, over steady", Unit: "x", Bar: 3, Below: true}
	during := result{Name: "step from 10 to 200 requests/s: p99 of its first 5 s", Unit: "ms"}
	steady := result{Name: "200 requests/s, steady: p99", Unit: "ms"}
	low := result{Name: "10 requests/s, before: p99", Unit: "ms"}
	for round := range b.rounds {
		if err := b.outdate(ctx, "step", round); err != nil {
			return nil, err
		}
		before, err := steadily(10, 5*time.Second, send)
		if err != nil {
			return nil, err
		}
		step, err := steadily(200, 15*time.Second, send)
		if err != nil {
			return nil, err
		}
		first, rest := quantile(inMillis(step[:1000]), .99), quantile(inMillis(step[1000:]), .99)
		low.add(quantile(inMillis(before[10:]), .99)) // without its own cold start
		during.add(first)
		steady.add(rest)
		ratio.add(first / rest)
	}
	return []result{ratio, during, steady, low}, nil
}

func inMillis(all []time.Duration) []float64 {
	out := make([]float64, len(all))
	for i, d := range all {
		out[i] = millis(d)
	}
	return out
}

// Of the load on many functions.
const (
	zipfFunctions = 5000
	zipfRate      = 50 // per second
	zipfTime      = 30 * time.Second
	zipfMemoryMB  = 200 * 128 // for 200 instances that are at work
)

// scaleZipf calls 5,000 functions, some much more often than others, with memory for
// the instances of 200.
func scaleZipf(ctx context.Context, b *bed) ([]result, error) {
	if err := b.restart(ctx, fmt.Sprintf("instances.memory=%dMiB", zipfMemoryMB)); err != nil {
		return nil, err
	}
	if err := b.many(ctx, zipfFunctions); errors.Is(err, errAbsent) {
		return []result{{Name: subjects[0].name + because(err)}}, nil
	} else if err != nil {
		return nil, err
	}
	c, err := b.client()
	if err != nil {
		return nil, err
	}
	rate := result{Name: fmt.Sprintf("%d functions, Zipf: cold starts per call", zipfFunctions), Unit: "%"}
	again := result{Name: fmt.Sprintf("%d functions, Zipf: cold starts of functions that had run before (evicted)", zipfFunctions), Unit: ""}
	held := result{Name: fmt.Sprintf("%d functions, Zipf: memory of all instances, bound %d MB", zipfFunctions, zipfMemoryMB), Unit: "MB", Bar: zipfMemoryMB, Below: true}
	warm := result{Name: fmt.Sprintf("%d functions, Zipf: p99 of warm calls", zipfFunctions), Unit: "ms"}
	ratio := result{Name: fmt.Sprintf("%d functions, Zipf: p99 of warm calls over the same load on one", zipfFunctions), Unit: "x", Bar: 1.5, Below: true}
	refused := result{Name: fmt.Sprintf("%d functions, Zipf: calls refused with 429", zipfFunctions), Unit: "%"}
	for round := range b.rounds {
		z := newZipf(uint64(round))
		many, err := z.run(ctx, c, zipfFunctions)
		if err != nil {
			return nil, err
		}
		mb, err := childrenMemory(b.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		reserved, err := b.reserves()
		if err != nil {
			return nil, err
		}
		one, err := newZipf(uint64(round)).run(ctx, c, 1)
		if err != nil {
			return nil, err
		}
		rate.add(100 * float64(many.cold) / float64(zipfRate*zipfTime.Seconds()))
		again.add(float64(many.again))
		refused.add(100 * float64(many.refused) / float64(zipfRate*zipfTime.Seconds()))
		held.add(mb - reserved)
		warm.add(quantile(many.warm, .99))
		ratio.add(quantile(many.warm, .99) / quantile(one.warm, .99))
	}
	return []result{ratio, warm, rate, again, refused, held}, nil
}

// many deploys small Python functions of one code.
func (b *bed) many(ctx context.Context, n int) error {
	if _, err := b.interpreter("python3.11"); err != nil {
		return err
	}
	archive, err := zipped(map[string][]byte{"app.py": []byte("def handler(event, context):\n    return event\n")})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	next := atomic.Int64{}
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := b.create(ctx, fmt.Sprintf("zipf-%d", i), "python3.11", "app.handler", archive, 128); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *bed) client() (*client.Client, error) {
	target, err := client.Find(client.FindOptions{Data: b.data, Dir: b.data, UID: os.Geteuid(), Getenv: func(string) string { return "" }})
	if err != nil {
		return nil, err
	}
	return client.New(target, nil), nil
}

// zipf calls functions with frequencies that fall by their rank.
type zipf struct {
	random *rand.Zipf

	mu          sync.Mutex // guards the rest
	called      map[uint64]bool
	warm        []float64 // milliseconds
	cold, again int
	refused     int // with 429
}

func newZipf(seed uint64) *zipf {
	return &zipf{random: rand.NewZipf(rand.New(rand.NewPCG(seed, 3)), 1.1, 1, zipfFunctions-1), called: map[uint64]bool{}}
}

func (z *zipf) run(ctx context.Context, c *client.Client, functions uint64) (*zipf, error) {
	which := make([]uint64, int(math.Ceil(zipfRate*zipfTime.Seconds())))
	for i := range which {
		which[i] = z.random.Uint64() % functions
	}
	_, err := steadily(zipfRate, zipfTime, func(i int) error {
		began := time.Now()
		res, err := c.Invoke(ctx, "zipf-"+strconv.FormatUint(which[i], 10), []byte("{}"), client.InvokeOptions{})
		if lambent.CodeOf(err) == lambent.CodeThrottled {
			z.refuse()
			return nil
		}
		if err != nil {
			return err
		}
		z.note(which[i], res.Report.Cold, millis(time.Since(began)))
		return nil
	})
	return z, err
}

func (z *zipf) refuse() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.refused++
}

func (z *zipf) note(function uint64, cold bool, took float64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	switch {
	case !cold:
		z.warm = append(z.warm, took)
	case z.called[function]:
		z.cold++
		z.again++
	default:
		z.cold++
	}
	z.called[function] = true
}

// Of the density.
const (
	denseInstances = 1000
	denseEachMB    = 10 // that the host must have free for each
	denseWait      = 3 * time.Minute
)

// scaleDensity keeps a thousand idle instances of a small Python function.
func scaleDensity(ctx context.Context, b *bed) ([]result, error) {
	total := result{Name: fmt.Sprintf("%d idle Python instances: memory of each", denseInstances), Unit: "MB"}
	free, _, _ := strings.Cut(procLine("/proc/meminfo", "MemAvailable"), " ")
	if kb, _ := strconv.Atoi(free); kb/1024 < denseInstances*denseEachMB { // none that can be read is none
		return []result{{Name: total.Name + because(fmt.Errorf("the host has %d MB free, %d are wanted", kb/1024, denseInstances*denseEachMB))}}, nil
	}
	if err := b.restart(ctx, "instances.memory=256GB"); err != nil {
		return nil, err
	}
	if err := b.many(ctx, 1); errors.Is(err, errAbsent) {
		return []result{{Name: total.Name + because(err)}}, nil
	} else if err != nil {
		return nil, err
	}
	c, err := b.client()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if _, err := c.SetSettings(ctx, "zipf-0", client.Settings{MinInstances: map[string]int{"$LATEST": denseInstances}}); err != nil {
		return nil, err
	}
	ready := 0
	for ready < denseInstances && time.Since(begin) < denseWait {
		time.Sleep(100 * time.Millisecond)
		s, err := c.Scale(ctx, "zipf-0", "")
		if err != nil {
			return nil, err
		}
		ready = s.Ready
	}
	took := result{Name: fmt.Sprintf("%d idle Python instances: all are there after", denseInstances), Unit: "s"}
	took.add(time.Since(begin).Seconds())
	if ready < denseInstances {
		return []result{{Name: total.Name + because(fmt.Errorf("%d are there after %s", ready, denseWait))}}, nil
	}
	mb, err := childrenMemory(b.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	reserved, err := b.reserves()
	if err != nil {
		return nil, err
	}
	total.add((mb - reserved) / denseInstances)
	server := result{Name: fmt.Sprintf("%d idle Python instances: resident memory of the server", denseInstances), Unit: "MB"}
	rss, err := b.rss()
	server.add(rss)
	return []result{total, took, server}, err
}
