package logs

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// segment is one file of a group. While it grows its name is the id of its first
// event; when it is sealed, that and the last id, and the earliest and latest time
// of its events. Beside a sealed segment stands its index.
type segment struct {
	dir         string
	name        string
	first, last uint64
	min, max    int64 // milliseconds
	sealed      bool
}

func (s segment) path() string  { return filepath.Join(s.dir, s.name) }
func (s segment) index() string { return filepath.Join(s.dir, fmt.Sprintf("%016x.idx", s.first)) }

// parseSegment reads a file's name; false is a file of another kind.
func parseSegment(dir, name string) (segment, bool) {
	s := segment{dir: dir, name: name, last: math.MaxUint64, min: math.MinInt64, max: math.MaxInt64}
	stem, ok := strings.CutSuffix(name, ".log")
	if !ok {
		return s, false
	}
	if len(stem) == 16 {
		n, err := fmt.Sscanf(stem, "%016x", &s.first)
		return s, n == 1 && err == nil
	}
	n, err := fmt.Sscanf(stem, "%016x-%016x-%d-%d", &s.first, &s.last, &s.min, &s.max)
	s.sealed = true
	return s, n == 4 && err == nil
}

// listSegments gives the segments in dir, oldest first.
func listSegments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []segment
	for _, e := range entries {
		if s, ok := parseSegment(dir, e.Name()); ok {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b segment) int { return cmp.Compare(a.first, b.first) })
	return list, nil
}

// remove deletes a segment and its index.
func (s segment) remove() error {
	err := os.Remove(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if other := os.Remove(s.index()); other != nil && !errors.Is(other, fs.ErrNotExist) {
		err = errors.Join(err, other)
	}
	return err
}

// streamStat is what an index says of a stream.
type streamStat struct {
	Name  string `json:"name"`
	First int64  `json:"first"` // milliseconds
	Last  int64  `json:"last"`
	Bytes int64  `json:"bytes"`
	Lines int64  `json:"lines"`
}

// summary is what a scan of a whole segment finds.
type summary struct {
	lines       int64
	first, last uint64
	min, max    int64
	end         int64 // offset after the last whole frame
	streams     map[string]*streamStat
	requests    map[uint64]struct{}
}

// summarize scans a segment.
func summarize(src io.ReaderAt) *summary {
	sum := &summary{
		min: math.MaxInt64, max: math.MinInt64,
		streams: make(map[string]*streamStat), requests: make(map[uint64]struct{}),
	}
	sc := newScanner(src)
	for sc.next() {
		sum.add(sc)
	}
	sum.end = sc.off
	return sum
}

func (sum *summary) add(sc *scanner) {
	l := &sc.line
	if sum.lines == 0 {
		sum.first = l.id
	}
	sum.lines++
	sum.last = l.id
	sum.min, sum.max = min(sum.min, l.at), max(sum.max, l.at)
	name := sc.stream()
	st := sum.streams[name]
	if st == nil {
		st = &streamStat{Name: name, First: l.at, Last: l.at}
		sum.streams[name] = st
	}
	st.First, st.Last = min(st.First, l.at), max(st.Last, l.at)
	st.Bytes += int64(len(l.message))
	st.Lines++
	if id := sc.request(); id != "" {
		sum.requests[hashRequest(id)] = struct{}{}
	}
}

// hashRequest is FNV-1a: what an index holds of a request's id.
func hashRequest(id string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return h
}

// An index is a head of 8 bytes, the streams as JSON, and the sorted hashes of
// the requests, 8 bytes each.
const indexMagic = 0x3158494c // "LIX1"

func (sum *summary) encode() ([]byte, error) {
	list := make([]*streamStat, 0, len(sum.streams))
	for _, st := range sum.streams {
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b *streamStat) int { return cmp.Compare(a.Name, b.Name) })
	text, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	hashes := make([]uint64, 0, len(sum.requests))
	for h := range sum.requests {
		hashes = append(hashes, h)
	}
	slices.Sort(hashes)
	out := make([]byte, 0, 8+len(text)+8*len(hashes))
	out = binary.LittleEndian.AppendUint32(out, indexMagic)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(text)))
	out = append(out, text...)
	for _, h := range hashes {
		out = binary.LittleEndian.AppendUint64(out, h)
	}
	return out, nil
}

// seal ends a segment's growth: it writes the index and gives the segment the
// name that tells its range. A segment without events is removed.
func (s segment) seal() error {
	f, err := os.Open(s.path())
	if err != nil {
		return err
	}
	sum := summarize(f)
	if err := f.Close(); err != nil {
		return err
	}
	if sum.lines == 0 {
		return s.remove()
	}
	text, err := sum.encode()
	if err != nil {
		return err
	}
	if err := writeAtomic(s.index(), text, false); err != nil {
		return err
	}
	name := fmt.Sprintf("%016x-%016x-%d-%d.log", s.first, sum.last, sum.min, sum.max)
	return os.Rename(s.path(), filepath.Join(s.dir, name))
}

// openIndex opens the index of a sealed segment and reads its head.
func (s segment) openIndex() (f *os.File, text int64, err error) {
	f, err = os.Open(s.index())
	if err != nil {
		return nil, 0, err
	}
	var head [8]byte
	if _, err = f.ReadAt(head[:], 0); err == nil && binary.LittleEndian.Uint32(head[:]) != indexMagic {
		err = errors.New("not an index")
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, int64(binary.LittleEndian.Uint32(head[4:])), nil
}

// mayHoldRequest tells whether a scan can find the request. Without a usable
// index it can.
func (s segment) mayHoldRequest(id string) bool {
	if !s.sealed {
		return true
	}
	f, text, err := s.openIndex()
	if err != nil {
		return true
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return true
	}
	want := hashRequest(id)
	lo, hi := int64(0), (info.Size()-8-text)/8
	for lo < hi {
		mid := (lo + hi) / 2
		var raw [8]byte
		if _, err := f.ReadAt(raw[:], 8+text+8*mid); err != nil {
			return true
		}
		switch got := binary.LittleEndian.Uint64(raw[:]); {
		case got == want:
			return true
		case got < want:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return false
}

// streamStats gives the streams of a segment, from its index if it has one.
func (s segment) streamStats() ([]streamStat, error) {
	if s.sealed {
		if list, err := s.indexedStreams(); err == nil {
			return list, nil
		}
	}
	f, err := os.Open(s.path())
	if err != nil {
		return nil, err
	}
	sum := summarize(f)
	list := make([]streamStat, 0, len(sum.streams))
	for _, st := range sum.streams {
		list = append(list, *st)
	}
	return list, f.Close()
}

// maxIndexText bounds the streams' part of an index that is read.
const maxIndexText = 64 << 20

func (s segment) indexedStreams() ([]streamStat, error) {
	f, size, err := s.openIndex()
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	if size > maxIndexText {
		return nil, errors.New("index is too large")
	}
	text := make([]byte, size)
	if _, err := f.ReadAt(text, 8); err != nil {
		return nil, err
	}
	var list []streamStat
	return list, json.Unmarshal(text, &list)
}

// writeAtomic puts text at path, whole or not at all; and, if it is durable, so that it
// outlasts a power cut, which may leave an empty file otherwise.
func writeAtomic(path string, text []byte, durable bool) error {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, path); err != nil || !durable {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func millis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
