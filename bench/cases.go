package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent"
)

// cases are all that is measured, each on a fresh server.
var cases = []struct {
	name, title string
	measure     func(context.Context, *bed) ([]result, error)
}{
	{"warm-latency", "warm invoke, one connection", warmLatency},
	{"warm-throughput", "warm invoke, 32 connections", warmThroughput},
	{"memory", "resident memory and restart", memory},
	{"cold-start", "cold starts", coldStart},
}

var event = []byte(`{"hello":"world","number":42}`)

// pair deploys the echo function and starts the same handler bare.
func pair(ctx context.Context, b *bed) (ours, direct target, err error) {
	binary, err := b.echo(ctx)
	if err != nil {
		return ours, direct, fmt.Errorf("build echo: %w", err)
	}
	code, err := os.ReadFile(binary)
	if err != nil {
		return ours, direct, err
	}
	archive, err := zipped(map[string][]byte{"bootstrap": code})
	if err != nil {
		return ours, direct, err
	}
	// With a whole processor, so that what is measured is not the limit.
	if err := b.create(ctx, "echo", "provided.al2023", "bootstrap", archive, lambent.MemoryPerCPU); err != nil {
		return ours, direct, err
	}
	if direct, err = b.bare(binary, event); err != nil {
		return ours, direct, err
	}
	ours, err = b.signed(ctx, "echo", event)
	return ours, direct, err
}

func warmLatency(ctx context.Context, b *bed) ([]result, error) {
	ours, direct, err := pair(ctx, b)
	if err != nil {
		return nil, err
	}
	added := result{Name: "p50 added to the bare handler, one connection", Unit: "µs", Bar: 300, Below: true}
	p99 := result{Name: "p99 of a warm invoke, one connection", Unit: "µs"}
	for round := range b.rounds + 1 {
		base, err := closedLoop(direct, 1, b.last)
		if err != nil {
			return nil, err
		}
		with, err := closedLoop(ours, 1, b.last)
		if err != nil {
			return nil, err
		}
		if round == 0 {
			continue // warms both up
		}
		added.add(micros(with.quantile(.5)) - micros(base.quantile(.5)))
		p99.add(micros(with.quantile(.99)))
	}
	return []result{added, p99}, nil
}

func warmThroughput(ctx context.Context, b *bed) ([]result, error) {
	ours, direct, err := pair(ctx, b)
	if err != nil {
		return nil, err
	}
	ratio := result{Name: "throughput against the bare handler, 32 connections", Unit: "x", Bar: 0.12}
	rate := result{Name: "invocations per second, 32 connections", Unit: "1/s"}
	for round := range b.rounds + 1 {
		base, err := closedLoop(direct, 32, b.last)
		if err != nil {
			return nil, err
		}
		with, err := closedLoop(ours, 32, b.last)
		if err != nil {
			return nil, err
		}
		if round == 0 {
			continue
		}
		ratio.add(with.rate() / base.rate())
		rate.add(with.rate())
	}
	return []result{ratio, rate}, nil
}

// memory looks at an idle server, fills it with functions, looks again, and
// restarts it.
func memory(ctx context.Context, b *bed) ([]result, error) {
	idle := result{Name: "resident memory, idle", Unit: "MB", Bar: 60, Below: true}
	time.Sleep(2 * time.Second)
	mb, err := b.rss()
	if err != nil {
		return nil, err
	}
	idle.add(mb)
	archive, err := zipped(map[string][]byte{"bootstrap": []byte("#!/bin/sh\n")})
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := fill(ctx, b, archive); err != nil {
		return nil, err
	}
	creates := result{Name: "functions created per second, 8 clients", Unit: "1/s"}
	creates.add(float64(b.functions) / time.Since(begin).Seconds())
	full := result{Name: fmt.Sprintf("resident memory, %d functions, after a restart", b.functions), Unit: "MB", Bar: 200, Below: true}
	ready := result{Name: fmt.Sprintf("restart to ready, %d functions", b.functions), Unit: "ms", Bar: 2000, Below: true}
	for range b.rounds {
		b.stop()
		took, err := b.start(ctx)
		if err != nil {
			return nil, err
		}
		ready.add(float64(took.Milliseconds()))
		time.Sleep(time.Second)
		if mb, err = b.rss(); err != nil {
			return nil, err
		}
		full.add(mb)
	}
	return []result{idle, creates, full, ready}, nil
}

func fill(ctx context.Context, b *bed, archive []byte) error {
	names := make(chan string)
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range 8 {
		wg.Go(func() {
			for name := range names {
				_, err := b.sdk.CreateFunction(ctx, &lambda.CreateFunctionInput{
					FunctionName: &name, Runtime: types.RuntimeProvidedal2023, Handler: ptr("bootstrap"), Role: ptr(role),
					Code:        &types.FunctionCode{ZipFile: archive},
					Environment: &types.Environment{Variables: map[string]string{"STAGE": "production", "TABLE": "orders-" + name}},
				})
				if err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	for i := range b.functions {
		names <- fmt.Sprintf("function-%05d", i)
	}
	close(names)
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// language is a runtime with its smallest handler, and how long its interpreter
// takes to start on its own.
type language struct {
	runtime, handler, file, source string
	bare                           []string
}

var languages = []language{
	{"python3.11", "app.handler", "app.py", "def handler(event, context):\n    return event\n", []string{"python3", "-c", "pass"}},
	{"nodejs20.x", "index.handler", "index.js", "exports.handler = async (event) => event;\n", []string{"node", "-e", "0"}},
}

// coldStart changes a function's configuration, which makes its instances out of
// date, and invokes it, as often as asked for.
func coldStart(ctx context.Context, b *bed) ([]result, error) {
	binary, err := b.echo(ctx)
	if err != nil {
		return nil, err
	}
	code, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	all := append([]language{{"provided.al2023", "bootstrap", "bootstrap", string(code), nil}}, languages...)
	var results []result
	for _, l := range all {
		if l.bare != nil {
			if _, err := exec.LookPath(l.bare[0]); err != nil {
				continue
			}
		}
		archive, err := zipped(map[string][]byte{l.file: []byte(l.source)})
		if err != nil {
			return nil, err
		}
		name := "cold-" + strings.NewReplacer(".", "-").Replace(l.runtime)
		if err := b.create(ctx, name, l.runtime, l.handler, archive, 512); err != nil {
			results = append(results, result{Name: l.runtime + ": " + err.Error()})
			continue
		}
		r, err := coldStarts(ctx, b, name, l)
		if err != nil {
			return nil, err
		}
		results = append(results, r...)
	}
	return results, nil
}

func coldStarts(ctx context.Context, b *bed, name string, l language) ([]result, error) {
	total := result{Name: l.runtime + ": cold invoke, seen by the client", Unit: "ms"}
	ratio := result{Name: l.runtime + ": cold invoke against the bare start of its interpreter", Unit: "x"}
	for i := range b.colds {
		_, err := b.sdk.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
			FunctionName: &name, Environment: &types.Environment{Variables: map[string]string{"ROUND": fmt.Sprint(i)}}})
		if err != nil {
			return nil, err
		}
		err = lambda.NewFunctionUpdatedV2Waiter(b.sdk, func(o *lambda.FunctionUpdatedV2WaiterOptions) {
			o.MinDelay, o.MaxDelay = 2*time.Millisecond, 20*time.Millisecond
		}).Wait(ctx, &lambda.GetFunctionInput{FunctionName: &name}, time.Minute)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		out, err := b.sdk.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Payload: event})
		if err != nil {
			return nil, err
		}
		if out.FunctionError != nil {
			return nil, fmt.Errorf("%s: %s", name, out.Payload)
		}
		took := time.Since(begin)
		total.add(float64(took.Microseconds()) / 1000)
		if l.bare != nil {
			begin = time.Now()
			if err := exec.CommandContext(ctx, l.bare[0], l.bare[1:]...).Run(); err != nil {
				return nil, err
			}
			ratio.add(float64(took) / float64(time.Since(begin)))
		}
	}
	if l.bare == nil {
		return []result{total}, nil
	}
	return []result{total, ratio}, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func ptr[T any](v T) *T { return &v }

// median of values, which it sorts.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
