// Package compat takes a function through its life with the AWS clients that
// people have, unmodified, against a started server: create, wait, invoke,
// update, publish, alias, layer, tag, log, delete.
package compat

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

const app = `
import os
try:
    from words import WORD
except ImportError:
    WORD = None

def handler(event, context):
    return {"event": event, "greeting": os.environ["GREETING"], "layer": WORD,
            "version": context.function_version, "arn": context.invoked_function_arn}
`

func codeZip(t *testing.T) []byte { return harness.Zip(t, map[string]string{"app.py": app}) }

func layerZip(t *testing.T) []byte {
	return harness.Zip(t, map[string]string{"python/words.py": "WORD = 'from the layer'\n"})
}

// files puts both archives where other programs can read them.
func files(t *testing.T) (code, layer string) {
	t.Helper()
	dir := t.TempDir()
	code, layer = filepath.Join(dir, "code.zip"), filepath.Join(dir, "layer.zip")
	if err := errors.Join(os.WriteFile(code, codeZip(t), 0o644), os.WriteFile(layer, layerZip(t), 0o644)); err != nil {
		t.Fatal(err)
	}
	return code, layer
}

// installed runs an installation once for the contents of a file and returns
// the directory it went to.
func installed(t *testing.T, name, file string, install func(dir string) *exec.Cmd) string {
	t.Helper()
	if testing.Short() {
		t.Skip("installs a client from its registry")
	}
	spec, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spec)
	dir := filepath.Join(harness.CacheDir(), name+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(filepath.Join(dir, "ready")); err == nil {
		return dir
	}
	_ = os.RemoveAll(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := install(dir).CombinedOutput(); err != nil {
		t.Fatalf("install %s: %v\n%s", name, err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "ready"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func python(t *testing.T) string {
	return installed(t, "boto3", "clients/boto3/requirements.txt", func(dir string) *exec.Cmd {
		return exec.Command("sh", "-ec", `python3 -m venv "$1" && "$1/bin/pip" install --quiet -r clients/boto3/requirements.txt`, "sh", dir)
	})
}

// walk runs a client's program against a server and expects it to print ok.
func walk(t *testing.T, s *harness.Server, dir string, program ...string) {
	t.Helper()
	code, layer := files(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program[0], append(program[1:], code, layer)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), s.AWSEnv()...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
		t.Errorf("%v: %v\n%s\nserver:\n%s", program, err, out, s.Stderr())
	}
}

func TestBoto3(t *testing.T) {
	venv := python(t)
	walk(t, harness.Start(t, harness.Options{}), ".", filepath.Join(venv, "bin", "python"), "clients/boto3/walk.py")
}

func TestAWSCLI(t *testing.T) {
	walk(t, harness.Start(t, harness.Options{}), ".", "clients/cli/walk.sh")
}

// javascript installs the SDK and returns where, and a program beside it, from
// where its modules are resolved.
func javascript(t *testing.T, name string) (dir, program string) {
	t.Helper()
	dir = installed(t, "javascript", "clients/javascript/package.json", func(dir string) *exec.Cmd {
		return exec.Command("sh", "-ec", `cp clients/javascript/package.json "$1" && cd "$1" && npm install --silent --no-audit --no-fund`, "sh", dir)
	})
	source, err := os.ReadFile(filepath.Join("clients/javascript", name))
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, name)
	if err := os.WriteFile(program, source, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, program
}

func TestJavaScriptSDK(t *testing.T) {
	dir, program := javascript(t, "walk.mjs")
	walk(t, harness.Start(t, harness.Options{}), dir, "node", program)
}

func TestGoSDK(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	c := s.Lambda()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	const name = "life-go"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	updated := func() {
		t.Helper()
		must(lambda.NewFunctionUpdatedV2Waiter(c, func(o *lambda.FunctionUpdatedV2WaiterOptions) {
			o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
		}).Wait(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(name)}, 30*time.Second))
	}
	invoke := func(qualifier *string) (*lambda.InvokeOutput, map[string]any) {
		t.Helper()
		out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(name), Qualifier: qualifier, Payload: []byte(`{"n":1}`)})
		must(err)
		var answer map[string]any
		must(json.Unmarshal(out.Payload, &answer))
		if out.FunctionError != nil {
			t.Fatalf("invoke: %s", out.Payload)
		}
		return out, answer
	}
	s.Create(t, harness.Function{Name: name, Runtime: "python3.11", Handler: "app.handler", Zip: codeZip(t), Env: map[string]string{"GREETING": "hello"}})
	if _, answer := invoke(nil); answer["greeting"] != "hello" {
		t.Errorf("answer %v", answer)
	}
	_, err := c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String(name),
		Environment: &types.Environment{Variables: map[string]string{"GREETING": "servus"}}})
	must(err)
	updated()
	if _, answer := invoke(nil); answer["greeting"] != "servus" {
		t.Errorf("answer after the update %v", answer)
	}
	v, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: aws.String(name)})
	must(err)
	_, err = c.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: aws.String(name), Name: aws.String("live"), FunctionVersion: v.Version})
	must(err)
	if out, _ := invoke(aws.String("live")); *out.ExecutedVersion != "1" {
		t.Errorf("executed version %s, want 1", *out.ExecutedVersion)
	}
	l, err := c.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{LayerName: aws.String("words-go"),
		Content: &types.LayerVersionContentInput{ZipFile: layerZip(t)}})
	must(err)
	_, err = c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String(name), Layers: []string{*l.LayerVersionArn}})
	must(err)
	updated()
	if _, answer := invoke(nil); answer["layer"] != "from the layer" {
		t.Errorf("answer with the layer %v", answer)
	}
	_, err = c.TagResource(ctx, &lambda.TagResourceInput{Resource: aws.String("arn:aws:lambda:us-east-1:000000000000:function:" + name), Tags: map[string]string{"team": "blue"}})
	must(err)
	got, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(name)})
	must(err)
	if got.Tags["team"] != "blue" {
		t.Errorf("tags %v", got.Tags)
	}
	_, err = c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: aws.String(name)})
	must(err)
	var missing *types.ResourceNotFoundException
	if _, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(name)}); !errors.As(err, &missing) {
		t.Errorf("after the delete: %v", err)
	}
}
