package wasm

import (
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// pageSize of WebAssembly, in bytes.
const pageSize = 64 << 10

// memory is the linear memory of one guest: address space for all that it may
// ever have, which takes no RAM until it is touched. So growing copies nothing,
// and a fresh memory costs no more than a few pages.
type memory struct {
	all     []byte
	size    atomic.Int64 // what the guest has, in bytes
	refused atomic.Bool  // it wanted more
	from    *mappings
}

// Reallocate gives the first size bytes, or nil when that is more than there is.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		m.refused.Store(true)
		return nil
	}
	m.size.Store(int64(size))
	return m.all[:size:size]
}

// Free gives it back. The engine calls it once it has ended the guest; it may be
// called again.
func (m *memory) Free() {
	if m.all != nil {
		m.from.put(m.all)
		m.all = nil
	}
}

// Bounds on the address space that is kept: where the kernel promises no more memory
// than there is (vm.overcommit_memory=2), it counts although nothing is in it.
const (
	keptMappings = 4
	keptLargest  = 256 << 20
)

// mappings gives out address space for memories. A few that guests have left are
// kept, empty, for the next ones: the kernel's search for a place is a good part of what
// a small module's start costs.
type mappings struct {
	mu     sync.Mutex // guards the rest
	idle   [][]byte
	closed bool
}

// memory is a fresh one, all zeros, of limit bytes less what does not fill a page.
func (m *mappings) memory(limit int64) (*memory, error) {
	size := int(limit / pageSize * pageSize)
	if all := m.take(size); all != nil {
		return &memory{all: all, from: m}, nil
	}
	all, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	return &memory{all: all, from: m}, nil
}

func (m *mappings) take(size int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := slices.IndexFunc(m.idle, func(all []byte) bool { return len(all) == size })
	if k < 0 {
		return nil
	}
	all := m.idle[k]
	m.idle = slices.Delete(m.idle, k, k+1)
	return all
}

// put empties a mapping, which the kernel fills with zeros when it is touched again
// (madvise(2)), and keeps it in place of the one that has been idle for longest.
func (m *mappings) put(all []byte) {
	if len(all) <= keptLargest && unix.Madvise(all, unix.MADV_DONTNEED) == nil {
		all = m.keep(all)
	}
	if all != nil {
		_ = unix.Munmap(all) // it is a mapping of ours
	}
}

// keep gives what is to end then; nil for nothing.
func (m *mappings) keep(all []byte) (ends []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return all
	}
	if m.idle = append(m.idle, all); len(m.idle) > keptMappings {
		ends, m.idle = m.idle[0], m.idle[1:]
	}
	return ends
}

// close ends what is idle; what is not ends when its guest does.
func (m *mappings) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, all := range m.idle {
		_ = unix.Munmap(all) // it is a mapping of ours
	}
	m.idle, m.closed = nil, true
}
