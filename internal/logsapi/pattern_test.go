package logsapi

import (
	"strings"
	"testing"
)

func TestPattern(t *testing.T) {
	const object = `{"level":"error","ms":12.5,"ok":true,"none":null,"user":{"id":"u-17","tags":["a","b"]},"odd key":1}`
	for _, c := range []struct {
		pattern, message string
		want             bool
	}{
		{"", "anything", true},
		{"ERROR", "an ERROR here", true},
		{"ERROR", "an error here", false},
		{"ERROR disk", "disk ERROR", true},
		{"ERROR disk", "ERROR", false},
		{`"disk full"`, "the disk full of it", true},
		{`"disk full"`, "full disk", false},
		{`"say \"hi\""`, `they say "hi"`, true},
		{"ERROR -retry", "ERROR, will retry", false},
		{"ERROR -retry", "ERROR", true},
		{"-START -END", "REPORT", true},
		{"-START -END", "END", false},
		{"?ERROR ?WARN", "a WARN", true},
		{"?ERROR ?WARN", "INFO", false},
		{"?ERROR main", "main", true}, // alternatives count alone only
		{`-"two words"`, "two words", false},
		{"%[0-9]{3}%", "code 404", true},
		{"%[0-9]{3}%", "code 40", false},
		{"GET %/a.*b/%", "GET /aXb/", true},
		{`{ $.level = "error" }`, object, true},
		{`{ $.level = "ERROR" }`, object, false},
		{`{ $.level = err* }`, object, true},
		{`{ $.level = %^e.*r$% }`, object, true},
		{`{ $.level = %^r% && $.ok IS TRUE }`, object, false},
		{`{ $.level != %^r% }`, object, true},
		{`{ $.level != "info" }`, object, true},
		{`{ $.ms > 12 && $.ms <= 12.5 }`, object, true},
		{`{ $.ms >= 13 || $.ok IS TRUE }`, object, true},
		{`{ $.ms < 13 && ($.ok IS FALSE || $.none IS NULL) }`, object, true},
		{`{ $.user.id = "u-*" }`, object, true},
		{`{ $.user.id = "u*-*17*" }`, object, true},
		{`{ $.user.id = "*7" }`, object, true},
		{`{ $.user.id = "u-1*17" }`, object, false}, // the parts do not overlap
		{`{ $.user.id = "*1*1*" }`, object, false},
		{`{ $.user.tags[1] = "b" }`, object, true},
		{`{ $.user.tags[2] = "b" }`, object, false},
		{`{ $.absent NOT EXISTS }`, object, true},
		{`{ $.absent != 1 }`, object, false},
		{`{ $["odd key"] = 1 }`, object, true},
		{`{ $.level = "error" }`, "plain text", false},
		{`{ $.level = "error" }`, "text " + object, false},
		{"[a, b]", "one two\n", true},
		{"[a, b]", "one two three", false},
		{"[a, ...]", "one", true},
		{"[..., last = x*]", "one two xyz", true},
		{"[..., last = x*]", "xyz two", false},
		{"[a = x, ..., b = y]", "x 2 3 y", true},
		{"[a = x, ..., b = y]", "x 2 y 3", false},
		{"[a, ..., b]", "one", false},
		{"[ip, user, time, request, status = 4*, bytes > 1000]", `127.0.0.1 frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534`, true},
		{"[ip, user, time, request, status = 4*, bytes > 1000]", `127.0.0.1 frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 200 1534`, false},
		{"[ip, user, time, request = %index%, status = 404 || status = 410, bytes]", `1.1.1.1 u [t] "GET /index.html" 410 -`, true},
		{"[ip, (user = a || user = b), x]", "1 b 2", true},
		{"[ip, (user = a || user = b), x]", "1 c 2", false},
		{`[w = "say it", x]`, `"say it" now`, true},
		{`[report = REPORT, id = "RequestId:", ...]`, "REPORT RequestId: 1 Duration: 2 ms", true},
		{"[n != 7]", "7.0", false},
		{"[a]", `"open`, true},
	} {
		m, err := parsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if got := m(c.message); got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.message, got)
		}
	}
}

func TestPatternRefused(t *testing.T) {
	for _, bad := range []string{
		`"open`, "%open", "%(%", "[a,b", "[]", "[a,]", "[a b]", "[= x]", "[a = ]", "[a && b]", "[..., a, ...]", "-", "?", "a - b", strings.Repeat("a", maxPattern+1),
		"{", "{}", "{ level = 1 }", "{ $.a }", "{ $.a = }", "{ $ = 1 }", "{ $.a = 1 && }", "{ ($.a = 1 }", "{ $.a IS MAYBE }", "{ $.a = 1 } x", "{ $.a = %( }", "{ $.a[x] = 1 }",
		"%(a?){500}% %(b?){500}%", "{ $.a = %(x{20}){40}% && $.b = %y{300}% }", "[a = %x{600}%, b = %y{600}%]",
		"{ " + strings.Repeat("(", 100) + "$.a = 1" + strings.Repeat(")", 100) + " }",
	} {
		if _, err := parsePattern(bad); err == nil {
			t.Errorf("%.40s is accepted", bad)
		}
	}
}

// FuzzPattern holds that no pattern makes the parser or its matcher panic.
func FuzzPattern(f *testing.F) {
	f.Add(`ERROR -x ?y "a b" %[0-9]%`, "ERROR 1")
	f.Add(`{ ($.a[0].b = "x*" || $.c IS NULL) && $["d"] NOT EXISTS }`, `{"a":[{"b":"xy"}]}`)
	f.Add(`{ $.a >= 1e3 }`, `{"a":1000}`)
	f.Add(`[a, (b = "x y" || b > 3), ...]`, `1 "x y" [z] 4`)
	f.Fuzz(func(t *testing.T, pattern, message string) {
		if m, err := parsePattern(pattern); err == nil {
			m(message)
		}
	})
}
