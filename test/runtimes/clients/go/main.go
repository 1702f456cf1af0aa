// Command go is the test function of the aws-lambda-go client: it does what its
// event says, so that one deployed copy serves every case of the suite beside it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type request struct {
	Do   string `json:"do"`
	MS   int    `json:"ms"`
	Size int    `json:"size"`
}

func main() {
	if os.Getenv("INIT_FAIL") == "1" {
		fmt.Fprintln(os.Stderr, "init failed as asked")
		os.Exit(4)
	}
	lambda.Start(handle)
}

func handle(ctx context.Context, raw json.RawMessage) (any, error) {
	var req request
	if err := json.Unmarshal(raw, &req); err != nil {
		return nil, fmt.Errorf("read the event: %w", err)
	}
	switch req.Do {
	case "error":
		return nil, errors.New("boom")
	case "exit":
		os.Exit(3)
	case "sleep":
		time.Sleep(time.Duration(req.MS) * time.Millisecond)
	case "oom":
		exhaust()
	case "big":
		return strings.Repeat("x", req.Size-2), nil
	case "context":
		return describe(ctx), nil
	}
	return raw, nil
}

var held [][]byte

// exhaust takes and touches memory until the function is ended.
func exhaust() {
	for {
		b := make([]byte, 8<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		held = append(held, b)
	}
}

func describe(ctx context.Context) map[string]any {
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return map[string]any{
		"requestId":     lc.AwsRequestID,
		"functionArn":   lc.InvokedFunctionArn,
		"remainingMs":   time.Until(deadline).Milliseconds(),
		"traceId":       os.Getenv("_X_AMZN_TRACE_ID"),
		"clientContext": map[string]any{"custom": lc.ClientContext.Custom},
	}
}
