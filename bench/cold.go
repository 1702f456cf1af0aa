package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// settle is the pause before a cold start that shall find the reserves as they
// are at rest; batch is how many starts make one value of a spread.
const (
	settle = 150 * time.Millisecond
	batch  = 10
)

// coldStart measures, for each subject, starts that meet no instance of the
// function, in turn with the raw start of the same handler.
func coldStart(ctx context.Context, b *bed) ([]result, error) {
	var results []result
	for i, s := range subjects {
		r, err := s.measure(ctx, b, fmt.Sprintf("cold-%d", i))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil { // one runtime less is no reason to measure none; the report says why
			r = []result{{Name: s.name + because(err)}}
		}
		results = append(results, r...)
	}
	return results, nil
}

// deploy makes the subject's function and returns its raw start.
func (s subject) deploy(ctx context.Context, b *bed, name string) (*rawStart, error) {
	dir := filepath.Join(b.data, "subject-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	files, raw, err := s.make(ctx, b, dir)
	if err != nil {
		return nil, err
	}
	archive, err := zipped(files)
	if err != nil {
		return nil, err
	}
	return raw, b.create(ctx, name, s.runtime, s.handler, archive, s.memory)
}

func (s subject) measure(ctx context.Context, b *bed, name string) ([]result, error) {
	raw, err := s.deploy(ctx, b, name)
	if err != nil {
		return nil, err
	}
	t, err := b.signed(ctx, name, event)
	if err != nil {
		return nil, err
	}
	if _, err := b.cold(ctx, name, -1, t); err != nil { // what comes first pays for caches
		return nil, err
	}
	cold := result{Name: s.name + ": cold, p50", Unit: "ms", Bar: s.barMillis, Below: true}
	worst := result{Name: s.name + ": cold, p99", Unit: "ms"}
	ratio := result{Name: s.name + ": cold over raw", Unit: "x", Bar: s.bar, Below: true}
	rawMillis := result{Name: s.name + ": raw, p50", Unit: "ms"}
	var all, colds, raws []float64
	for i := range b.colds {
		time.Sleep(settle)
		took, err := b.cold(ctx, name, i, t)
		if err != nil {
			return nil, err
		}
		colds = append(colds, millis(took))
		if raw != nil {
			if took, err = raw.once(ctx); err != nil {
				return nil, err
			}
			raws = append(raws, millis(took))
		}
		if (i+1)%batch == 0 || i+1 == b.colds {
			cold.add(median(colds))
			if raw != nil {
				rawMillis.add(median(raws))
				ratio.add(median(colds) / median(raws))
			}
			all = append(all, colds...)
			colds, raws = nil, nil
		}
	}
	worst.add(quantile(all, .99))
	if raw == nil {
		return []result{cold, worst}, nil
	}
	return []result{ratio, cold, worst, rawMillis}, nil
}

// cold makes the function's instances out of date and sends one event.
func (b *bed) cold(ctx context.Context, name string, round int, t target) (time.Duration, error) {
	if err := b.outdate(ctx, name, round); err != nil {
		return 0, err
	}
	time.Sleep(80 * time.Millisecond) // until the old instance is gone: its end is no part of a cold start
	return once(ctx, t)
}

func (b *bed) outdate(ctx context.Context, name string, round int) error {
	_, err := b.sdk.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &name, Environment: &types.Environment{Variables: map[string]string{"ROUND": strconv.Itoa(round)}}})
	if err != nil {
		return err
	}
	return lambda.NewFunctionUpdatedV2Waiter(b.sdk, func(o *lambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 2*time.Millisecond, 20*time.Millisecond
	}).Wait(ctx, &lambda.GetFunctionInput{FunctionName: &name}, time.Minute)
}

// once sends the prepared request on a connection of its own, made before the
// clock starts, and wants a success that no function error hides in.
func once(ctx context.Context, t target) (time.Duration, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }() // it has been read
	begin := time.Now()
	if _, err := c.Write(t.request); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(resp.Body)
	took := time.Since(begin)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Amz-Function-Error") != "" {
		return 0, fmt.Errorf("invoke answered %s %s: %w", resp.Status, bytes.TrimSpace(body), errors.Join(err, errNoAnswer))
	}
	return took, nil
}

var errNoAnswer = errors.New("no answer of the function")

// burst is how many functions start cold at once.
const burst = 50

// coldBurst starts many functions at once, and one again and again without a
// pause in which a reserve could fill.
func coldBurst(ctx context.Context, b *bed) ([]result, error) {
	s := subjects[0]
	targets := make([]target, burst)
	names := make([]string, burst)
	for i := range burst {
		names[i] = fmt.Sprintf("burst-%02d", i)
		if _, err := s.deploy(ctx, b, names[i]); err != nil {
			if errors.Is(err, errAbsent) {
				return []result{{Name: s.name + because(err)}}, nil
			}
			return nil, err
		}
		var err error
		if targets[i], err = b.signed(ctx, names[i], event); err != nil {
			return nil, err
		}
	}
	ratio := result{Name: fmt.Sprintf("%d cold functions at once: p99 over one alone", burst), Unit: "x", Bar: 10, Below: true}
	tail := result{Name: fmt.Sprintf("%d cold functions at once: p99", burst), Unit: "ms"}
	alone := result{Name: "one cold function alone: p50", Unit: "ms"}
	for round := range b.rounds {
		time.Sleep(time.Second)
		var singles []float64
		for i := range 5 {
			time.Sleep(settle)
			took, err := b.cold(ctx, names[0], round*10+i, targets[0])
			if err != nil {
				return nil, err
			}
			singles = append(singles, millis(took))
		}
		for _, name := range names {
			if err := b.outdate(ctx, name, 1000+round); err != nil {
				return nil, err
			}
		}
		time.Sleep(time.Second)
		together, err := atOnce(ctx, targets)
		if err != nil {
			return nil, err
		}
		alone.add(median(singles))
		tail.add(quantile(together, .99))
		ratio.add(quantile(together, .99) / median(singles))
	}
	empty := result{Name: s.name + ": cold one right after the other, p99", Unit: "ms"}
	var all []float64
	for i := range b.colds {
		took, err := b.cold(ctx, names[0], 2000+i, targets[0])
		if err != nil {
			return nil, err
		}
		all = append(all, millis(took))
	}
	empty.add(quantile(all, .99))
	return []result{ratio, tail, alone, empty}, nil
}

// atOnce sends all requests at the same time.
func atOnce(ctx context.Context, targets []target) ([]float64, error) {
	took := make([]float64, len(targets))
	errs := make([]error, len(targets))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			<-start
			var d time.Duration
			d, errs[i] = once(ctx, t)
			took[i] = millis(d)
		})
	}
	close(start)
	wg.Wait()
	return took, errors.Join(errs...)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quantile of values, which stay in their order.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
