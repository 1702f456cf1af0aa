package lambdaapi_test

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/lambdaapi"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// progress is how far each qualifier has come, and which versions are optimised.
type progress struct {
	allocations map[string]lambent.Allocation
	optimised   map[string]bool
}

func (p progress) Allocation(of *lambent.Provisioned) (lambent.Allocation, bool) {
	a, ok := p.allocations[of.Qualifier]
	return a, ok
}

func (p progress) Optimized(v *lambent.Version) bool { return p.optimised[v.Number] }

// published is a server with versions 1 and 2 of the function f.
func published(t *testing.T, edit func(*lambdaapi.Options)) *session {
	t.Helper()
	o := rooms(t, nil)
	if edit != nil {
		edit(&o)
	}
	s := &session{t: t, fn: "f", handler: signed(o), catalog: o.Catalog}
	s.create("", nil)
	s.send("PublishVersion", m{"FunctionName": "f"})
	s.send("UpdateFunctionConfiguration", m{"FunctionName": "f", "Description": "two"})
	s.settle("f")
	s.send("PublishVersion", m{"FunctionName": "f"})
	return s
}

func TestProvisionedStatus(t *testing.T) {
	p := progress{allocations: map[string]lambent.Allocation{}}
	s := published(t, func(o *lambdaapi.Options) { o.Provisioner = p })
	put := m{"FunctionName": "f", "Qualifier": "1", "ProvisionedConcurrentExecutions": 3}
	get := m{"FunctionName": "f", "Qualifier": "1"}
	if out := s.send("PutProvisionedConcurrencyConfig", put); out["Status"] != "IN_PROGRESS" {
		t.Fatalf("put: %v", out)
	}
	for _, tt := range []struct {
		a              *lambent.Allocation
		status, reason any
	}{
		{nil, "IN_PROGRESS", nil},
		{&lambent.Allocation{Wanted: 3}, "IN_PROGRESS", nil},
		{&lambent.Allocation{Wanted: 3, Allocated: 3, Available: 2}, "IN_PROGRESS", nil},
		{&lambent.Allocation{Wanted: 3, Allocated: 3, Available: 3}, "READY", nil},
		{&lambent.Allocation{Wanted: 3, Allocated: 1, Available: 1, Failure: "FUNCTION_ERROR_INIT_FAILURE"}, "FAILED", "FUNCTION_ERROR_INIT_FAILURE"},
		{&lambent.Allocation{Wanted: 0}, "READY", nil}, // a window that asks for none
	} {
		var want lambent.Allocation
		if tt.a != nil {
			p.allocations["1"], want = *tt.a, *tt.a
		}
		out := s.send("GetProvisionedConcurrencyConfig", get)
		if out["Status"] != tt.status || out["StatusReason"] != tt.reason || out["RequestedProvisionedConcurrentExecutions"] != 3.0 ||
			out["AllocatedProvisionedConcurrentExecutions"] != float64(want.Allocated) || out["AvailableProvisionedConcurrentExecutions"] != float64(want.Available) {
			t.Errorf("%+v shows as %v", tt.a, out)
		}
		if _, err := time.Parse("2006-01-02T15:04:05-0700", out["LastModified"].(string)); err != nil {
			t.Error(err)
		}
	}
	// A later request begins with what is there, and is in progress again.
	p.allocations["1"] = lambent.Allocation{Wanted: 3, Allocated: 3, Available: 3}
	put["ProvisionedConcurrentExecutions"] = 4
	out := s.send("PutProvisionedConcurrencyConfig", put)
	if out["Status"] != "IN_PROGRESS" || out["AvailableProvisionedConcurrentExecutions"] != 3.0 || out["RequestedProvisionedConcurrentExecutions"] != 4.0 {
		t.Errorf("put again: %v", out)
	}
}

func TestProvisionedPages(t *testing.T) {
	s := published(t, nil)
	s.send("CreateAlias", m{"FunctionName": "f", "Name": "live", "FunctionVersion": "2"})
	for _, q := range []string{"1", "live"} {
		s.send("PutProvisionedConcurrencyConfig", m{"FunctionName": "f:" + q, "Qualifier": q, "ProvisionedConcurrentExecutions": 1})
	}
	var arns []string
	in := m{"FunctionName": "f", "MaxItems": 1}
	for range 3 {
		out := s.send("ListProvisionedConcurrencyConfigs", in)
		for _, item := range out["ProvisionedConcurrencyConfigs"].([]any) {
			arns = append(arns, item.(m)["FunctionArn"].(string))
		}
		if out["NextMarker"] == nil {
			break
		}
		in["Marker"] = out["NextMarker"]
	}
	want := []string{"arn:aws:lambda:us-east-1:111111111111:function:f:1", "arn:aws:lambda:us-east-1:111111111111:function:f:live"}
	if !slices.Equal(arns, want) {
		t.Errorf("listed %v, want %v", arns, want)
	}
	if out := s.send("GetProvisionedConcurrencyConfig", m{"FunctionName": "f:1", "Qualifier": "live"}); out["Error"] == nil {
		t.Errorf("qualifiers that differ: %v", out)
	}
}

// TestProvisionedBounds is about what the recordings of this door's tests leave out.
func TestProvisionedBounds(t *testing.T) {
	s := published(t, nil)
	put := func(n int) m {
		return s.send("PutProvisionedConcurrencyConfig", m{"FunctionName": "f", "Qualifier": "1", "ProvisionedConcurrentExecutions": n})
	}
	message := func(out m) any {
		e, _ := out["Error"].(m)
		return e["Message"]
	}
	s.send("PutFunctionConcurrency", m{"FunctionName": "f", "ReservedConcurrentExecutions": 5})
	if got := message(put(6)); got != "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function" {
		t.Errorf("more than reserved: %v", got)
	}
	put(5)
	out := s.send("PutFunctionConcurrency", m{"FunctionName": "f", "ReservedConcurrentExecutions": 4})
	if got := message(out); got != " ReservedConcurrentExecutions  4 should not be lower than function's total provisioned concurrency [5]." || out["Type"] != nil {
		t.Errorf("less than provisioned: %v", out)
	}
	s.send("DeleteFunctionConcurrency", m{"FunctionName": "f"})
	limit := s.send("GetAccountSettings", m{})["AccountLimit"].(m)
	if limit["UnreservedConcurrentExecutions"] != 995.0 {
		t.Errorf("account: %v", limit)
	}
	s.send("DeleteFunction", m{"FunctionName": "f"})
	if limit := s.send("GetAccountSettings", m{})["AccountLimit"].(m); limit["UnreservedConcurrentExecutions"] != 1000.0 {
		t.Errorf("account after the function: %v", limit)
	}
}

func TestSnapStartStatus(t *testing.T) {
	p := progress{optimised: map[string]bool{"2": true, lambent.Latest: true}}
	s := published(t, func(o *lambdaapi.Options) { o.Optimizer = p })
	if out := s.send("UpdateFunctionConfiguration", m{"FunctionName": "f", "SnapStart": m{"ApplyOn": "PublishedVersions"}}); out["Error"] != nil {
		t.Fatal(out)
	}
	s.settle("f")
	status := func(qualifier string) any {
		return s.send("GetFunctionConfiguration", m{"FunctionName": "f", "Qualifier": qualifier})["SnapStart"].(m)["OptimizationStatus"]
	}
	s.send("PublishVersion", m{"FunctionName": "f"})
	if got := status("3"); got != "Off" {
		t.Errorf("before it is prepared: %v", got)
	}
	p.optimised["3"] = true
	for qualifier, want := range map[string]string{"3": "On", "2": "Off", "1": "Off", lambent.Latest: "Off"} {
		if got := status(qualifier); got != want {
			t.Errorf("%s: %v, want %s", qualifier, got, want)
		}
	}
	out := s.send("PutProvisionedConcurrencyConfig", m{"FunctionName": "f", "Qualifier": "3", "ProvisionedConcurrentExecutions": 1})
	if e, _ := out["Error"].(m); e["Code"] != "InvalidParameterValueException" {
		t.Errorf("provisioned concurrency with SnapStart: %v", out)
	}
}

// TestOwnRuntimeNames makes sure that names which AWS does not have get past the
// model, and that those which nobody has do not.
func TestOwnRuntimeNames(t *testing.T) {
	door, _ := server(t, nil)
	for name, want := range map[string]int{"wasm": 201, "bash": 201, "php8.3": 201, "deno2": 201, "bun1": 201, "deno1": 400, "cobol": 400} {
		w := httptest.NewRecorder()
		door.ServeHTTP(w, request("CreateFunction", m{
			"FunctionName": strings.ReplaceAll(name, ".", "-"), "Role": role, "Runtime": name, "Handler": "x", "Code": m{"ZipFile": archive("x", "x")},
		}))
		if w.Code != want {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if err := wire.Validate(&wire.UpdateFunctionConfigurationRequest{FunctionName: new("f"), Runtime: new("deno2")}); err != nil {
		t.Error(err)
	}
}
