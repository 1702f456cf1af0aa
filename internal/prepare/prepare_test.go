package prepare_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/prepare"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/linux"
)

// bed is a server's rooms around the one that is tested.
type bed struct {
	t         *testing.T
	dir       string
	driver    sandbox.Driver
	artifacts *artifact.Store
	runtimes  *runtimes.Catalog
	log       *lines
}

func newBed(t *testing.T) *bed {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := exec.LookPath("javac"); err != nil {
		t.Skip("needs a JDK")
	}
	b := &bed{t: t, dir: t.TempDir(), log: &lines{}}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	d, err := linux.New(linux.Options{DataDir: b.dir, InitCPUs: 2, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	b.driver = sandbox.Guard(d)
	t.Cleanup(func() {
		if err := b.driver.Close(); err != nil {
			t.Error(err)
		}
	})
	if b.artifacts, err = artifact.Open(artifact.Options{Dir: filepath.Join(b.dir, "artifacts"), Log: log}); err != nil {
		t.Fatal(err)
	}
	if b.runtimes, err = runtimes.Open(t.Context(), runtimes.Options{DataDir: b.dir, Log: log}); err != nil {
		t.Fatal(err)
	}
	return b
}

// room opens the room and runs it until the test ends.
func (b *bed) room() *prepare.Room {
	b.t.Helper()
	r, err := prepare.Open(prepare.Options{
		Dir: filepath.Join(b.dir, "prepared"), Driver: b.driver, Artifacts: b.artifacts, Runtimes: b.runtimes,
		Environment: environment, Region: "us-east-1", NewID: newID,
		Log: slog.New(slog.NewTextHandler(b.t.Output(), nil)),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(b.t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // waited for by the cleanup
	b.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
	return r
}

func newID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

func environment(v *lambent.Version, stream string) []string {
	return runtimes.Environment(runtimes.Env{Version: v, Region: "us-east-1", LogStream: stream})
}

// put stores a folder as code and returns a version of it.
func (b *bed) put(dir, handler string) *lambent.Version {
	b.t.Helper()
	var packed bytes.Buffer
	w := zip.NewWriter(&packed)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		b.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.t.Fatal(err)
	}
	info, err := b.artifacts.Put(b.t.Context(), artifact.Source{Zip: packed.Bytes()})
	if err != nil {
		b.t.Fatal(err)
	}
	return &lambent.Version{
		Namespace: "000000000000", Function: "shop", Number: "1", Runtime: "java17", Handler: handler,
		Arch: "x86_64", MemoryMB: 1024, EphemeralMB: 512, Timeout: 30 * time.Second, State: lambent.StateActive,
		Code: lambent.CodeRef{Digest: info.Digest, Size: info.Size, Unpacked: info.Unpacked},
	}
}

// started is what came of one cold start with one event.
type started struct {
	answer string
	origin lambent.Origin
	output []string
	total  time.Duration
	init   time.Duration
	cpu    time.Duration // from when the instance was the version's until the answer
}

// boot starts an instance of v as the pool would, with what r has prepared of it
// unless r is nil. flags go before the runtime's arguments.
func (b *bed) boot(r *prepare.Room, v *lambent.Version, out *lines, flags ...string) (inst sandbox.Instance, stop func()) {
	b.t.Helper()
	rt, err := b.runtimes.Resolve(v)
	if err != nil {
		b.t.Fatal(err)
	}
	code, unpin, err := b.artifacts.Use(b.t.Context(), v.Code.Digest)
	if err != nil {
		b.t.Fatal(err)
	}
	spec := sandbox.Spec{
		ID: newID(), Version: v, Region: "us-east-1", Runtime: rt, Code: code, Output: out,
		Env: environment(v, "stream"),
	}
	release := func() {}
	if r != nil {
		with, dir, done, ok := r.Use(v, rt)
		if !ok {
			b.t.Fatal("nothing is prepared")
		}
		spec.Runtime, spec.Cache, release = with, dir, done
	}
	if len(flags) > 0 {
		spec.NoReserve = true
		spec.Runtime.Command = slices.Insert(slices.Clone(spec.Runtime.Command), 1, flags...)
	}
	if inst, err = b.driver.Start(b.t.Context(), spec); err != nil {
		b.t.Fatal(err)
	}
	return inst, func() {
		if err := inst.Stop(context.WithoutCancel(b.t.Context())); err != nil {
			b.t.Error(err)
		}
		release()
		unpin()
	}
}

// start runs one event on a new instance.
func (b *bed) start(r *prepare.Room, v *lambent.Version, event string, flags ...string) started {
	b.t.Helper()
	begin, out := time.Now(), &lines{}
	inst, stop := b.boot(r, v, out, flags...)
	defer stop()
	booted := inst.Usage().CPU
	init, err := inst.Init(b.t.Context())
	if err != nil || init.Failure != nil {
		b.t.Fatalf("init: %v %+v\n%s", err, init.Failure, out)
	}
	a, err := inst.Invoke(b.t.Context(), sandbox.Event{
		RequestID: uuid.NewString(), Payload: []byte(event), FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:shop",
		Deadline: time.Now().Add(30 * time.Second),
	})
	if err != nil || a.Failure != nil || a.FunctionError {
		b.t.Fatalf("invoke: %v %+v %s\n%s", err, a.Failure, a.Payload, out)
	}
	return started{string(a.Payload), init.Origin, out.all(), time.Since(begin), init.Took, inst.Usage().CPU - booted}
}

// wait waits until v is prepared.
func (b *bed) wait(r *prepare.Room, v *lambent.Version) {
	b.t.Helper()
	r.Want(v)
	for deadline := time.Now().Add(90 * time.Second); !r.Optimized(v); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatal("the version does not get prepared")
		}
	}
}

// lines keeps what a function writes.
type lines struct {
	mu   sync.Mutex // guards text
	text []string
}

func (l *lines) WriteLine(_ time.Time, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.text)
}

func (l *lines) String() string { return strings.Join(l.all(), "\n") }

// compile makes the shared Java function's classes.
func (b *bed) compile() string {
	b.t.Helper()
	files, err := filepath.Glob("../../test/runtimes/functions/java/fn/*.java")
	if err != nil {
		b.t.Fatal(err)
	}
	dir := filepath.Join(b.dir, "classes")
	args := append([]string{"-cp", "../../runtimes/java/bootstrap.jar", "--release", "17", "-d", dir}, files...)
	if out, err := exec.Command("javac", args...).CombinedOutput(); err != nil {
		b.t.Fatalf("javac: %v\n%s", err, out)
	}
	return dir
}

// find returns the first file of that name in the prepared folder.
func (b *bed) find(name string) string {
	b.t.Helper()
	var found string
	err := filepath.WalkDir(filepath.Join(b.dir, "prepared"), func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.Name() == name {
			found = p
		}
		return err
	})
	if err != nil || found == "" {
		b.t.Fatalf("no %s is prepared: %v", name, err)
	}
	return found
}

// A prepared version's classes come out of its archive, a damaged archive costs
// nothing but time, and one that was damaged while the server was down is
// dropped.
func TestJavaArchive(t *testing.T) {
	for _, name := range []string{"java17", "java25"} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			rt, err := b.runtimes.Resolve(&lambent.Version{Runtime: name, MemoryMB: 512})
			if err != nil || !strings.HasPrefix(rt.Version, strings.TrimPrefix(name, "java")) {
				t.Skipf("no %s here", name)
			}
			b.testArchive(name)
		})
	}
}

func (b *bed) testArchive(runtime string) {
	t := b.t
	r := b.room()
	v := b.put(b.compile(), "fn.Main")
	v.Runtime = runtime
	v.Env = map[string]string{"LC_TIME": "C"} // no blank: it uses its archive, however few its classes are
	b.wait(r, v)
	const event, loads = `{"a":1}`, "-Xlog:class+load"
	got := b.start(r, v, event, loads)
	if got.answer != event {
		t.Errorf("answer %s", got.answer)
	}
	if !slices.ContainsFunc(got.output, func(l string) bool {
		return strings.Contains(l, "fn.Main source: shared objects file (top)")
	}) {
		t.Errorf("fn.Main does not come from the archive:\n%s", strings.Join(grep(got.output, "fn.Main"), "\n"))
	}
	if !slices.ContainsFunc(got.output, func(l string) bool {
		return strings.Contains(l, "lambent.runtime.Mapper source: shared objects file")
	}) {
		t.Errorf("the bootstrap does not come from an archive:\n%s", strings.Join(grep(got.output, "lambent.runtime.Mapper"), "\n"))
	}
	archive := b.find("app.jsa")
	if err := os.Truncate(archive, 100_000); err != nil {
		t.Fatal(err)
	}
	if _, _, _, ok := r.Use(v, sandbox.Runtime{}); ok {
		t.Error("a truncated archive is used")
	}
	b.wait(r, v) // made again
	scribble(t, b.find("app.jsa"))
	second := b.room()
	for deadline := time.Now().Add(10 * time.Second); len(b.prepared()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the damaged archive stays")
		}
	}
	b.wait(second, v)
	if got := b.start(second, v, event); got.answer != event {
		t.Errorf("prepared again: answer %s", got.answer)
	}
	if freed, err := second.Collect(nil); freed == 0 || err != nil || second.Optimized(v) {
		t.Errorf("collecting dead code freed %d bytes: %v", freed, err)
	}
}

// scribble changes a byte in the middle.
func scribble(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// prepared lists the folders of what is prepared.
func (b *bed) prepared() []string {
	b.t.Helper()
	found, err := filepath.Glob(filepath.Join(b.dir, "prepared", "java-*"))
	if err != nil {
		b.t.Fatal(err)
	}
	return found
}

// A JVM that finds an archive of another shape starts without it and says
// nothing.
func TestJavaArchiveOfAnotherShape(t *testing.T) {
	b := newBed(t)
	r := b.room()
	v := b.put(b.compile(), "fn.Main")
	v.Env = map[string]string{"LC_TIME": "C"} // no blank: it uses its archive, however few its classes are
	b.wait(r, v)
	archive := b.find("app.jsa")
	info, err := os.Stat(archive)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", "not an archive"} { // of the right size, as far as anyone can see
		if err := errors.Join(os.WriteFile(archive, []byte(content), 0o644), os.Truncate(archive, info.Size())); err != nil {
			t.Fatal(err)
		}
		if got := b.start(r, v, "[]", "-Xshare:auto"); got.answer != "[]" || len(got.output) > 0 {
			t.Errorf("with %q: answer %s, output %q", content, got.answer, got.output)
		}
	}
}

func grep(all []string, text string) []string {
	return slices.DeleteFunc(all, func(l string) bool { return !strings.Contains(l, text) })
}
