package compat

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

const javaApp = `public class App {
    public String handle(String event) { return "hello " + event; }
}
`

// TestSnapStart turns SnapStart on for a Java function: the published version is
// optimised once it has been prepared, not before, and the head never is.
func TestSnapStart(t *testing.T) {
	if _, err := exec.LookPath("javac"); err != nil {
		t.Skip("there is no Java compiler")
	}
	s := harness.Start(t, harness.Options{})
	dir := t.TempDir()
	source := filepath.Join(dir, "App.java")
	if err := os.WriteFile(source, []byte(javaApp), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("javac", "--release", "17", "-d", filepath.Join(dir, "classes"), source).CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, name := s.Lambda(), aws.String("snap")
	s.Create(t, harness.Function{Name: *name, Runtime: "java17", Handler: "App::handle", Zip: harness.ZipDir(t, filepath.Join(dir, "classes")), Memory: 512})
	made, err := c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: name, SnapStart: &types.SnapStart{ApplyOn: types.SnapStartApplyOnPublishedVersions},
	})
	if err != nil || made.SnapStart.OptimizationStatus != types.SnapStartOptimizationStatusOff {
		t.Fatalf("%+v, %v", made, err)
	}
	if err := lambda.NewFunctionUpdatedV2Waiter(c).Wait(ctx, &lambda.GetFunctionInput{FunctionName: name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	v, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: name})
	if err != nil {
		t.Fatal(err)
	}
	status := func(qualifier *string) types.SnapStartOptimizationStatus {
		t.Helper()
		got, err := c.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: name, Qualifier: qualifier})
		if err != nil {
			t.Fatalf("%v\n%s", err, s.Stderr())
		}
		return got.SnapStart.OptimizationStatus
	}
	for status(v.Version) != types.SnapStartOptimizationStatusOn {
		time.Sleep(50 * time.Millisecond)
	}
	if got := status(nil); got != types.SnapStartOptimizationStatusOff {
		t.Errorf("the head is %s", got)
	}
	out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name, Qualifier: v.Version, Payload: []byte(`"you"`)})
	if err != nil || out.FunctionError != nil || string(out.Payload) != `"hello you"` {
		t.Errorf("invoke: %+v, %v", out, err)
	}
	_, err = c.PutProvisionedConcurrencyConfig(ctx, &lambda.PutProvisionedConcurrencyConfigInput{
		FunctionName: name, Qualifier: v.Version, ProvisionedConcurrentExecutions: aws.Int32(1),
	})
	var invalid *types.InvalidParameterValueException
	if !errors.As(err, &invalid) {
		t.Errorf("provisioned concurrency with SnapStart: %v", err)
	}
}
