package event

import "iter"

// The functions of this file walk through JSON that is known to be valid, without
// making anything of what is not asked for.

// members yields the names and values of an object. Of names that come twice both
// are yielded.
func members(v []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		i := space(v, 1)
		for v[i] != '}' {
			end := value(v, i)
			name := unquote(v[i:end])
			i = space(v, space(v, end)+1) // over the colon
			end = value(v, i)
			if !yield(name, v[i:end:end]) {
				return
			}
			if i = space(v, end); v[i] == ',' {
				i = space(v, i+1)
			}
		}
	}
}

// elements yields the values of an array.
func elements(v []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		i := space(v, 1)
		for v[i] != ']' {
			end := value(v, i)
			if !yield(v[i:end:end]) {
				return
			}
			if i = space(v, end); v[i] == ',' {
				i = space(v, i+1)
			}
		}
	}
}

// space is the index of the first byte from i on that is not white space.
func space(v []byte, i int) int {
	for i < len(v) && (v[i] == ' ' || v[i] == '\n' || v[i] == '\t' || v[i] == '\r') {
		i++
	}
	return i
}

// value is the index behind the value that begins at i.
func value(v []byte, i int) int {
	switch v[i] {
	case '"':
		return text(v, i)
	case '{', '[':
	default:
		for i < len(v) && v[i] != ',' && v[i] != '}' && v[i] != ']' && v[i] > ' ' {
			i++
		}
		return i
	}
	depth := 0
	for {
		switch v[i] {
		case '"':
			i = text(v, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		i++
		if depth == 0 {
			return i
		}
	}
}

// text is the index behind the string that begins at i.
func text(v []byte, i int) int {
	for i++; v[i] != '"'; i++ {
		if v[i] == '\\' {
			i++
		}
	}
	return i + 1
}
