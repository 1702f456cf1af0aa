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

	shown *tmpFS // has tmp

	mu  sync.Mutex // guards tmp
	tmp *scratch   // nil when it was kept
}

// newDisk is a disk without directories; with layers it has a place for them.
func newDisk(layers bool, all *handles) (*disk, wazero.FSConfig) {
	mine := newHandles(maxOpen, all)
	d := &disk{shown: &tmpFS{handles: mine}}
	config, ok := wazero.NewFSConfig().(sysfs.FSConfig)
	if !ok {
		panic("the engine's configuration takes no file systems") // it always does
	}
	show := func(at string) {
		t := &tree{handles: mine}
		d.code = append(d.code, t)
		config, _ = config.WithSysFSMount(t, at).(sysfs.FSConfig)
	}
	show("/var/task")
	if layers {
		show("/opt")
	}
	return d, config.WithSysFSMount(d.shown, "/tmp")
}

// open has the disk show the directories of spec, which are opened when the module
// first looks. dir is where /tmp goes; it is made then.
func (d *disk) open(spec *sandbox.Spec, dir string) error {
	d.code[0].dirs = []string{spec.Code}
	if len(spec.Layers) > 0 {
		d.code[1].dirs = slices.Clone(spec.Layers)
	}
	if kept, ok := spec.Tmp.(*scratch); ok && kept != nil {
		if err := kept.moveTo(dir); err != nil {
			return err
		}
		d.tmp = kept
	} else {
		d.tmp = &scratch{dir: dir, room: newRoom(int64(spec.Version.EphemeralMB) << 20)}
	}
	d.shown.scratch = d.tmp
	return nil
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
