package event

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestIsJSON(t *testing.T) {
	for _, v := range []string{
		"", " ", "null", "nul", "nulll", "true", "tru", "false", "falsy", " 1 ", "1 2", "01", "-", "-0", "-01", "1.", ".5", "1.5e", "1E+2", "1e-", "+1", "0x1", "NaN",
		`"`, `"a"`, `"\`, `"\"`, `"\u12"`, `"\u12g4"`, `"\u12aF"`, `"\x"`, `"\/\b\f\n\r\t\\\""`, "\"\x1f\"", "\"\t\"", "\"\x7f\xff\"", "\"a\x00\"",
		`[]`, `[ ]`, `[,]`, `[1,]`, `[1 2]`, `[1`, `[`, `[[],{}]`, `]`, `{}`, `{ }`, `{,}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`, `{a:1}`, `{"a":1`, `{"a" : 1 , "b" : [ ] }`, `{1:2}`, `}`,
		"\v1", "\ufeff1", "[1]\x00",
		strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
		strings.Repeat(`{"a":`, maxDepth) + "1" + strings.Repeat("}", maxDepth), strings.Repeat(`{"a":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1),
	} {
		if got, want := isJSON([]byte(v)), json.Valid([]byte(v)); got != want {
			t.Errorf("%.60q: %v, encoding/json says %v", v, got, want)
		}
	}
}

// FuzzIsJSON holds that nothing is JSON here that is not for encoding/json, and the
// other way round.
func FuzzIsJSON(f *testing.F) {
	f.Add([]byte(` {"a" : [1, -2.5e+10, "x\u00e4\\", true, null, {}] , "b":false}`))
	f.Add([]byte("[\"\x1f\", 01]"))
	f.Fuzz(func(t *testing.T, v []byte) {
		if got, want := isJSON(v), json.Valid(v); got != want {
			t.Errorf("%v, encoding/json says %v", got, want)
		}
	})
}
