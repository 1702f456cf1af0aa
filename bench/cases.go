package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent"
)

// benchmark is one case.
type benchmark struct {
	name, title string
	measure     func(context.Context, *bed) ([]result, error)
}

// cases are all that is measured, each on a fresh server.
var cases = []benchmark{
	{"warm-latency", "warm invoke, one connection", warmLatency},
	{"warm-throughput", "warm invoke, 32 connections", warmThroughput},
	{"gateway", "a function behind its URL", gateway},
	{"http-app", "an HTTP application behind the gateway", httpApp},
	{"async", "events: taken, run, and waiting", asyncCalls},
	{"wasm", "a WebAssembly module that stays", wasm},
	{"stream", "the first byte of a streamed answer", stream},
	{"accept", "events accepted and taken by the store", accept},
	{"memory", "resident memory and restart", memory},
	{"cold-start", "cold starts, one after the other", coldStart},
	{"cold-burst", "cold starts at once, and with the reserve exhausted", coldBurst},
	{"scale-up", "from no instance to fifty", scaleUp},
	{"scale-step", "a step from 10 to 200 requests per second", scaleStep},
	{"scale-zipf", "5,000 functions on a host that has memory for 200", scaleZipf},
	{"scale-density", "a thousand idle instances", scaleDensity},
	{"spring", "cold starts of a Spring Boot web application", spring},
	{"reserve", "memory of idle instances and of the reserves", reserveMemory},
	{"peers", "the same start by others", peers},
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
	more, err := b.offered(ctx, "warm invoke", ratio.Bar, sides{ours, direct})
	return append([]result{ratio, rate}, more...), err
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
