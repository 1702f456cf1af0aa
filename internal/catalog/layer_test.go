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
