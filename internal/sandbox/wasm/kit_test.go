package wasm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// waiting is how many spares there are, once nothing makes one.
func waiting(d *Driver) int {
	d.stops.Wait()
	d.spares.mu.Lock()
	defer d.spares.mu.Unlock()
	return len(d.spares.idle)
}

// A guest that was made ahead is its instance's as any other: it has the environment,
// the files and the log of that one, and nothing of those before it.
func TestSpares(t *testing.T) {
	d := newDriver(t, Options{})
	module := string(rust(t, "command"))
	for n := range 3 {
		me := fmt.Sprint("spared-", n)
		spec := specOf(me, folder(t, map[string]string{"bootstrap.wasm": module, "who": me}))
		spec.Version.Code.Digest = "same" // as of two functions with one archive
		spec.Env = []string{"ME=" + me}
		if n == 0 {
			if err := d.Prepare(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
		}
		if waiting(d) != 1 {
			t.Fatalf("%d guests wait", waiting(d))
		}
		spare := d.spares.idle[0].guest
		l := startOf(t, d, spec)
		if i, _ := l.Instance.(*Instance); i.guest != spare || waiting(d) != 0 {
			t.Errorf("%s has a guest of its own", me)
		}
		for range 2 { // the first of them by the spare
			for say1, want := range map[string]string{"env ME": me, "read /var/task/who": me, "log " + me: "null"} {
				if a := say(t, l.Instance, say1, time.Second); string(a.Payload) != want {
					t.Errorf("%s: %s: %s", me, say1, a.Payload)
				}
			}
		}
		if out := l.Out.All(); !slices.Equal(out, []string{me, me}) {
			t.Errorf("%s logs %q", me, out)
		}
		if u := l.Usage(); u.CPU <= 0 || u.MaxMemoryBytes == 0 {
			t.Errorf("%+v", u)
		}
	}
}

// What a module that stays has counted is not in the next one's memory.
func TestSparesAreFresh(t *testing.T) {
	d := newDriver(t, Options{})
	code := bare(t, rust(t, "resident"))
	for n := range 3 {
		l := startOf(t, d, specOf(fmt.Sprint("fresh-", n), code))
		for want := range 3 {
			if a := say(t, l.Instance, `"count"`, time.Second); string(a.Payload) != fmt.Sprint(want) {
				t.Errorf("instance %d: %s, want %d", n, a.Payload, want)
			}
		}
		waiting(d)
	}
}

// No guest waits for who wants none, of modules with code that runs when they are
// instantiated, or of more than is said.
func TestBoundsOfSpares(t *testing.T) {
	d := newDriver(t, Options{})
	prepare := func(d *Driver, spec sandbox.Spec) {
		t.Helper()
		if err := d.Prepare(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	starting := parts{types: []string{typeNone}, funcs: []byte{0, 0}, exports: []string{"\x06_start\x00\x00"},
		code: []string{"\x00\x0b", "\x00\x0b"}, start: "\x01"}.binary()
	prepare(d, specOf("starting", bare(t, starting)))
	off := specOf("off", bare(t, rust(t, "command")))
	off.NoReserve = true
	prepare(d, off)
	large := specOf("large", bare(t, rust(t, "command")))
	large.Version.MemoryMB = keptLargest>>20 + 1
	prepare(d, large)
	if n := waiting(d); n != 0 {
		t.Errorf("%d wait", n)
	}
	for n := range mostSpares + 3 {
		spec := specOf("many", bare(t, rust(t, "command")))
		spec.Version.MemoryMB = 100 + n
		prepare(d, spec)
		prepare(d, spec) // it has one
	}
	if n := waiting(d); n != mostSpares || d.spares.idle[0].fit.memory != 103<<20 {
		t.Errorf("%d wait", n)
	}
	big := command("\x00\x0b")
	at := strings.Index(string(big), "\x05\x03\x01\x00\x01") // the section of one memory of one page
	big = append(append(slices.Clone(big[:at]), "\x05\x04\x01\x00\xff\x03"...), big[at+5:]...)
	prepare(d, specOf("big", bare(t, big))) // 511 pages
	if n := waiting(d); n != 1 {
		t.Errorf("%d wait beside one of 32 MB", n)
	}
}
