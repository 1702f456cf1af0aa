// Command sdk-go is a function that does with the API what its event says, with SDK
// clients that are told nothing.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	api "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

type request struct {
	Do       string          `json:"do"`
	Function string          `json:"function"`
	Type     string          `json:"type"`
	Role     string          `json:"role"`
	Event    json.RawMessage `json:"event,omitempty"`
}

func main() { lambda.Start(handle) }

func handle(ctx context.Context, in request) (any, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the configuration: %w", err)
	}
	out, err := do(ctx, cfg, in)
	var refused smithy.APIError
	if errors.As(err, &refused) {
		return map[string]any{"code": refused.ErrorCode(), "message": refused.ErrorMessage(), "status": 403}, nil
	}
	return out, err
}

func do(ctx context.Context, cfg aws.Config, in request) (any, error) {
	client := api.NewFromConfig(cfg)
	switch in.Do {
	case "echo":
		return in, nil
	case "who":
		out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return nil, err
		}
		return *out.Arn, nil
	case "create":
		return client.CreateFunction(ctx, &api.CreateFunctionInput{
			FunctionName: aws.String("another"), Runtime: types.RuntimePython312, Handler: aws.String("a.b"), Role: &in.Role,
			Code: &types.FunctionCode{ZipFile: []byte("PK")},
		})
	}
	if in.Do == "loop" { // it calls itself, for ever
		again, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		in.Event = again
	}
	out, err := client.Invoke(ctx, &api.InvokeInput{FunctionName: &in.Function, InvocationType: types.InvocationType(in.Type), Payload: in.Event})
	if err != nil {
		return nil, err
	}
	if in.Do == "loop" {
		return json.RawMessage(out.Payload), nil
	}
	return map[string]any{"status": out.StatusCode, "payload": string(out.Payload), "error": aws.ToString(out.FunctionError)}, nil
}
