package logs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent"
)

const (
	ns    = "000000000000"
	fn    = "/aws/lambda/hello"
	strm  = "2026/01/01/[$LATEST]0123456789abcdef0123456789abcdef"
	strm2 = "2026/01/01/[1]fedcba9876543210fedcba9876543210"
)

func open(tb testing.TB, change ...func(*Options)) *Store {
	tb.Helper()
	o := Options{Dir: tb.TempDir()}
	for _, c := range change {
		c(&o)
	}
	s, err := Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func read(tb testing.TB, s *Store, q Query) []Event {
	tb.Helper()
	if q.Namespace == "" {
		q.Namespace, q.Group = ns, fn
	}
	var list []Event
	for e, err := range s.Events(context.Background(), q) {
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

func messages(list []Event) string {
	var b strings.Builder
	for _, e := range list {
		b.WriteString(strings.TrimSuffix(e.Message, "\n") + ";")
	}
	return b.String()
}

var t0 = time.Date(2026, 1, 1, 10, 0, 0, int(123*time.Millisecond), time.UTC)

func TestWriteAndRead(t *testing.T) {
	s := open(t)
	a, b := s.Open(ns, fn, strm), s.Open(ns, fn, strm2)
	a.WriteLine(t0, []byte("init"))
	a.Begin("req-1", true)
	b.Begin("req-2", false)
	a.WriteLine(t0.Add(time.Second), []byte("one"))
	b.WriteLine(t0.Add(2*time.Second), []byte("two"))
	a.WriteLine(t0.Add(3*time.Second), nil)
	if got := string(a.End()); got != "init\none\n\n" {
		t.Errorf("tail %q", got)
	}
	if got := b.End(); got != nil {
		t.Errorf("tail %q without being asked", got)
	}
	a.WriteLine(t0.Add(4*time.Second), []byte("after"))

	all := read(t, s, Query{})
	if got := messages(all); got != "init;one;two;;after;" {
		t.Fatalf("events %q", got)
	}
	for i, e := range all {
		if i > 0 && e.ID <= all[i-1].ID {
			t.Errorf("ids %s, %s do not rise", all[i-1].ID, e.ID)
		}
		if !strings.HasSuffix(e.Message, "\n") {
			t.Errorf("message %q has no newline", e.Message)
		}
	}
	if e := all[1]; !e.Time.Equal(t0.Add(time.Second)) || e.Stream != strm || e.RequestID != "req-1" || time.Since(e.Ingested) > time.Minute {
		t.Errorf("event %+v", e)
	}
	for name, c := range map[string]struct {
		q    Query
		want string
	}{
		"request":     {Query{RequestID: "req-1"}, "one;;"},
		"no request":  {Query{RequestID: "req-3"}, ""},
		"stream":      {Query{Streams: []string{strm2}}, "two;"},
		"prefix":      {Query{Prefix: "2026/01/01/[$"}, "init;one;;after;"},
		"limit":       {Query{Limit: 2}, "init;one;"},
		"backward":    {Query{Backward: true, Limit: 2}, "after;;"},
		"from":        {Query{From: t0.Add(2 * time.Second)}, "two;;after;"},
		"to is open":  {Query{To: t0.Add(2 * time.Second)}, "init;one;"},
		"after an id": {Query{After: all[2].ID}, ";after;"},
		"before":      {Query{Before: all[2].ID}, "init;one;"},
	} {
		if got := messages(read(t, s, c.q)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	a.WriteLine(t0, []byte("closed"))
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if got := len(read(t, s, Query{})); got != 5 {
		t.Errorf("%d events after Close", got)
	}
}

func TestUnknownGroup(t *testing.T) {
	s := open(t)
	for _, err := range s.Events(context.Background(), Query{Namespace: ns, Group: "/none"}) {
		if lambent.CodeOf(err) != lambent.CodeNotFound || lambent.ReasonOf(err) != "ResourceNotFoundException" {
			t.Errorf("error %v", err)
		}
	}
	if _, err := s.Streams(context.Background(), ns, "/none", ""); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("error %v", err)
	}
}

func TestLongLineIsCut(t *testing.T) {
	s := open(t)
	st := s.Open(ns, fn, strm)
	st.Begin("r", true)
	long := bytes.Repeat([]byte("abcdefgh"), 80<<10) // 640 KiB
	st.WriteLine(t0, long)
	tail := st.End()
	got := read(t, s, Query{})
	var joined strings.Builder
	for _, e := range got {
		if len(e.Message) > maxLine {
			t.Errorf("an event of %d bytes", len(e.Message))
		}
		joined.WriteString(strings.TrimSuffix(e.Message, "\n"))
	}
	if len(got) != 3 || joined.String() != string(long) {
		t.Errorf("%d events with %d bytes", len(got), joined.Len())
	}
	if len(tail) != lambent.LogTail || !bytes.HasSuffix(tail, []byte("abcdefgh\n")) {
		t.Errorf("a tail of %d bytes", len(tail))
	}
}

func TestTailIsTheLastFourKB(t *testing.T) {
	s := open(t)
	st := s.Open(ns, fn, strm)
	st.Begin("r", true)
	var all []byte
	for i := range 1000 {
		text := fmt.Appendf(nil, "line %d %s", i, strings.Repeat("x", i%97))
		st.WriteLine(t0, text)
		all = append(append(all, text...), '\n')
	}
	if got := st.End(); !bytes.Equal(got, all[len(all)-lambent.LogTail:]) {
		t.Errorf("tail of %d bytes differs", len(got))
	}
	st.Begin("r2", true)
	st.WriteLine(t0, []byte("x"))
	if got := string(st.End()); got != "x\n" {
		t.Errorf("the next tail is %q", got)
	}
}

// fill writes lines of 1 KB, and flushes often enough to lose none.
func fill(tb testing.TB, s *Store, st Stream, from, to int) {
	tb.Helper()
	pad := strings.Repeat("x", 1000)
	for i := from; i < to; i++ {
		st.Begin(fmt.Sprintf("req-%06d", i), false)
		st.WriteLine(t0.Add(time.Duration(i)*time.Millisecond), fmt.Appendf(nil, "%06d %s", i, pad))
		if i%1000 == 0 {
			if err := s.settle(ns, fn); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := s.settle(ns, fn); err != nil {
		tb.Fatal(err)
	}
}

func TestSegments(t *testing.T) {
	s := open(t)
	st := s.Open(ns, fn, strm)
	const n = 12_000 // 12 MB: three segments at least
	fill(t, s, st, 0, n)
	segs, err := s.segments(ns, fn)
	if err != nil || len(segs) < 3 {
		t.Fatalf("%d segments, error %v", len(segs), err)
	}
	for i, seg := range segs {
		if seg.sealed != (i < len(segs)-1) {
			t.Errorf("segment %s: sealed is %v", seg.name, seg.sealed)
		}
	}
	all := read(t, s, Query{})
	if len(all) != n {
		t.Fatalf("%d events", len(all))
	}
	for i, e := range all {
		if !strings.HasPrefix(e.Message, fmt.Sprintf("%06d ", i)) || e.Stream != strm || e.RequestID != fmt.Sprintf("req-%06d", i) {
			t.Fatalf("event %d is %.20q of %s, %s", i, e.Message, e.RequestID, e.Stream)
		}
	}
	// A request is looked for in one segment only.
	hold := 0
	for _, seg := range segs[:len(segs)-1] {
		if seg.mayHoldRequest("req-000017") {
			hold++
		}
		if seg.mayHoldRequest("req-999999") {
			t.Errorf("%s may hold an unknown request", seg.name)
		}
	}
	if hold != 1 {
		t.Errorf("%d segments may hold one request", hold)
	}
	if got := read(t, s, Query{RequestID: "req-000017"}); len(got) != 1 || got[0].ID != all[17].ID {
		t.Errorf("%d events of one request", len(got))
	}
	if got := read(t, s, Query{Backward: true, Limit: 6000}); len(got) != 6000 || got[0].ID != all[n-1].ID || got[5999].ID != all[n-6000].ID {
		t.Errorf("backward over segments: %d events", len(got))
	}
	// Without indexes everything is still found.
	for _, seg := range segs {
		_ = os.Remove(seg.index())
	}
	if got := read(t, s, Query{RequestID: "req-000017", Streams: []string{strm}}); len(got) != 1 {
		t.Errorf("%d events without an index", len(got))
	}
	streams, err := s.Streams(context.Background(), ns, fn, "")
	if err != nil || len(streams) != 1 || !streams[0].First.Equal(t0) || !streams[0].Last.Equal(t0.Add((n-1)*time.Millisecond)) {
		t.Errorf("streams %+v, error %v", streams, err)
	}
}

func TestReopenContinuesSegment(t *testing.T) {
	dir := t.TempDir()
	at := func(o *Options) { o.Dir = dir }
	var ids []string
	for i := range 3 {
		s := open(t, at)
		st := s.Open(ns, fn, strm)
		st.Begin(fmt.Sprint("r", i), false)
		st.WriteLine(t0, fmt.Appendf(nil, "run %d", i))
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		for _, e := range read(t, s, Query{Limit: 10})[i:] {
			ids = append(ids, e.ID)
		}
		time.Sleep(2 * time.Millisecond) // ids are of the millisecond
	}
	s := open(t, at)
	if got := messages(read(t, s, Query{})); got != "run 0;run 1;run 2;" || len(ids) != 3 {
		t.Errorf("events %q, %d ids", got, len(ids))
	}
	if got := messages(read(t, s, Query{RequestID: "r1"})); got != "run 1;" {
		t.Errorf("events of r1: %q", got)
	}
	if segs, _ := s.segments(ns, fn); len(segs) != 1 {
		t.Errorf("%d segments", len(segs))
	}
}

// At whatever byte the file ends after a crash, whole events before it are there
// and new ones can be added.
func TestTornTail(t *testing.T) {
	s := open(t)
	st := s.Open(ns, fn, strm)
	st.Begin("r", false)
	st.WriteLine(t0, []byte("first"))
	_ = s.settle(ns, fn)
	segs, _ := s.segments(ns, fn)
	before, _ := os.ReadFile(segs[0].path())
	st.WriteLine(t0, []byte("second line"))
	_ = st.Close()
	whole, _ := os.ReadFile(segs[0].path())
	meta, _ := os.ReadFile(filepath.Join(segs[0].dir, groupFileName))
	for end := len(before); end < len(whole); end++ {
		for _, junk := range []string{"", "\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff zzzz"} {
			torn := open(t)
			dir := torn.groupDir(ns, fn)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			_ = os.WriteFile(filepath.Join(dir, groupFileName), meta, 0o640)
			if err := os.WriteFile(filepath.Join(dir, segs[0].name), append(whole[:end:end], junk...), 0o640); err != nil {
				t.Fatal(err)
			}
			if got := messages(read(t, torn, Query{})); got != "first;" {
				t.Fatalf("cut at %d: %q", end, got)
			}
			st := torn.Open(ns, fn, strm)
			st.WriteLine(t0, []byte("third"))
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			if got := messages(read(t, torn, Query{})); got != "first;third;" {
				t.Fatalf("cut at %d: %q after a restart", end, got)
			}
		}
	}
}

func TestRunFlushes(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // waited for below
	st := s.Open(ns, fn, strm)
	st.WriteLine(t0, []byte("x"))
	deadline := time.Now().Add(5 * time.Second)
	for s.Stats().Buffered > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the line was not written")
		}
		time.Sleep(5 * time.Millisecond)
	}
	st.WriteLine(t0, []byte("last"))
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := s.Stats().Buffered; got != 0 {
		t.Errorf("%d bytes are left", got)
	}
}

func TestOverload(t *testing.T) {
	s := open(t) // nobody flushes
	st := s.Open(ns, fn, strm)
	line := bytes.Repeat([]byte("x"), 1000)
	for range 100_000 { // 100 MB
		st.WriteLine(t0, line)
	}
	if got := s.Stats().Buffered; got > maxBuffer {
		t.Errorf("%d bytes are held", got)
	}
	other := s.Open(ns, "/aws/lambda/other", strm)
	other.WriteLine(t0, []byte("unharmed"))
	if got := messages(read(t, s, Query{Namespace: ns, Group: "/aws/lambda/other"})); got != "unharmed;" {
		t.Errorf("the other group has %q", got)
	}
	_ = s.settle(ns, fn)
	st.WriteLine(t0, []byte("later"))
	all := read(t, s, Query{})
	lost := s.Stats().Dropped
	want := fmt.Sprintf("%d lines were dropped here", lost)
	if lost == 0 || int64(len(all)) != 100_000-lost+2 || !strings.HasPrefix(all[len(all)-2].Message, want) || all[len(all)-1].Message != "later\n" {
		t.Errorf("%d events, %d lost, the last two are %.60q %q", len(all), lost, all[len(all)-2].Message, all[len(all)-1].Message)
	}
	if got := s.Stats().Buffered; got != 0 {
		t.Errorf("%d bytes are counted as held", got)
	}
}

func TestDiskError(t *testing.T) {
	s := open(t)
	st := s.Open(ns, fn, strm)
	dir := s.groupDir(ns, fn)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file in the folder's place
		t.Fatal(err)
	}
	st.Begin("r1", false)
	st.WriteLine(t0, []byte("lost"))
	if err := s.settle(ns, fn); err == nil {
		t.Error("no error")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	st.WriteLine(t0, []byte("kept"))
	got := read(t, s, Query{RequestID: "r1"})
	if messages(got) != "kept;" || got[0].Stream != strm || s.Stats().Buffered != 0 {
		t.Errorf("events %+v, stats %+v", got, s.Stats())
	}
}

func TestHammer(t *testing.T) {
	s := open(t, func(o *Options) { o.MaxBytes = 1 << 30 })
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = s.Run(ctx) })
	const writers, each = 8, 300
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			group := fmt.Sprintf("/g%d", w%2)
			for i := range each {
				st := s.Open(ns, group, fmt.Sprintf("s%d-%d", w, i/100))
				id := fmt.Sprintf("r%d-%d", w, i)
				st.Begin(id, true)
				st.WriteLine(t0, []byte("START"))
				st.WriteLine(t0, []byte(id))
				if got := string(st.End()); got != "START\n"+id+"\n" {
					t.Errorf("tail %q", got)
				}
				if i%50 == 0 {
					if err := st.Close(); err != nil {
						t.Error(err)
					}
				}
				if i%97 == 0 {
					s.closeFiles(0)
					for _, err := range s.Events(ctx, Query{Namespace: ns, Group: group, Limit: 5}) {
						if err != nil && lambent.CodeOf(err) != lambent.CodeNotFound {
							t.Error(err)
						}
					}
				}
			}
		})
	}
	wg.Wait()
	cancel()
	run.Wait()
	total := 0
	for _, group := range []string{"/g0", "/g1"} {
		for _, e := range read(t, s, Query{Namespace: ns, Group: group}) {
			total++
			if e.Message != "START\n" && e.Message != e.RequestID+"\n" {
				t.Fatalf("%q belongs to %s", e.Message, e.RequestID)
			}
		}
	}
	if total != writers*each*2 {
		t.Errorf("%d events, want %d", total, writers*each*2)
	}
}

// A group can be deleted when the disk is full, whatever waits to be written to it: that
// is how there is room again.
func TestDeleteGroupOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := open(t, func(o *Options) { o.Dir = dir })
	t.Cleanup(func() { s.closeFiles(0) })
	w := s.Open(ns, fn, strm)
	w.WriteLine(t0, bytes.Repeat([]byte("x"), 800_000))
	if err := w.(*stream).g.flush(); err != nil {
		t.Fatal(err)
	}
	w.WriteLine(t0, bytes.Repeat([]byte("x"), 600_000)) // finds no room
	if err := s.DeleteGroup(t.Context(), ns, fn); err != nil {
		t.Fatalf("delete the group: %v", err)
	}
	w.WriteLine(t0, []byte("after"))
	if err := w.Close(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if got := messages(read(t, s, Query{})); got != "after;" {
		t.Errorf("the group has %.100q", got)
	}
}
