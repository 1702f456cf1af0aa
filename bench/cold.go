package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent"
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

// burst is how many functions start cold at once; after is how many more start one
// by one when that has used the reserve up.
const (
	burst = 50
	after = 10
)

// crowd is many functions of one kind.
type crowd struct {
	names   []string
	targets []target
}

// coldBurst starts many functions at once, then some more one after the other, and
// one again and again.
func coldBurst(ctx context.Context, b *bed) ([]result, error) {
	s := subjects[0]
	// A host's memory bounds how many instances there may be, by their sizes. To wait
	// for that, or to end some for others' sake, is not what is measured.
	s.memory = 256
	c, err := b.crowd(ctx, s, burst+after)
	if errors.Is(err, errAbsent) {
		return []result{{Name: s.name + because(err)}}, nil
	}
	if err != nil {
		return nil, err
	}
	ratio := result{Name: fmt.Sprintf("%d cold functions at once: p99 over one alone", burst), Unit: "x", Bar: 10, Below: true}
	half := result{Name: fmt.Sprintf("%d cold functions at once: p50", burst), Unit: "ms"}
	tail := result{Name: fmt.Sprintf("%d cold functions at once: p99", burst), Unit: "ms"}
	alone := result{Name: "one cold function alone: p50", Unit: "ms"}
	forked := result{Name: s.name + ": cold with the reserve used up, p99", Unit: "ms"}
	var late []float64
	for round := range b.rounds {
		time.Sleep(time.Second)
		singles, err := c.again(ctx, b, round*10, 5)
		if err != nil {
			return nil, err
		}
		for _, name := range c.names {
			if err := b.outdate(ctx, name, 1000+round); err != nil {
				return nil, err
			}
		}
		time.Sleep(time.Second)
		together, err := atOnce(ctx, c.targets[:burst])
		if err != nil {
			return nil, err
		}
		missed, err := c.missed(ctx, b)
		if err != nil {
			return nil, err
		}
		late = append(late, missed...)
		alone.add(median(singles))
		half.add(quantile(together, .5))
		tail.add(quantile(together, .99))
		ratio.add(quantile(together, .99) / median(singles))
	}
	if len(late) > 0 {
		forked.add(quantile(late, .99))
	}
	return []result{ratio, half, tail, alone, forked}, nil
}

// crowd makes so many functions of the subject.
func (b *bed) crowd(ctx context.Context, s subject, many int) (*crowd, error) {
	c := &crowd{}
	for i := range many {
		name := fmt.Sprintf("burst-%02d", i)
		if _, err := s.deploy(ctx, b, name); err != nil {
			return nil, err
		}
		t, err := b.signed(ctx, name, event)
		if err != nil {
			return nil, err
		}
		c.names, c.targets = append(c.names, name), append(c.targets, t)
	}
	return c, nil
}

// again starts the first function cold so many times, with pauses.
func (c *crowd) again(ctx context.Context, b *bed, round, times int) ([]float64, error) {
	var all []float64
	for i := range times {
		time.Sleep(settle)
		took, err := b.cold(ctx, c.names[0], round+i, c.targets[0])
		if err != nil {
			return nil, err
		}
		all = append(all, millis(took))
	}
	return all, nil
}

// missed starts those functions that were no part of the burst, one right after the
// other, and gives the times of those that found nothing ready.
func (c *crowd) missed(ctx context.Context, b *bed) ([]float64, error) {
	took := make([]time.Duration, after)
	for i := range took {
		var err error
		if took[i], err = once(ctx, c.targets[burst+i]); err != nil {
			return nil, err
		}
	}
	var late []float64
	for i, d := range took {
		origin, err := b.origin(c.names[burst+i])
		if err != nil {
			return nil, err
		}
		if origin != string(lambent.OriginBlank) {
			late = append(late, millis(d))
		}
	}
	return late, nil
}

// origin is where the process of a function's last cold start came from.
func (b *bed) origin(name string) (string, error) {
	out, err := exec.Command(filepath.Join(b.root, "bin", "lambent"), "--data", b.data, "coldstart", name, "--json").Output()
	if err != nil {
		return "", fmt.Errorf("ask for the cold start of %s: %w", name, err)
	}
	var report struct {
		ColdStarts []struct {
			Origin string `json:"origin"`
		} `json:"coldStarts"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return "", err
	}
	if len(report.ColdStarts) == 0 {
		return "", fmt.Errorf("%s has had no cold start", name)
	}
	return report.ColdStarts[len(report.ColdStarts)-1].Origin, nil // the latest comes last
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
