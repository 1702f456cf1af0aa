package event

import "bytes"

// The functions of this file tell whether bytes are JSON (RFC 8259), just as
// [encoding/json.Valid] does, whose state machine is called once for each byte: it
// took a sixth of what the gateway does for an answer. Each of them returns the
// index behind what begins at i, or -1 if that is not there.

// maxDepth is how deep arrays and objects may be nested, as encoding/json has it.
const maxDepth = 10_000

// isJSON tells whether v is one JSON value.
func isJSON(v []byte) bool {
	i := check(v, space(v, 0), maxDepth)
	return i >= 0 && space(v, i) == len(v)
}

// isObject tells whether v is one JSON object. Its members go to take, also when it
// turns out later that it is none.
func isObject(v []byte, take func(name, value []byte)) bool {
	i := space(v, 0)
	if i >= len(v) || v[i] != '{' {
		return false
	}
	end := checkObject(v, i, maxDepth, take)
	return end >= 0 && space(v, end) == len(v)
}

// check is for a value of any kind.
func check(v []byte, i, depth int) int {
	if i >= len(v) {
		return -1
	}
	switch v[i] {
	case '"':
		return checkText(v, i)
	case '{':
		return checkObject(v, i, depth, nil)
	case '[':
		return checkArray(v, i, depth)
	case 't':
		return checkWord(v, i, "true")
	case 'f':
		return checkWord(v, i, "false")
	case 'n':
		return checkWord(v, i, "null")
	}
	return checkNumber(v, i)
}

// checkObject is for an object. take, if it is not nil, gets its members.
func checkObject(v []byte, i, depth int, take func(name, value []byte)) int {
	if depth == 0 {
		return -1
	}
	i = space(v, i+1)
	if i < len(v) && v[i] == '}' {
		return i + 1
	}
	for i < len(v) && v[i] == '"' {
		end := checkText(v, i)
		if end < 0 {
			return -1
		}
		name := v[i:end]
		i = space(v, end)
		if i >= len(v) || v[i] != ':' {
			return -1
		}
		i = space(v, i+1)
		if end = check(v, i, depth-1); end < 0 {
			return -1
		}
		if take != nil {
			take(unquote(name), v[i:end:end])
		}
		i = space(v, end)
		switch {
		case i < len(v) && v[i] == '}':
			return i + 1
		case i >= len(v) || v[i] != ',':
			return -1
		}
		i = space(v, i+1)
	}
	return -1
}

func checkArray(v []byte, i, depth int) int {
	if depth == 0 {
		return -1
	}
	i = space(v, i+1)
	if i < len(v) && v[i] == ']' {
		return i + 1
	}
	for {
		if i = check(v, i, depth-1); i < 0 {
			return -1
		}
		i = space(v, i)
		switch {
		case i < len(v) && v[i] == ']':
			return i + 1
		case i >= len(v) || v[i] != ',':
			return -1
		}
		i = space(v, i+1)
	}
}

// checkText is for a string. What it holds may be no UTF-8.
func checkText(v []byte, i int) int {
	for i++; i < len(v); i++ {
		switch c := v[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c == '\\':
			if i++; i >= len(v) {
				return -1
			}
			if v[i] == 'u' {
				if len(v)-i <= 4 || unhex(v[i+1]) < 0 || unhex(v[i+2]) < 0 || unhex(v[i+3]) < 0 || unhex(v[i+4]) < 0 {
					return -1
				}
				i += 4
			} else if bytes.IndexByte([]byte(`"\/bfnrt`), v[i]) < 0 {
				return -1
			}
		}
	}
	return -1
}

func checkWord(v []byte, i int, word string) int {
	if end := i + len(word); end <= len(v) && string(v[i:end]) == word {
		return end
	}
	return -1
}

func checkNumber(v []byte, i int) int {
	if v[i] == '-' {
		i++
	}
	switch {
	case i < len(v) && v[i] == '0':
		i++
	default:
		if i = digits(v, i); i < 0 {
			return -1
		}
	}
	if i < len(v) && v[i] == '.' {
		if i = digits(v, i+1); i < 0 {
			return -1
		}
	}
	if i < len(v) && v[i]|0x20 == 'e' {
		if i++; i < len(v) && (v[i] == '+' || v[i] == '-') {
			i++
		}
		return digits(v, i)
	}
	return i
}

// digits is for one digit or more.
func digits(v []byte, i int) int {
	from := i
	for i < len(v) && '0' <= v[i] && v[i] <= '9' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}
