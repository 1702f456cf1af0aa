package catalog

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"lambent.dev/lambent"
)

func (x *fixture) url(qualifier, auth string) *lambent.URL {
	x.t.Helper()
	u, err := x.CreateURL(x.t.Context(), lambent.URL{Namespace: ns, Function: "f", Qualifier: qualifier, AuthType: auth, CORS: &lambent.CORS{
		AllowOrigins: []string{"*"}, AllowMethods: []string{"GET"}, AllowHeaders: []string{}, MaxAge: 5,
	}})
	x.ok(err)
	return u
}

func TestURLLifecycle(t *testing.T) {
	x := withAlias(t)
	own, live := x.url("", "NONE"), x.url("live", "AWS_IAM")
	if len(own.ID) != 32 || strings.ToLower(own.ID) != own.ID || own.ID == live.ID || own.InvokeMode != "BUFFERED" {
		t.Errorf("made %+v and %+v", own, live)
	}
	for _, u := range []*lambent.URL{own, live} {
		if e := x.Entrance(u.ID); e == nil || e.URL != u {
			t.Errorf("the address of %q leads to %+v", u.Qualifier, e)
		}
		if e := x.EntranceOf(ns, "f", u.Qualifier); e == nil || e.URL != u {
			t.Errorf("%q leads to %+v", u.Qualifier, e)
		}
	}
	updated, err := x.UpdateURL(t.Context(), UpdateURL{Namespace: ns, Function: "f", InvokeMode: ptr("RESPONSE_STREAM")})
	x.ok(err)
	if updated.ID != own.ID || updated.AuthType != "NONE" || updated.CORS == nil || x.Entrance(own.ID).InvokeMode != "RESPONSE_STREAM" {
		t.Errorf("updated %+v", updated)
	}
	x.same()
	items, more, err := x.URLs(ns, "f", 0, 1)
	if err != nil || len(items) != 1 || !more || items[0].Qualifier != "" {
		t.Errorf("the first page is %v, %v, %v", items, more, err)
	}
	if items, more, err = x.URLs(ns, "f", 1, 1); err != nil || len(items) != 1 || more || items[0].Qualifier != "live" {
		t.Errorf("the second page is %v, %v, %v", items, more, err)
	}
	x.ok(x.DeleteURL(t.Context(), ns, "f", ""))
	x.ok(x.DeleteAlias(t.Context(), ns, "f", "live"))
	for _, u := range []*lambent.URL{own, live} {
		if x.Entrance(u.ID) != nil || x.EntranceOf(ns, "f", u.Qualifier) != nil {
			t.Errorf("the URL of %q outlives it", u.Qualifier)
		}
	}
	again := x.url("", "NONE")
	if again.ID == own.ID {
		t.Error("an address is used twice")
	}
	x.ok(x.DeleteFunction(t.Context(), ns, "f", ""))
	if x.Entrance(again.ID) != nil {
		t.Error("the URL outlives the function")
	}
}

func TestURLRefusals(t *testing.T) {
	x := withAlias(t)
	x.url("", "NONE")
	create := func(u lambent.URL) error {
		u.Namespace = ns
		_, err := x.CreateURL(t.Context(), u)
		return err
	}
	x.refused(create(lambent.URL{Function: "none", AuthType: "NONE"}), lambent.CodeNotFound, "Function does not exist")
	x.refused(create(lambent.URL{Function: "f", Qualifier: "none", AuthType: "NONE"}), lambent.CodeNotFound, "Function does not exist")
	x.refused(create(lambent.URL{Function: "f", Qualifier: "1", AuthType: "NONE"}), lambent.CodeNotFound, "Function does not exist")
	x.refused(create(lambent.URL{Function: "f", AuthType: "NONE"}), lambent.CodeConflict,
		"Failed to create function url config for [functionArn = A:function:f]. Error message:  FunctionUrlConfig exists for this Lambda function")
	for _, u := range []lambent.URL{
		{Function: "f", AuthType: "KEY"}, {Function: "f", AuthType: "NONE", InvokeMode: "FAST"},
		{Function: "f", AuthType: "NONE", CORS: &lambent.CORS{AllowMethods: []string{"OPTION"}}},
	} {
		if err := create(u); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%+v: %v", u, err)
		}
	}
	const missing = "The resource you requested does not exist."
	_, err := x.URL(ns, "f", "live")
	x.refused(err, lambent.CodeNotFound, missing)
	x.refused(x.DeleteURL(t.Context(), ns, "none", ""), lambent.CodeNotFound, missing)
	_, err = x.UpdateURL(t.Context(), UpdateURL{Namespace: ns, Function: "f", Qualifier: "live"})
	x.refused(err, lambent.CodeNotFound, missing)
	_, _, err = x.URLs(ns, "none", 0, 0)
	x.refused(err, lambent.CodeNotFound, "Function does not exist")
}

// Only a statement that says so to everybody, about this very URL, opens it.
func TestOpen(t *testing.T) {
	const f = policyARN
	for statement, open := range map[string]bool{
		`{"Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunctionUrl","Resource":"` + f + `"}`:                                                                                               true,
		`{"Effect":"Allow","Principal":"*","Action":"lambda:invokeFunctionUrl","Resource":"` + f + `","Condition":{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}}}`:                            true,
		`{"Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunctionUrl","Resource":"` + f + `","Condition":{"StringEquals":{"lambda:FunctionUrlAuthType":"AWS_IAM"}}}`:                         false,
		`{"Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunctionUrl","Resource":"` + f + `","Condition":{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE","aws:PrincipalOrgID":"o-1"}}}`: false,
		`{"Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunctionUrl","Resource":"` + f + `","Condition":{"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::b"}}}`:                                    false,
		`{"Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunction","Resource":"` + f + `"}`:                                                                                                  false,
		`{"Effect":"Deny","Principal":"*","Action":"lambda:InvokeFunctionUrl","Resource":"` + f + `"}`:                                                                                                false,
		`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:root"},"Action":"lambda:InvokeFunctionUrl","Resource":"` + f + `"}`:                                                          false,
		`{"Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunctionUrl","Resource":"` + f + `:live"}`:                                                                                          false,
		`{"Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunctionUrl","Resource":"` + f + `","Condition":7}`:                                                                                 false,
	} {
		x := withFunction(t)
		u := x.url("", "NONE")
		if x.Entrance(u.ID).Open {
			t.Fatal("it is open before anything says so")
		}
		_, err := x.AddStatement(t.Context(), f, Statement{Sid: "s", JSON: json.RawMessage(statement)}, "")
		x.ok(err)
		if got := x.Entrance(u.ID).Open; got != open {
			t.Errorf("%s opens it: %v", statement, got)
		}
		reopened, err := Open(t.Context(), x.options)
		x.ok(err)
		if got := reopened.Entrance(u.ID); got == nil || got.Open != open || !reflect.DeepEqual(got.URL, u) {
			t.Errorf("after a restart it is %+v, was %+v", got, u)
		}
		x.ok(x.RemoveStatement(t.Context(), f, "s", ""))
		if x.Entrance(u.ID).Open {
			t.Error("it stays open without the statement")
		}
	}
}

func withFunction(t *testing.T) *fixture {
	t.Helper()
	x := open(t)
	x.create("f")
	return x
}
