package httpapi

import (
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/store"
)

func TestRoles(t *testing.T) {
	const account = auth.DefaultAccount
	room, err := iam.Open(t.Context(), iam.Options{Records: store.NewMemory(), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	r, ctx := newRigWith(t, func(o *Options) { o.Roles = room }), t.Context()
	r.publish(t)
	entry, err := r.catalog.Get(account, "hello", "")
	if err != nil {
		t.Fatal(err)
	}
	arn := entry.Version.Role
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	if all, err := r.Roles(ctx); err != nil || len(all) != 1 || all[0].ARN != arn || all[0].OnRecord || !slices.Equal(all[0].Functions, []string{"hello"}) {
		t.Errorf("without a role on record: %+v, %v", all, err)
	}
	made, err := room.CreateRole(ctx, iam.Role{
		Namespace: account, Path: "/", Name: "clerk", MaxSession: 3600, Boundary: "arn:aws:iam::aws:policy/AWSLambda_FullAccess",
		Trust: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*"}}`,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Role(ctx, "clerk")
	if err != nil || got.ARN != made.ARN() || !got.OnRecord || len(got.Functions) != 0 || len(got.Policies) != 1 ||
		got.Policies[0].Kind != "boundary" || len(got.Policies[0].Document) == 0 || len(got.Trust) == 0 {
		t.Errorf("a role: %+v, %v", got, err)
	}
	if _, err := r.Role(ctx, name+"x"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("a role that is not there: %v", err)
	}
	if p, err := r.Permission(ctx, "hello", "", "sts:GetCallerIdentity", ""); err != nil || !p.Allowed || p.Resource != "*" || p.Role != arn {
		t.Errorf("who it is: %+v, %v", p, err)
	}
	for _, action := range []string{"", "lambda", "lambda:*", "lambda:Get?"} {
		if _, err := r.Permission(ctx, "hello", "", action, ""); lambent.ReasonOf(err) != "InvalidAction" {
			t.Errorf("%q: %v", action, err)
		}
	}
	if _, err := r.Permission(ctx, "hello", "absent", "lambda:GetFunction", ""); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("an alias that is not there: %v", err)
	}
}
