package predict

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// maxLineBytes bounds one line of a recorded load.
const maxLineBytes = 4096

// line is one call of a recorded load. The first line may name the function instead.
type line struct {
	Function string   `json:"function"`
	Version  string   `json:"version"`
	AtMS     *float64 `json:"atMs"`
	TookMS   float64  `json:"tookMs"`
}

// ReadLoads reads a trace in any format that is known here: the public ones of
// [ReadTrace], or a load that was recorded, one JSON object per line: {"atMs":12.5,
// "tookMs":3} for each call, in any order, after {"function":"name"}. An error names
// the line.
func ReadLoads(r io.Reader, o TraceOptions, each func(Load)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	first, err := in.Peek(1)
	if err != nil {
		return invalidTrace(errors.New("it is empty"))
	}
	if first[0] != '{' {
		return ReadTrace(in, o, each)
	}
	l, err := readLines(in)
	if err != nil {
		return err
	}
	each(l)
	return nil
}

func readLines(in io.Reader) (Load, error) {
	l := Load{Function: "recorded"}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, maxLineBytes), maxLineBytes)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		var x line
		if err := json.Unmarshal([]byte(text), &x); err != nil {
			return l, invalidTrace(fmt.Errorf("line %d: %w", n, err))
		}
		if x.AtMS == nil {
			if x.Function == "" || n > 1 {
				return l, invalidTrace(fmt.Errorf("line %d: no atMs", n))
			}
			l.Function = x.Function
			continue
		}
		at, err1 := milliseconds(*x.AtMS)
		took, err2 := milliseconds(x.TookMS)
		if err := errors.Join(err1, err2); err != nil {
			return l, invalidTrace(fmt.Errorf("line %d: %w", n, err))
		}
		if len(l.Calls) == maxTraceCalls {
			return l, invalidTrace(fmt.Errorf("line %d: more than %d calls", n, maxTraceCalls))
		}
		l.Calls = append(l.Calls, Call{At: at, Took: took})
	}
	if err := lines.Err(); err != nil {
		return l, invalidTrace(err)
	}
	sortCalls(l.Calls)
	return l, nil
}

// milliseconds is a time of up to a century.
func milliseconds(f float64) (time.Duration, error) {
	if !(f >= 0 && f < 3.2e12) { // so that NaN is refused too
		return 0, fmt.Errorf("%v is no number of milliseconds", f)
	}
	return time.Duration(f * float64(time.Millisecond)), nil
}
