package logs

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
)

// A segment is a sequence of frames:
//
//	length of the payload, 4 bytes | CRC-32C of the payload, 4 bytes | payload
//
// all little-endian. The first byte of the payload is its kind. Streams and
// requests are named once and then meant by their number, counted from 1 since
// the last reset; 0 is none. A frame that is short or whose sum is wrong ends the
// segment: it was being written when the server ended.
const (
	kindReset   = 'Z' // forgets all names
	kindStream  = 'S' // the name of the next stream
	kindRequest = 'R' // the id of the next request
	kindText    = 'T' // as kindLine, of a message without a newline at its end
	kindLine    = 'L' // id, 8 bytes | time, varint | stream, uvarint | request, uvarint | message
)

const (
	frameHead = 8
	maxLine   = 256 << 10 // bytes of one event, as CloudWatch Logs has it
	maxName   = 1024      // bytes of a stream's name or request's id
	maxFrame  = maxLine + 64
	// idShift is where the milliseconds stand in an event's id: the rest counts
	// the events of one millisecond.
	idShift = 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openFrame appends the room for a frame's head, and its kind.
func openFrame(dst []byte, kind byte) []byte {
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, kind)
}

// closeFrame fills the head of the frame that begins at start.
func closeFrame(dst []byte, start int) []byte {
	payload := dst[start+frameHead:]
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(payload, castagnoli))
	return dst
}

// appendName appends a frame that is a kind and a text.
func appendName(dst []byte, kind byte, name string) []byte {
	start := len(dst)
	dst = openFrame(dst, kind)
	return closeFrame(append(dst, name...), start)
}

// lineHead is what a line's frame says before its message.
type lineHead struct {
	id              uint64
	at              int64 // milliseconds since the epoch
	stream, request uint32
}

// appendLine appends the frame of a line; the message gets its newline.
func appendLine(dst []byte, h lineHead, message []byte) []byte {
	start := len(dst)
	dst = append(appendHead(dst, kindLine, h), message...)
	return closeFrame(append(dst, '\n'), start)
}

// appendText appends the frame of a message as it is.
func appendText(dst []byte, h lineHead, message []byte) []byte {
	start := len(dst)
	return closeFrame(append(appendHead(dst, kindText, h), message...), start)
}

func appendHead(dst []byte, kind byte, h lineHead) []byte {
	dst = openFrame(dst, kind)
	dst = binary.LittleEndian.AppendUint64(dst, h.id)
	dst = binary.AppendVarint(dst, h.at-int64(h.id>>idShift))
	dst = binary.AppendUvarint(dst, uint64(h.stream))
	return binary.AppendUvarint(dst, uint64(h.request))
}

// line is one event as read from a segment. message is valid until the next one.
type line struct {
	lineHead
	message []byte
}

// scanner reads the frames of a segment, which may be growing: next may be called
// again after it has told false.
type scanner struct {
	src  io.ReaderAt
	off  int64  // of the first frame not read yet
	win  []byte // bytes of src from off-pos on
	pos  int    // of that frame in win
	read int64  // how far src has been read into win
	line line
	// Names since the last reset; number n is at n-1.
	streams, requests []string
}

// window is how much is read at once.
const window = 64 << 10

func newScanner(src io.ReaderAt) *scanner { return &scanner{src: src} }

// need makes n bytes available at pos, or tells that they are not there.
func (s *scanner) need(n int) bool {
	for len(s.win)-s.pos < n {
		s.win = append(s.win[:0], s.win[s.pos:]...)
		s.pos = 0
		have := len(s.win)
		want := max(window, n)
		if cap(s.win) < want {
			s.win = append(make([]byte, 0, want), s.win...)
		}
		got, _ := s.src.ReadAt(s.win[have:want], s.read) // no bytes: the end, for now
		s.win = s.win[:have+got]
		s.read += int64(got)
		if got == 0 {
			return false
		}
	}
	return true
}

// next moves to the next line. False is the end of what is readable.
func (s *scanner) next() bool {
	for {
		payload, ok := s.frame()
		if !ok {
			return false
		}
		switch payload[0] {
		case kindReset:
			s.streams, s.requests = s.streams[:0], s.requests[:0]
		case kindStream:
			s.streams = append(s.streams, string(payload[1:]))
		case kindRequest:
			s.requests = append(s.requests, string(payload[1:]))
		case kindLine, kindText:
			if s.parseLine(payload[1:]) {
				return true
			}
		}
	}
}

// frame gives the payload of the next frame, at least one byte.
func (s *scanner) frame() ([]byte, bool) {
	if !s.need(frameHead) {
		return nil, false
	}
	size := binary.LittleEndian.Uint32(s.win[s.pos:])
	sum := binary.LittleEndian.Uint32(s.win[s.pos+4:])
	if size == 0 || size > maxFrame || !s.need(frameHead+int(size)) {
		return nil, false
	}
	payload := s.win[s.pos+frameHead : s.pos+frameHead+int(size)]
	if crc32.Checksum(payload, castagnoli) != sum {
		// Read it anew the next time: it may have been half written.
		s.win, s.pos, s.read = s.win[:0], 0, s.off
		return nil, false
	}
	s.pos += frameHead + int(size)
	s.off += frameHead + int64(size)
	return payload, true
}

func (s *scanner) parseLine(p []byte) bool {
	if len(p) < 8 {
		return false
	}
	id := binary.LittleEndian.Uint64(p)
	p = p[8:]
	at, n := binary.Varint(p)
	if n <= 0 {
		return false
	}
	p = p[n:]
	stream, n := binary.Uvarint(p)
	if n <= 0 || stream > math.MaxUint32 {
		return false
	}
	p = p[n:]
	request, n := binary.Uvarint(p)
	if n <= 0 || request > math.MaxUint32 {
		return false
	}
	s.line = line{lineHead{id, int64(id>>idShift) + at, uint32(stream), uint32(request)}, p[n:]}
	return true
}

// name looks a number up; one without a name is "".
func name(names []string, n uint32) string {
	if n == 0 || int64(n) > int64(len(names)) {
		return ""
	}
	return names[n-1]
}

func (s *scanner) stream() string  { return name(s.streams, s.line.stream) }
func (s *scanner) request() string { return name(s.requests, s.line.request) }
