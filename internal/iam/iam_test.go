package iam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/store/storetest"
	"lambent.dev/lambent/internal/store/storetest/postgres"
)

const (
	ns    = "000000000000"
	trust = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"lambda.amazonaws.com"}}}`
	f     = "arn:aws:lambda:us-east-1:000000000000:function:f"
)

// saying is a document of one statement for every resource.
func saying(effect, action string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"` + effect + `","Action":"` + action + `","Resource":"*"}}`
}

// by is a function that has a role.
func by(role string) Caller {
	return Caller{Account: ns, Role: role, ARN: "arn:aws:sts::" + ns + ":assumed-role/r/f"}
}

func open(t testing.TB, records store.Records) *Room {
	t.Helper()
	r, err := Open(context.Background(), Options{Records: records, Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func create(t testing.TB, r *Room, name string) *Role {
	t.Helper()
	v, err := r.CreateRole(context.Background(), Role{Namespace: ns, Path: "/", Name: name, Trust: trust, MaxSession: 3600}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// change changes a role in a way that must do.
func change(t testing.TB, r *Room, name string, apply func(v *Role)) {
	t.Helper()
	_, err := r.UpdateRole(context.Background(), ns, name, func(v *Role) error { apply(v); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

func TestDecide(t *testing.T) {
	r := open(t, store.NewMemory())
	arn := create(t, r, "Role").ARN()
	own, err := r.CreatePolicy(t.Context(), Policy{Namespace: ns, Path: "/", Name: "own"}, saying("Allow", "lambda:Get*"), nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, want bool) {
		t.Helper()
		if got := r.Decide(by(arn), "lambda:InvokeFunction", f); got.Allowed != want || !got.Known {
			t.Errorf("%s: %+v", when, got)
		}
	}
	check("without policies", false)
	change(t, r, "Role", func(v *Role) { v.Attach("arn:aws:iam::aws:policy/service-role/AWSLambdaRole") })
	check("with AWS's own", true)
	change(t, r, "Role", func(v *Role) { v.Boundary = own.ARN() })
	check("beyond a boundary", false)
	if _, err := r.UpdatePolicy(t.Context(), ns, own.ARN(), func(p *Policy) error { return p.Add(saying("Allow", "lambda:*"), p.Created, true) }); err != nil {
		t.Fatal(err)
	}
	check("within another version of it", true)
	change(t, r, "Role", func(v *Role) { v.Inline["no"] = saying("Deny", "lambda:*") })
	check("denied", false)
	change(t, r, "Role", func(v *Role) { delete(v.Inline, "no"); v.Boundary = "arn:aws:iam::aws:policy/Unknown" })
	check("within a boundary that is not known", false)
	change(t, r, "Role", func(v *Role) { v.Boundary = ""; v.Attached = []string{"arn:aws:iam::aws:policy/Unknown"} })
	check("with a policy that is not known", false)
	change(t, r, "Role", func(v *Role) { v.Attached = []string{"arn:aws:iam::aws:policy/AWSLambda_FullAccess"} })
	check("with all of Lambda", true)
	for action, want := range map[string]bool{"iam:PassRole": true, "iam:CreateRole": false} {
		if got := r.Decide(by(arn), action, arn); got.Allowed != want {
			t.Errorf("%s: %+v", action, got)
		}
	}
	for service, want := range map[string]bool{LambdaService: true, "scheduler.amazonaws.com": false} {
		if got := r.Passes(by(arn), arn, service); got.Allowed != want {
			t.Errorf("to %s: %+v", service, got)
		}
	}
	for _, other := range []string{"arn:aws:iam::000000000000:role/role", "arn:aws:iam::111111111111:role/Role", "arn:aws:iam::000000000000:role/x/Role", "Role"} {
		if got := r.Decide(by(other), "lambda:GetFunction", f); got.Allowed || got.Known {
			t.Errorf("%q is taken for the role", other)
		}
	}
}

func TestTrusts(t *testing.T) {
	r := open(t, store.NewMemory())
	arn := create(t, r, "r").ARN()
	check := func(when string, want bool) {
		t.Helper()
		if trusted, known := r.Trusts(arn, LambdaService, f); trusted != want || !known {
			t.Errorf("%s: trusted %v, known %v", when, trusted, known)
		}
	}
	check("Lambda", true)
	change(t, r, "r", func(v *Role) {
		v.Trust = strings.Replace(trust, `"Principal"`, `"Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:lambda:*:*:function:f"}},"Principal"`, 1)
	})
	check("Lambda for this function", true)
	change(t, r, "r", func(v *Role) { v.Trust = strings.Replace(trust, "lambda.", "ec2.", 1) })
	check("another service", false)
	if trusted, _ := r.Trusts(arn, "ec2.amazonaws.com", f); !trusted {
		t.Error("the service that it names may not")
	}
	if _, known := r.Trusts(arn, LambdaService, strings.Replace(f, ns, "111111111111", 1)); known {
		t.Error("a role is known to another account")
	}
	if _, known := r.Trusts(arn+"x", LambdaService, f); known {
		t.Error("a role that is not there is known")
	}
}

// What was written is there for the next server, and means the same.
func TestDurable(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { testDurable(t, "") })
	t.Run("PostgreSQL", func(t *testing.T) {
		testDurable(t, storetest.NewPostgres(t, postgres.WithoutFsync).URL("roles"))
	})
}

// testDurable has two servers use one store after another.
func testDurable(t *testing.T, url string) {
	o := store.Options{Dir: t.TempDir(), URL: url}
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, s)
	arn := create(t, r, "kept").ARN()
	create(t, r, "gone")
	p, err := r.CreatePolicy(t.Context(), Policy{Namespace: ns, Path: "/p/", Name: "own"}, saying("Allow", "lambda:InvokeFunction"), []Tag{{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	change(t, r, "kept", func(v *Role) { v.Attach(p.ARN()) })
	if err := r.DeleteRole(t.Context(), ns, "gone"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = store.Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r = open(t, s)
	if !r.Decide(by(arn), "lambda:InvokeFunction", f).Allowed {
		t.Error("a role lost its policy")
	}
	if _, err := r.Role(ns, "gone"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("a deleted role: %v", err)
	}
	change(t, r, "kept", func(v *Role) { v.Description = "of the second server" })
	if got, err := r.Policy(ns, p.ARN()); err != nil || got.Tags["a"] != "b" || got.ID != p.ID {
		t.Errorf("the policy is %+v, %v", got, err)
	}
}

func TestLimits(t *testing.T) {
	r := open(t, store.NewMemory())
	create(t, r, "r")
	long := strings.Repeat("x", 400)
	for want, apply := range map[string]func(v *Role) error{
		"Maximum policy size of 10240 bytes exceeded for role r": func(v *Role) error {
			for i := range 26 {
				v.Inline[fmt.Sprint(i)] = saying("Allow", "s3:"+long)
			}
			return nil
		},
		"Cannot exceed quota for PoliciesPerRole: 10": func(v *Role) error {
			for i := range 11 {
				v.Attach(fmt.Sprint("arn:aws:iam::aws:policy/p", i))
			}
			return nil
		},
		"Cannot exceed quota for ACLSizePerRole: 2048": func(v *Role) error {
			v.Trust = strings.Replace(trust, "lambda", strings.Repeat(long, 6), 1)
			return nil
		},
		"Cannot exceed quota for TagsPerRole: 50": func(v *Role) error {
			for i := range 51 {
				v.Tags[fmt.Sprint(i)] = ""
			}
			return nil
		},
		"1 validation error detected: Value at 'policyDocument' failed to satisfy constraint: Member must have length less than or equal to 131072": func(v *Role) error {
			v.Inline["space"] = saying("Allow", "s3:*") + strings.Repeat(" ", maxText)
			return nil
		},
		"1 validation error detected: Value at 'maxSessionDuration' failed to satisfy constraint: Member must have value less than or equal to 43200": func(v *Role) error {
			v.MaxSession = 43_201
			return nil
		},
		"1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 1000": func(v *Role) error {
			v.Description = strings.Repeat("x", 1001)
			return nil
		},
		"The specified value for policyName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-": func(v *Role) error {
			v.Inline["a/b"] = saying("Allow", "s3:*")
			return nil
		},
	} {
		if _, err := r.UpdateRole(t.Context(), ns, "r", apply); err == nil || err.Error() != want {
			t.Errorf("have %v\nwant %s", err, want)
		}
	}
	if v, err := r.Role(ns, "r"); err != nil || len(v.Inline)+len(v.Attached)+len(v.Tags) != 0 {
		t.Errorf("what was refused left %+v, %v", v, err)
	}
	for _, v := range []Role{{Name: ""}, {Name: strings.Repeat("x", 65)}, {Name: "a/b"}, {Name: "ok", Path: "no"}, {Name: "ok", Path: "/no"}, {Name: "ok", Path: "/ü/"}} {
		if v.Path == "" {
			v.Path = "/"
		}
		v.Namespace, v.Trust, v.MaxSession = ns, trust, 3600
		if _, err := r.CreateRole(t.Context(), v, nil); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("name %q, path %q: %v", v.Name, v.Path, err)
		}
	}
}

// A version of a policy is checked although it does not count yet, and a policy that
// is in use stays.
func TestManaged(t *testing.T) {
	r := open(t, store.NewMemory())
	create(t, r, "r")
	p, err := r.CreatePolicy(t.Context(), Policy{Namespace: ns, Path: "/", Name: "own"}, saying("Allow", "s3:*"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.UpdatePolicy(t.Context(), ns, p.ARN(), func(p *Policy) error { return p.Add("no", p.Created, false) }); lambent.ReasonOf(err) != "MalformedPolicyDocument" {
		t.Errorf("a bad version: %v", err)
	}
	change(t, r, "r", func(v *Role) { v.Boundary = p.ARN() })
	if err := r.DeletePolicy(t.Context(), ns, p.ARN()); lambent.ReasonOf(err) != "DeleteConflict" {
		t.Errorf("delete a boundary: %v", err)
	}
	for range 4 {
		if _, err := r.UpdatePolicy(t.Context(), ns, p.ARN(), func(p *Policy) error { return p.Add(saying("Deny", "s3:*"), p.Created, false) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.UpdatePolicy(t.Context(), ns, p.ARN(), func(p *Policy) error { return p.Add(saying("Deny", "s3:*"), p.Created, false) }); lambent.ReasonOf(err) != "LimitExceeded" {
		t.Errorf("a sixth version: %v", err)
	}
	if _, err := r.Policy("111111111111", p.ARN()); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("another namespace: %v", err)
	}
	if err := r.DeletePolicy(t.Context(), ns, "arn:aws:iam::aws:policy/AdministratorAccess"); lambent.ReasonOf(err) != "InvalidInput" {
		t.Errorf("delete AWS's own: %v", err)
	}
	if n := len(r.Amazons()); n < 10 {
		t.Errorf("%d policies of AWS's own", n)
	}
}

// broken fails when it is told to, after it has written or before.
type broken struct {
	store.Records
	before, after bool
}

func (b *broken) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	if b.before {
		return 0, errors.New("the disk is gone")
	}
	rev, err := b.Records.Commit(ctx, ops...)
	if b.after {
		return 0, errors.New("the connection is gone")
	}
	return rev, err
}

// After a failed write memory has what the store has, whether it was written or not.
func TestFailedWrite(t *testing.T) {
	b := &broken{Records: store.NewMemory()}
	r := open(t, b)
	create(t, r, "r")
	describe := func(text string) error {
		_, err := r.UpdateRole(t.Context(), ns, "r", func(v *Role) error { v.Description = text; return nil })
		return err
	}
	b.before = true
	if err := describe("lost"); lambent.CodeOf(err) != lambent.CodeUnavailable {
		t.Errorf("a write that failed: %v", err)
	}
	if v, err := r.Role(ns, "r"); err != nil || v.Description != "" {
		t.Errorf("memory has %+v, %v", v, err)
	}
	b.before, b.after = false, true
	if err := describe("kept"); lambent.CodeOf(err) != lambent.CodeUnavailable {
		t.Errorf("a write that failed: %v", err)
	}
	if v, err := r.Role(ns, "r"); err != nil || v.Description != "kept" {
		t.Errorf("memory has %+v, %v", v, err)
	}
	if err := r.DeleteRole(t.Context(), ns, "r"); lambent.CodeOf(err) != lambent.CodeUnavailable {
		t.Errorf("a write that failed: %v", err)
	}
	if _, err := r.Role(ns, "r"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("memory has a role that is gone: %v", err)
	}
}

// Changes at the same time are made one after the other, and none is lost.
func TestConcurrentChanges(t *testing.T) {
	r := open(t, store.NewMemory())
	arn := create(t, r, "r").ARN()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			_, err := r.UpdateRole(context.Background(), ns, "r", func(v *Role) error { v.Tags[fmt.Sprint(i)] = ""; return nil })
			if err != nil {
				t.Error(err)
			}
			r.Decide(by(arn), "lambda:InvokeFunction", f)
		})
	}
	all.Wait()
	if v, err := r.Role(ns, "r"); err != nil || len(v.Tags) != 20 {
		t.Errorf("%+v, %v", v, err)
	}
}

func BenchmarkDecide(b *testing.B) {
	r := open(b, store.NewMemory())
	arn := create(b, r, "r").ARN()
	change(b, r, "r", func(v *Role) {
		v.Attach("arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole")
		v.Attach("arn:aws:iam::aws:policy/service-role/AWSLambdaRole")
	})
	b.ReportAllocs()
	for b.Loop() {
		if !r.Decide(by(arn), "lambda:InvokeFunction", f).Allowed {
			b.Fatal("not allowed")
		}
	}
}
