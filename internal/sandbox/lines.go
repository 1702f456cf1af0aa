package sandbox

import (
	"bytes"
	"time"
)

// MaxLine is the longest line that is passed on whole, in bytes: AWS's limit for
// a log event ("CloudWatch Logs quotas").
const MaxLine = 256 << 10

// Lines cuts what a function writes into lines for an Output. Longer lines than
// [MaxLine] are cut there. It is used by one goroutine at a time.
type Lines struct {
	To   Output
	line []byte // of a line, what has come so far
}

// Take passes the lines in p on and keeps the last one until its end comes.
func (l *Lines) Take(at time.Time, p []byte) {
	for len(p) > 0 {
		part, rest, whole := bytes.Cut(p, []byte{'\n'})
		p = rest
		for len(l.line)+len(part) > MaxLine {
			n := MaxLine - len(l.line)
			l.line = append(l.line, part[:n]...)
			part = part[n:]
			l.emit(at)
		}
		switch {
		case whole && len(l.line) == 0:
			l.To.WriteLine(at, part)
		case whole:
			l.line = append(l.line, part...)
			l.emit(at)
		default:
			l.line = append(l.line, part...)
		}
	}
}

// Flush passes a started line on: the invocation that wrote it is over.
func (l *Lines) Flush(at time.Time) {
	if len(l.line) > 0 {
		l.emit(at)
	}
}

func (l *Lines) emit(at time.Time) {
	l.To.WriteLine(at, l.line)
	l.line = l.line[:0]
}
