package logs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
)

func TestGroups(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	long := "/" + strings.Repeat("a", 400)
	for _, name := range []string{"/b", "/a", long + "1", long + "2", "..", "."} {
		if err := s.CreateGroup(ctx, ns, name, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := s.CreateGroup(ctx, ns, "/a", nil); lambent.ReasonOf(err) != "ResourceAlreadyExistsException" {
		t.Errorf("error %v", err)
	}
	for _, bad := range []string{"", "a b", "ü", strings.Repeat("a", 513), "a\x00"} {
		if err := s.CreateGroup(ctx, ns, bad, nil); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := s.SetRetention(ctx, ns, "/a", 7); err != nil {
		t.Fatal(err)
	}
	if err := s.SetRetention(ctx, ns, "/a", 8); lambent.CodeOf(err) != lambent.CodeInvalid {
		t.Errorf("eight days: %v", err)
	}
	if err := s.SetRetention(ctx, ns, "/none", 7); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("error %v", err)
	}
	list, err := s.Groups(ctx, ns, "/")
	if err != nil || len(list) != 4 || list[0].Name != "/a" || list[0].RetentionDays != 7 || time.Since(list[0].Created) > time.Minute || list[3].Name != "/b" {
		t.Errorf("groups %+v, error %v", list, err)
	}
	if other, err := s.Groups(ctx, "111111111111", ""); err != nil || len(other) != 0 {
		t.Errorf("another namespace sees %v, error %v", other, err)
	}
	if entries, _ := os.ReadDir(s.o.Dir); len(entries) != 1 {
		t.Errorf("%d folders in the room's", len(entries))
	}
}

// A power cut may leave the file that names a group empty.
func TestGroupWithATornFile(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	if err := s.CreateGroup(ctx, ns, fn, map[string]string{"team": "blue"}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(s.groupDir(ns, fn), groupFileName), 0); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Streams(ctx, ns, fn, ""); err != nil || len(list) != 0 {
		t.Errorf("streams %+v, error %v", list, err)
	}
	if err := s.CreateStream(ctx, ns, fn, "mine"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("a stream of a group that is not listed: %v", err)
	}
	s.Open(ns, fn, strm).WriteLine(t0, []byte("x"))
	if list, err := s.Groups(ctx, ns, ""); err != nil || len(list) != 1 || list[0].Name != fn || list[0].Bytes == 0 {
		t.Errorf("groups %+v, error %v", list, err)
	}
	if err := s.SetRetention(ctx, ns, fn, 7); err != nil {
		t.Error(err)
	}
}

func TestNewGroupIsListed(t *testing.T) {
	s := open(t)
	s.Open(ns, fn, strm).WriteLine(t0, []byte("x"))
	if list, err := s.Groups(context.Background(), ns, "/aws/"); err != nil || len(list) != 1 || list[0].Bytes == 0 {
		t.Errorf("groups %+v, error %v", list, err)
	}
}

func TestDeleteGroup(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	if err := s.DeleteGroup(ctx, ns, fn); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("error %v", err)
	}
	st := s.Open(ns, fn, strm)
	st.Begin("r", false)
	st.WriteLine(t0, []byte("old"))
	if err := s.DeleteGroup(ctx, ns, fn); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.groupDir(ns, fn)); err == nil {
		t.Error("the folder is left")
	}
	st.WriteLine(t0, []byte("new"))
	if got := read(t, s, Query{}); messages(got) != "new;" || got[0].RequestID != "r" || got[0].Stream != strm {
		t.Errorf("events %+v", got)
	}
}

func TestRetentionByAge(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s := open(t, func(o *Options) {
		o.MaxAge = 48 * time.Hour
		o.Now = func() time.Time { return now }
	})
	st := s.Open(ns, fn, strm)
	for day := range 5 { // a segment each
		now = time.Date(2026, 3, 1+day, 0, 0, 1, 0, time.UTC).Add(time.Duration(day) * time.Second)
		st.WriteLine(now, fmt.Appendf(nil, "day %d", day))
		_ = s.settle(ns, fn)
	}
	s.sweep(context.Background())
	if got := messages(read(t, s, Query{})); got != "day 3;day 4;" {
		t.Errorf("after two days: %q", got)
	}
	if err := s.SetRetention(context.Background(), ns, fn, 1); err != nil {
		t.Fatal(err)
	}
	now = now.Add(23 * time.Hour)
	s.sweep(context.Background())
	if got := messages(read(t, s, Query{})); got != "day 4;" {
		t.Errorf("with one day: %q", got)
	}
	entries, _ := filepath.Glob(filepath.Join(s.groupDir(ns, fn), "*.idx"))
	if len(entries) != 0 {
		t.Errorf("%d indexes are left", len(entries))
	}
	// The segment that grows goes too when it has not grown for that long.
	path := s.acquire(ns, fn).files.active
	old := now.Add(-25 * time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	s.sweep(context.Background())
	if got := messages(read(t, s, Query{})); got != "" {
		t.Errorf("events %q are left", got)
	}
	st.WriteLine(now, []byte("again"))
	if got := read(t, s, Query{}); messages(got) != "again;" || got[0].Stream != strm {
		t.Errorf("events %+v", got)
	}
}

func TestRetentionBySize(t *testing.T) {
	s := open(t, func(o *Options) { o.MaxBytes = 9 << 20 })
	fill(t, s, s.Open(ns, fn, strm), 0, 16_000)
	s.sweep(context.Background())
	groups, err := s.Groups(context.Background(), ns, "")
	if err != nil || len(groups) != 1 || groups[0].Bytes > 9<<20 || groups[0].Bytes < 3<<20 {
		t.Errorf("groups %+v, error %v", groups, err)
	}
	all := read(t, s, Query{Backward: true, Limit: 1})
	if len(all) != 1 || !strings.HasPrefix(all[0].Message, "015999") {
		t.Errorf("the newest event is gone")
	}
}

func TestFollow(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	st := s.Open(ns, fn, strm)
	st.WriteLine(t0, []byte("before"))
	started := make(chan struct{})
	done := make(chan string, 1)
	go func() { // ends with the last event, and is waited for below
		close(started)
		var got []Event
		for e, err := range s.Follow(ctx, Query{Namespace: ns, Group: fn}) {
			if err != nil {
				t.Error(err)
				break
			}
			if got = append(got, e); strings.HasPrefix(e.Message, "end") {
				break
			}
		}
		done <- fmt.Sprint(len(got))
	}()
	<-started
	time.Sleep(20 * time.Millisecond)
	const n = 9000 // over two ends of segments
	fill(t, s, st, 0, n)
	st.WriteLine(t0, []byte("end"))
	if got := <-done; got != fmt.Sprint(n+1) {
		t.Errorf("%s events", got)
	}
	if g := s.acquire(ns, fn); len(g.followers) != 0 {
		t.Errorf("%d followers are left", len(g.followers))
	}
}

func TestFollowFromTime(t *testing.T) {
	s := open(t)
	st := s.Open(ns, fn, strm)
	st.WriteLine(t0, []byte("old"))
	st.WriteLine(t0.Add(time.Hour), []byte("new"))
	for e, err := range s.Follow(context.Background(), Query{Namespace: ns, Group: fn, From: t0.Add(time.Minute), Limit: 1}) {
		if err != nil || e.Message != "new\n" {
			t.Errorf("%q, error %v", e.Message, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for e, err := range s.Follow(ctx, Query{Namespace: ns, Group: "/not/there"}) {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestFollowersAreBounded(t *testing.T) {
	s := open(t)
	g := s.acquire(ns, fn)
	for range maxFollowers {
		if err := g.subscribe(&follower{more: make(chan struct{}, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range s.Follow(context.Background(), Query{Namespace: ns, Group: fn}) {
		if lambent.CodeOf(err) != lambent.CodeThrottled {
			t.Errorf("error %v", err)
		}
	}
}

// Ten thousand groups that were written to once cost little when they are idle.
func TestManyGroups(t *testing.T) {
	if testing.Short() {
		t.Skip("makes ten thousand folders")
	}
	s := open(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 10_000
	for i := range n {
		st := s.Open(ns, fmt.Sprintf("/aws/lambda/f%d", i), strm)
		st.WriteLine(t0, []byte("x"))
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			s.flushQueue()
			s.closeFiles(0)
		}
	}
	s.flushQueue()
	s.closeFiles(0)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := s.Stats(); got.Groups != 0 || got.Buffered != 0 {
		t.Errorf("stats %+v", got)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("%d bytes more on the heap", grown)
	}
	files, _ := os.ReadDir("/proc/self/fd")
	if len(files) > 100 {
		t.Errorf("%d files are open", len(files))
	}
}

func BenchmarkInvocation(b *testing.B) {
	s := open(b)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = s.Run(ctx); close(done) }() // waited for below
	st := s.Open(ns, fn, strm)
	now := time.Now()
	start := []byte("START RequestId: 6c9a5a52-8d43-4a29-8a4a-7a3c7a5f6b1e Version: $LATEST")
	report := []byte("REPORT RequestId: 6c9a5a52-8d43-4a29-8a4a-7a3c7a5f6b1e\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 33 MB\t")
	b.ReportAllocs()
	for b.Loop() {
		st.Begin("6c9a5a52-8d43-4a29-8a4a-7a3c7a5f6b1e", false)
		st.WriteLine(now, start)
		st.WriteLine(now, start)
		st.WriteLine(now, report)
		st.End()
	}
	cancel()
	<-done
	b.ReportMetric(float64(s.Stats().Dropped)/float64(b.N), "drops/op")
}
