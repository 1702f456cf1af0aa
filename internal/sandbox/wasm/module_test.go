package wasm

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

func bare(t *testing.T, module []byte) string {
	t.Helper()
	return folder(t, map[string]string{"bootstrap.wasm": string(module)})
}

func TestRefusedModules(t *testing.T) {
	d := newDriver(t, Options{})
	none := "\x00\x0b"
	wide := "\x60\x00\xe8\x07" + strings.Repeat("\x7f", maxValues) // () -> a thousand numbers
	for name, c := range map[string]struct {
		module []byte
		reason string
	}{
		"text":          {[]byte("hello, world"), "it is not a WebAssembly module"},
		"empty":         {nil, "it is not a WebAssembly module"},
		"truncated":     {command(none)[:40], "ends in the middle"},
		"component":     {[]byte("\x00asm\x0d\x00\x01\x00"), "it is not a WebAssembly module"},
		"stack":         {command("\x00\x6a\x0b"), "not valid"},
		"import":        {parts{types: []string{typeNone}, imports: []string{"\x03env\x03foo\x00\x00"}, funcs: []byte{0}, exports: []string{"\x06_start\x00\x01"}, code: []string{none}}.binary(), "it imports env.foo, which does not exist here"},
		"old WASI":      {parts{types: []string{typeNone}, imports: []string{"\x0dwasi_unstable\x03foo\x00\x00"}, funcs: []byte{0}, exports: []string{"\x06_start\x00\x01"}, code: []string{none}}.binary(), "build it for wasip1"},
		"import's type": {parts{types: []string{typeNone}, imports: []string{"\x07lambent\x04fail\x00\x00"}, funcs: []byte{0}, exports: []string{"\x06_start\x00\x01"}, code: []string{none}}.binary(), "it imports lambent.fail as ()->(), which is"},
		"meter":         {parts{types: []string{typeNone}, imports: []string{"\x0dlambent_meter\x04tick\x00\x00"}, funcs: []byte{0}, exports: []string{"\x06_start\x00\x01"}, code: []string{none}}.binary(), "nothing may be imported from lambent_meter"},
		"memory import": {parts{types: []string{typeNone}, imports: []string{"\x03env\x06memory\x02\x00\x01"}, funcs: []byte{0}, exports: []string{"\x06_start\x00\x00"}, code: []string{none}}.binary(), "import env.memory is not a function"},
		"no entry":      {parts{types: []string{typeNone}, funcs: []byte{0}, code: []string{none}}.binary(), "it exports neither _start nor lambent_handle"},
		"odd entry":     {parts{types: []string{typeAlloc}, funcs: []byte{0}, exports: []string{"\x06_start\x00\x00"}, code: []string{"\x00\x20\x00\x0b"}}.binary(), "its function _start is (i32)->(i32), and has to be ()->()"},
		"no alloc":      {parts{types: []string{typeHandle}, funcs: []byte{0}, exports: []string{"\x0elambent_handle\x00\x00"}, code: []string{"\x00\x42\x00\x0b"}}.binary(), "but not lambent_alloc"},
		"counter read":  {parts{types: []string{typeNone}, funcs: []byte{0}, exports: []string{"\x06_start\x00\x00", "\x01g\x03\x00"}, code: []string{none}}.binary(), "global 0 does not exist"},
		"counter":       {command("\x00\x41\x00\x24\x00\x0b"), "global 0 does not exist"},
		"table":         {parts{types: []string{typeNone}, funcs: []byte{0}, tables: []string{"\x70\x00\x80\x80\x80\x40"}, exports: []string{"\x06_start\x00\x00"}, code: []string{none}}.binary(), "its tables have more than 1000000 elements"},
		"tail call":     {command("\x00\x12\x00\x0b"), "is not in WebAssembly 2.0"},
		"locals":        {command("\x01\xff\xff\xff\x07\x7f\x0b"), "variables"},
		"loops":         {command("\x00" + strings.Repeat("\x03\x40\x0b", maxLoops+1) + "\x0b"), "it has more than 2000 loops"},
		"types":         {parts{types: slices.Repeat([]string{typeNone}, maxTypes+1), funcs: []byte{0}, code: []string{none}}.binary(), "more than 10000 types"},
		"parameters":    {parts{types: []string{"\x60\xe9\x07" + strings.Repeat("\x7f", maxValues+1) + "\x00"}, funcs: []byte{0}, code: []string{none}}.binary(), "more than 1000 parameters"},
		"imports":       {parts{types: []string{typeNone}, imports: slices.Repeat([]string{"\x00\x00\x00\x00"}, maxImports+1), funcs: []byte{0}, code: []string{none}}.binary(), "more than 10000 imports"},
		// A thousand values for two bytes, 5,000 times; and 50,000 for eight, in 400 functions.
		"values":     {parts{types: []string{typeNone, wide}, funcs: []byte{0, 1}, code: []string{"\x00\x00" + strings.Repeat("\x10\x01", 5000) + "\x0b", "\x00\x00\x0b"}}.binary(), "more than 4194304 values"},
		"branches":   {parts{types: []string{typeNone, wide}, funcs: []byte{1}, code: []string{"\x00\x00\x0e\x88\x27" + strings.Repeat("\x00", 5001) + "\x0b"}}.binary(), "more than 4194304 values"},
		"all locals": {parts{types: []string{typeNone}, funcs: make([]byte, 400), code: slices.Repeat([]string{"\x01\xd0\x86\x03\x7f\x0b"}, 400)}.binary(), "more than 16777216 variables in all"},
		"segments":   {append(command(none), dataSection(maxSegments+1)...), "more than 100000 segments"},
		"blocks":     {command("\x00" + strings.Repeat("\x02\x40\x0b", maxBlocks+1) + "\x0b"), "it has more than 16000 blocks"},
		"memory":     {parts{types: []string{typeNone}, funcs: []byte{0}, memory: "\x00\x80\x20", exports: []string{"\x06_start\x00\x00"}, code: []string{none}}.binary(), "it starts with 256 MB of memory, and the function has 128 MB"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := specOf("refused", bare(t, c.module))
			isRefused(t, d, spec, c.reason)
			if name == "memory" {
				return // the module could run in a larger function
			}
			if err := d.Prepare(t.Context(), spec); lambent.CodeOf(err) != lambent.CodeInvalid || lambent.ReasonOf(err) != "InvalidModule" {
				t.Errorf("prepare: %v", err)
			}
		})
	}
}

// The engine's reason may be as long as what is wrong.
func TestRefusalsAreShort(t *testing.T) {
	wide := "\x60\x00\xe8\x07" + strings.Repeat("\x7f", maxValues)
	module := parts{types: []string{typeNone, wide}, funcs: []byte{0, 1}, code: []string{"\x00" + strings.Repeat("\x10\x01", 100) + "\x0b", "\x00\x00\x0b"}}.binary()
	err := newDriver(t, Options{}).Prepare(t.Context(), specOf("long", bare(t, module)))
	if err == nil || len(err.Error()) > 2*maxRefusal {
		t.Errorf("%d bytes: %.200v", len(err.Error()), err)
	}
}

// A module that waits for its turn behind others is none that takes long.
func TestModulesWaitForTheirTurn(t *testing.T) {
	d := newDriver(t, Options{DataDir: t.TempDir()})
	d.library.patience = time.Second
	for range cap(d.library.builds) {
		d.library.builds <- struct{}{}
	}
	for range cap(d.library.larges) {
		d.library.larges <- struct{}{}
	}
	small, big := command("\x00\x0b"), command("\x00\x0b")
	big = append(big, appendU32([]byte{secCustom}, large)...)
	big = append(append(big, 1, 'x'), make([]byte, large-2)...)
	done := make(chan error, 2)
	for name, module := range map[string][]byte{"small": small, "big": big} {
		spec := specOf(name, bare(t, module))
		go func() { done <- d.Prepare(t.Context(), spec) }()
	}
	select {
	case err := <-done:
		t.Errorf("one has not waited: %v", err)
	case <-time.After(1500 * time.Millisecond):
	}
	for range cap(d.library.builds) {
		<-d.library.builds
	}
	if err := <-done; err != nil { // the small one
		t.Error(err)
	}
	for range cap(d.library.larges) {
		<-d.library.larges
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A directory that cannot be opened for the moment is not the module's fault.
func TestPassingFaultsAreNotKept(t *testing.T) {
	for err, want := range map[error]bool{
		&os.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}: true, &os.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}: false,
	} {
		if passes(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}

// What a module's tables take of the server's memory counts as the function's, and all
// of them are bounded together.
func TestTablesCount(t *testing.T) {
	d := newDriver(t, Options{})
	tables := func(n int, limits string) []byte {
		p := parts{types: []string{typeNone}, funcs: []byte{0}, exports: []string{"\x06_start\x00\x00"}, code: []string{"\x00\x0b"}}
		p.tables = slices.Repeat([]string{"\x70" + limits}, n)
		return p.binary()
	}
	const fifth = "\x00\xc0\x9a\x0c" // 200,000 and no end
	l := startOf(t, d, specOf("five", bare(t, tables(5, fifth))))
	if u := l.Usage(); u.MemoryBytes < 8_000_000 {
		t.Errorf("a million elements are %d bytes", u.MemoryBytes)
	}
	isRefused(t, d, specOf("six", bare(t, tables(6, fifth))), "its tables have more than 1000000 elements")
}

// isRefused starts spec and fails the test unless its module cannot run.
func isRefused(t *testing.T, d *Driver, spec sandbox.Spec, reason string) {
	t.Helper()
	i, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = i.Stop(context.Background()) }()
	r, err := i.Init(t.Context())
	if err != nil || r.Failure == nil || r.Failure.Type != "Runtime.InvalidEntrypoint" || !strings.Contains(r.Failure.Message, reason) {
		t.Errorf("init: %+v, %v; want %q", r.Failure, err, reason)
	}
	<-i.Done()
	<-i.Ready()
	if _, err := i.Invoke(t.Context(), sandbox.Event{}); err == nil {
		t.Error("it takes an event")
	}
}

func TestHandlerNamesTheModule(t *testing.T) {
	d := newDriver(t, Options{})
	good := string(command("\x00\x0b"))
	two := folder(t, map[string]string{"a.wasm": good, "b.wasm": good})
	for _, c := range []struct{ code, handler, reason string }{
		{two, "bootstrap", "there are 2 others"},
		{two, "c.wasm", "module c.wasm: no such file or directory"},
		{two, "../a.wasm", "escapes"},
		{t.TempDir(), "x", "there are 0 others"},
	} {
		spec := specOf("handler", c.code)
		spec.Version.Handler = c.handler
		isRefused(t, d, spec, c.reason)
	}
	for _, c := range []struct{ code, handler string }{
		{two, "b.wasm"}, {two, "/var/task/a.wasm"}, {folder(t, map[string]string{"x.wasm": good}), "anything"},
	} {
		spec := specOf("handler-"+filepath.Base(c.handler[:1]+"x"), c.code)
		spec.ID, spec.Version.Handler = "handler", c.handler
		l := startOf(t, d, spec)
		if err := l.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// ask starts the module and gives what becomes of one event.
func ask(t *testing.T, d *Driver, module []byte, timeout time.Duration) (sandbox.Answer, sandbox.Instance) {
	t.Helper()
	spec := specOf("ask", bare(t, module))
	l := startOf(t, d, spec)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	a, err := l.Instance.Invoke(ctx, sandbox.Event{RequestID: "x", Payload: []byte("{}"), Deadline: time.Now().Add(timeout)})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a, l.Instance
}

// Whatever never ends is ended in time, and never keeps the garbage collector
// from its work.
func TestEndless(t *testing.T) {
	d := newDriver(t, Options{})
	recursion := parts{types: []string{typeNone, typeAlloc}, funcs: []byte{0, 1}, exports: []string{"\x06_start\x00\x00"}, code: []string{
		"\x00\x41\xc0\x00\x10\x01\x1a\x0b", // drop(f(64))
		// f(n) = n ? f(n-1) + f(n-1) : 1
		"\x00\x20\x00\x04\x7f\x20\x00\x41\x01\x6b\x10\x01\x20\x00\x41\x01\x6b\x10\x01\x6a\x05\x41\x01\x0b\x0b"}}
	// Sixty functions that call the next one twice each: no loop, no recursion.
	cascade := parts{types: []string{typeNone}, exports: []string{"\x06_start\x00\x00"}}
	for n := range byte(60) {
		cascade.funcs = append(cascade.funcs, 0)
		cascade.code = append(cascade.code, "\x00\x10"+string([]byte{n + 1})+"\x10"+string([]byte{n + 1})+"\x0b")
	}
	cascade.funcs, cascade.code = append(cascade.funcs, 0), append(cascade.code, "\x00\x0b")
	for name, module := range map[string][]byte{
		"loop":      command("\x00\x03\x40\x0c\x00\x0b\x0b"),
		"recursion": recursion.binary(),
		"cascade":   cascade.binary(),
		// loop: memory.fill(0, 0, 64 KiB)
		"fill":   command("\x00\x03\x40\x41\x00\x41\x00\x41\x80\x80\x04\xfc\x0b\x00\x0c\x00\x0b\x0b"),
		"branch": command("\x00\x03\x40\x41\x01\x0d\x00\x0b\x0b"),
	} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			worst := make(chan time.Duration)
			go func() {
				longest := time.Duration(0)
				for {
					select {
					case <-stop:
						worst <- longest
						return
					case <-time.After(20 * time.Millisecond):
						begin := time.Now()
						runtime.GC()
						longest = max(longest, time.Since(begin))
					}
				}
			}()
			begin := time.Now()
			a, i := ask(t, d, module, time.Second)
			took := time.Since(begin)
			close(stop)
			if gc := <-worst; gc > 700*time.Millisecond {
				t.Errorf("the garbage collector took %v", gc)
			}
			if a.Failure == nil || a.Failure.Type != "Sandbox.Timedout" || a.Failure.Message != "Task timed out after 1.00 seconds" {
				t.Errorf("%+v", a.Failure)
			}
			if took > 3*time.Second {
				t.Errorf("took %v", took)
			}
			select {
			case <-i.Done():
			default:
				t.Error("the instance lives on")
			}
		})
	}
}

// Numbers that a module gives the host are not believed.
func TestBadPointers(t *testing.T) {
	d := newDriver(t, Options{})
	wild := "\x41\x70" // i32.const -16
	withCall := func(typ, imported, operands, after string) []byte {
		return parts{types: []string{typeNone, typ}, imports: []string{imported}, funcs: []byte{0},
			exports: []string{"\x06_start\x00\x01"}, code: []string{"\x00" + operands + "\x10\x00" + after + "\x0b"}}.binary()
	}
	const (
		wasi    = "\x16wasi_snapshot_preview1"
		isFault = "\x41\x15\x47\x04\x40\x00\x0b" // if what was returned is not EFAULT: unreachable
	)
	for name, c := range map[string]struct {
		module []byte
		want   string // in the failure's message; "" is an answer
	}{
		"alloc":   {staying(wild, "\x42\x00"), "lambent_alloc gave a place that is not in memory"},
		"handle":  {staying("\x41\x10", "\x42\x7f"), "maximum allowed payload size"},
		"answer":  {staying("\x41\x10", "\x42\x80\x80\x80\x80\x80\x80\x80\xf8\x00\x42\x10\x84"), "is not in memory"},
		"fail":    {withCall(typeFour, "\x07lambent\x04fail\x00\x01", wild+"\x41\x10\x41\x00\x41\x00", ""), "a call to the host failed"},
		"context": {withCall(typeTwo, "\x07lambent\x07context\x00\x01", wild+"\x41\xff\x00", "\x1a"), "a call to the host failed"},
		"environ": {withCall(typeTwo, wasi+"\x0benviron_get\x00\x01", wild+wild, "\x1a"), ""},
		"args":    {withCall(typeTwo, wasi+"\x08args_get\x00\x01", wild+wild, "\x1a"), ""},
		"random":  {withCall(typeTwo, wasi+"\x0arandom_get\x00\x01", wild+"\x41\x7f", "\x1a"), ""},
		"poll": {withCall("\x60\x04\x7f\x7f\x7f\x7f\x01\x7f", wasi+"\x0bpoll_oneoff\x00\x01",
			"\x41\x00\x41\x00\x41\xd6\xaa\xd5\xaa\x05\x41\x00", "\x1a"), ""},
		"path":     {withCall("\x60\x03\x7f\x7f\x7f\x01\x7f", wasi+"\x15path_create_directory\x00\x01", "\x41\x04\x41\x00\x41\x80\x80\x04", isFault), ""},
		"renumber": {withCall(typeTwo, wasi+"\x0bfd_renumber\x00\x01", "\x41\x00\x41\xff\xff\xff\xff\x07", "\x1a"), ""},
		"stack":    {command("\x00\x10\x00\x0b"), "stack overflow"},
		"trap":     {command("\x00\x00\x0b"), "unreachable"},
		"division": {command("\x00\x41\x01\x41\x00\x6d\x1a\x0b"), "integer divide by zero"},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := ask(t, d, c.module, 10*time.Second)
			switch {
			case c.want == "" && a.Failure != nil, c.want != "" && a.Failure == nil:
				t.Errorf("%+v", a.Failure)
			case c.want != "" && !strings.Contains(a.Failure.Message, c.want):
				t.Errorf("message %q, want %q", a.Failure.Message, c.want)
			}
		})
	}
}

// nowhere takes lines and keeps none.
type nowhere struct{}

func (nowhere) WriteLine(time.Time, []byte) {}

// One call to the host may ask for more than a day's work: 131,072 times the same 16 MB
// into the log.
func TestCallsToTheHostEnd(t *testing.T) {
	d := newDriver(t, Options{})
	module := parts{types: []string{typeNone, "\x60\x04\x7f\x7f\x7f\x7f\x01\x7f"}, imports: []string{"\x16wasi_snapshot_preview1\x08fd_write\x00\x01"},
		funcs: []byte{0}, memory: "\x00\xd8\x04", exports: []string{"\x06_start\x00\x01"}, code: []string{"\x00" +
			"\x41\x00\x41\x01\x41\x80\x80\xc0\x00\xfc\x0b\x00" + // memory.fill(0, 1, 1 MiB)
			"\x03\x40\x41\x02\x41\x00\x41\x80\x80\x08\x41\x80\x80\xc0\x00\x10\x00\x1a\x0c\x00\x0b\x0b"}}.binary() // loop: fd_write(2, 0, 1<<17, 1 MiB)
	spec := specOf("flood", bare(t, module))
	spec.Output = nowhere{}
	i, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begin := time.Now()
	a, err := i.Invoke(ctx, sandbox.Event{RequestID: "x", Deadline: time.Now().Add(time.Second)})
	if took := time.Since(begin); err != nil || a.Failure == nil || a.Failure.Type != "Sandbox.Timedout" || took > 4*time.Second {
		t.Errorf("%+v, %v after %v", a.Failure, err, took)
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// Compiled code that was changed on disk is not run, but made again.
func TestDamagedCode(t *testing.T) {
	dir, code := t.TempDir(), folder(t, map[string]string{"bootstrap.wasm": string(rust(t, "command"))})
	run := func() {
		t.Helper()
		d := newDriver(t, Options{DataDir: dir})
		startOf(t, d, specOf("one", code))
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	file := func() (string, []byte) {
		t.Helper()
		found, _ := filepath.Glob(filepath.Join(dir, "sandbox", "wasm", "code", "*.code"))
		if len(found) != 1 {
			t.Fatalf("%d files", len(found))
		}
		b, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		return found[0], b
	}
	run()
	path, good := file()
	for name, bad := range map[string][]byte{
		"hash": flip(good, 3), "header": flip(good, 120), "offsets": flip(good, 200), "code": flip(good, len(good)/2),
		"end": flip(good, len(good)-1), "short": good[:len(good)/2], "nothing": nil,
	} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		run()
		if _, again := file(); string(again) != string(good) {
			t.Errorf("%s: the code was not made again", name)
		}
	}
	// Undamaged, it is not.
	before, _ := os.Stat(path)
	run()
	if after, _ := os.Stat(path); !os.SameFile(before, after) {
		t.Error("code that was there was made again")
	}
}

func flip(b []byte, at int) []byte {
	out := append([]byte(nil), b...)
	out[at] ^= 0x10
	return out
}

func rust(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "rust", name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Encodings that are easy to get wrong.
func TestVectors(t *testing.T) {
	d := newDriver(t, Options{})
	v := "\xfd\x0c" + strings.Repeat("\x01", 16)
	a, _ := ask(t, d, command("\x00"+v+"\xfd\x80\x01"+v+"\xfd\x8e\x01"+"\xfd\x15\x03\x1a"+
		"\x41\x00"+v+"\xfd\x0b\x04\x00"+"\x41\x00"+v+"\xfd\x54\x00\x00\x02\x1a"+
		"\x03\x40\x0b\x0b"), time.Second)
	if a.Failure != nil {
		t.Errorf("%+v", a.Failure)
	}
}

func FuzzMeter(f *testing.F) {
	f.Add(command("\x00\x03\x40\x0c\x00\x0b\x0b"))
	f.Add(staying("\x41\x10", "\x42\x7f"))
	for _, name := range []string{"command", "resident"} {
		f.Add(rust(f, name))
	}
	f.Fuzz(func(t *testing.T, module []byte) {
		out, _, err := metered(module)
		if err == nil && len(out) > 40*len(module)+1024 {
			t.Errorf("%d bytes became %d", len(module), len(out))
		}
	})
}
