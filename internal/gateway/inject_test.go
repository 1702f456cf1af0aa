package gateway_test

import (
	"io"
	"strings"
	"testing"

	"lambent.dev/lambent"
)

// TestFunctionCannotForgeAnswers has functions answer with what would be headers or
// answers of their own on the wire.
func TestFunctionCannotForgeAnswers(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/two", Stream: true})
	r.route(lambent.Route{Path: "/one", Format: "1.0"})
	r.route(lambent.Route{Path: "/alb", Format: "alb"})
	forged := `a\r\nX-Forged: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`
	for name, payload := range map[string]string{
		"value":      `{"statusCode":200,"headers":{"x-a":"` + forged + `"},"body":"x"}`,
		"name":       `{"statusCode":200,"headers":{"x-a: b\r\nX-Forged":"1"},"body":"x"}`,
		"cookie":     `{"statusCode":200,"cookies":["` + forged + `"],"body":"x"}`,
		"values":     `{"statusCode":200,"multiValueHeaders":{"x-a":["` + forged + `"]},"body":"x"}`,
		"type":       `{"statusCode":200,"headers":{"content-type":"` + forged + `"},"body":"x"}`,
		"length":     `{"statusCode":200,"headers":{"content-length":"0"},"body":"HTTP/1.1 200 OK\r\nX-Forged: 1\r\n\r\n"}`,
		"coding":     `{"statusCode":200,"headers":{"transfer-encoding":"chunked"},"body":"0\r\n\r\nHTTP/1.1 200 OK\r\nX-Forged: 1\r\n\r\n"}`,
		"connection": `{"statusCode":200,"headers":{"connection":"upgrade","upgrade":"x"},"body":"x"}`,
		"line feed":  `{"statusCode":200,"headers":{"x-a":"a\nX-Forged: 1"},"body":"x"}`,
		"no body":    `{"statusCode":204,"body":"HTTP/1.1 200 OK\r\nX-Forged: 1\r\n\r\n"}`,
	} {
		for _, path := range []string{"/two", "/one", "/alb"} {
			r.runs(answering(payload))
			out := r.talk("GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			head, _, _ := strings.Cut(out, "\r\n\r\n")
			if !strings.HasPrefix(out, "HTTP/1.1 ") || strings.Contains(head, "\nX-Forged") || strings.Contains(head, "Upgrade:") || strings.Contains(head, "Content-Length: 0") && name == "length" {
				t.Errorf("%s at %s: %q", name, path, out)
			}
			if name == "no body" && strings.Contains(out, "X-Forged") {
				t.Errorf("%s at %s: %q", name, path, out)
			}
		}
	}
	parts := make(chan string, 1)
	parts <- `{"statusCode":200,"headers":{"x-a":"` + forged + `"},"cookies":["` + forged + `"]}` + "\x00\x00\x00\x00\x00\x00\x00\x00body"
	close(parts)
	r.runs(streaming(preludeType, parts, lambent.Result{}, make(chan error, 1)))
	if got := r.do("GET", "h", "/two", ""); got.header.Get("X-Forged") != "" {
		t.Errorf("prelude: %+v", got)
	}
	parts = make(chan string)
	close(parts)
	r.runs(streaming("text/plain\r\nX-Forged: 1", parts, lambent.Result{}, nil))
	if got := r.do("GET", "h", "/two", ""); got.header.Get("X-Forged") != "" {
		t.Errorf("type of a stream: %+v", got)
	}
}

// TestBodyInDribbles is read for as long as its bytes come, within its time.
func TestBodyInDribbles(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	c := r.dial()
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: "+host+"\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 20\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := io.ReadAll(c); err != nil || !strings.Contains(string(out), `"body":"`+strings.Repeat("x", 20)+`"`) {
		t.Errorf("%q %v", out, err)
	}
	// A body that breaks off reaches no function.
	r.runs(answering(`"called"`))
	if out := r.talk("POST / HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n"); strings.Contains(out, "called") || !strings.HasPrefix(out, "HTTP/1.1 400") {
		t.Errorf("%q", out)
	}
}
