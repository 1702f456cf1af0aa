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
	peer := result{Name: "httputil.ReverseProxy: throughput against the bare handler, 32 connections", Unit: "x"}
	peerAdded := result{Name: "httputil.ReverseProxy: p50 added to the bare handler, one connection", Unit: "µs"}
	for round := range b.rounds + 1 {
		var got [3][2]sample
		for i, n := range []int{1, 32} {
			for j, t := range []target{direct, ours, plain} {
				if got[j][i], err = closedLoop(t, n, b.last); err != nil {
					return nil, err
				}
			}
		}
		if round == 0 {
			continue // warms all of them up
		}
		p50 := func(j int) float64 { return micros(got[j][0].quantile(.5)) }
		added.add(p50(1) - p50(0))
		peerAdded.add(p50(2) - p50(0))
		ratio.add(got[1][1].rate() / got[0][1].rate())
		peer.add(got[2][1].rate() / got[0][1].rate())
		rate.add(got[1][1].rate())
	}
	return []result{ratio, rate, added, peer, peerAdded}, nil
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
