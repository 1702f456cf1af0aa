package catalog

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

func (x *fixture) layer(account, name, code string) *lambent.LayerVersion {
	x.t.Helper()
	v, err := x.PublishLayer(x.t.Context(), PublishLayer{
		Namespace: account, Name: name, Runtimes: []string{"python3.12"}, Archs: []string{"x86_64"}, Source: artifact.Source{Zip: []byte(code)},
	})
	x.ok(err)
	return v
}

func (x *fixture) use(arns ...string) (*lambent.Version, error) {
	v, err := x.UpdateConfig(x.t.Context(), UpdateConfig{Namespace: ns, Function: "f", LayerARNs: &arns})
	x.settleAll()
	return v, err
}

func TestLayerLifecycle(t *testing.T) {
	x := open(t)
	_, err := x.Layer(ns, "deps", 0)
	x.refused(err, lambent.CodeInvalid, "Layer Version Cannot be less than 1")
	_, err = x.Layer(ns, "deps", 1)
	x.refused(err, lambent.CodeNotFound, "The resource you requested does not exist.")
	x.refused(x.DeleteLayer(t.Context(), ns, "deps", -1), lambent.CodeInvalid, "Layer Version Cannot be less than 1")
	x.ok(x.DeleteLayer(t.Context(), ns, "deps", 1))
	_, err = x.PublishLayer(t.Context(), PublishLayer{Namespace: ns, Name: "deps"})
	x.refused(err, lambent.CodeInvalid, "Please provide a source for layer content.")

	one, two := x.layer(ns, "deps", "one"), x.layer(ns, "deps", "two")
	if one.Number != 1 || two.Number != 2 || one.ARN(region) != "arn:aws:lambda:us-east-1:111111111111:layer:deps:1" {
		t.Errorf("published %+v, %+v", one, two)
	}
	x.create("f")
	v, err := x.use(one.ARN(region))
	x.ok(err)
	want := lambent.LayerRef{ARN: one.ARN(region), Digest: one.Digest, Size: one.Size, Unpacked: one.Unpacked}
	if len(v.Layers) != 1 || v.Layers[0] != want {
		t.Errorf("layers: %+v", v.Layers)
	}
	x.ok(x.DeleteLayer(t.Context(), ns, "deps", 1))
	x.ok(x.DeleteLayer(t.Context(), ns, "deps", 1))
	x.ok(x.DeleteLayer(t.Context(), ns, "deps", 2))
	if !x.Digests()[one.Digest] || x.Digests()[two.Digest] {
		t.Error("the used layer must live, the other one not")
	}
	x.describe("f", "keeps the deleted layer")
	if h := x.head("f"); len(h.Layers) != 1 {
		t.Errorf("layers: %+v", h.Layers)
	}
	if got, _ := x.LayerVersions(ns, "deps", "", "", "", 0); got != nil {
		t.Errorf("versions: %v", got)
	}
	if three := x.layer(ns, "deps", "three"); three.Number != 3 {
		t.Errorf("the version after two deleted ones is %d", three.Number)
	}
}

func TestLayersOfFunctions(t *testing.T) {
	x := open(t)
	x.create("f")
	one, two := x.layer(ns, "deps", "one").ARN(region), x.layer(ns, "deps", "two").ARN(region)
	big := x.layer(ns, "big", "big:layer").ARN(region)
	foreign := x.layer("222222222222", "deps", "theirs").ARN(region)
	for _, tt := range []struct {
		arns    []string
		code    lambent.Code
		message string
	}{
		{[]string{one, two}, lambent.CodeInvalid, "Two different versions of the same layer are not allowed to be referenced in the same function. A:layer:deps:1 and A:layer:deps:2 are versions of the same layer."},
		{[]string{one, one}, lambent.CodeInvalid, "Two different versions of the same layer are not allowed to be referenced in the same function. A:layer:deps:1 and A:layer:deps:1 are versions of the same layer."},
		{[]string{strings.Replace(one, ":1", ":9", 1)[:len(one)-1] + "9"}, lambent.CodeInvalid, ""},
		{[]string{"arn:aws:lambda:us-east-1:111111111111:layer:doesnotexist:1"}, lambent.CodeInvalid, "Layer version A:layer:doesnotexist:1 does not exist."},
		{[]string{"arn:aws:lambda:eu-north-1:111111111111:layer:deps:1"}, lambent.CodeInvalid, "Layers are not in the same region as the function. Layers are expected to be in region us-east-1."},
		{[]string{"arn:aws:lambda:us-east-1:111111111111:layer:deps"}, lambent.CodeInvalid, "Layer version A:layer:deps does not exist."},
		{[]string{foreign}, lambent.CodeDenied, "The account 111111111111 is not authorized to perform: lambda:GetLayerVersion on resource: " + foreign + " because no resource-based policy allows the lambda:GetLayerVersion action"},
		{make([]string, 6), lambent.CodeInvalid, "Cannot reference more than 5 layers."},
	} {
		_, err := x.use(tt.arns...)
		if tt.message == "" {
			if lambent.CodeOf(err) != tt.code {
				t.Errorf("%v: %v", tt.arns, err)
			}
			continue
		}
		x.refused(err, tt.code, tt.message)
	}
	_, err := x.use(one, big)
	x.ok(err)
	const tooLarge = "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. The actual size is 300000030 bytes."
	_, err = x.UpdateCode(t.Context(), UpdateCode{Namespace: ns, Function: "f", Source: artifact.Source{Zip: []byte("big:function")}})
	x.refused(err, lambent.CodeInvalid, tooLarge)
	_, err = x.use()
	x.ok(err)
	if h := x.head("f"); h.Layers != nil {
		t.Errorf("layers: %+v", h.Layers)
	}
	_, err = x.UpdateCode(t.Context(), UpdateCode{Namespace: ns, Function: "f", Source: artifact.Source{Zip: []byte("big:function")}})
	x.ok(err)
	x.settleAll()
	_, err = x.use(one, big)
	x.refused(err, lambent.CodeInvalid, tooLarge)
}

func TestLayerOfAnotherAccount(t *testing.T) {
	x := open(t)
	x.create("f")
	arn := x.layer("222222222222", "deps", "theirs").ARN(region)
	for i, tt := range []struct {
		statement string
		grants    bool
	}{
		{`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::333333333333:root"},"Action":"lambda:GetLayerVersion"}`, false},
		{`{"Effect":"Allow","Principal":"*","Action":"lambda:GetLayerVersion","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}}`, false},
		{`{"Effect":"Deny","Principal":"*","Action":"lambda:GetLayerVersion"}`, false},
		{`{"Effect":"Allow","Principal":{"AWS":["111111111111"]},"Action":"lambda:GetLayerVersion"}`, false},
		{`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"},"Action":"lambda:GetLayerVersion"}`, true},
		{`{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"lambda:GetLayerVersion"}`, true},
		{`{"Effect":"Allow","Principal":"*","Action":"lambda:GetLayerVersion"}`, true},
	} {
		sid := fmt.Sprint("s", i)
		_, err := x.AddStatement(t.Context(), arn, Statement{Sid: sid, JSON: json.RawMessage(tt.statement)}, "")
		x.ok(err)
		if _, err := x.use(arn); (err == nil) != tt.grants {
			t.Errorf("%s: %v", tt.statement, err)
		}
		x.ok(x.RemoveStatement(t.Context(), arn, sid, ""))
	}
}

func TestListLayers(t *testing.T) {
	x := open(t)
	publish := func(name string, runtimes, archs []string) {
		t.Helper()
		_, err := x.PublishLayer(t.Context(), PublishLayer{Namespace: ns, Name: name, Runtimes: runtimes, Archs: archs, Source: artifact.Source{Zip: []byte(name)}})
		x.ok(err)
	}
	publish("b", []string{"python3.12"}, []string{"x86_64"})
	publish("b", []string{"java21"}, []string{"x86_64", "arm64"})
	publish("b", nil, nil)
	publish("a", []string{"java21"}, nil)
	for _, tt := range []struct{ runtime, arch, layers, versions string }{
		{"", "", "a:1 b:3", "3 2 1"},
		{"java21", "", "a:1 b:2", "2"},
		{"python3.12", "", "b:1", "1"},
		{"", "x86_64", "b:2", "2 1"},
		{"java21", "arm64", "b:2", "2"},
		{"ruby3.4", "", "", ""},
	} {
		layers, versions := "", ""
		for after := ""; ; {
			page, next := x.Layers(ns, tt.runtime, tt.arch, after, 1)
			for _, v := range page {
				layers += fmt.Sprintf(" %s:%d", v.Name, v.Number)
			}
			if after = next; next == "" {
				break
			}
		}
		for after := ""; ; {
			page, next := x.LayerVersions(ns, "b", tt.runtime, tt.arch, after, 1)
			for _, v := range page {
				versions += fmt.Sprint(" ", v.Number)
			}
			if after = next; next == "" {
				break
			}
		}
		if strings.TrimSpace(layers) != tt.layers || strings.TrimSpace(versions) != tt.versions {
			t.Errorf("%q %q: layers%s, versions of b%s", tt.runtime, tt.arch, layers, versions)
		}
	}
}

func TestPolicies(t *testing.T) {
	x := open(t)
	const arn = "arn:aws:lambda:us-east-1:111111111111:function:f"
	st := func(sid string) Statement {
		return Statement{Sid: sid, JSON: json.RawMessage(`{"Sid":"` + sid + `","Effect":"Allow"}`)}
	}
	add := func(resource, sid, revision string) error {
		_, err := x.AddStatement(t.Context(), resource, st(sid), revision)
		return err
	}
	remove := func(resource, sid, revision string) error {
		return x.RemoveStatement(t.Context(), resource, sid, revision)
	}
	x.refused(add(arn, "s3", ""), lambent.CodeNotFound, "Function not found: A:function:f")
	x.refused(remove(arn, "s3", ""), lambent.CodeNotFound, "No policy found for: A:function:f")
	x.create("f")
	x.publishVersion("f")
	_, err := x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "live", Version: "1"})
	x.ok(err)
	head := x.head("f").RevisionID

	x.refused(add(arn+":$LATEST", "s3", ""), lambent.CodeInvalid, "We currently do not support adding policies for $LATEST.")
	x.refused(add(arn+":42", "s3", ""), lambent.CodeNotFound, "Function not found: A:function:f:42")
	x.refused(add(arn+":none", "s3", ""), lambent.CodeNotFound, "Cannot find alias arn: A:function:f:none")
	x.refused(add(arn+":valid-with-$-but", "s3", ""), lambent.CodeNotFound, "Function not found: A:function:f:valid-with-$-but")
	x.refused(remove(arn+":none", "s3", ""), lambent.CodeNotFound, "Cannot find alias arn: A:function:f:none")
	x.refused(remove(arn, "s3", ""), lambent.CodeNotFound, "No policy is associated with the given resource.")
	const mismatch = "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest Revision Id"
	x.refused(add(arn+":live", "s3", "wrong"), lambent.CodePrecondition, mismatch)
	x.ok(add(arn, "s3", head)) // none yet: the function's revision
	x.refused(add(arn, "s3", ""), lambent.CodeConflict, "The statement id (s3) provided already exists. Please provide a new statement id, or remove the existing statement.")
	x.refused(add(arn, "sqs", head), lambent.CodePrecondition, mismatch)
	p, ok := x.Policy(arn)
	if want := `{"Version":"2012-10-17","Id":"default","Statement":[{"Sid":"s3","Effect":"Allow"}]}`; !ok || p.Document() != want {
		t.Errorf("policy: %s", p.Document())
	}
	x.ok(add(arn, "sqs", p.RevisionID))
	x.ok(add(arn+":1", "s3", ""))
	x.ok(add(arn+":live", "s3", ""))
	if x.head("f").RevisionID != head {
		t.Error("a policy changed the function's revision")
	}
	x.refused(remove(arn, "none", ""), lambent.CodeNotFound, "Statement none is not found in resource policy.")
	x.refused(remove(arn, "sqs", p.RevisionID), lambent.CodePrecondition, mismatch)
	q, _ := x.Policy(arn)
	x.ok(remove(arn, "s3", q.RevisionID))
	if p, _ := x.Policy(arn); len(p.Statements) != 1 || p.Statements[0].Sid != "sqs" || p.RevisionID == q.RevisionID {
		t.Errorf("policy: %+v", p)
	}
	x.ok(remove(arn, "sqs", ""))
	for _, resource := range []string{arn, arn + ":2", "arn:aws:lambda:us-east-1:111111111111:function:none", "f", ""} {
		if p, ok := x.Policy(resource); ok {
			t.Errorf("%s has the policy %+v", resource, p)
		}
	}
	x.ok(x.DeleteAlias(t.Context(), ns, "f", "live"))
	x.ok(x.DeleteFunction(t.Context(), ns, "f", "1"))
	if _, ok := x.Policy(arn + ":live"); ok {
		t.Error("the policy outlives its alias")
	}
	if _, ok := x.Policy(arn + ":1"); ok {
		t.Error("the policy outlives its version")
	}
	x.refused(add("f", "s3", ""), lambent.CodeInvalid, "f is not the ARN of a function")
	_, err = x.AddStatement(t.Context(), arn, Statement{Sid: "s3", JSON: json.RawMessage(`{`)}, "")
	x.refused(err, lambent.CodeInvalid, "The statement is not valid JSON with a Sid")
	big := Statement{Sid: "big", JSON: json.RawMessage(`{"Sid":"` + strings.Repeat("x", lambent.MaxPolicy) + `"}`)}
	if _, err = x.AddStatement(t.Context(), arn, big, ""); lambent.ReasonOf(err) != "PolicyLengthExceeded" || lambent.CodeOf(err) != lambent.CodeTooLarge {
		t.Errorf("a large policy: %v", err)
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
