package wasm

import (
	"os"
	"path/filepath"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental/sysfs"

	"lambent.dev/lambent/internal/sandbox"
)

// disk is what an instance sees of the file system: /var/task, /opt and /tmp.
type disk struct {
	roots []*os.Root

	mu  sync.Mutex // guards tmp
	tmp *scratch   // nil when it was kept
}

// newDisk opens the directories of spec. dir is where /tmp goes; it is made when
// the module first looks.
func newDisk(spec *sandbox.Spec, dir string, all *handles) (_ *disk, _ wazero.FSConfig, err error) {
	d := &disk{}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if kept, ok := spec.Tmp.(*scratch); ok && kept != nil {
		d.tmp = kept
		if err := kept.moveTo(dir); err != nil {
			return nil, nil, err
		}
	} else {
		d.tmp = &scratch{dir: dir, room: newRoom(int64(spec.Version.EphemeralMB) << 20)}
	}
	mine := newHandles(maxOpen, all)
	open := func(dirs ...string) (*tree, error) {
		t := &tree{handles: mine}
		for _, dir := range dirs {
			root, err := os.OpenRoot(dir)
			if err != nil {
				return nil, err
			}
			d.roots = append(d.roots, root)
			t.roots = append([]*os.Root{root}, t.roots...)
		}
		return t, nil
	}
	config, ok := wazero.NewFSConfig().(sysfs.FSConfig)
	if !ok {
		panic("the engine's configuration takes no file systems") // it always does
	}
	mount := func(t *tree, at string) {
		config, _ = config.WithSysFSMount(t, at).(sysfs.FSConfig)
	}
	task, err := open(spec.Code)
	if err != nil {
		return nil, nil, err
	}
	mount(task, "/var/task")
	if len(spec.Layers) > 0 {
		opt, err := open(spec.Layers...)
		if err != nil {
			return nil, nil, err
		}
		mount(opt, "/opt")
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
	for _, r := range d.roots {
		_ = r.Close() // opened for reading
	}
	d.roots = nil
	if tmp := d.keep(); tmp != nil {
		_ = tmp.Close() // what cannot be removed now goes at the next start
	}
}

// tmpDir is where the scratch directories of a driver are.
func tmpDir(dir, id string) string { return filepath.Join(dir, "tmp", id) }
