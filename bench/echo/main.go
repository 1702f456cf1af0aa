// Echo is the benchmark's handler. It answers every event with the event: as a
// Lambda function on aws-lambda-go, or, with BARE set to an address, as a plain
// HTTP server, so that the same code is measured with lambent and without it.
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
