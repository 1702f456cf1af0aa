package conformance

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ambiguous are requests that two servers could read in different ways, so that the
// end of one is the beginning of another for the second of them (RFC 9112, section
// 11.2). Each goes before a request for /hidden.
var ambiguous = map[string]string{
	"length and chunks":        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"chunks and length":        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
	"two lengths":              "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
	"list of lengths":          "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0, 44\r\n\r\n",
	"length with a sign":       "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: +0\r\n\r\n",
	"space before the colon":   "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length : 44\r\n\r\n",
	"folded length":            "POST / HTTP/1.1\r\nHost: HOST\r\nX: y\r\n Content-Length: 44\r\n\r\n",
	"bare LF":                  "POST / HTTP/1.1\nHost: HOST\nContent-Length: 0\n\n",
	"bare LF in the header":    "POST / HTTP/1.1\r\nHost: HOST\r\nX: y\nContent-Length: 44\r\n\r\n",
	"bare CR in the header":    "POST / HTTP/1.1\r\nHost: HOST\r\nX: y\rContent-Length: 44\r\n\r\n",
	"two codings":              "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
	"coding in a list":         "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
	"coding after a tab":       "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
	"coding in HTTP/1.0":       "POST / HTTP/1.0\r\nHost: HOST\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"length in HTTP/1.0":       "POST / HTTP/1.0\r\nHost: HOST\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"negative chunk":           "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n0\r\n\r\n",
	"chunk with a prefix":      "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
	"chunk that overflows":     "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n",
	"chunk longer than told":   "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
	"bare LF after a size":     "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
	"bare LF in an extension":  "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n",
	"endless extension":        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3;" + strings.Repeat("a", 1<<20) + "\r\nabc\r\n0\r\n\r\n",
	"many extensions":          "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 5000) + "0\r\n\r\n",
	"two hosts":                "GET / HTTP/1.1\r\nHost: HOST\r\nHost: other.test\r\n\r\n",
	"method of another length": "HEAD / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}

// tolerated are what net/http, which has all of TLS and what follows a HEAD, reads
// in one way instead of refusing it. What it passes on is written anew, so that
// nothing behind the gateway reads it in another.
var tolerated = map[string]string{
	"length and chunks":        "the chunks count (RFC 9112, section 6.3)",
	"chunks and length":        "the chunks count (RFC 9112, section 6.3)",
	"method of another length": "the chunks count (RFC 9112, section 6.3)",
	"coding in HTTP/1.0":       "there is no body, and the connection ends (RFC 9112, section 6.1)",
	"length in HTTP/1.0":       "the length counts, and the connection ends (RFC 9112, section 6.1)",
	"bare LF":                  "a bare LF ends a line (RFC 9112, section 2.2)",
	"bare LF in the header":    "a bare LF ends a line (RFC 9112, section 2.2)",
	"folded length":            "a folded line is one value (RFC 9112, section 5.2)",
}

// TestSmuggling sends ambiguous requests to a function and to an application.
func TestSmuggling(t *testing.T) {
	t.Parallel() // it is waiting that takes its time
	s, secure := server(t)
	deployEcho(t, s)
	run(t, s, "route", "add", "app.test/*", "echo", "--public")
	plain := strings.TrimPrefix(s.Gateway, "http://")
	ways := map[string]func() (net.Conn, error){
		"plain": func() (net.Conn, error) { return net.Dial("tcp", plain) },
		"TLS": func() (net.Conn, error) {
			return tls.Dial("tcp", strings.TrimPrefix(secure, "https://"), &tls.Config{ServerName: "localhost", InsecureSkipVerify: true}) //nolint:gosec // it signs itself
		},
	}
	for way, dial := range ways {
		for name, in := range ambiguous {
			t.Run(way+"/"+name, func(t *testing.T) {
				for _, host := range []string{"app.test", "hello.test"} {
					out := talk(t, dial, strings.ReplaceAll(in, "HOST", host)+"GET /hidden HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
					lenient := tolerated[name] != "" && (way == "TLS" || strings.HasPrefix(in, "HEAD"))
					if got := strings.Count(out, "HTTP/1.1 200") + strings.Count(out, "HTTP/1.0 200"); got != 0 && !lenient || got > 2 {
						t.Errorf("%s: %d requests are answered: %.300q", host, got, out)
					}
				}
				seen := seenBy(t, s.Gateway)
				if strings.Contains(seen, "/hidden") && (tolerated[name] == "" || strings.Contains(in, "HTTP/1.0")) {
					t.Errorf("the application has seen %q", seen)
				}
			})
		}
	}
}

// talk sends what a client says and gives all that comes back.
func talk(t *testing.T, dial func() (net.Conn, error), in string) string {
	t.Helper()
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, in); err != nil {
		return "" // it was cut off in the middle
	}
	out, _ := io.ReadAll(c) // a reset ends it too, and the deadline a connection that is kept
	return string(out)
}

func seenBy(t *testing.T, gateway string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gateway+"/seen", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "app.test"
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %q %v", res.StatusCode, b, err)
	}
	return string(b)
}
