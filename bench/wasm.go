package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// A module that stays echoes where the event was put.
const residentHandler = `use std::cell::RefCell;

thread_local! {
    static EVENT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[no_mangle]
pub extern "C" fn lambent_alloc(size: u32) -> *mut u8 {
    EVENT.with_borrow_mut(|event| {
        event.resize(size as usize, 0);
        event.as_mut_ptr()
    })
}

#[no_mangle]
pub extern "C" fn lambent_handle(at: *const u8, size: u32) -> u64 {
    (at as u64) << 32 | size as u64
}
`

// wasm measures a module that stays, by the API and through its URL, against the
// bare handler, which is a program in Go.
func wasm(ctx context.Context, b *bed) ([]result, error) {
	ratio := result{Name: "resident module: throughput against the bare handler, 32 connections", Unit: "x", Bar: 0.30}
	rate := result{Name: "resident module: invocations per second, 32 connections", Unit: "1/s"}
	byURL := result{Name: "resident module, function URL: throughput against the bare handler, 32 connections", Unit: "x"}
	added := result{Name: "resident module: p50 added to the bare handler, one connection", Unit: "µs"}
	dir := filepath.Join(b.data, "resident")
	if err := writeFiles(dir, map[string][]byte{"echo.rs": []byte(residentHandler)}); err != nil {
		return nil, err
	}
	if runIn(ctx, dir, "rustc", "--target", "wasm32-wasip1", "--crate-type", "cdylib", "-O", "-o", "echo.wasm", "echo.rs") != nil {
		ratio.Name += because(fmt.Errorf("rustc with a WASI target: %w", errAbsent))
		return []result{ratio}, nil //nolint:nilerr // the report says so
	}
	code, err := os.ReadFile(filepath.Join(dir, "echo.wasm"))
	if err != nil {
		return nil, err
	}
	archive, err := zipped(map[string][]byte{"echo.wasm": code})
	if err != nil {
		return nil, err
	}
	if err := b.create(ctx, "resident", "wasm", "echo.wasm", archive, 128); err != nil {
		return nil, err
	}
	ours, err := b.signed(ctx, "resident", event)
	if err != nil {
		return nil, err
	}
	url, err := b.public(ctx, "resident", event)
	if err != nil {
		return nil, err
	}
	binary, err := b.echo(ctx)
	if err != nil {
		return nil, err
	}
	direct, err := b.bare(binary, event)
	if err != nil {
		return nil, err
	}
	for round := range b.rounds + 1 {
		var one, many [3]sample
		for i, t := range []target{direct, ours, url} {
			if many[i], err = closedLoop(t, 32, b.last); err != nil {
				return nil, err
			}
			if one[i], err = closedLoop(t, 1, b.last/2); err != nil {
				return nil, err
			}
		}
		if round == 0 {
			continue // warms all of them up
		}
		ratio.add(many[1].rate() / many[0].rate())
		rate.add(many[1].rate())
		byURL.add(many[2].rate() / many[0].rate())
		added.add(micros(one[1].quantile(.5)) - micros(one[0].quantile(.5)))
	}
	more, err := b.offered(ctx, "resident module", ratio.Bar, sides{ours, direct})
	return append([]result{ratio, rate, byURL, added}, more...), err
}
