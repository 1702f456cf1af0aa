package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/store/storetest/postgres"
)

// What the store's queue is measured with.
const (
	acceptCallers = 64
	acceptBody    = 1024 // bytes
	acceptWaiting = 1_000_000
	acceptLane    = "000000000000/bench"
	takeLoops     = 4
	takeSize      = 32
)

// accept is the queue inside of one process: durable pushes of one event each by
// 64 callers, and taking and ending them, with an empty queue and with a million
// that wait; then the same pushes into PostgreSQL beside pgbench's inserts.
func accept(ctx context.Context, b *bed) ([]result, error) {
	b.stop() // it is not measured, and shall not use the processors
	results, err := acceptSQLite(ctx, b)
	if err != nil {
		return nil, err
	}
	more, err := acceptPostgres(ctx, b)
	if errors.Is(err, postgres.ErrNotInstalled) {
		return append(results, result{Name: "PostgreSQL: events accepted per second" + because(err), Unit: "1/s"}), nil
	}
	return append(results, more...), err
}

func acceptSQLite(ctx context.Context, b *bed) ([]result, error) {
	few, many := filepath.Join(b.data, "few"), filepath.Join(b.data, "many")
	full, err := filledQueue(ctx, many)
	if err != nil {
		return nil, err
	}
	rate := result{Name: "SQLite: events of 1 KB accepted per second, 64 callers", Unit: "1/s", Bar: 10_000}
	ratio := result{Name: "SQLite: accepted with 1,000,000 waiting, against an empty queue", Unit: "x", Bar: 0.8}
	taken := result{Name: "SQLite: events taken and ended per second", Unit: "1/s"}
	takenRatio := result{Name: "SQLite: taken and ended with 1,000,000 waiting, against an empty queue", Unit: "x", Bar: 0.8}
	for round := range b.rounds + 1 {
		empty, err := openQueue(ctx, filepath.Join(few, strconv.Itoa(round)))
		if err != nil {
			return nil, err
		}
		var pushed, ended [2]float64
		for turn := range 2 {
			i := (turn + round) % 2 // each is first in half of the rounds
			s := []store.Jobs{empty, full}[i]
			if pushed[i], err = pushRate(ctx, s, b.last); err == nil {
				ended[i], err = takeRate(ctx, s, int(pushed[i]*b.last.Seconds()/2))
			}
			if err != nil {
				return nil, errors.Join(err, empty.Close(), full.Close())
			}
		}
		if err := errors.Join(empty.Close(), os.RemoveAll(few)); err != nil {
			return nil, err
		}
		if round == 0 {
			continue // warms both up
		}
		rate.add(pushed[0])
		ratio.add(pushed[1] / pushed[0])
		taken.add(ended[0])
		takenRatio.add(ended[1] / ended[0])
	}
	if err := full.Close(); err != nil {
		return nil, err
	}
	start, memory, err := reopened(ctx, many, b.rounds)
	return []result{rate, ratio, taken, takenRatio, start, memory}, err
}

// filledQueue is a queue with its million jobs. It is closed once, which puts them
// where they stay: else the first pushes would pay for the disk's work on them.
func filledQueue(ctx context.Context, dir string) (*store.SQLite, error) {
	s, err := openQueue(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fillQueue(ctx, s, acceptWaiting), s.Close()); err != nil {
		return nil, err
	}
	return openQueue(ctx, dir)
}

func openQueue(ctx context.Context, dir string) (*store.SQLite, error) {
	return store.OpenSQLite(ctx, store.Options{Dir: dir})
}

// reopened measures opening the store with its million jobs, and what memory the
// process then has.
func reopened(ctx context.Context, dir string, rounds int) (start, memory result, err error) {
	start = result{Name: "SQLite: opened with 1,000,000 waiting", Unit: "ms", Bar: 3000, Below: true}
	memory = result{Name: "SQLite: memory of Go in use with 1,000,000 waiting", Unit: "MB"}
	for range rounds {
		begin := time.Now()
		s, err := openQueue(ctx, dir)
		if err != nil {
			return start, memory, err
		}
		lanes, err := s.Lanes(ctx)
		start.add(float64(time.Since(begin).Milliseconds()))
		if err == nil && (len(lanes) != 1 || lanes[0].Waiting < acceptWaiting/2) {
			err = fmt.Errorf("the lanes are %+v", lanes)
		}
		if err == nil {
			_, err = takeRate(ctx, s, 1000)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		memory.add(float64(m.HeapInuse+m.StackInuse) / 1e6)
		if err = errors.Join(err, s.Close()); err != nil {
			return start, memory, err
		}
	}
	return start, memory, nil
}

func acceptedEvent(body []byte) (store.Job, error) {
	id, err := uuid.NewV7()
	now := time.Now()
	return store.Job{ID: id.String(), Lane: acceptLane, Status: store.JobWaiting, Created: now, Due: now, Kind: "event", Body: body}, err
}

func fillQueue(ctx context.Context, s store.Jobs, n int) error {
	body := bytes.Repeat([]byte("v"), acceptBody)
	for n > 0 {
		part := make([]store.Job, min(n, 5000))
		for i := range part {
			var err error
			if part[i], err = acceptedEvent(body); err != nil {
				return err
			}
		}
		if err := s.Push(ctx, part...); err != nil {
			return err
		}
		n -= len(part)
	}
	return nil
}

// pushRate is how many events a second 64 callers push, one each at a time.
func pushRate(ctx context.Context, s store.Jobs, last time.Duration) (float64, error) {
	body := bytes.Repeat([]byte("v"), acceptBody)
	var n atomic.Int64
	faults := make(chan error, acceptCallers)
	var all sync.WaitGroup
	begin := time.Now()
	for range acceptCallers {
		all.Go(func() {
			for time.Since(begin) < last {
				j, err := acceptedEvent(body)
				if err == nil {
					err = s.Push(ctx, j)
				}
				if err != nil {
					faults <- err
					return
				}
				n.Add(1)
			}
		})
	}
	all.Wait()
	took := time.Since(begin)
	close(faults)
	return float64(n.Load()) / took.Seconds(), <-faults
}

// takeRate is how many jobs a second are taken and ended.
func takeRate(ctx context.Context, s store.Jobs, n int) (float64, error) {
	faults := make(chan error, takeLoops)
	var left, done atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	begin := time.Now()
	for range takeLoops {
		all.Go(func() {
			for left.Add(-takeSize) > 0 {
				if err := takeSome(ctx, s, &done); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(begin)
	close(faults)
	return float64(done.Load()) / took.Seconds(), <-faults
}

func takeSome(ctx context.Context, s store.Jobs, done *atomic.Int64) error {
	now := time.Now()
	jobs, err := s.Take(ctx, acceptLane, takeSize, now, now.Add(time.Minute))
	if err != nil {
		return err
	}
	changes := make([]store.Change, len(jobs))
	for i := range jobs {
		changes[i] = store.Change{ID: jobs[i].ID, Token: jobs[i].Token, Status: store.JobSucceeded, Ended: now, Result: []byte(`{"ok":true}`)}
	}
	if _, err := s.Change(ctx, changes...); err != nil {
		return err
	}
	done.Add(int64(len(jobs)))
	return nil
}

func acceptPostgres(ctx context.Context, b *bed) ([]result, error) {
	pg, err := postgres.New()
	if err != nil {
		return nil, err
	}
	defer func() { _ = pg.Close() }() // its files are removed
	s, err := store.OpenPostgres(ctx, store.Options{Dir: filepath.Join(b.data, "pg"), URL: pg.URL("lambent")})
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }() // nothing more is written
	script := filepath.Join(pg.Dir(), "insert.sql")
	if err := os.WriteFile(script, []byte(insertScript), 0o644); err != nil { //nolint:gosec // the server's user reads it
		return nil, err
	}
	if err := psql(ctx, pg, insertTable); err != nil {
		return nil, err
	}
	rate := result{Name: "PostgreSQL: events of 1 KB accepted per second, 64 callers", Unit: "1/s"}
	bench := result{Name: "PostgreSQL: the same rows by pgbench, 64 clients", Unit: "1/s"}
	ratio := result{Name: "PostgreSQL: accepted, against pgbench", Unit: "x"}
	taken := result{Name: "PostgreSQL: events taken and ended per second", Unit: "1/s"}
	for round := range b.rounds + 1 {
		ours, err := pushRate(ctx, s, b.last)
		if err != nil {
			return nil, err
		}
		theirs, err := pgbench(ctx, pg, script, b.last)
		if err != nil {
			return nil, err
		}
		ended, err := takeRate(ctx, s, int(ours*b.last.Seconds()/2))
		if err != nil {
			return nil, err
		}
		if round == 0 {
			continue // warms both up
		}
		rate.add(ours)
		bench.add(theirs)
		ratio.add(ours / theirs)
		taken.add(ended)
	}
	return []result{rate, bench, ratio, taken}, nil
}

// The row of a job with its body and its indexes, in one table.
const (
	insertTable = `CREATE TABLE lambent.bench (LIKE lambent.job INCLUDING ALL, body bytea NOT NULL); CREATE SEQUENCE lambent.bench_seq`

	insertScript = `INSERT INTO lambent.bench (seq, id, lane, priority, phase, due, created, ended, lease, token, attempts, kind, body_bytes,
	result_bytes, body) VALUES (nextval('lambent.bench_seq'), gen_random_uuid()::text, 1, 0, 0, 1, 1, 0, 0, 0, 0, 'event', 1024, 0,
	convert_to(repeat('v', 1024), 'UTF8'));
`
)

func psql(ctx context.Context, pg *postgres.Server, text string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(pg.Bin(), "psql"), "-h", pg.Dir(), "-U", "lambent", "-d", "postgres", "-c", text).CombinedOutput()
	if err != nil {
		return fmt.Errorf("psql: %w: %s", err, out)
	}
	return nil
}

var tps = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)

func pgbench(ctx context.Context, pg *postgres.Server, script string, last time.Duration) (float64, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(pg.Bin(), "pgbench"), "-h", pg.Dir(), "-U", "lambent", "-n", "-M", "prepared",
		"-c", strconv.Itoa(acceptCallers), "-j", "2", "-T", strconv.Itoa(max(1, int(last.Seconds()))), "-f", script, "postgres").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w: %s", err, out)
	}
	found := tps.FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("pgbench says %s", out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}
