package async

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/store/storetest"
	"lambent.dev/lambent/internal/store/storetest/postgres"
)

// The connections to the database are cut fifty times while two servers take and run
// numbered events: every acknowledged one is delivered.
func TestConnectionsThatAreCut(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a database")
	}
	pg := storetest.NewPostgres(t, postgres.WithoutFsync)
	const cuts = 50
	var mu sync.Mutex // guards acked and ran
	acked, ran := map[string]bool{}, map[string]int{}
	run := func(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
		time.Sleep(time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		ran[inv.RequestID]++
		return answer("1"), nil
	}
	var servers []*Service
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for range 2 {
		db, err := store.OpenPostgres(t.Context(), store.Options{URL: pg.URL("async"), Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() }) // what was written does not matter
		s := New(Options{
			Jobs: db, Invoker: &spine{script: run}, Catalog: &shelf{}, Region: region, Lease: 2 * time.Second, Log: slog.New(slog.DiscardHandler),
		})
		servers = append(servers, s)
		all.Go(func() { _ = s.Run(ctx) })
	}
	sending, stop := context.WithCancel(ctx)
	var senders sync.WaitGroup
	for w := range 4 {
		senders.Go(func() {
			for n := 0; sending.Err() == nil; n++ {
				id, _, err := servers[w%2].Accept(sending, Request{Invocation: &lambent.Invocation{Namespace: ns, Function: fmt.Sprint("f", w), Payload: fmt.Append(nil, n)}})
				if err == nil {
					mu.Lock()
					acked[id] = true
					mu.Unlock()
				}
			}
		})
	}
	for range cuts {
		time.Sleep(60 * time.Millisecond)
		cut := exec.Command(filepath.Join(pg.Bin(), "psql"), "-h", pg.Dir(), "-U", "lambent", "-d", "postgres", "-Atc",
			"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'lambent'")
		if out, err := cut.CombinedOutput(); err != nil {
			t.Fatalf("cut the connections: %v %s", err, out)
		}
	}
	stop()
	senders.Wait()
	for deadline := time.Now().Add(time.Minute); servers[0].idle(servers[0].o.Jobs) != nil && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	mu.Lock()
	defer mu.Unlock()
	lost, again := 0, 0
	for id := range acked {
		if ran[id] == 0 {
			lost++
		}
	}
	for _, n := range ran {
		again += n - 1
	}
	t.Logf("cut %d times: acknowledged %d, delivered %d, duplicates %d, lost=%d", cuts, len(acked), len(ran), again, lost)
	if lost > 0 || len(acked) == 0 {
		t.Errorf("lost %d of %d", lost, len(acked))
	}
}
