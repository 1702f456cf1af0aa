// Echo is the benchmark's handler. It answers every event with the event: as a
// Lambda function on aws-lambda-go; with BARE set to an address, as a plain HTTP
// server; with RAW set, once, from standard input to standard output. So the same
// code is measured with lambent and without it. The handler "stream", or that
// path, answers with a stream of two parts.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func handle(_ context.Context, event json.RawMessage) (json.RawMessage, error) { return event, nil }

func main() {
	if os.Getenv("RAW") != "" {
		raw()
		return
	}
	addr := os.Getenv("BARE")
	switch {
	case os.Getenv("SERVE") != "": // as an HTTP application
		serve(":" + os.Getenv("PORT"))
	case os.Getenv("REVERSE") != "":
		reverse(os.Getenv("REVERSE"))
	case addr != "":
		serve(addr)
	case os.Getenv("_HANDLER") == "stream":
		lambda.Start(stream)
	default:
		lambda.Start(handle)
	}
}

func stream(context.Context, json.RawMessage) (*events.LambdaFunctionURLStreamingResponse, error) {
	body, w := io.Pipe()
	go func() {
		parts(w, func() {})
		_ = w.Close() // always nil
	}()
	return &events.LambdaFunctionURLStreamingResponse{StatusCode: http.StatusOK, Body: body}, nil
}

// parts writes the answer of a stream.
func parts(w io.Writer, flush func()) {
	_, _ = io.WriteString(w, "first\n")
	flush()
	time.Sleep(time.Millisecond)
	_, _ = io.WriteString(w, "second\n")
}

func serve(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	http.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		parts(w, w.(http.Flusher).Flush)
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		event, err := io.ReadAll(r.Body)
		if err == nil {
			event, err = handle(r.Context(), event)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(event)
	})
	err = http.Serve(l, nil)
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// reverse passes requests to another server by the standard library.
func reverse(to string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to})
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
	proxy.ErrorLog = log.New(io.Discard, "", 0) // of callers that go away at the end of a loop
	err = http.Serve(l, proxy)
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// raw answers one event through a pipe.
func raw() {
	var event json.RawMessage
	err := json.NewDecoder(os.Stdin).Decode(&event)
	if err == nil {
		event, err = handle(context.Background(), event)
	}
	if err == nil {
		_, err = fmt.Printf("%s\n", event)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
