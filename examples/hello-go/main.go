// Answers with a greeting and with where it ran.
package main

import (
	"context"
	"runtime"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Name string `json:"name"`
}

type answer struct {
	Message string `json:"message"`
	Go      string `json:"go"`
	Request string `json:"request"`
}

func handle(ctx context.Context, e event) (answer, error) {
	if e.Name == "" {
		e.Name = "stranger"
	}
	lc, _ := lambdacontext.FromContext(ctx) // always there
	return answer{Message: "Hello, " + e.Name + "!", Go: runtime.Version(), Request: lc.AwsRequestID}, nil
}

func main() { lambda.Start(handle) }
