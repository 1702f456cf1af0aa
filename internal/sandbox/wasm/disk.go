package wasm

import (
	"path/filepath"
	"slices"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental/sysfs"

	"lambent.dev/lambent/internal/sandbox"
)

// disk is what an instance sees of the file system: /var/task, /opt and /tmp.
type disk struct {
	code []*tree // what is only read

	mu  sync.Mutex // guards tmp
	tmp *scratch   // nil when it was kept
}

// newDisk shows the directories of spec. dir is where /tmp goes; it is made when
// the module first looks, and the others are opened then.
func newDisk(spec *sandbox.Spec, dir string, all *handles) (*disk, wazero.FSConfig, error) {
	d := &disk{}
	if kept, ok := spec.Tmp.(*scratch); ok && kept != nil {
		d.tmp = kept
		if err := kept.moveTo(dir); err != nil {
			return nil, nil, err
		}
	} else {
		d.tmp = &scratch{dir: dir, room: newRoom(int64(spec.Version.EphemeralMB) << 20)}
	}
	mine := newHandles(maxOpen, all)
	config, ok := wazero.NewFSConfig().(sysfs.FSConfig)
	if !ok {
		panic("the engine's configuration takes no file systems") // it always does
	}
	show := func(at string, dirs ...string) {
		t := &tree{dirs: dirs, handles: mine}
		d.code = append(d.code, t)
		config, _ = config.WithSysFSMount(t, at).(sysfs.FSConfig)
	}
	show("/var/task", spec.Code)
	if len(spec.Layers) > 0 {
		show("/opt", slices.Clone(spec.Layers)...)
	}
	return d, config.WithSysFSMount(&tmpFS{scratch: d.tmp, handles: mine}, "/tmp"), nil
}

// keep takes /tmp out.
func (d *disk) keep() sandbox.Tmp {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := d.tmp
	d.tmp = nil
	if kept == nil {
		return nil
	}
	return kept
}

func (d *disk) close() {
	for _, t := range d.code {
		t.close()
	}
	if tmp := d.keep(); tmp != nil {
		_ = tmp.Close() // what cannot be removed now goes at the next start
	}
}

// tmpDir is where the scratch directories of a driver are.
func tmpDir(dir, id string) string { return filepath.Join(dir, "tmp", id) }
