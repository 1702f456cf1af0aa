// Command echo is an HTTP application for the conformance tests: it sends WebSocket
// messages back, and at /seen it tells which other requests it has seen.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

const maxMessage = 32 << 20

func echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		return // it has answered
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(maxMessage)
	for {
		kind, p, err := c.Read(context.Background())
		if err != nil {
			return
		}
		if kind == websocket.MessageText && !utf8.Valid(p) { // the library leaves it to us
			_ = c.Close(websocket.StatusInvalidFramePayloadData, "")
			return
		}
		if c.Write(context.Background(), kind, p) != nil {
			return
		}
	}
}

// seen is the requests so far.
var seen struct {
	sync.Mutex // guards lines
	lines      []string
}

func serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		echo(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	seen.Lock()
	defer seen.Unlock()
	if r.URL.Path == "/seen" {
		_, _ = io.WriteString(w, strings.Join(seen.lines, "\n"))
		seen.lines = nil
		return
	}
	seen.lines = append(seen.lines, fmt.Sprintf("%s %s %q %v", r.Method, r.URL.Path, body, err))
	_, _ = io.WriteString(w, "ok\n")
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	srv := &http.Server{Handler: http.HandlerFunc(serve), ReadHeaderTimeout: time.Minute}
	fmt.Fprintln(os.Stderr, srv.Serve(l))
}
