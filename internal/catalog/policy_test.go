package catalog

import (
	"encoding/json"
	"strings"
	"testing"

	"lambent.dev/lambent"
)

const policyARN = "arn:aws:lambda:us-east-1:111111111111:function:f"

func (x *fixture) addStatement(resource, sid, revision string) error {
	_, err := x.AddStatement(x.t.Context(), resource, Statement{Sid: sid, JSON: json.RawMessage(`{"Sid":"` + sid + `","Effect":"Allow"}`)}, revision)
	return err
}

func (x *fixture) removeStatement(resource, sid, revision string) error {
	return x.RemoveStatement(x.t.Context(), resource, sid, revision)
}

// withAlias has a function with version 1 and the alias live of it.
func withAlias(t *testing.T) *fixture {
	t.Helper()
	x := open(t)
	x.create("f")
	x.publishVersion("f")
	_, err := x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "live", Version: "1"})
	x.ok(err)
	return x
}

func TestPolicyRefusals(t *testing.T) {
	x := withAlias(t)
	none := strings.TrimSuffix(policyARN, "f") + "none"
	x.refused(x.addStatement(none, "s3", ""), lambent.CodeNotFound, "Function not found: A:function:none")
	x.refused(x.removeStatement(none, "s3", ""), lambent.CodeNotFound, "No policy found for: A:function:none")
	x.refused(x.addStatement(policyARN+":$LATEST", "s3", ""), lambent.CodeInvalid, "We currently do not support adding policies for $LATEST.")
	x.refused(x.addStatement(policyARN+":42", "s3", ""), lambent.CodeNotFound, "Function not found: A:function:f:42")
	x.refused(x.addStatement(policyARN+":none", "s3", ""), lambent.CodeNotFound, "Cannot find alias arn: A:function:f:none")
	x.refused(x.addStatement(policyARN+":valid-with-$-but", "s3", ""), lambent.CodeNotFound, "Function not found: A:function:f:valid-with-$-but")
	x.refused(x.removeStatement(policyARN+":none", "s3", ""), lambent.CodeNotFound, "Cannot find alias arn: A:function:f:none")
	x.refused(x.removeStatement(policyARN, "s3", ""), lambent.CodeNotFound, "No policy is associated with the given resource.")
	x.refused(x.addStatement("f", "s3", ""), lambent.CodeInvalid, "f is not the ARN of a function")
	_, err := x.AddStatement(t.Context(), policyARN, Statement{Sid: "s3", JSON: json.RawMessage(`{`)}, "")
	x.refused(err, lambent.CodeInvalid, "The statement is not valid JSON with a Sid")
	big := Statement{Sid: "big", JSON: json.RawMessage(`{"Sid":"` + strings.Repeat("x", lambent.MaxPolicy) + `"}`)}
	if _, err = x.AddStatement(t.Context(), policyARN, big, ""); lambent.ReasonOf(err) != "PolicyLengthExceeded" || lambent.CodeOf(err) != lambent.CodeTooLarge {
		t.Errorf("a large policy: %v", err)
	}
	for _, resource := range []string{policyARN, policyARN + ":2", none, "f", ""} {
		if p, ok := x.Policy(resource); ok {
			t.Errorf("%s has the policy %+v", resource, p)
		}
	}
}

func TestPolicyLifecycle(t *testing.T) {
	x := withAlias(t)
	head := x.head("f").RevisionID
	const mismatch = "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest Revision Id"
	x.refused(x.addStatement(policyARN+":live", "s3", "wrong"), lambent.CodePrecondition, mismatch)
	x.ok(x.addStatement(policyARN, "s3", head)) // none yet: the function's revision
	x.refused(x.addStatement(policyARN, "s3", ""), lambent.CodeConflict,
		"The statement id (s3) provided already exists. Please provide a new statement id, or remove the existing statement.")
	x.refused(x.addStatement(policyARN, "sqs", head), lambent.CodePrecondition, mismatch)
	p, ok := x.Policy(policyARN)
	if want := `{"Version":"2012-10-17","Id":"default","Statement":[{"Sid":"s3","Effect":"Allow"}]}`; !ok || p.Document() != want {
		t.Errorf("policy: %s", p.Document())
	}
	x.ok(x.addStatement(policyARN, "sqs", p.RevisionID))
	x.ok(x.addStatement(policyARN+":1", "s3", ""))
	x.ok(x.addStatement(policyARN+":live", "s3", ""))
	if x.head("f").RevisionID != head {
		t.Error("a policy changed the function's revision")
	}
	x.refused(x.removeStatement(policyARN, "none", ""), lambent.CodeNotFound, "Statement none is not found in resource policy.")
	x.refused(x.removeStatement(policyARN, "sqs", p.RevisionID), lambent.CodePrecondition, mismatch)
	q, _ := x.Policy(policyARN)
	x.ok(x.removeStatement(policyARN, "s3", q.RevisionID))
	if p, _ := x.Policy(policyARN); len(p.Statements) != 1 || p.Statements[0].Sid != "sqs" || p.RevisionID == q.RevisionID {
		t.Errorf("policy: %+v", p)
	}
	x.ok(x.removeStatement(policyARN, "sqs", ""))
	if _, ok := x.Policy(policyARN); ok {
		t.Error("the policy outlives its last statement")
	}
	x.ok(x.DeleteAlias(t.Context(), ns, "f", "live"))
	x.ok(x.DeleteFunction(t.Context(), ns, "f", "1"))
	if _, ok := x.Policy(policyARN + ":live"); ok {
		t.Error("the policy outlives its alias")
	}
	if _, ok := x.Policy(policyARN + ":1"); ok {
		t.Error("the policy outlives its version")
	}
}

func TestLayerPolicies(t *testing.T) {
	x := open(t)
	const none = "arn:aws:lambda:us-east-1:111111111111:layer:deps:2"
	arn := x.layer(ns, "deps", "one").ARN(region)
	st := Statement{Sid: "s1", JSON: json.RawMessage(`{}`)}
	_, err := x.AddStatement(t.Context(), none, st, "")
	x.refused(err, lambent.CodeNotFound, "Layer version A:layer:deps:2 does not exist.")
	x.refused(x.RemoveStatement(t.Context(), none, "s1", ""), lambent.CodeNotFound, "Layer version A:layer:deps:2 does not exist.")
	p, err := x.AddStatement(t.Context(), arn, st, "")
	x.ok(err)
	const mismatch = "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the latest Revision Id"
	_, err = x.AddStatement(t.Context(), arn, Statement{Sid: "s2", JSON: json.RawMessage(`{}`)}, "wrong")
	x.refused(err, lambent.CodePrecondition, mismatch)
	x.refused(x.RemoveStatement(t.Context(), arn, "s1", "wrong"), lambent.CodePrecondition, mismatch)
	x.refused(x.RemoveStatement(t.Context(), arn, "s2", ""), lambent.CodeNotFound, "Statement s2 is not found in resource policy.")
	if got, ok := x.Policy(arn); !ok || got.RevisionID != p.RevisionID {
		t.Errorf("policy: %+v, %v", got, ok)
	}
	x.ok(x.DeleteLayer(t.Context(), ns, "deps", 1))
	if _, ok := x.Policy(arn); ok {
		t.Error("the policy outlives its layer version")
	}
}

func FuzzParseResource(f *testing.F) {
	f.Add(policyARN + ":live")
	f.Fuzz(func(t *testing.T, s string) {
		at, err := parseResource(s)
		if err != nil {
			return
		}
		if len(at.id.ns) != 12 || !lambent.ValidName(at.id.name) || at.layer < 0 || at.layer > 0 && at.qualifier != "" {
			t.Fatalf("%q: accepted %+v", s, at)
		}
	})
}

func FuzzGrants(f *testing.F) {
	f.Add(`{"AWS":"arn:aws:iam::111111111111:root"}`)
	f.Fuzz(func(t *testing.T, s string) {
		if grants(json.RawMessage(s), "999999999999") && !strings.ContainsAny(s, `*9\`) {
			t.Fatalf("%q grants to an account that it does not name", s)
		}
	})
}
