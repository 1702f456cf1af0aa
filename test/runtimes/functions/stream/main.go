// Command stream streams its answer as the path asks, on aws-lambda-go. What
// /forever learns of its caller's leaving, /told tells.
package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

var told atomic.Value

func main() {
	told.Store("nothing")
	lambda.Start(handle)
}

func handle(_ context.Context, r events.LambdaFunctionURLRequest) (*events.LambdaFunctionURLStreamingResponse, error) {
	path := r.RawPath[strings.LastIndexByte(r.RawPath, '/')+1:]
	if path == "early" {
		return nil, errors.New("before anything")
	}
	body, w := io.Pipe()
	go func() { w.CloseWithError(write(path, w)) }()
	return &events.LambdaFunctionURLStreamingResponse{
		StatusCode: 203,
		Headers:    map[string]string{"content-type": "text/plain", "x-a": "b"},
		Body:       body,
	}, nil
}

func write(path string, w io.Writer) error {
	switch path {
	case "parts":
		io.WriteString(w, "one\n")
		time.Sleep(400 * time.Millisecond)
		io.WriteString(w, "two\n")
	case "late":
		io.WriteString(w, "some\n")
		time.Sleep(50 * time.Millisecond)
		return errors.New("in the middle")
	case "forever":
		forever(w)
	case "told":
		io.WriteString(w, told.Load().(string))
	case "hang":
		io.WriteString(w, "some\n")
		time.Sleep(time.Minute)
	case "exit":
		io.WriteString(w, "some\n")
		time.Sleep(50 * time.Millisecond)
		os.Exit(3)
	case "big":
		part := bytes.Repeat([]byte("x"), 1<<20)
		for range 64 {
			w.Write(part)
		}
	}
	return nil
}

func forever(w io.Writer) {
	told.Store("nothing")
	part := bytes.Repeat([]byte("x"), 1000)
	for range 2000 {
		if _, err := w.Write(part); err != nil {
			told.Store("error")
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}
