package e2e

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lambent.dev/lambent/internal/image/imagetest"
	"lambent.dev/lambent/test/harness"
)

// TestFunctionFromImage makes a function of an image in a registry that asks for
// a login, calls it, gives it another image, and overrides what that starts.
func TestFunctionFromImage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	binary, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	registry := imagetest.Start(t)
	base := imagetest.Layer(t, [2]string{"etc/os-release", "NAME=Tiny\n"}, [2]string{"data/old", "old"}, [2]string{"data/kept", "kept"})
	code := imagetest.Layer(t, [2]string{"app/bin/serve!", string(binary)}, [2]string{"data/.wh.old", ""}, [2]string{"app/run", "->bin/serve"})
	config := v1.Config{Entrypoint: []string{"serve"}, WorkingDir: "/data", Env: []string{"PATH=/usr/bin:/app/bin", "FROM_IMAGE=yes", "GREETING=image"}}
	reference := registry.Push(t, "team/probe:1", imagetest.Image(t, runtime.GOARCH, config, base, code))

	s := harness.Start(t, harness.Options{Config: fmt.Sprintf(
		"registries:\n  - host: %s\n    username: %s\n    password: %s\n", registry.Host, imagetest.User, imagetest.Password)})
	c := s.Lambda()
	made, err := c.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("from-image"), PackageType: types.PackageTypeImage, Role: aws.String(harness.Role), Timeout: aws.Int32(10),
		Code: &types.FunctionCode{ImageUri: &reference}, Environment: &types.Environment{Variables: map[string]string{"GREETING": "function"}},
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, s.Stderr())
	}
	if made.State != types.StatePending || made.PackageType != types.PackageTypeImage || len(*made.CodeSha256) != 64 {
		t.Errorf("created: %s %s %s", made.State, made.PackageType, *made.CodeSha256)
	}
	active := lambda.NewFunctionActiveV2Waiter(c, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	})
	if err := active.Wait(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("from-image")}, time.Minute); err != nil {
		t.Fatalf("%v\n%s", err, s.Stderr())
	}
	wantPayload(t, s.Invoke(t, "from-image", `{"do":"echo"}`), `{"do":"echo"}`)

	got, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("from-image")})
	if err != nil {
		t.Fatal(err)
	}
	if l := got.Code; aws.ToString(l.ImageUri) != reference || aws.ToString(l.RepositoryType) != "ECR" ||
		aws.ToString(l.ResolvedImageUri) != strings.TrimSuffix(reference, ":1")+"@sha256:"+*made.CodeSha256 {
		t.Errorf("code: %+v", *l)
	}
}

// TestImagesThatCannotBeHad says why.
func TestImagesThatCannotBeHad(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	registry := imagetest.Start(t)
	layer := imagetest.Layer(t, [2]string{"bin/x!", "x"})
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	registry.Push(t, "foreign:1", imagetest.Image(t, other, v1.Config{Entrypoint: []string{"/bin/x"}}, layer))
	s := harness.Start(t, harness.Options{Config: fmt.Sprintf(
		"registries:\n  - host: %s\n    username: %s\n    password: %s\n", registry.Host, imagetest.User, imagetest.Password)})
	stranger := imagetest.Start(t) // whose login the server does not have

	for name, c := range map[string]struct{ reference, says string }{
		"missing": {registry.Host + "/nothing:1", "does not exist"},
		"foreign": {registry.Host + "/foreign:1", "is for " + other},
		"no name": {"Not A Reference", "is not valid"},
		"login":   {stranger.Host + "/private:1", "does not have permission"},
	} {
		_, err := s.Lambda().CreateFunction(ctx, &lambda.CreateFunctionInput{
			FunctionName: aws.String("bad"), PackageType: types.PackageTypeImage, Role: aws.String(harness.Role),
			Code: &types.FunctionCode{ImageUri: &c.reference},
		})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want one that says %q", name, err, c.says)
		}
	}
	var invalid *types.InvalidParameterValueException
	_, err := s.Lambda().CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("bad"), PackageType: types.PackageTypeImage, Role: aws.String(harness.Role), Runtime: types.RuntimePython312, Handler: aws.String("a.b"),
		Code: &types.FunctionCode{ImageUri: aws.String(registry.Host + "/foreign:1")},
	})
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "Please don't provide Handler or Runtime or Layer") {
		t.Errorf("with a runtime: %v", err)
	}
}
