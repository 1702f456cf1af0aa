package logsapi

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// maxPattern is the length of a filter pattern (CloudWatch Logs API reference).
const maxPattern = 1024

// maxProgram bounds the regular expressions of a pattern together, in instructions of
// what they are compiled to: each may be gone through for every character of a message.
// A few characters, such as (a{30}){30}, stand for hundreds. It is ours.
const maxProgram = 1000

// expressions are the regular expressions of a pattern.
type expressions struct{ size int }

func (x *expressions) compile(expr string) (matcher, error) {
	malformed := invalid("Invalid filter pattern: a regular expression is malformed.")
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, malformed
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, malformed
	}
	if x.size += len(program.Inst); x.size > maxProgram {
		return nil, invalid("Invalid filter pattern: its regular expressions are too complex.")
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, malformed
	}
	return re.MatchString, nil
}

// matcher tells whether a message is wanted.
type matcher func(message string) bool

// parsePattern reads a filter pattern (CloudWatch Logs user guide, "Filter
// pattern syntax"): terms that must all be there, "quoted phrases", -excluded
// ones, ?alternatives, of which one must be there and which count only when there
// are no plain terms, %regular expressions%, { conditions } on JSON, and [space,
// delimited, fields].
func parsePattern(pattern string) (matcher, error) {
	if len(pattern) > maxPattern {
		return nil, invalid("1 validation error detected: Value at 'filterPattern' failed to satisfy constraint: Member must have length less than or equal to 1024")
	}
	pattern = strings.ToValidUTF8(strings.TrimSpace(pattern), "\uFFFD") // regular expressions are text
	switch {
	case pattern == "":
		return func(string) bool { return true }, nil
	case pattern[0] == '{':
		return parseCondition(pattern)
	case pattern[0] == '[':
		return parseFields(pattern)
	}
	var x expressions
	var all, any, none []matcher
	for rest := pattern; rest != ""; rest = strings.TrimLeft(rest, " \t\r\n") {
		sign := rest[0]
		if sign == '-' || sign == '?' {
			rest = rest[1:]
		}
		m, after, err := x.term(rest)
		if err != nil {
			return nil, err
		}
		rest = after
		switch sign {
		case '-':
			none = append(none, m)
		case '?':
			any = append(any, m)
		default:
			all = append(all, m)
		}
	}
	return combine(all, any, none), nil
}

// term reads one term and gives what follows it.
func (x *expressions) term(s string) (matcher, string, error) {
	if s == "" || strings.ContainsRune(" \t\r\n", rune(s[0])) {
		return nil, "", invalid("Invalid filter pattern: a term is missing.")
	}
	switch s[0] {
	case '"':
		phrase, rest, err := quoted(s)
		return containing(phrase), rest, err
	case '%':
		expr, rest, ok := strings.Cut(s[1:], "%")
		if !ok {
			return nil, "", invalid("Invalid filter pattern: a regular expression has no end.")
		}
		m, err := x.compile(expr)
		return m, rest, err
	}
	end := strings.IndexAny(s, " \t\r\n\"")
	if end < 0 {
		end = len(s)
	}
	return containing(s[:end]), s[end:], nil
}

// quoted reads a phrase in double quotes; a backslash makes the next character
// literal.
func quoted(s string) (phrase, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], nil
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", invalid("Invalid filter pattern: a quoted phrase has no end.")
}

func containing(term string) matcher {
	return func(message string) bool { return strings.Contains(message, term) }
}

func combine(all, any, none []matcher) matcher {
	return func(message string) bool {
		for _, m := range none {
			if m(message) {
				return false
			}
		}
		for _, m := range all {
			if !m(message) {
				return false
			}
		}
		if len(all) > 0 || len(any) == 0 {
			return true
		}
		for _, m := range any {
			if m(message) {
				return true
			}
		}
		return false
	}
}
