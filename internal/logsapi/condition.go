package logsapi

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// condition is a test on a decoded JSON object.
type condition func(object any) bool

// maxDepth bounds the parentheses of a condition.
const maxDepth = 20

// conditions parses "{ ... }" patterns: comparisons of a selector such as
// $.user.id or $.items[0] with a text, a number, * within a text, TRUE, FALSE or
// NULL, by =, !=, <, >, <=, >=, IS and NOT EXISTS, joined by && and ||.
type conditions struct {
	expressions
	rest   string
	depth  int
	fields bool // selectors are names of fields
}

func parseCondition(pattern string) (matcher, error) {
	if !strings.HasSuffix(pattern, "}") {
		return nil, invalid("Invalid filter pattern: a closing brace is missing.")
	}
	p := &conditions{rest: pattern[1 : len(pattern)-1]}
	test, ok := p.or()
	if !ok || p.peek() != "" {
		return nil, invalid("Invalid filter pattern: the condition on JSON is malformed or not supported.")
	}
	return func(message string) bool {
		start := strings.IndexByte(message, '{')
		if start < 0 || strings.TrimSpace(message[:start]) != "" {
			return false
		}
		var object any
		return json.Unmarshal([]byte(message), &object) == nil && test(object)
	}, nil
}

func (p *conditions) peek() string {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	return p.rest
}

// take consumes a token if it is next.
func (p *conditions) take(token string) bool {
	rest, ok := strings.CutPrefix(p.peek(), token)
	if ok {
		p.rest = rest
	}
	return ok
}

func (p *conditions) or() (condition, bool) {
	left, ok := p.and()
	for ok && p.take("||") {
		a := left
		b, good := p.and()
		left, ok = func(o any) bool { return a(o) || b(o) }, good
	}
	return left, ok
}

func (p *conditions) and() (condition, bool) {
	left, ok := p.primary()
	for ok && p.take("&&") {
		a := left
		b, good := p.primary()
		left, ok = func(o any) bool { return a(o) && b(o) }, good
	}
	return left, ok
}

func (p *conditions) primary() (condition, bool) {
	if p.take("(") {
		if p.depth++; p.depth > maxDepth {
			return nil, false
		}
		inner, ok := p.or()
		p.depth--
		return inner, ok && p.take(")")
	}
	path, ok := p.selector()
	if !ok {
		return nil, false
	}
	return p.comparison(path)
}

// selector reads $.a.b[0]["c d"] as its steps.
func (p *conditions) selector() ([]any, bool) {
	if p.fields {
		name := p.word(" \t\r\n,=!<>&|()\"")
		return []any{name}, name != ""
	}
	if !p.take("$") {
		return nil, false
	}
	var path []any
	for {
		switch {
		case strings.HasPrefix(p.rest, "."):
			end := 1
			for end < len(p.rest) && !strings.ContainsRune(" \t\r\n.[]=!<>&|()\"", rune(p.rest[end])) {
				end++
			}
			if end == 1 {
				return nil, false
			}
			path = append(path, p.rest[1:end])
			p.rest = p.rest[end:]
		case strings.HasPrefix(p.rest, "["):
			inner, rest, ok := strings.Cut(p.rest[1:], "]")
			if !ok {
				return nil, false
			}
			p.rest = rest
			if n, err := strconv.Atoi(inner); err == nil {
				path = append(path, n)
			} else if name := strings.Trim(inner, `"'`); name != inner {
				path = append(path, name)
			} else {
				return nil, false
			}
		default:
			return path, len(path) > 0
		}
	}
}

// lookup follows a path.
func lookup(object any, path []any) (any, bool) {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, ok := object.(map[string]any)
			if !ok {
				return nil, false
			}
			if object, ok = m[step]; !ok {
				return nil, false
			}
		case int:
			list, ok := object.([]any)
			if !ok || step < 0 || step >= len(list) {
				return nil, false
			}
			object = list[step]
		}
	}
	return object, true
}

func (p *conditions) comparison(path []any) (condition, bool) {
	switch {
	case p.take("NOT EXISTS"):
		return func(o any) bool { _, ok := lookup(o, path); return !ok }, true
	case p.take("IS"):
		return p.literal(path)
	}
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if p.take(op) {
			value, text, ok := p.value()
			if !ok {
				return nil, false
			}
			return compare(path, op, value, text), true
		}
	}
	return nil, false
}

// literal reads what may follow IS.
func (p *conditions) literal(path []any) (condition, bool) {
	for text, want := range map[string]any{"TRUE": true, "FALSE": false, "NULL": nil} {
		if p.take(text) {
			return func(o any) bool { got, ok := lookup(o, path); return ok && got == want }, true
		}
	}
	return nil, false
}

// value reads a quoted text, a %regular expression% or a word, and gives what
// matches it.
func (p *conditions) value() (string, matcher, bool) {
	switch p.peek(); {
	case strings.HasPrefix(p.rest, `"`):
		text, rest, err := quoted(p.rest)
		p.rest = rest
		return text, wildcard(text), err == nil
	case strings.HasPrefix(p.rest, "%"):
		matches, rest, err := p.term(p.rest)
		p.rest = rest
		return "", matches, err == nil
	}
	stop := " \t\r\n&|()"
	if p.fields {
		stop += ","
	}
	word := p.word(stop)
	return word, wildcard(word), word != ""
}

// word reads what comes before one of the characters of stop.
func (p *conditions) word(stop string) string {
	end := strings.IndexAny(p.peek(), stop)
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

// compare makes the test of one comparison. Numbers are compared as such when
// both sides are numbers; a selector that finds nothing fails every test.
func compare(path []any, op, value string, text matcher) condition {
	number, err := strconv.ParseFloat(value, 64)
	numeric := err == nil && !math.IsNaN(number)
	return func(o any) bool {
		got, ok := lookup(o, path)
		if !ok {
			return false
		}
		if n, is := numberOf(got); is && numeric {
			return order(n, op, number)
		}
		equal := text(show(got))
		switch op {
		case "=":
			return equal
		case "!=":
			return !equal
		}
		return false
	}
}

func numberOf(v any) (float64, bool) {
	if w, ok := v.(word); ok {
		n, err := strconv.ParseFloat(string(w), 64)
		return n, err == nil && !math.IsNaN(n)
	}
	n, ok := v.(float64)
	return n, ok
}

func order(a float64, op string, b float64) bool {
	switch op {
	case "=":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a >= b
}

// show is a JSON value as it is compared with text.
func show(v any) string {
	switch s := v.(type) {
	case string:
		return s
	case word:
		return string(s)
	}
	text, err := json.Marshal(v)
	if err != nil { // it came from JSON
		return ""
	}
	return string(text)
}

// wildcard matches a text in which * is anything.
func wildcard(value string) matcher {
	parts := strings.Split(value, "*")
	if len(parts) == 1 {
		return func(s string) bool { return s == value }
	}
	first, middle, last := parts[0], parts[1:len(parts)-1], parts[len(parts)-1]
	return func(s string) bool {
		s, ok := strings.CutPrefix(s, first)
		for _, part := range middle {
			if !ok {
				return false
			}
			_, s, ok = strings.Cut(s, part) // the first one leaves most to the others
		}
		return ok && strings.HasSuffix(s, last)
	}
}
