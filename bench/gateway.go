package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent"
)

// gateway measures a function behind its URL: the event is made from the request
// and the answer from what the function gives back. The bare handler gets and
// gives the same body without any of that.
func gateway(ctx context.Context, b *bed) ([]result, error) {
	_, direct, err := pair(ctx, b)
	if err != nil {
		return nil, err
	}
	ours, err := b.public(ctx, "echo", event)
	if err != nil {
		return nil, err
	}
	ratio := result{Name: "function URL: throughput against the bare handler, 32 connections", Unit: "x", Bar: 0.15}
	rate := result{Name: "function URL: requests per second, 32 connections", Unit: "1/s"}
	added := result{Name: "function URL: p50 added to the bare handler, one connection", Unit: "µs"}
	for round := range b.rounds + 1 {
		var bases, withs [2]sample
		for i, n := range []int{1, 32} {
			if bases[i], err = closedLoop(direct, n, b.last); err != nil {
				return nil, err
			}
			if withs[i], err = closedLoop(ours, n, b.last); err != nil {
				return nil, err
			}
		}
		if round == 0 {
			continue // warms both up
		}
		added.add(micros(withs[0].quantile(.5)) - micros(bases[0].quantile(.5)))
		ratio.add(withs[1].rate() / bases[1].rate())
		rate.add(withs[1].rate())
	}
	out := []result{ratio, rate, added}
	more, err := b.offered(ctx, "function URL", ratio.Bar, sides{ours, direct})
	if err != nil {
		return nil, err
	}
	routes, err := routingCost(ctx, b.options, ours)
	return append(append(out, more...), routes), err
}

// public gives a function a URL for everybody and returns a request to it.
func (b *bed) public(ctx context.Context, function string, payload []byte) (target, error) {
	made, err := b.sdk.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: &function, AuthType: types.FunctionUrlAuthTypeNone})
	if err != nil {
		return target{}, err
	}
	_, err = b.sdk.AddPermission(ctx, &lambda.AddPermissionInput{
		FunctionName: &function, StatementId: ptr("open"), Action: ptr("lambda:InvokeFunctionUrl"), Principal: ptr("*"), FunctionUrlAuthType: types.FunctionUrlAuthTypeNone,
	})
	if err != nil {
		return target{}, err
	}
	body, err := os.ReadFile(filepath.Join(b.data, "endpoints.json"))
	if err != nil {
		return target{}, err
	}
	var e struct{ Gateway string }
	if err := json.Unmarshal(body, &e); err != nil {
		return target{}, err
	}
	r, err := http.NewRequest(http.MethodPost, e.Gateway+"/path?name=value", bytes.NewReader(payload))
	if err != nil {
		return target{}, err
	}
	address, err := url.Parse(*made.FunctionUrl)
	if err != nil {
		return target{}, err
	}
	r.Host = address.Host
	r.Header.Set("Content-Type", "application/json")
	return newTarget(r)
}

// routingCost compares the p50 of one connection with that on a server beside it that
// has many functions and routes.
func routingCost(ctx context.Context, o options, few target) (result, error) {
	r := result{Name: fmt.Sprintf("function URL: p50 with %d functions and as many routes against 1", o.functions), Unit: "x", Bar: 1.1, Below: true}
	b, err := newBed(ctx, o)
	if err != nil {
		return r, err
	}
	defer b.close()
	if _, _, err := pair(ctx, b); err != nil {
		return r, err
	}
	many, err := b.public(ctx, "echo", event)
	if err != nil {
		return r, err
	}
	archive, err := zipped(map[string][]byte{"bootstrap": []byte("#!/bin/sh\n")})
	if err != nil {
		return r, err
	}
	if err := fill(ctx, b, archive); err != nil {
		return r, err
	}
	if err := b.route(ctx); err != nil {
		return r, err
	}
	for round := range b.rounds + 1 {
		base, err := closedLoop(few, 1, b.last)
		if err != nil {
			return r, err
		}
		with, err := closedLoop(many, 1, b.last)
		if err != nil {
			return r, err
		}
		if round > 0 { // the first one warms both up
			r.add(micros(with.quantile(.5)) / micros(base.quantile(.5)))
		}
	}
	return r, nil
}

// route adds a route for each of the many functions, on a hundred hosts.
func (b *bed) route(ctx context.Context) error {
	const together = 500
	var routes []lambent.Route
	for i := range b.functions {
		routes = append(routes, lambent.Route{
			Host: fmt.Sprintf("h%d.test", i%100), Method: http.MethodGet, Path: fmt.Sprintf("/r%d/{id}", i),
			Function: fmt.Sprintf("function-%05d", i), Access: lambent.AccessPublic,
		})
	}
	for some := range slices.Chunk(routes, together) {
		body, err := json.Marshal(map[string]any{"routes": some})
		if err != nil {
			return err
		}
		if err := b.put(ctx, "/v1/routes", body); err != nil {
			return err
		}
	}
	return nil
}
