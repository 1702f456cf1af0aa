package wasm

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// guest is one instantiation of a module, with a memory of its own.
type guest struct {
	mod    api.Module
	memory *memory
	// ctx is that of the stay that goes on; host functions that wait look at it.
	ctx   context.Context
	stdin bytes.Reader
	log   *sandbox.Lines
	// stdout collects a command's answer.
	stdout answer
	slept  time.Duration // in this stay
	// ran is how long guests have been busy in all, shared by an instance's guests.
	ran *atomic.Int64
}

// answer keeps at most lambent.MaxPayload bytes.
type answer struct {
	b     []byte
	large bool
}

// Write never fails: what is too long is told at the end.
func (a *answer) Write(p []byte) (int, error) {
	fits := min(len(p), lambent.MaxPayload-len(a.b))
	a.large = a.large || fits < len(p)
	if !a.large {
		a.b = append(a.b, p...)
	}
	return len(p), nil
}

// Write takes a guest's output into the log.
func (g *guest) Write(p []byte) (int, error) {
	for part := range slices.Chunk(p, portion) {
		goOn(g.ctx)
		g.log.Take(time.Now(), part)
	}
	return len(p), nil
}

// newGuest is one more guest of i. An ending is the guest's fault, an error the
// platform's.
func (i *Instance) newGuest(ctx context.Context) (_ *guest, _ *ending, err error) {
	f := fitOf(i.mod, &i.spec)
	if i.mod.least > f.memory {
		return nil, nil, fmt.Errorf("a module of %d bytes in %d", i.mod.least, f.memory)
	}
	i.clears.Wait()
	return i.driver.newGuest(ctx, f, i.kit, &i.ran, &call{env: i.env})
}

// newGuest instantiates a module: memory, tables and data, but no code of its own save
// a start section's.
func (d *Driver) newGuest(ctx context.Context, f fit, k *kit, ran *atomic.Int64, c *call) (_ *guest, _ *ending, err error) {
	mem, err := d.mappings.memory(f.memory)
	if err != nil {
		return nil, nil, lambent.Errorf(lambent.CodeUnavailable, "reserve memory for a module: %w", err)
	}
	g := &guest{memory: mem, ran: ran, log: &k.lines}
	allocator := experimental.MemoryAllocatorFunc(func(uint64, uint64) experimental.LinearMemory { return mem })
	var stdout io.Writer = &g.stdout
	if f.mod.resident {
		stdout = g
	}
	config := k.config.WithStdin(&g.stdin).WithStdout(stdout).WithStderr(g).WithNanosleep(g.sleep)
	end := g.stay(ctx, c, func(ctx context.Context) (err error) {
		defer func() {
			if p := recover(); p != nil { // the engine does not, outside of calls
				err = fmt.Errorf("instantiate: %v", p)
			}
		}()
		g.mod, err = d.library.rt.InstantiateModule(experimental.WithMemoryAllocator(ctx, allocator), f.mod.compiled, config)
		return err
	})
	if end != nil {
		mem.Free()
		return nil, end, nil
	}
	return g, nil, nil
}

// anyConfig is what all guests have in common. Nobody reads the source of random
// numbers (see [random]), but without one the engine seeds one for each guest.
func anyConfig() wazero.ModuleConfig {
	return wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(rand.Reader).
		WithSysWalltime().WithSysNanotime().WithOsyield(runtime.Gosched)
}

// close ends the guest and frees its memory.
func (g *guest) close() {
	if g.mod != nil {
		_ = g.mod.Close(context.Background()) // closing files may fail; nothing hangs on them
	}
	g.memory.Free()
}

// ending is how a stay ended that did not return.
type ending struct {
	exit   bool // the guest asked for it
	status uint32
	trap   string // what the engine stopped it for
	stack  string
	host   string // a fault of ours
	broken bool   // it was interrupted
	oom    bool
}

// stay runs the guest's code: nil if it returned.
func (g *guest) stay(ctx context.Context, c *call, f func(context.Context) error) *ending {
	ctx = context.WithValue(ctx, callKey{}, c)
	g.ctx, g.slept = ctx, 0
	g.memory.refused.Store(false)
	begin := time.Now()
	err := f(ctx)
	g.ran.Add(int64(time.Since(begin) - g.slept))
	if err == nil {
		return nil
	}
	e := &ending{oom: g.memory.refused.Load()}
	text, stack, _ := strings.Cut(err.Error(), "\nwasm stack trace:\n")
	exit := (*sys.ExitError)(nil)
	switch {
	case errors.As(err, &exit):
		e.exit, e.status = true, exit.ExitCode()
	case ctx.Err() != nil, errors.Is(err, errInterrupted):
		e.broken = true
	case strings.HasPrefix(text, "wasm error: "):
		e.trap, e.stack = strings.TrimPrefix(text, "wasm error: "), stack
	case text == "stack overflow": // which comes without a trace
		e.trap = text
	default:
		e.host = err.Error()
	}
	return e
}

// sleep is how a guest waits.
func (g *guest) sleep(ns int64) {
	begin := time.Now()
	t := time.NewTimer(time.Duration(ns))
	defer t.Stop()
	select {
	case <-t.C:
		g.slept += time.Since(begin)
	case <-g.ctx.Done():
		g.slept += time.Since(begin)
		panic(errInterrupted)
	}
}

// call calls an export.
func (g *guest) call(ctx context.Context, c *call, name string, params ...uint64) (results []uint64, end *ending) {
	f := g.mod.ExportedFunction(name)
	if f == nil {
		return nil, nil
	}
	end = g.stay(ctx, c, func(ctx context.Context) (err error) {
		results, err = f.Call(ctx, params...)
		return err
	})
	return results, end
}

// handle hands an event to a module that stays: it asks for a place, puts the
// event there, and takes the answer from where the module says.
func (g *guest) handle(ctx context.Context, c *call, payload []byte) ([]byte, *sandbox.Failure, *ending) {
	r, end := g.call(ctx, c, exportAlloc, uint64(len(payload)))
	if end != nil {
		return nil, nil, end
	}
	at := uint32(r[0])
	if !g.mod.Memory().Write(at, payload) {
		return nil, nil, &ending{trap: exportAlloc + " gave a place that is not in memory", oom: g.memory.refused.Load()}
	}
	r, end = g.call(ctx, c, exportHandle, uint64(at), uint64(len(payload)))
	if end != nil || c.report != nil {
		return nil, nil, end
	}
	at, size := uint32(r[0]>>32), uint32(r[0])
	if size > lambent.MaxPayload {
		return nil, sandbox.TooLarge(lambent.MaxPayload), nil
	}
	b, ok := g.mod.Memory().Read(at, size)
	if !ok {
		return nil, nil, &ending{trap: exportHandle + " gave an answer that is not in memory"}
	}
	return bytes.Clone(b), nil, nil
}
