package invoke

import (
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/telemetry"
)

// A chain of calls that comes back to the same function again and again is ended
// ("Use Lambda recursive loop detection", AWS Lambda developer guide). What it has
// come through is counted in a field of the tracing header, which functions' AWS
// clients pass on: Lineage=<calls>:<function>:<turns>|<function>:<turns>..., with
// eight hex digits for a function.

const (
	lineageField = "Lineage="
	// A lineage names the functions that came last. A loop through more of them ends
	// by its calls altogether.
	maxAncestors = 10
	maxChain     = lambent.MaxTurns * maxAncestors
)

type ancestor struct {
	function string
	turns    int
}

type lineage struct {
	calls     int
	ancestors []ancestor
}

// turn counts a call that others have led to, or refuses it when it has come
// through its function too often.
func (s *Service) turn(inv *lambent.Invocation, v *lambent.Version) error {
	before, rest, after := cutLineage(inv.TraceID)
	l := parseLineage(rest)
	h := fnv.New32a()
	_, _ = h.Write([]byte(v.Namespace + "/" + v.Function)) // never fails
	turns := l.count(hex8(h.Sum32()))
	if turns > lambent.MaxTurns || l.calls > maxChain {
		if e, err := s.o.Catalog.Get(v.Namespace, v.Function, ""); err != nil || !e.Function.Settings.AllowLoops {
			return lambent.Errorf(lambent.CodeInvalid, "The function %s was called %d times in one chain of calls, which is ended here. "+
				"PutFunctionRecursionConfig allows such chains.", v.Function, lambent.MaxTurns).WithReason("RecursiveInvocationException")
		}
	}
	field := lineageField + l.String()
	if inv.TraceID = before + field + after; len(inv.TraceID) > telemetry.MaxTrace { // doors would take none of it
		inv.TraceID = newTraceID(time.Now(), s.o.NewID()) + ";" + field
	}
	return nil
}

// Lead is the tracing header of a call that was made from within another one, whose
// header is current: the one that was sent with it, if there is one and room in it, but
// always with the lineage that is known.
func Lead(sent, current string) string {
	if sent == "" {
		return current
	}
	before, claimed, after := cutLineage(sent)
	_, known, _ := cutLineage(current)
	if known == "" {
		known = claimed
	}
	if known == "" {
		return sent
	}
	if led := before + lineageField + known + after; len(led) <= telemetry.MaxTrace {
		return led
	}
	return current
}

// cutLineage finds the lineage in a tracing header; before ends where it belongs. What
// only ends like its name is another field.
func cutLineage(header string) (before, lineage, after string) {
	for at := 0; ; at += len(lineageField) {
		i := strings.Index(header[at:], lineageField)
		if i < 0 {
			return header + ";", "", ""
		}
		if at += i; at == 0 || header[at-1] == ';' || header[at-1] == ' ' {
			before = header[:at]
			break
		}
	}
	rest := header[len(before)+len(lineageField):]
	if end := strings.IndexByte(rest, ';'); end >= 0 {
		return before, rest[:end], rest[end:]
	}
	return before, rest, ""
}

// parseLineage reads what a caller sent. What is not ours counts for nothing.
func parseLineage(text string) (l lineage) {
	calls, list, ok := strings.Cut(text, ":")
	n, err := strconv.Atoi(calls)
	if !ok || err != nil || n < 0 || n > 1<<20 {
		return lineage{}
	}
	l.calls = n
	for entry := range strings.SplitSeq(list, "|") {
		function, count, _ := strings.Cut(entry, ":")
		turns, err := strconv.Atoi(count)
		if err != nil || turns < 1 || turns > 1<<20 || len(function) != 8 || len(l.ancestors) == maxAncestors {
			continue
		}
		l.ancestors = append(l.ancestors, ancestor{function, turns})
	}
	return l
}

// count adds a call of a function and tells how often the chain has come there. The
// functions that were called last stand first.
func (l *lineage) count(function string) (turns int) {
	l.calls++
	here := ancestor{function, 1}
	for i, a := range l.ancestors {
		if a.function == function {
			here.turns = a.turns + 1
			l.ancestors = append(l.ancestors[:i], l.ancestors[i+1:]...)
			break
		}
	}
	l.ancestors = append([]ancestor{here}, l.ancestors[:min(len(l.ancestors), maxAncestors-1)]...)
	return here.turns
}

func (l *lineage) String() string {
	b := strconv.AppendInt(make([]byte, 0, 32), int64(l.calls), 10)
	for i, a := range l.ancestors {
		sep := byte('|')
		if i == 0 {
			sep = ':'
		}
		b = append(append(append(b, sep), a.function...), ':')
		b = strconv.AppendInt(b, int64(a.turns), 10)
	}
	return string(b)
}

func hex8(n uint32) string {
	text := strconv.FormatUint(uint64(n), 16)
	return "00000000"[len(text):] + text
}
