package logsapi

import "strings"

// word is a field of a message. It counts as a number where it is compared with one.
type word string

// field is one of a pattern of space-delimited fields, which a condition may be put
// on.
type field struct {
	name string
	test condition // nil takes every word
}

func (f field) takes(s string) bool {
	return f.test == nil || f.test(map[string]any{f.name: word(s)})
}

// parseFields parses "[w1, w2 = x*, bytes > 1000, ...]" (CloudWatch Logs user guide,
// "Using filter patterns to match terms in space-delimited log events"). There must
// be as many words as the pattern has fields, unless one ellipsis stands for any
// number of them.
func parseFields(pattern string) (matcher, error) {
	malformed := invalid("Invalid filter pattern: the pattern of space-delimited fields is malformed.")
	if !strings.HasSuffix(pattern, "]") {
		return nil, malformed
	}
	p := &conditions{rest: pattern[1 : len(pattern)-1], fields: true}
	var fields []field
	gap := -1 // where the ellipsis is
	for {
		if p.take("...") {
			if gap >= 0 {
				return nil, malformed
			}
			gap = len(fields)
		} else if f, ok := p.field(); ok {
			fields = append(fields, f)
		} else {
			return nil, malformed
		}
		if p.peek() == "" {
			return func(message string) bool { return fits(fields, gap, split(message)) }, nil
		}
		if !p.take(",") {
			return nil, malformed
		}
	}
}

// field reads a name, or a condition, whose first name is the field's.
func (p *conditions) field() (field, bool) {
	start := strings.TrimLeft(p.peek(), "( \t\r\n")
	named := conditions{rest: start, fields: true}
	path, ok := named.selector()
	if !ok {
		return field{}, false
	}
	f := field{name: path[0].(string)}
	if next := named.peek(); start == p.rest && (next == "" || next[0] == ',') {
		p.rest = next
		return f, true
	}
	f.test, ok = p.or()
	return f, ok
}

// split takes a message apart at its blanks. What is in brackets or double quotes
// is one field.
func split(message string) []string {
	var words []string
	missing := "" // closing characters that do not come any more
	for {
		message = strings.TrimLeft(message, " \t\r\n")
		if message == "" {
			return words
		}
		closing := ""
		switch message[0] {
		case '"':
			closing = `"`
		case '[':
			closing = "]"
		}
		if closing != "" && !strings.Contains(missing, closing) {
			if inner, rest, ok := strings.Cut(message[1:], closing); ok {
				words, message = append(words, inner), rest
				continue
			}
			missing += closing
		}
		end := strings.IndexAny(message, " \t\r\n")
		if end < 0 {
			end = len(message)
		}
		words, message = append(words, message[:end]), message[end:]
	}
}

// fits holds the words of a message against fields, with any number of words more
// before the field at gap.
func fits(fields []field, gap int, words []string) bool {
	if gap < 0 {
		gap = len(fields)
		if len(words) > gap {
			return false
		}
	}
	more := len(words) - len(fields)
	if more < 0 {
		return false
	}
	for i, f := range fields {
		if i >= gap {
			i += more
		}
		if !f.takes(words[i]) {
			return false
		}
	}
	return true
}
