package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// held counts what the server and the host have that a cold start might leave.
func held(t *testing.T, d *Driver, dir string) map[string]int {
	t.Helper()
	count := map[string]int{}
	for _, s := range traces(t, dir) {
		kind, _, _ := strings.Cut(s, " ")
		count[kind]++
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	count["threads"] = len(threads)
	for _, name := range opened() {
		if !strings.HasPrefix(name, "user:") { // of the slots, which are kept
			count["descriptors"]++
		}
	}
	for _, dir := range d.cgroups.dirs() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				count["groups"]++
			}
		}
	}
	count["goroutines"] = runtime.NumGoroutine()
	count["namespaces"] = len(namespaces(t, d))
	d.slots.mu.Lock()
	count["slots in use"] = d.slots.made - len(d.slots.free)
	d.slots.mu.Unlock()
	d.strays.mu.Lock()
	count["children"] = len(d.strays.known)
	d.strays.mu.Unlock()
	return count
}

// namespaces lists those that the server or one of its sandboxes is in.
func namespaces(t *testing.T, d *Driver) []string {
	t.Helper()
	patterns := []string{"/proc/self/task/*/ns/*"}
	d.strays.mu.Lock()
	for pid := range d.strays.known {
		patterns = append(patterns, "/proc/"+strconv.Itoa(pid)+"/task/*/ns/*")
	}
	d.strays.mu.Unlock()
	var list []string
	for _, pattern := range patterns {
		links, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if target, err := os.Readlink(l); err == nil {
				list = append(list, target)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// opened lists what is open, in the server's own words.
func opened() []string {
	links, _ := filepath.Glob("/proc/self/fd/*")
	var list []string
	for _, l := range links {
		target, _ := os.Readlink(l)
		list = append(list, target)
	}
	slices.Sort(list)
	return list
}

// rss is the server's own memory in bytes.
func rss() int64 {
	runtime.GC()
	b, _ := os.ReadFile("/proc/self/statm")
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// TestNoLeak starts instances of every origin, ends them in every way, has blanks
// and zygotes die in between, and finds everything as it was before. With
// LAMBENT_TEST_SOAK there are 10,000 of them, or as many as it says.
func TestNoLeak(t *testing.T) {
	needRoot(t)
	many := 240
	if soak := os.Getenv("LAMBENT_TEST_SOAK"); soak != "" {
		many = 10_000
		if n, err := strconv.Atoi(soak); err == nil && n > 1 {
			many = n
		}
	}
	dir := t.TempDir()
	d := newDriver(t, Options{DataDir: dir})
	defer d.Close()
	specs := []func(id string) sandbox.Spec{blankSpecs(t)}
	if p := newPython(t); p != nil {
		spec := p.spec(t, light, nil)
		specs = append(specs, func(id string) sandbox.Spec { own := spec; own.ID = id; return own })
	}
	live := func(n int) (lambent.Origin, error) {
		spec := specs[n%len(specs)](fmt.Sprintf("leak-%d", n))
		spec.Output = &sandboxtest.Lines{}
		spec.NoReserve = n%7 == 0
		i, err := d.Start(t.Context(), spec)
		if err != nil {
			return "", err
		}
		r, err := i.Init(t.Context())
		if err == nil && r.Failure != nil {
			err = fmt.Errorf("start %d: %+v", n, r.Failure)
		}
		if n%5 == 0 {
			i.(*Instance).kill()
			<-i.Done()
		}
		return r.Origin, errors.Join(err, i.Stop(t.Context()))
	}
	// What is made once and kept: slots, templates, the poller.
	for n := range 8 {
		if _, err := live(n); err != nil {
			t.Fatal(err)
		}
	}
	settle := func() map[string]int {
		eventually(t, "the reserve is at rest", func() bool {
			d.reserve.mu.Lock()
			for _, s := range d.reserve.stocks {
				for _, n := range s.nodes {
					n.demand.peak, n.demand.taken = 1, 0
				}
				s.retry = backoff{}
			}
			d.reserve.mu.Unlock()
			d.reserve.poke()
			time.Sleep(20 * time.Millisecond)
			for _, r := range d.Reserves() {
				if r.Key != shellsKey && (r.Ready != 1 || r.Wanted != 1) {
					return false
				}
			}
			return len(d.shells.ready) == cap(d.shells.ready)
		})
		return held(t, d, dir)
	}
	before, memory := settle(), rss()
	var mu sync.Mutex // guards origins
	origins := map[lambent.Origin]int{}
	var group errgroup.Group
	group.SetLimit(4)
	for n := range many {
		if n%60 == 59 {
			blanks, zygotes := d.reserve.pids()
			for _, pid := range append(blanks, zygotes...) {
				if n%120 == 59 || slices.Contains(blanks, pid) {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
		}
		group.Go(func() error {
			from, err := live(n)
			mu.Lock()
			defer mu.Unlock()
			origins[from]++
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("origins %v", origins)
	if origins[lambent.OriginStart] == 0 || origins[lambent.OriginBlank] == 0 {
		t.Errorf("origins %v", origins)
	}
	var after map[string]int
	eventually(t, "everything is as before", func() bool {
		after = settle()
		for name, n := range after {
			// Go keeps a thread or two more, and other programs come and go.
			if slack := map[string]int{"threads": 6, "namespaces": 3, "goroutines": 2}[name]; n > before[name]+slack {
				t.Logf("%s: %d before, %d now: %q", name, before[name], n, opened())
				time.Sleep(200 * time.Millisecond)
				return false
			}
		}
		return true
	})
	t.Logf("%d open", len(opened()))
	t.Logf("before %v, after %v; memory %d KiB before, %d KiB after", before, after, memory>>10, rss()>>10)
	if grown := rss() - memory; grown > 24<<20 {
		t.Errorf("the server has grown by %d KiB", grown>>10)
	}
}
