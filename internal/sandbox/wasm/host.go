package wasm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"lambent.dev/lambent/internal/sandbox"
)

// The modules that a function can import from, beside the meter's.
const (
	wasiModule = wasi_snapshot_preview1.ModuleName
	ourModule  = "lambent"
)

// The exports that tell a module's shape (runtimes/README.md).
const (
	exportStart  = "_start"         // a command
	exportInit   = "_initialize"    // once, in a module that stays
	exportAlloc  = "lambent_alloc"  // (size i32) -> i32
	exportHandle = "lambent_handle" // (pointer i32, size i32) -> i64
	exportMemory = "memory"
)

// WASI error numbers that the engine does not give us in time.
const (
	wasiFault  = 21 // EFAULT
	wasiNotSup = 58 // ENOTSUP
)

// host is everything that a module can call.
type host struct {
	functions map[string]map[string]api.FunctionDefinition
}

// errInterrupted ends a guest from within: its time is up, or it is not wanted
// any more.
var errInterrupted = errors.New("interrupted")

func newHost(ctx context.Context, rt wazero.Runtime) (*host, error) {
	h := &host{functions: map[string]map[string]api.FunctionDefinition{}}
	i32 := api.ValueTypeI32
	wasi := rt.NewHostModuleBuilder(wasiModule)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(wasi)
	export := func(b wazero.HostModuleBuilder, name string, f func(context.Context, api.Module, []uint64), params, results []api.ValueType) {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(f), params, results).Export(name)
	}
	one, two := []api.ValueType{i32}, []api.ValueType{i32, i32}
	// The engine's own takes any number for the new descriptor, and memory to match.
	export(wasi, "fd_renumber", func(_ context.Context, _ api.Module, s []uint64) { s[0] = wasiNotSup }, two, one)
	// The environment has parts that change with every event.
	export(wasi, "environ_sizes_get", environSizes, two, one)
	export(wasi, "environ_get", environ, two, one)
	// The engine's own does not look at the deadline.
	export(wasi, "random_get", random, two, one)

	meter := rt.NewHostModuleBuilder(meterModule)
	export(meter, meterName, tick, nil, one)

	ours := rt.NewHostModuleBuilder(ourModule)
	export(ours, "fail", fail, []api.ValueType{i32, i32, i32, i32}, nil)
	export(ours, "context", describe, two, one)

	for name, b := range map[string]wazero.HostModuleBuilder{wasiModule: wasi, meterModule: meter, ourModule: ours} {
		compiled, err := b.Compile(experimental.WithFunctionListenerFactory(ctx, curbs{}))
		if err != nil {
			return nil, fmt.Errorf("make host module %s: %w", name, err)
		}
		h.functions[name] = compiled.ExportedFunctions()
		if _, err := rt.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName(name)); err != nil {
			return nil, fmt.Errorf("make host module %s: %w", name, err)
		}
	}
	return h, nil
}

// check tells what shape a module has, and whether it can run here.
func (h *host) check(m *module) error {
	for _, f := range m.compiled.ImportedFunctions() {
		from, name, _ := f.Import()
		have, ok := h.functions[from][name]
		switch {
		case !ok && from == "wasi_unstable":
			return errors.New("it is for an early version of WASI; build it for wasip1")
		case !ok:
			return fmt.Errorf("it imports %s.%s, which does not exist here", from, name)
		case signature(f) != signature(have):
			return fmt.Errorf("it imports %s.%s as %s, which is %s", from, name, signature(f), signature(have))
		}
	}
	memories := m.compiled.ExportedMemories()
	mem := memories[exportMemory]
	if mem == nil {
		return errors.New("it does not export its memory")
	}
	m.least, m.most = int64(mem.Min())*pageSize, 65536*pageSize
	if limit, ok := mem.Max(); ok {
		m.most = int64(limit) * pageSize
	}
	have := m.compiled.ExportedFunctions()
	has := func(name, want string) (bool, error) {
		f, ok := have[name]
		if ok && signature(f) != want {
			return false, fmt.Errorf("its function %s is %s, and has to be %s", name, signature(f), want)
		}
		return ok, nil
	}
	handle, err1 := has(exportHandle, "(i32,i32)->(i64)")
	alloc, err2 := has(exportAlloc, "(i32)->(i32)")
	start, err3 := has(exportStart, "()->()")
	_, err4 := has(exportInit, "()->()")
	switch err := errors.Join(err1, err2, err3, err4); {
	case err != nil:
		return err
	case handle && !alloc:
		return fmt.Errorf("it exports %s, but not %s", exportHandle, exportAlloc)
	case handle && start:
		return fmt.Errorf("it exports both %s and %s; build it as a reactor", exportHandle, exportStart)
	case !handle && !start:
		return fmt.Errorf("it exports neither %s nor %s", exportStart, exportHandle)
	}
	m.resident = handle
	return nil
}

func signature(f api.FunctionDefinition) string {
	list := func(types []api.ValueType) string {
		names := make([]string, len(types))
		for i, t := range types {
			names[i] = api.ValueTypeName(t)
		}
		return "(" + strings.Join(names, ",") + ")"
	}
	return list(f.ParamTypes()) + "->" + list(f.ResultTypes())
}

// call is one stay in a guest: what it may ask the host about. It travels in the
// context.
type call struct {
	env    []string
	event  *sandbox.Event // nil during initialisation
	report *reported
}

// reported is an error that the guest reported with lambent.fail.
type reported struct{ kind, message string }

type callKey struct{}

func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// goOn ends a guest from within whose stay is over.
func goOn(ctx context.Context) {
	if ctx.Err() != nil {
		panic(errInterrupted)
	}
}

// tick is the meter's question whether the guest may go on.
func tick(ctx context.Context, _ api.Module, stack []uint64) {
	goOn(ctx)
	stack[0] = fuel
}

// portion is how many bytes the host works on between two looks at the deadline: some
// milliseconds.
const portion = 1 << 20

func random(ctx context.Context, mod api.Module, stack []uint64) {
	b, ok := mod.Memory().Read(uint32(stack[0]), uint32(stack[1]))
	for part := range slices.Chunk(b, portion) {
		goOn(ctx)
		_, _ = rand.Read(part) // it never fails
	}
	stack[0] = wasiErrno(ok)
}

func environSizes(ctx context.Context, mod api.Module, stack []uint64) {
	env, total := callOf(ctx).env, 0
	for _, e := range env {
		total += len(e) + 1
	}
	mem := mod.Memory()
	ok := mem.WriteUint32Le(uint32(stack[0]), uint32(len(env))) && mem.WriteUint32Le(uint32(stack[1]), uint32(total))
	stack[0] = wasiErrno(ok)
}

func environ(ctx context.Context, mod api.Module, stack []uint64) {
	mem, list, text := mod.Memory(), uint64(uint32(stack[0])), uint64(uint32(stack[1]))
	ok := true
	for _, e := range callOf(ctx).env {
		if ok = ok && list+4 <= 1<<32 && text+uint64(len(e)) < 1<<32; !ok {
			break
		}
		ok = mem.WriteUint32Le(uint32(list), uint32(text)) && mem.WriteString(uint32(text), e) &&
			mem.WriteByte(uint32(text)+uint32(len(e)), 0)
		list, text = list+4, text+uint64(len(e))+1
	}
	stack[0] = wasiErrno(ok)
}

func wasiErrno(ok bool) uint64 {
	if ok {
		return 0
	}
	return wasiFault
}

// Bounds of what a guest may report.
const (
	maxErrorType    = 256
	maxErrorMessage = 256 << 10
)

// fail is lambent.fail(type, type size, message, message size). The last one of
// an invocation counts.
func fail(ctx context.Context, mod api.Module, stack []uint64) {
	text := func(at, size uint64, most uint32) string {
		b, ok := mod.Memory().Read(uint32(at), min(uint32(size), most))
		if !ok {
			panic(errors.New("lambent.fail: pointer out of bounds"))
		}
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	callOf(ctx).report = &reported{
		kind:    text(stack[0], stack[1], maxErrorType),
		message: text(stack[2], stack[3], maxErrorMessage),
	}
}

// describe is lambent.context(buffer, size): it writes as much as fits and gives
// the whole size.
func describe(ctx context.Context, mod api.Module, stack []uint64) {
	about := aboutOf(callOf(ctx).event)
	n := min(len(about), int(uint32(stack[1])))
	if !mod.Memory().Write(uint32(stack[0]), about[:n]) {
		panic(errors.New("lambent.context: pointer out of bounds"))
	}
	stack[0] = uint64(len(about))
}

// invalidEntrypoint says why an instance cannot start, as AWS words it.
func invalidEntrypoint(m *module) *sandbox.Failure {
	return &sandbox.Failure{Type: "Runtime.InvalidEntrypoint", Message: "module " + m.name + ": " + m.refusal}
}
