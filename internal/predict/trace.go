package predict

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// TraceOptions say what a trace leaves open.
type TraceOptions struct {
	// Took is the duration of calls where the trace has none.
	Took time.Duration
	// Rand places calls within their minute where the trace counts by minutes.
	Rand *rand.Rand
}

// Bounds of a trace: what a file may make the reader hold.
const (
	maxTraceCalls   = 50_000_000 // of a trace that has one line per call, or of one function
	maxMinuteCalls  = 1_000_000  // of one function in one minute
	maxTraceColumns = 4 + 14*1440
)

// ReadTrace reads a trace in one of the formats of the public Azure Functions
// traces (github.com/Azure/AzurePublicDataset) and calls each with every
// function's load: the one of 2019, a line per function with the calls of each
// minute (HashOwner,HashApp,HashFunction,Trigger,1,2,...), and the one of 2021, a
// line per call (app,func,end_timestamp,duration; seconds). An error names the
// line.
func ReadTrace(r io.Reader, o TraceOptions, each func(Load)) error {
	rows := csv.NewReader(bufio.NewReaderSize(r, 1<<20))
	rows.ReuseRecord = true
	head, err := rows.Read()
	if err != nil {
		return invalidTrace(fmt.Errorf("read the header: %w", err))
	}
	switch {
	case len(head) > 4 && len(head) <= maxTraceColumns && strings.EqualFold(head[3], "trigger"):
		return readMinutes(rows, o, each)
	case len(head) >= 4 && strings.EqualFold(head[2], "end_timestamp"):
		return readCalls(rows, each)
	}
	return invalidTrace(errors.New("the header is of no known trace: want HashOwner,HashApp,HashFunction,Trigger,1,... or app,func,end_timestamp,duration"))
}

func invalidTrace(err error) error {
	return lambent.Errorf(lambent.CodeInvalid, "read the trace: %w", err)
}

// readMinutes reads the format of 2019, a function at a time.
func readMinutes(rows *csv.Reader, o TraceOptions, each func(Load)) error {
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return invalidTrace(err)
		}
		counts, err := minuteCounts(rows, row[4:])
		if err != nil {
			return invalidTrace(err)
		}
		l := Load{Function: strings.Join(row[:3], "/")}
		for minute, n := range counts {
			for range n {
				at := time.Duration((float64(minute) + o.Rand.Float64()) * float64(time.Minute))
				l.Calls = append(l.Calls, Call{At: at, Took: o.Took})
			}
		}
		sortCalls(l.Calls)
		each(l)
	}
}

// minuteCounts reads how many calls there were in each minute: a few bytes may stand for
// more than there is memory for.
func minuteCounts(rows *csv.Reader, fields []string) ([]int, error) {
	counts, total := make([]int, len(fields)), 0
	for minute, field := range fields {
		n, err := strconv.Atoi(field)
		line, _ := rows.FieldPos(4 + minute)
		if err != nil || n < 0 || n > maxMinuteCalls {
			return nil, fmt.Errorf("line %d, minute %d: %q is no count of calls", line, minute+1, field)
		}
		if total += n; total > maxTraceCalls {
			return nil, fmt.Errorf("line %d, minute %d: more than %d calls of one function", line, minute+1, maxTraceCalls)
		}
		counts[minute] = n
	}
	return counts, nil
}

// readCalls reads the format of 2021, which mixes the functions.
func readCalls(rows *csv.Reader, each func(Load)) error {
	loads := make(map[string]*Load)
	var order []string
	for total := 0; ; total++ {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return invalidTrace(err)
		}
		line, _ := rows.FieldPos(0)
		if total == maxTraceCalls {
			return invalidTrace(fmt.Errorf("line %d: more than %d calls", line, maxTraceCalls))
		}
		end, err1 := seconds(row[2])
		took, err2 := seconds(row[3])
		if err := errors.Join(err1, err2); err != nil {
			return invalidTrace(fmt.Errorf("line %d: %q, %q are no end and duration", line, row[2], row[3]))
		}
		name := row[0] + "/" + row[1]
		l := loads[name]
		if l == nil {
			l = &Load{Function: strings.Clone(name)}
			loads[l.Function] = l
			order = append(order, l.Function)
		}
		// One that ran already when the trace begins is taken to begin with it.
		l.Calls = append(l.Calls, Call{At: max(0, end-took), Took: took})
	}
	for _, name := range order {
		sortCalls(loads[name].Calls)
		each(*loads[name])
	}
	return nil
}

// seconds parses a decimal number of seconds, up to a century.
func seconds(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f < 3.2e9) {
		return 0, fmt.Errorf("%q is no number of seconds", s)
	}
	return time.Duration(f * float64(time.Second)), nil
}

func sortCalls(calls []Call) {
	slices.SortFunc(calls, func(a, b Call) int { return int(a.At - b.At) })
}
