package wasm

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// pageSize of WebAssembly, in bytes.
const pageSize = 64 << 10

// memory is the linear memory of one guest: address space for all that it may
// ever have, which takes no RAM until it is touched. So growing copies nothing,
// and a fresh memory costs two system calls.
type memory struct {
	all     []byte
	size    atomic.Int64 // what the guest has, in bytes
	refused atomic.Bool  // it wanted more
}

func newMemory(limit int64) (*memory, error) {
	limit = limit / pageSize * pageSize
	all, err := unix.Mmap(-1, 0, int(limit), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	return &memory{all: all}, nil
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
		_ = unix.Munmap(m.all) // it is a mapping of ours
		m.all = nil
	}
}
