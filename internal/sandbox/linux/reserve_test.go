package linux

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// blankSpecs makes specs of the probe that may start from the reserve; env is the
// blank's.
func blankSpecs(t testing.TB, env ...string) func(id string) sandbox.Spec {
	t.Helper()
	code := sandboxtest.Probe(t)
	return func(id string) sandbox.Spec {
		return sandboxtest.BlankSpec(sandboxtest.Spec(id, code, nil), filepath.Join(code, "bootstrap"), env...)
	}
}

// started starts an instance and says where it comes from.
func started(t testing.TB, d *Driver, spec sandbox.Spec) (*sandboxtest.Live, sandbox.InitResult) {
	t.Helper()
	l := sandboxtest.Start(t, d, spec)
	r, err := l.Init(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l, r
}

// idle lists the processes of the reserve.
func (r *reserve) pids() (blanks, zygotes []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.stocks {
		for _, n := range s.nodes {
			for _, b := range n.idle {
				blanks = append(blanks, b.process.pid)
			}
			if n.zygote != nil {
				zygotes = append(zygotes, n.zygote.process.pid)
			}
		}
	}
	return blanks, zygotes
}

// hold waits until the reserve is at rest and empties it; it makes nothing then until the
// function that this returns is called, or a zygote dies.
func hold(t testing.TB, d *Driver, spec sandbox.Spec) func() {
	t.Helper()
	eventually(t, "the reserve is at rest", func() bool {
		r := reserveOf(t, d, spec)
		return r.Ready > 0 && r.Ready == r.Wanted
	})
	until := func(at time.Time) {
		d.reserve.mu.Lock()
		defer d.reserve.mu.Unlock()
		d.reserve.of(spec.Runtime).retry.until = at
	}
	until(time.Now().Add(time.Hour))
	d.reserve.yield()
	return sync.OnceFunc(func() { until(time.Time{}); d.reserve.poke() })
}

func reserveOf(t testing.TB, d *Driver, spec sandbox.Spec) sandbox.Reserve {
	t.Helper()
	for _, r := range d.Reserves() {
		if r.Key == spec.Runtime.Blank.Key {
			return r
		}
	}
	return sandbox.Reserve{}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(sandboxtest.Patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come to pass: %s", what)
		}
	}
}

// TestReserveOrigins: who gets a blank, and who is not to.
func TestReserveOrigins(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	specs := blankSpecs(t)
	sandboxtest.AwaitReserve(t, d, specs("x").Runtime)
	for _, c := range []struct {
		id     string
		want   lambent.Origin
		change func(*sandbox.Spec)
	}{
		{"usual", lambent.OriginBlank, func(*sandbox.Spec) {}},
		{"off", lambent.OriginStart, func(s *sandbox.Spec) { s.NoReserve = true }},
		{"loopback", lambent.OriginStart, func(s *sandbox.Spec) { s.Version.Network = lambent.NetworkLoopback }},
		{"other-key", lambent.OriginStart, func(s *sandbox.Spec) { s.Runtime.Blank.Key += "other" }},
		{"no-blank", lambent.OriginStart, func(s *sandbox.Spec) { s.Runtime.Blank = nil }},
		{"large-tmp", lambent.OriginBlank, func(s *sandbox.Spec) { s.Version.EphemeralMB = 600 }},
	} {
		sandboxtest.AwaitReserve(t, d, specs("x").Runtime)
		spec := specs(c.id)
		c.change(&spec)
		stages := map[string]time.Duration{}
		spec.Stage = func(name string, _ time.Time, took time.Duration) { stages[name] += took }
		l, r := started(t, d, spec)
		if r.Origin != c.want || r.Took < 0 || r.Took > 5*time.Second {
			t.Errorf("%s: origin %s, took %v", c.id, r.Origin, r.Took)
		}
		for _, name := range []string{lambent.StageSandbox, lambent.StageFiles, lambent.StageNetwork, lambent.StageRuntime} {
			if stages[name] <= 0 {
				t.Errorf("%s: stage %s took %v", c.id, name, stages[name])
			}
		}
		if len(stages) != 4 {
			t.Errorf("%s: stages %v", c.id, stages)
		}
		if got := l.Do("echo", 0, "x"); got != `["x"]` {
			t.Errorf("%s: %s", c.id, got)
		}
	}
	none := newDriver(t, Options{DataDir: t.TempDir(), ReserveMB: -1, NoNetwork: true})
	defer none.Close()
	none.Expect(specs("x").Runtime)
	if _, r := started(t, none, specs("none")); r.Origin != lambent.OriginStart || len(none.Reserves()) != 0 {
		t.Errorf("without a reserve: origin %s, %+v", r.Origin, none.Reserves())
	}
}

// TestNothingComesBack: two functions, one after the other, from one reserve: the
// second finds nothing of the first, is another process, and what has had a
// function is never again in the reserve.
func TestNothingComesBack(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	specs := blankSpecs(t)
	used := map[int]bool{}
	for n := range 6 {
		spec := specs(fmt.Sprintf("tenant-%d", n))
		spec.Version.Function = fmt.Sprintf("tenant-%d", n)
		secret := fmt.Sprintf("SECRET=of-%d", n)
		spec.Env = append(spec.Env, secret)
		sandboxtest.AwaitReserve(t, d, spec.Runtime)
		l, r := started(t, d, spec)
		pid := l.Instance.(*Instance).process.pid
		if r.Origin != lambent.OriginBlank || used[pid] {
			t.Fatalf("origin %s, process %d used before: %v", r.Origin, pid, used[pid])
		}
		used[pid] = true
		for _, dir := range []string{"/tmp", "/dev/shm"} {
			if got := l.Do("list", 0, dir); got != "[]" {
				t.Errorf("%s has %s", dir, got)
			}
			l.Do("write", 0, dir+"/mine", secret)
		}
		if env := l.Do("env", 0); strings.Count(env, "SECRET=") != 1 || !strings.Contains(env, secret) || strings.Contains(env, "LAMBENT_") {
			t.Errorf("the environment is %s", env)
		}
		l.Do("allocate", 8)
		if n%2 == 0 {
			l.Invoke(sandboxtest.Command{Do: "exit"}, 5*time.Second)
		}
		if err := l.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		blanks, _ := d.reserve.pids()
		for pid := range used {
			if slices.Contains(blanks, pid) {
				t.Errorf("process %d is in the reserve", pid)
			}
			if err := unix.Kill(pid, 0); err == nil && !slices.Contains(blanks, pid) {
				t.Errorf("process %d lives", pid)
			}
		}
	}
}

// TestBlankDies: a blank may end, or hang, at any point: the function has a process
// of its own then, once, and the reserve makes up for it.
func TestBlankDies(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	t.Run("idle", func(t *testing.T) {
		spec := blankSpecs(t, "PROBE=idle")("idle")
		sandboxtest.AwaitReserve(t, d, spec.Runtime)
		blanks, _ := d.reserve.pids()
		if err := unix.Kill(blanks[0], unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the reserve heals", func() bool {
			after, _ := d.reserve.pids()
			return len(after) == 1 && after[0] != blanks[0]
		})
		if r := reserveOf(t, d, spec); r.Died != 1 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("at the start", func(t *testing.T) {
		// Killed, but nobody has noticed yet.
		spec := blankSpecs(t, "PROBE=taken")("taken")
		sandboxtest.AwaitReserve(t, d, spec.Runtime)
		blanks, _ := d.reserve.pids()
		for _, pid := range blanks {
			if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(20*time.Millisecond, func() { _ = unix.Kill(pid, unix.SIGKILL) })
		}
		if _, r := started(t, d, spec); r.Origin != lambent.OriginStart {
			t.Errorf("origin %s", r.Origin)
		}
	})
	t.Run("after the environment", func(t *testing.T) {
		spec := blankSpecs(t, "PROBE_BLANK=late exit")("late")
		spec.Version.EphemeralMB = 600
		sandboxtest.AwaitReserve(t, d, spec.Runtime)
		l, r := started(t, d, spec)
		if r.Origin != lambent.OriginStart {
			t.Errorf("origin %s", r.Origin)
		}
		if got := l.Do("write", 0, "/tmp/x", "y"); got != "" {
			t.Errorf("write: %s", got)
		}
	})
	for _, how := range []string{"exit", "silent"} {
		t.Run("never up: "+how, func(t *testing.T) {
			spec := blankSpecs(t, "PROBE_BLANK="+how)("never-" + how)
			d.Expect(spec.Runtime)
			if how == "exit" {
				eventually(t, "it is noticed", func() bool { return reserveOf(t, d, spec).Died > 1 })
			}
			if _, r := started(t, d, spec); r.Origin != lambent.OriginStart {
				t.Errorf("origin %s", r.Origin)
			}
		})
	}
}

// TestKeptTmpSurvivesBlank: a predecessor's /tmp is not lost with a blank that
// fails.
func TestKeptTmpSurvivesBlank(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	for _, env := range []string{"PROBE=fine", "PROBE_BLANK=late exit"} {
		spec := blankSpecs(t, env)("first")
		l, _ := started(t, d, spec)
		l.Do("write", 0, "/tmp/kept", env)
		l.Invoke(sandboxtest.Command{Do: "exit", N: 1}, 5*time.Second)
		<-l.Done()
		spec.Tmp = l.Instance.(sandbox.Keeper).KeepTmp()
		if err := l.Stop(t.Context()); err != nil || spec.Tmp == nil {
			t.Fatal(spec.Tmp, err)
		}
		sandboxtest.AwaitReserve(t, d, spec.Runtime)
		spec.ID = "second"
		l, r := started(t, d, spec)
		if got := l.Do("read", 0, "/tmp/kept"); got != env {
			t.Errorf("origin %s finds %q", r.Origin, got)
		}
		if err := l.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestBlankIsQuiet: what a blank prints is nobody's.
func TestBlankIsQuiet(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	spec := blankSpecs(t, "PROBE_BLANK=loud")("loud")
	sandboxtest.AwaitReserve(t, d, spec.Runtime)
	l, r := started(t, d, spec)
	l.Do("print", 1, "mine")
	if got := l.Out.All(); r.Origin != lambent.OriginBlank || !slices.Equal(got, []string{"mine"}) {
		t.Errorf("origin %s, output %q", r.Origin, got)
	}
}

// TestBlankMemory: what a blank has used before is not the function's, and what it
// still has fits the function or is not taken.
func TestBlankMemory(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), ReserveMB: 600})
	defer d.Close()
	fat := blankSpecs(t, "PROBE_BLANK=fat")("fat")
	fat.Version.MemoryMB = 128
	sandboxtest.AwaitReserve(t, d, fat.Runtime)
	l, r := started(t, d, fat)
	if used := l.MaxMemory(); r.Origin != lambent.OriginBlank || used <= 0 || used > 64<<20 || l.Usage().MaxMemoryBytes > 64<<20 {
		t.Errorf("origin %s, at most %d bytes, %+v", r.Origin, used, l.Usage())
	}
	huge := blankSpecs(t, "PROBE_BLANK=huge")("huge")
	huge.Version.MemoryMB = 128
	sandboxtest.AwaitReserve(t, d, huge.Runtime)
	if _, r := started(t, d, huge); r.Origin != lambent.OriginStart {
		t.Errorf("150 MB in 128: origin %s", r.Origin)
	}
	// Even if it is tried, the kernel refuses and the function gets its own.
	d.reserve.mu.Lock()
	n := d.reserve.of(huge.Runtime).root()
	n.cost = 1
	for _, b := range n.idle {
		b.cost = 1
	}
	d.reserve.mu.Unlock()
	huge.ID = "huge-again"
	l, r = started(t, d, huge)
	if r.Origin != lambent.OriginStart || l.Do("allocate", 64) != "64" {
		t.Errorf("150 MB pressed into 128: origin %s", r.Origin)
	}
}

// TestCache: what was prepared for the version is there, to read.
func TestCache(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	cache := t.TempDir()
	if err := os.WriteFile(filepath.Join(cache, "app.jsa"), []byte("archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, reserve := range []bool{true, false} {
		spec := blankSpecs(t)(fmt.Sprint("cache-", reserve))
		spec.Cache, spec.NoReserve = cache, !reserve
		sandboxtest.AwaitReserve(t, d, spec.Runtime)
		l, _ := started(t, d, spec)
		if got := l.Do("read", 0, sandbox.CacheDir+"/app.jsa"); got != "archive" {
			t.Errorf("read: %s", got)
		}
		if got := l.Do("write", 0, sandbox.CacheDir+"/x", "y"); !strings.HasPrefix(got, "ERROR: ") {
			t.Errorf("write: %s", got)
		}
	}
}

// TestBurst: many at once do not get in each other's way, whoever finds a blank;
// and the reserve remembers them.
func TestBurst(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	specs := blankSpecs(t)
	sandboxtest.AwaitReserve(t, d, specs("x").Runtime)
	var wg sync.WaitGroup
	for n := range 10 {
		spec := specs(fmt.Sprintf("burst-%d", n))
		spec.Output = &sandboxtest.Lines{}
		wg.Go(func() {
			i, err := d.Start(t.Context(), spec)
			if err != nil {
				t.Error(err)
				return
			}
			if r, err := i.Init(t.Context()); err != nil || r.Failure != nil {
				t.Error(r.Failure, err)
			}
			if err := i.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	eventually(t, "the reserve has grown", func() bool { return reserveOf(t, d, specs("x")).Ready >= 5 })
	r := reserveOf(t, d, specs("x"))
	if r.Hits+r.Misses != 10 || r.MemoryBytes <= 0 || r.MemoryBytes > 150<<20 {
		t.Errorf("%+v", r)
	}
}

// TestBudget: no more memory is kept than there may be.
func TestBudget(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), ReserveMB: 40})
	defer d.Close()
	specs := blankSpecs(t)
	d.reserve.mu.Lock()
	n := d.reserve.of(specs("x").Runtime).root()
	for range 50 {
		n.demand.note(time.Now(), time.Second, false)
	}
	d.reserve.mu.Unlock()
	sandboxtest.AwaitReserve(t, d, specs("x").Runtime)
	steady := 0
	for last := -1; steady < 20; time.Sleep(20 * time.Millisecond) {
		r := reserveOf(t, d, specs("x"))
		if steady++; r.Ready != last {
			last, steady = r.Ready, 0
		}
		if r.MemoryBytes > 40<<20 {
			t.Fatalf("%+v", r)
		}
	}
	if r := reserveOf(t, d, specs("x")); r.Ready < 2 || r.Ready > r.Wanted || r.Wanted >= 50 {
		t.Errorf("%+v", r)
	}
	// Disuse ends it.
	d.reserve.mu.Lock()
	n.demand.last = time.Now().Add(-2 * demandEnd)
	d.reserve.mu.Unlock()
	d.reserve.poke()
	eventually(t, "the reserve is given up", func() bool { return reserveOf(t, d, specs("x")).Ready == 0 })
}

// TestReserveYields: slots in the reserve are not missing elsewhere.
func TestReserveYields(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), MaxInstances: 2, Ready: -1})
	defer d.Close()
	specs := blankSpecs(t)
	sandboxtest.AwaitReserve(t, d, specs("x").Runtime)
	for n := range 2 {
		spec := specs("plain-" + strconv.Itoa(n))
		spec.NoReserve = true
		started(t, d, spec)
	}
}

// TestCloseWithReserve: closing in the middle of everything leaves nothing.
func TestCloseWithReserve(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	before := traces(t, dir)
	for _, env := range []string{"PROBE=close", "PROBE_BLANK=silent"} {
		d := newDriver(t, Options{DataDir: dir})
		spec := blankSpecs(t, env)("close")
		d.Expect(spec.Runtime)
		time.Sleep(30 * time.Millisecond)
		begin := time.Now()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("close took %v", took)
		}
	}
	eventually(t, "all is gone", func() bool { return len(subtract(traces(t, dir), before)) == 0 })
}

// TestCloseMeetsBlank: a blank that comes up while the reserve is being closed does not
// hold that up, and goes too.
func TestCloseMeetsBlank(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	before := traces(t, dir)
	d := newDriver(t, Options{DataDir: dir})
	spec := blankSpecs(t)("meets")
	sandboxtest.AwaitReserve(t, d, spec.Runtime)
	late, err := d.newBlank(t.Context(), blankSpec{name: d.reserve.name(), rt: spec.Runtime})
	if err != nil {
		t.Fatal(err)
	}
	d.reserve.mu.Lock()
	n := d.reserve.of(spec.Runtime).root()
	first := n.idle[0]
	d.reserve.mu.Unlock()
	d.reserve.work.Go(func() {
		<-first.exited // close has taken out what there was
		d.reserve.keep(n, late, newComing())
	})
	begin := time.Now()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > closeTimeout/2 {
		t.Errorf("close took %v", took)
	}
	eventually(t, "all is gone", func() bool { return len(subtract(traces(t, dir), before)) == 0 })
}

// TestHostileControl: what a runtime says on the control socket can harm nobody.
func TestHostileControl(t *testing.T) {
	for name, said := range map[string]string{
		"nothing": "", "unknown": "X", "huge": "M\xff\xff\xff\xff", "short": "M\x00\x00\x00\x10[]",
		"no list": "M\x00\x00\x00\x02{}", "path": "M\x00\x00\x00\x0a[\"../etc\"]", "dotted": "M\x00\x00\x00\x07[\"a.b\"]",
	} {
		c, far, err := newControl()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := far.WriteString(said); err != nil {
			t.Fatal(err)
		}
		_ = far.Close()
		if w, err := c.next(); err == nil {
			t.Errorf("%s: %+v", name, w)
		}
		c.close()
	}
}

// FuzzControl reads whatever a runtime may say.
func FuzzControl(f *testing.F) {
	f.Add([]byte("BLM\x00\x00\x00\x08[\"json\"]"))
	f.Add([]byte("BT\x00\x00\x00\x00\x00\x00\x00\x01M\x00\x00\x00\x02[]"))
	f.Add([]byte("E\x00\x00\x00\x04oops"))
	f.Add([]byte("M\x00\x00\x40\x01"))
	f.Fuzz(func(t *testing.T, said []byte) {
		c, far, err := newControl()
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		_, _ = far.Write(said[:min(len(said), 64<<10)])
		_ = far.Close()
		for {
			w, err := c.next()
			if err != nil {
				return
			}
			for _, m := range w.modules {
				if !validModule.MatchString(m) {
					t.Fatalf("module %q", m)
				}
			}
			if len(w.text) > maxComplaint {
				t.Fatalf("a complaint of %d bytes", len(w.text))
			}
		}
	})
}

// TestTurnIsStamped: when a runtime turned to the function's code is known although the
// word of it is read later, and a runtime cannot turn to it in the future, or before it was.
func TestTurnIsStamped(t *testing.T) {
	var clock unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for name, c := range map[string]struct {
		stamp    uint64
		from, to time.Duration // after began
	}{
		"late":        {uint64(clock.Nano()) + uint64(5*time.Millisecond), 0, 5 * time.Millisecond},
		"never":       {^uint64(0), 20 * time.Millisecond, time.Minute},
		"long before": {0, 0, 0},
	} {
		control, far, err := newControl()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := far.Write(binary.BigEndian.AppendUint64([]byte{saidTurnAt}, c.stamp)); err != nil {
			t.Fatal(err)
		}
		_ = far.Close()
		time.Sleep(20 * time.Millisecond) // so late it is read
		i := &Instance{guest: &guest{control: control}, began: began, turned: make(chan struct{})}
		i.follow()
		if at := i.awaitTurn().Sub(began); at < c.from || at > c.to {
			t.Errorf("%s: it turned after %v, want %v to %v", name, at, c.from, c.to)
		}
	}
}

// TestEnvironmentMessage: order and every character survive, and size is bounded.
func TestEnvironmentMessage(t *testing.T) {
	b, err := environmentMessage([]string{"B=1", "A=\"x\"\n\u2028<ü>=", "EMPTY="}, told{})
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Env map[string]string }
	if err := json.Unmarshal(b[4:], &got); err != nil || got.Env["A"] != "\"x\"\n\u2028<ü>=" || len(got.Env) != 3 {
		t.Errorf("%s: %v, %v", b, got, err)
	}
	if strings.Index(string(b), `"B"`) > strings.Index(string(b), `"A"`) {
		t.Errorf("the order is lost: %s", b)
	}
	for _, bad := range []string{"A=" + strings.Repeat("x", maxEnvironment), "A=\xff"} {
		if _, err := environmentMessage([]string{bad}, told{}); err == nil {
			t.Errorf("%.10q was taken", bad)
		}
	}
}
