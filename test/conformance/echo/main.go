// Command echo is an HTTP application that sends WebSocket messages back, for the
// conformance tests.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
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

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	srv := &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: time.Minute}
	fmt.Fprintln(os.Stderr, srv.Serve(l))
}
