package logs

import (
	"bytes"
	"testing"
)

// FuzzSegment holds that no segment, however damaged, makes a scan panic, read
// past its end or give a line that is too long.
func FuzzSegment(f *testing.F) {
	var whole []byte
	whole = closeFrame(openFrame(nil, kindReset), 0)
	whole = appendName(whole, kindStream, strm)
	whole = appendName(whole, kindRequest, "r")
	whole = appendLine(whole, lineHead{1 << 40, 5, 1, 1}, []byte("hello"))
	whole = appendLine(whole, lineHead{1<<40 + 1, -5, 9, 9}, nil)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00L"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sc := newScanner(bytes.NewReader(data))
		for sc.next() {
			_, _ = sc.stream(), sc.request()
			if len(sc.line.message) > maxFrame {
				t.Errorf("a message of %d bytes", len(sc.line.message))
			}
		}
		if sc.off > int64(len(data)) {
			t.Errorf("read up to %d of %d bytes", sc.off, len(data))
		}
		if sum := summarize(bytes.NewReader(data)); sum.end != sc.off {
			t.Errorf("two scans end at %d and %d", sum.end, sc.off)
		}
	})
}
