package compat

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

func TestBoto3Provisioned(t *testing.T) {
	venv := python(t)
	walk(t, harness.Start(t, harness.Options{}), ".", filepath.Join(venv, "bin", "python"), "clients/boto3/provision.py")
}

func TestAWSCLIProvisioned(t *testing.T) {
	walk(t, harness.Start(t, harness.Options{}), ".", "clients/cli/provision.sh")
}

// coldStarts are what the command line tells of a version, oldest first.
func coldStarts(t *testing.T, s *harness.Server, name string) []coldStart {
	t.Helper()
	stdout, stderr, err := s.CLI("", "coldstart", name, "--last", "50", "--json")
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	var out struct {
		ColdStarts []coldStart `json:"coldStarts"`
	}
	if err := json.Unmarshal([]byte(stdout), &out); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	return out.ColdStarts
}

// coldStart is what is looked at of one.
type coldStart struct {
	Ahead, Failure string
	TotalMS        float64 `json:"totalMs"`
	Stages         []struct {
		Name        string
		StartMS, MS float64
	}
}

// TestColdStartIsShown makes a cold start and looks at its stages.
func TestColdStartIsShown(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "cold", Runtime: "python3.11", Handler: "app.handler", Zip: codeZip(t), Env: map[string]string{"GREETING": "hello"}})
	if found := coldStarts(t, s, "cold"); len(found) != 0 {
		t.Errorf("before the first call: %+v", found)
	}
	for range 2 {
		stdout, stderr, err := s.CLI("", "coldstart", "cold", "--fresh")
		if err != nil || !strings.Contains(stdout, "\ninit ") {
			t.Errorf("%v: %s%s", err, stdout, stderr)
		}
	}
	found := coldStarts(t, s, "cold")
	if len(found) != 2 {
		t.Fatalf("%d cold starts, want 2", len(found))
	}
	for _, start := range found {
		stages := map[string]bool{}
		for _, span := range start.Stages {
			stages[span.Name] = true
			if span.StartMS < 0 || span.StartMS+span.MS > start.TotalMS+1 {
				t.Errorf("%+v is not within the %v ms of the cold start", span, start.TotalMS)
			}
		}
		for _, name := range []string{"sandbox", "code", "network", "runtime", "init"} {
			if !stages[name] {
				t.Errorf("stage %s was not timed: %+v", name, start)
			}
		}
	}
}

// TestProvisionedOutlivesTheServer is about the configuration and the instances
// after the server was killed.
func TestProvisionedOutlivesTheServer(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	name, qualifier := aws.String("kept"), aws.String("1")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Create(t, harness.Function{Name: *name, Runtime: "python3.11", Handler: "app.handler", Zip: codeZip(t), Env: map[string]string{"GREETING": "hello"}})
	c := s.Lambda()
	_, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: name})
	must(err)
	_, err = c.PutProvisionedConcurrencyConfig(ctx, &lambda.PutProvisionedConcurrencyConfigInput{
		FunctionName: name, Qualifier: qualifier, ProvisionedConcurrentExecutions: aws.Int32(2),
	})
	must(err)
	ready := func() {
		t.Helper()
		c := s.Lambda()
		for {
			got, err := c.GetProvisionedConcurrencyConfig(ctx, &lambda.GetProvisionedConcurrencyConfigInput{FunctionName: name, Qualifier: qualifier})
			must(err)
			if got.Status == types.ProvisionedConcurrencyStatusEnumReady {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name, Qualifier: qualifier, Payload: []byte("{}")})
		must(err)
		if out.FunctionError != nil {
			t.Errorf("the call failed: %s", out.Payload)
		}
		// Both instances were there before the call, and it made none.
		for _, start := range coldStarts(t, s, *name+":"+*qualifier) {
			if start.Ahead != "provisioned-concurrency" || start.Failure != "" {
				t.Errorf("cold start %+v", start)
			}
		}
		if n := len(coldStarts(t, s, *name+":"+*qualifier)); n != 2 {
			t.Errorf("%d cold starts, want 2", n)
		}
	}
	ready()
	s.Kill()
	s.Restart()
	ready()
	_, err = s.Lambda().DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name})
	must(err)
	for len(s.Instances()) > 0 && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	if left := s.Instances(); len(left) > 0 {
		t.Errorf("after the delete: %v", left)
	}
	var missing *types.ResourceNotFoundException
	_, err = s.Lambda().ListProvisionedConcurrencyConfigs(ctx, &lambda.ListProvisionedConcurrencyConfigsInput{FunctionName: name})
	if !errors.As(err, &missing) {
		t.Errorf("after the delete: %v", err)
	}
}
