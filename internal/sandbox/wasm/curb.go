package wasm

import (
	"context"
	"math"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Bounds of one call to the host, beside maxPath.
const (
	maxVectors       = 1024 // pieces of memory that are read or written, as IOV_MAX of Linux
	maxSubscriptions = 1024 // that are waited for
)

// The numbers among the parameters of WASI's functions that say how much the engine is
// to do or to copy, by their place. A path's pointer is before its length.
var (
	vectorsAt = map[string]int{"fd_read": 2, "fd_pread": 2, "fd_write": 2, "fd_pwrite": 2}
	pathsAt   = map[string][]int{
		"path_create_directory": {2}, "path_filestat_get": {3}, "path_filestat_set_times": {3}, "path_link": {3, 6},
		"path_open": {3}, "path_readlink": {2}, "path_remove_directory": {2}, "path_rename": {2, 5}, "path_symlink": {1, 4},
		"path_unlink_file": {2},
	}
)

// curbs stand before the engine's host functions: what these do at once is in no
// stretch of code that the meter counts, and no deadline interrupts it.
type curbs struct{}

// NewFunctionListener implements experimental.FunctionListenerFactory.
func (curbs) NewFunctionListener(def api.FunctionDefinition) experimental.FunctionListener {
	name := def.Name()
	if at, ok := vectorsAt[name]; ok {
		return before(func(params []uint64) { params[at] = min(uint64(uint32(params[at])), maxVectors) }) // the rest is for the next call
	}
	if name == "poll_oneoff" {
		return before(func(params []uint64) {
			if uint32(params[2]) > maxSubscriptions {
				params[2] = 0 // which is refused
			}
		})
	}
	if lengths, ok := pathsAt[name]; ok {
		return before(func(params []uint64) {
			for _, at := range lengths {
				if uint32(params[at]) > maxPath {
					params[at-1], params[at] = math.MaxUint32, math.MaxUint32 // which is in no memory
				}
			}
		})
	}
	return nil
}

func before(change func(params []uint64)) experimental.FunctionListener {
	return experimental.FunctionListenerFunc(func(_ context.Context, _ api.Module, _ api.FunctionDefinition, params []uint64, _ experimental.StackIterator) {
		change(params)
	})
}
