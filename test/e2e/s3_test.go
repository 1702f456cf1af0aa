package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/artifact/s3test"
	"lambent.dev/lambent/test/harness"
)

// TestCodeFromS3 creates a function from an object of a real S3-compatible
// service that the configuration names.
func TestCodeFromS3(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an S3 service")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	url := s3test.Start(t)
	c := s3test.Client(url)
	s3test.Bucket(ctx, t, c, "code")
	binary := probe.Content(t)
	s3test.Object(ctx, t, c, "code", "probe.zip", harness.Zip(t, map[string]string{"bootstrap!": binary}))
	s := harness.Start(t, harness.Options{Config: fmt.Sprintf(
		"s3:\n  - bucket: code\n    endpoint: %s\n    access_key: %s\n    secret_key: %s\n    path_style: true\n", url, s3test.AccessKey, s3test.SecretKey)})

	create := func(name, key string) error {
		_, err := s.Lambda().CreateFunction(ctx, &lambda.CreateFunctionInput{
			FunctionName: &name, Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"), Role: aws.String(harness.Role),
			Code: &types.FunctionCode{S3Bucket: aws.String("code"), S3Key: &key},
		})
		return err
	}
	if err := create("from-s3", "probe.zip"); err != nil {
		t.Fatalf("%v\n%s", err, s.Stderr())
	}
	wantPayload(t, s.Invoke(t, "from-s3", `{"do":"echo"}`), `{"do":"echo"}`)
	var invalid *types.InvalidParameterValueException
	if err := create("nothing", "no-such-key.zip"); !errors.As(err, &invalid) {
		t.Errorf("create from a key that is not there: %v", err)
	}
}
