// Echo is the benchmark's handler. It answers every event with the event: as a
// Lambda function on aws-lambda-go; with BARE set to an address, as a plain HTTP
// server; with RAW set, once, from standard input to standard output. So the same
// code is measured with lambent and without it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

func handle(_ context.Context, event json.RawMessage) (json.RawMessage, error) { return event, nil }

func main() {
	if os.Getenv("RAW") != "" {
		raw()
		return
	}
	addr := os.Getenv("BARE")
	if addr == "" {
		lambda.Start(handle)
		return
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
	}))
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
