package wasm

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero"

	"lambent.dev/lambent/internal/sandbox"
)

// kit is what an instance's guests are made with, and the one that waits for an event.
// Until it is an instance's, it holds nothing of one: no file, no output, no variable.
type kit struct {
	config wazero.ModuleConfig // of every guest
	disk   *disk
	lines  sandbox.Lines // of the guests' output, on its way into the log
	guest  *guest        // used in an instance's turn; nil for none
}

func (d *Driver) newKit(f fit) *kit {
	disk, files := newDisk(f.layers, d.handles)
	return &kit{disk: disk, config: d.config.WithArgs(f.mod.name).WithFSConfig(files)}
}

// discard ends what there is of it.
func (k *kit) discard() {
	if k.guest != nil {
		k.guest.close()
		k.guest = nil
	}
	k.disk.close()
}

// fit tells which instances a guest is good for.
type fit struct {
	mod    *module
	memory int64 // bytes that it may have
	layers bool
}

func fitOf(m *module, spec *sandbox.Spec) fit {
	limit := min(int64(spec.Version.MemoryMB)<<20, math.MaxUint32/pageSize*pageSize)
	return fit{mod: m, memory: max(min(limit, m.most), pageSize), layers: len(spec.Layers) > 0}
}

// Bounds of what is made ahead, of all modules.
const (
	mostSpares  = 8
	spareMemory = 32 << 20 // bytes that their modules start with
)

// spares are guests that were instantiated ahead of demand, by nobody's code: for
// modules that are in use, or were just published. What instantiating takes is a half
// of the platform's part of a cold start for a small module, and most of it for a large one.
type spares struct {
	mu     sync.Mutex // guards the rest
	idle   []*spare   // the oldest first
	closed bool
}

type spare struct {
	*kit
	fit  fit
	free func() // ends the use of the module
}

func (s *spares) find(f fit) int {
	return slices.IndexFunc(s.idle, func(s *spare) bool { return s.fit == f })
}

// wants tells whether a guest for f would be kept.
func (s *spares) wants(f fit) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed && !f.mod.starts && f.mod.least <= f.memory && f.mod.least+f.mod.beside <= spareMemory && f.memory <= keptLargest && s.find(f) < 0
}

// take gives one for f; nil for none.
func (s *spares) take(f fit) *spare {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.find(f)
	if k < 0 {
		return nil
	}
	one := s.idle[k]
	s.idle = slices.Delete(s.idle, k, k+1)
	return one
}

// put keeps one, in place of the oldest, and gives those that are to end.
func (s *spares) put(one *spare) (ends []*spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.find(one.fit) >= 0 {
		return []*spare{one}
	}
	s.idle = append(s.idle, one)
	total := int64(0)
	for k := len(s.idle) - 1; k >= 0; k-- {
		if total += s.idle[k].fit.mod.least + s.idle[k].fit.mod.beside; total > spareMemory || len(s.idle)-k > mostSpares {
			ends, s.idle = slices.Clone(s.idle[:k+1]), slices.Delete(s.idle, 0, k+1)
			break
		}
	}
	return ends
}

// close ends all, and keeps no more.
func (s *spares) close() {
	s.mu.Lock()
	left := s.idle
	s.idle, s.closed = nil, true
	s.mu.Unlock()
	for _, one := range left {
		one.end()
	}
}

func (s *spare) end() {
	s.discard()
	s.free()
}

// kitFor is the kit of a new instance: one that was made ahead, if there is one.
func (d *Driver) kitFor(s *shelf, spec *sandbox.Spec) *kit {
	f := fitOf(s.mod, spec)
	if !spec.NoReserve {
		if one := d.spares.take(f); one != nil {
			one.free() // the instance has a use of its own
			return one.kit
		}
	}
	return d.newKit(f)
}

// spare makes a guest ahead for the next instance of spec, unless there is one. The use
// of s becomes the spare's. What fails here fails again where it is told.
func (d *Driver) spare(ctx context.Context, s *shelf, spec *sandbox.Spec) {
	free, f := func() { d.library.put(s) }, fitOf(s.mod, spec)
	if d.opts.NoReserve || spec.NoReserve || !d.spares.wants(f) {
		free()
		return
	}
	one := &spare{kit: d.newKit(f), fit: f, free: free}
	g, end, err := d.newGuest(ctx, f, one.kit, &atomic.Int64{}, &call{})
	if err != nil || end != nil {
		one.end()
		return
	}
	one.guest = g
	for _, old := range d.spares.put(one) {
		old.end()
	}
}

// firstGuest is the guest that the kit has, or a new one.
func (i *Instance) firstGuest(ctx context.Context) (*guest, *ending, error) {
	if g := i.guest; g != nil {
		g.ran = &i.ran
		return g, nil, nil
	}
	return i.newGuest(ctx)
}
