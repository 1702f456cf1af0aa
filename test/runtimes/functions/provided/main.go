//go:build linux

// Command provided is a function that does what its event says, as those of the
// other languages beside it do. With the argument "probe" it is no function but
// attempts to get out of where it runs, and prints what came of each: functions
// of every language bring it along, and a test runs it outside as well.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Do      string          `json:"do"`
	Value   json.RawMessage `json:"value"`
	Message string          `json:"message"`
	Code    int             `json:"code"`
	Bytes   int             `json:"bytes"`
	Seconds float64         `json:"seconds"`
	Path    string          `json:"path"`
	Write   *string         `json:"write"`
	Command []string        `json:"command"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		os.Exit(probe(os.Args[2:]))
	}
	if os.Getenv("INIT_FAIL") != "" {
		fmt.Fprintln(os.Stderr, "broken at start")
		os.Exit(4)
	}
	var options []lambda.Option
	if took, err := time.ParseDuration(os.Getenv("GOODBYE")); err == nil {
		options = append(options, lambda.WithEnableSIGTERM(func() {
			fmt.Println("told of the end")
			time.Sleep(took)
			fmt.Println("done with the end")
		}))
	}
	lambda.StartWithOptions(handle, options...)
}

var count int

// CustomError is an error with a type of its own.
type CustomError struct{ message string }

func (c *CustomError) Error() string { return c.message }

func handle(ctx context.Context, raw json.RawMessage) (any, error) {
	var e event
	_ = json.Unmarshal(raw, &e) // an event that is no object has no verb
	if e.Do == "" {
		return raw, nil
	}
	switch e.Do {
	case "echo":
		return e.Value, nil
	case "error":
		return nil, &CustomError{e.Message}
	case "panic":
		panic(e.Message)
	case "exit":
		os.Exit(e.Code)
	case "sleep":
		count++
		time.Sleep(time.Duration(e.Seconds * float64(time.Second)))
		return "woke", nil
	case "oom":
		exhaust()
	case "big":
		return strings.Repeat("x", e.Bytes), nil
	case "size":
		var s string
		err := json.Unmarshal(e.Value, &s)
		return len(s), err
	case "count":
		count++
		return map[string]int{"count": count, "pid": os.Getpid()}, nil
	case "env":
		return environment(), nil
	case "context":
		return describe(ctx), nil
	case "where":
		return where()
	case "files":
		return files(e)
	case "say":
		fmt.Println("print " + string(e.Value))
		fmt.Fprintln(os.Stderr, "stderr "+string(e.Value))
		return "said", nil
	case "run":
		return run(e.Command)
	}
	return nil, fmt.Errorf("no such verb: %s", e.Do)
}

var held [][]byte

func exhaust() {
	for {
		b := make([]byte, 8<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		held = append(held, b)
	}
}

func environment() map[string]string {
	all := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	return all
}

func describe(ctx context.Context) map[string]any {
	c, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return map[string]any{
		"aws_request_id":       c.AwsRequestID,
		"function_name":        lambdacontext.FunctionName,
		"function_version":     lambdacontext.FunctionVersion,
		"invoked_function_arn": c.InvokedFunctionArn,
		"memory_limit_in_mb":   lambdacontext.MemoryLimitInMB,
		"log_group_name":       lambdacontext.LogGroupName,
		"log_stream_name":      lambdacontext.LogStreamName,
		"remaining":            time.Until(deadline).Milliseconds(),
		"custom":               c.ClientContext.Custom,
		"title":                c.ClientContext.Client.AppTitle,
		"trace":                os.Getenv("_X_AMZN_TRACE_ID"),
	}
}

func where() (any, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	return map[string]any{"cwd": cwd, "user": me.Username, "uid": os.Getuid(), "gid": os.Getgid()}, nil
}

func files(e event) (any, error) {
	if e.Write != nil {
		return len(*e.Write), os.WriteFile(e.Path, []byte(*e.Write), 0o600)
	}
	if info, err := os.Stat(e.Path); err == nil && info.IsDir() {
		entries, err := os.ReadDir(e.Path)
		names := []string{}
		for _, d := range entries {
			names = append(names, d.Name())
		}
		sort.Strings(names)
		return names, err
	}
	b, err := os.ReadFile(e.Path)
	return string(b), err
}

// run is what a command printed.
func run(command []string) (any, error) {
	out, err := exec.Command(command[0], command[1:]...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return string(out), err
}
