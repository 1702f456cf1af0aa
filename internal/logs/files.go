package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// files is the side of a group that is on the disk: its folder, and the segment
// that grows.
type files struct {
	dir string

	mu sync.Mutex // guards the rest, and the folder; taken before group.mu
	// active is the segment that grows; "" is none, or not known yet. f is its
	// file while it is open.
	active string
	f      *os.File
	size   int64
	used   time.Time
}

// groupFile holds what is known of a group beside its events.
type groupFile struct {
	Name          string            `json:"name"`
	Created       time.Time         `json:"created"`
	RetentionDays int               `json:"retentionDays,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
	// Streams are those that were made, which may have no events, with when that was,
	// in milliseconds.
	Streams map[string]int64 `json:"streams,omitempty"`
}

const groupFileName = "group.json"

// readGroupFile is fs.ErrNotExist also for a file that a power cut has left empty: lines
// do not wait for the disk.
func readGroupFile(dir string) (groupFile, error) {
	var gf groupFile
	text, err := os.ReadFile(filepath.Join(dir, groupFileName))
	if err != nil {
		return gf, err
	}
	var torn *json.SyntaxError
	if err = json.Unmarshal(text, &gf); errors.As(err, &torn) {
		return groupFile{}, fs.ErrNotExist
	}
	return gf, err
}

// create makes the group's folder unless it is there, and tells whether it did.
func (f *files) create(name string, now time.Time) (bool, error) {
	if _, err := readGroupFile(f.dir); !errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err := os.MkdirAll(f.dir, 0o750); err != nil {
		return false, err
	}
	text, err := json.Marshal(groupFile{Name: name, Created: now.UTC()})
	if err != nil {
		return false, err
	}
	return true, writeAtomic(filepath.Join(f.dir, groupFileName), text, false)
}

// edit changes what is known of the group beside its events, for good.
func (f *files) edit(change func(*groupFile) error) error {
	gf, err := readGroupFile(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return noGroup()
	}
	if err != nil {
		return err
	}
	if err := change(&gf); err != nil {
		return err
	}
	text, err := json.Marshal(gf)
	if err != nil {
		return err
	}
	return writeAtomic(filepath.Join(f.dir, groupFileName), text, true)
}

// begin makes the segment of a cut the one that grows, and tells how large it is
// already.
func (f *files) begin(c cut) (int64, error) {
	if c.resume && f.active == "" {
		if err := f.adopt(); err != nil {
			return 0, err
		}
	}
	if c.resume && f.active != "" && f.size < maxSegment/2 {
		return f.size, nil
	}
	if err := f.seal(); err != nil {
		return 0, err
	}
	f.active = filepath.Join(f.dir, fmt.Sprintf("%016x.log", c.first))
	f.size = 0
	return 0, f.open(os.O_CREATE | os.O_EXCL)
}

// adopt takes over the segment that an earlier server, or an earlier group of
// this name, left unsealed, without its torn end. Others than the newest are
// sealed.
func (f *files) adopt() error {
	list, err := listSegments(f.dir)
	if err != nil {
		return err
	}
	var found []segment
	for _, s := range list {
		if !s.sealed {
			found = append(found, s)
		}
	}
	for i, s := range found {
		if i < len(found)-1 {
			if err := s.seal(); err != nil {
				return err
			}
			continue
		}
		f.active = s.path()
		if err := f.open(0); err != nil {
			return err
		}
		f.size = summarize(f.f).end
		return f.f.Truncate(f.size)
	}
	return nil
}

// open opens the active segment.
func (f *files) open(flag int) error {
	file, err := os.OpenFile(f.active, os.O_RDWR|os.O_APPEND|flag, 0o640)
	if err != nil {
		f.active = ""
		return err
	}
	f.f = file
	return nil
}

// write appends to the active segment; after an error nothing of p is in it.
func (f *files) write(p []byte) error {
	if f.f == nil {
		if f.active == "" {
			return errors.New("no segment is open")
		}
		if err := f.open(0); err != nil {
			return err
		}
	}
	if _, err := f.f.Write(p); err != nil {
		if cut := f.f.Truncate(f.size); cut != nil {
			f.drop()
		}
		return err
	}
	f.size += int64(len(p))
	return nil
}

// seal ends the active segment's growth.
func (f *files) seal() error {
	path := f.active
	f.drop()
	if path == "" {
		return nil
	}
	s, ok := parseSegment(f.dir, filepath.Base(path))
	if !ok {
		return nil
	}
	if err := s.seal(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("seal log segment: %w", err)
	}
	return nil
}

// closeFile gives the descriptor back; the segment stays the active one.
func (f *files) closeFile() {
	if f.f != nil {
		_ = f.f.Close() // everything was written by calls that have returned
		f.f = nil
	}
}

// drop forgets the active segment.
func (f *files) drop() {
	f.closeFile()
	f.active, f.size = "", 0
}

// flush writes what the group has buffered.
func (g *group) flush() error {
	f := &g.files
	f.mu.Lock()
	defer f.mu.Unlock()
	g.mu.Lock()
	buf, cuts, dropped := g.buf, g.cuts, g.dropped
	g.buf, g.cuts, g.dropped, g.queued = nil, nil, 0, false
	g.mu.Unlock()
	if dropped > 0 {
		g.store.lost(g, dropped, nil)
	}
	if len(buf) == 0 {
		return nil
	}
	defer g.store.giveBuffer(buf)
	f.used = g.store.now()
	if err := g.writeOut(buf, cuts); err != nil {
		// What was named in the lost bytes must be named again.
		g.store.buffered.Add(-int64(g.forget()))
		g.store.lost(g, 0, err)
		return fmt.Errorf("write log of %s: %w", g.name, err)
	}
	g.store.written(int64(len(buf)))
	if g.store.tooManyFiles() {
		f.closeFile()
	}
	return nil
}

// writeOut writes a buffer, segment by segment. files.mu is held.
func (g *group) writeOut(buf []byte, cuts []cut) error {
	f := &g.files
	start := 0
	for _, c := range cuts {
		if c.off > start {
			if err := f.write(buf[start:c.off]); err != nil {
				return err
			}
		}
		start = c.off
		if c.resume {
			if _, err := f.create(g.name, g.store.now()); err != nil {
				return err
			}
		}
		had, err := f.begin(c)
		if err != nil {
			return err
		}
		if had > 0 {
			g.mu.Lock()
			g.size += had
			g.mu.Unlock()
		}
	}
	return f.write(buf[start:])
}
