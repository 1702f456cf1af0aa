package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"lambent.dev/lambent"
)

// httpApp measures an HTTP application behind the gateway: the bare handler itself,
// deployed as it is. Beside it the same handler is behind the standard library's
// reverse proxy.
func httpApp(ctx context.Context, b *bed) ([]result, error) {
	binary, err := b.echo(ctx)
	if err != nil {
		return nil, err
	}
	direct, err := b.bare(binary, event)
	if err != nil {
		return nil, err
	}
	plain, err := b.reverse(binary, direct.addr, event)
	if err != nil {
		return nil, err
	}
	ours, err := b.application(ctx, binary, event)
	if err != nil {
		return nil, err
	}
	ratio := result{Name: "HTTP application: throughput against the bare handler, 32 connections", Unit: "x", Bar: 0.30}
	rate := result{Name: "HTTP application: requests per second, 32 connections", Unit: "1/s"}
	added := result{Name: "HTTP application: p50 added to the bare handler, one connection", Unit: "µs", Bar: 120, Below: true}
	results := []*result{&ratio, &rate, &added}
	targets := []target{direct, ours}
	for _, peer := range b.fronts(ctx, plain) {
		faster := &result{Name: peer.name + ": throughput against the bare handler, 32 connections" + peer.absent, Unit: "x"}
		slower := &result{Name: peer.name + ": p50 added to the bare handler, one connection" + peer.absent, Unit: "µs"}
		if results = append(results, faster, slower); peer.absent == "" {
			targets = append(targets, peer.target)
		}
	}
	for round := range b.rounds + 1 {
		got := make([][2]sample, len(targets))
		for i, n := range []int{1, 32} {
			for j, t := range targets {
				if got[j][i], err = closedLoop(t, n, b.last); err != nil {
					return nil, err
				}
			}
		}
		if round == 0 {
			continue // warms all of them up
		}
		p50 := func(j int) float64 { return micros(got[j][0].quantile(.5)) }
		rate.add(got[1][1].rate())
		ratio.add(got[1][1].rate() / got[0][1].rate())
		added.add(p50(1) - p50(0))
		for j := 2; j < len(targets); j++ {
			results[2*j-1].add(got[j][1].rate() / got[0][1].rate())
			results[2*j].add(p50(j) - p50(0))
		}
	}
	out, err := b.offered(ctx, "HTTP application", ratio.Bar, sides{ours, direct})
	for i := len(results) - 1; i >= 0; i-- {
		out = append([]result{*results[i]}, out...)
	}
	return out, err
}

// front is something else that answers the same requests.
type front struct {
	name   string
	target target
	absent string // why it is not measured
}

// fronts are what an HTTP application is measured beside: the standard library's
// reverse proxy in front of the bare handler and, last because it may be absent,
// workerd with a handler of its own.
func (b *bed) fronts(ctx context.Context, plain target) []front {
	js := front{name: "workerd with a JavaScript echo"}
	var err error
	if js.target, err = b.worker(ctx); err != nil {
		js.absent = because(err)
	}
	return []front{{name: "httputil.ReverseProxy", target: plain}, js}
}

// application deploys the handler as an HTTP application and returns a request to
// it. It has the processors of the bare handler, so that what is measured is not
// the limit.
func (b *bed) application(ctx context.Context, binary string, payload []byte) (target, error) {
	dir := filepath.Join(b.data, "http-app")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return target{}, err
	}
	if err := os.Link(binary, filepath.Join(dir, "bootstrap")); err != nil {
		return target{}, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(b.root, "bin", "lambent"), "--data", b.data, "deploy", dir, "--name", "app", "--port", "8080",
		"--env", "SERVE=1", "--memory", strconv.Itoa(2*lambent.MemoryPerCPU))
	if out, err := cmd.CombinedOutput(); err != nil {
		return target{}, fmt.Errorf("deploy: %w\n%s", err, out)
	}
	return b.public(ctx, "app", payload)
}

// reverse starts the standard library's reverse proxy in front of an address.
func (b *bed) reverse(binary, to string, payload []byte) (target, error) {
	return b.beside(binary, "REVERSE="+to, payload)
}
