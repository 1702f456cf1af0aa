package logs

import (
	"strconv"
	"sync"
	"time"

	"lambent.dev/lambent"
)

const (
	// maxSegment is the size at which a segment ends; one scan reads that much.
	maxSegment = 4 << 20
	// maxSpan is the time after which a segment ends, so that retention by age
	// has something to remove.
	maxSpan = 24 * time.Hour
	// maxBuffer bounds what one group holds between two flushes.
	maxBuffer = 4 << 20
	// maxBuffered bounds what all groups hold together.
	maxBuffered = 64 << 20
	// wakeAt is the size of a group's buffer at which a flush does not wait.
	wakeAt = 256 << 10
)

// cut is a place in a buffer where a segment begins.
type cut struct {
	off   int
	first uint64 // id of its first event
	// resume says that a segment left by an earlier group of this name may be
	// continued.
	resume bool
}

// group is the side of a log group that is written to: lines are encoded into a
// buffer, which flush hands to the files. It lives while it is in use.
type group struct {
	store           *Store
	namespace, name string
	files           files
	refs            int       // guarded by Store.mu
	idle            time.Time // since when refs is 0; guarded by Store.mu

	mu   sync.Mutex // guards the rest, and its streams' fields; taken after files.mu
	buf  []byte
	cuts []cut
	// gen counts the segments begun. Names are numbered anew in each.
	gen uint32
	// resume says that the next line begins anew, perhaps in a segment that is
	// there already.
	resume            bool
	streams, requests uint32
	size              int64 // of the segment
	began             int64 // milliseconds, of the segment
	last              uint64
	queued            bool // for a flush
	dropped           int64
	followers         map[*follower]struct{}
}

// stream implements Stream. Its fields are guarded by the group's lock.
type stream struct {
	g       *group
	name    string
	gen     uint32 // of the group when no and req were given
	no, req uint32
	request string
	// keeping says that lines are added to the tail; fresh that the tail holds
	// what was written before the first request, which belongs to it: the
	// instance was started for it.
	keeping, fresh bool
	tail           []byte
	dropped        int64
	closed         bool
	exact          bool // messages are kept as they are, and none is put in a dropped one's place
}

// WriteLine implements Stream.
func (st *stream) WriteLine(at time.Time, p []byte) {
	for len(p) > maxLine-1 {
		st.write(at, p[:maxLine-1])
		p = p[maxLine-1:]
	}
	st.write(at, p)
}

// write tells whether the message was kept.
func (st *stream) write(at time.Time, p []byte) bool {
	g := st.g
	now := g.store.now().UnixMilli()
	g.mu.Lock()
	if st.keeping {
		st.keep(p)
	}
	was := len(g.buf)
	if !st.closed {
		g.append(st, at.UnixMilli(), now, p)
	}
	grown := len(g.buf) - was
	queue := grown > 0 && !g.queued
	g.queued = g.queued || queue
	wake := was < wakeAt && len(g.buf) >= wakeAt
	if grown > 0 {
		for f := range g.followers {
			f.wake()
		}
	}
	g.mu.Unlock()
	if grown > 0 {
		g.store.buffered.Add(int64(grown))
	}
	if queue {
		g.store.enqueue(g)
	}
	if wake {
		g.store.hurry()
	}
	return grown > 0
}

// append encodes a line, or counts it as dropped. The lock is held.
func (g *group) append(st *stream, at, now int64, p []byte) {
	need := len(p) + len(st.name) + len(st.request) + 256
	if len(g.buf)+need > maxBuffer || g.store.buffered.Load() > maxBuffered {
		if !st.exact { // who puts events is told
			st.dropped++
			g.dropped++
		}
		return
	}
	if g.buf == nil {
		g.buf = g.store.takeBuffer()
	}
	was := len(g.buf)
	g.last = max(g.last+1, uint64(now)<<idShift)
	if g.resume || g.size+int64(need) > maxSegment || now-g.began > maxSpan.Milliseconds() {
		g.cut(now)
	}
	g.introduce(st)
	if st.dropped > 0 {
		text := strconv.FormatInt(st.dropped, 10) + " lines were dropped here: the function wrote faster than the log is kept"
		g.buf = appendLine(g.buf, lineHead{g.last, at, st.no, 0}, []byte(text))
		st.dropped = 0
		g.last++
	}
	encode := appendLine
	if st.exact {
		encode = appendText
	}
	g.buf = encode(g.buf, lineHead{g.last, at, st.no, st.req}, p)
	g.size += int64(len(g.buf) - was)
}

// cut begins a segment with the event whose id is last.
func (g *group) cut(now int64) {
	g.cuts = append(g.cuts, cut{off: len(g.buf), first: g.last, resume: g.resume})
	g.gen++
	g.resume = false
	g.streams, g.requests, g.size, g.began = 0, 0, 0, now
	start := len(g.buf)
	g.buf = closeFrame(openFrame(g.buf, kindReset), start)
}

// introduce names the stream and its request in the segment, once each.
func (g *group) introduce(st *stream) {
	if st.gen != g.gen {
		g.streams++
		st.gen, st.no, st.req = g.gen, g.streams, 0
		g.buf = appendName(g.buf, kindStream, st.name)
	}
	if st.req == 0 && st.request != "" {
		g.requests++
		st.req = g.requests
		g.buf = appendName(g.buf, kindRequest, st.request)
	}
}

// forget drops what is buffered and begins anew with the next line: the names
// given so far may be lost. It returns how many bytes it dropped.
func (g *group) forget() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.buf)
	g.buf, g.cuts = nil, nil
	g.resume = true
	return n
}

// keep adds a line to the tail.
func (st *stream) keep(p []byte) {
	const room = 2 * lambent.LogTail
	if len(p) >= lambent.LogTail {
		p = p[len(p)-lambent.LogTail+1:]
		st.tail = st.tail[:0]
	}
	if len(st.tail)+len(p)+1 > room {
		st.tail = append(st.tail[:0], st.tail[len(st.tail)-lambent.LogTail:]...)
	}
	st.tail = append(append(st.tail, p...), '\n')
}

// Begin implements Stream.
func (st *stream) Begin(requestID string, tail bool) {
	if len(requestID) > maxName {
		requestID = requestID[:maxName]
	}
	st.g.mu.Lock()
	defer st.g.mu.Unlock()
	st.request, st.req = requestID, 0
	if !st.fresh || !tail {
		st.tail = nil
	}
	st.keeping, st.fresh = tail, false
}

// End implements Stream.
func (st *stream) End() []byte {
	st.g.mu.Lock()
	defer st.g.mu.Unlock()
	st.request, st.req = "", 0
	return st.takeTail()
}

// Tail implements Stream.
func (st *stream) Tail() []byte {
	st.g.mu.Lock()
	defer st.g.mu.Unlock()
	return st.takeTail()
}

// takeTail ends the keeping of the tail. The lock is held.
func (st *stream) takeTail() []byte {
	if !st.keeping {
		return nil
	}
	st.keeping = false
	kept := st.tail[max(0, len(st.tail)-lambent.LogTail):]
	st.tail = nil // most invocations keep none
	return append([]byte(nil), kept...)
}

// Close implements Stream. It waits for the disk.
func (st *stream) Close() error {
	st.g.mu.Lock()
	again := st.closed
	st.closed = true
	st.g.mu.Unlock()
	if again {
		return nil
	}
	err := st.g.flush()
	st.g.store.release(st.g)
	return err
}
