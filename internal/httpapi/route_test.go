package httpapi

import (
	"context"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/gateway/certs"
)

func TestRoutes(t *testing.T) {
	r := newRig(t)
	r.publish(t)
	put, err := r.PutRoutes(t.Context(), lambent.Route{Method: "GET", Path: "/a/{id}", Function: "hello", Access: "public", Request: []lambent.Mapping{{Do: "remove", In: "query", Name: "x"}}})
	if err != nil || len(put) != 1 || put[0].ID == "" || put[0].Created.IsZero() {
		t.Fatalf("put: %+v %v", put, err)
	}
	list, err := r.Routes(t.Context())
	if err != nil || len(list) != 1 || list[0].Path != "/a/{id}" || list[0].Request[0].Name != "x" {
		t.Fatalf("list: %+v %v", list, err)
	}
	if _, err := r.PutRoutes(t.Context()); lambent.CodeOf(err) != lambent.CodeInvalid {
		t.Errorf("none: %v", err)
	}
	if _, err := r.PutRoutes(t.Context(), lambent.Route{Path: "a", Function: "hello"}); lambent.CodeOf(err) != lambent.CodeInvalid || lambent.ReasonOf(err) != "InvalidRoute" {
		t.Errorf("bad: %v", err)
	}
	if err := r.DeleteRoute(t.Context(), put[0].ID); err != nil {
		t.Error(err)
	}
	if list, err := r.Routes(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("left: %+v %v", list, err)
	}
}

func TestAPIKeyIsShownOnce(t *testing.T) {
	r := newRig(t)
	made, err := r.CreateAPIKey(t.Context(), "mobile")
	if err != nil || made.Key == "" {
		t.Fatalf("create: %+v %v", made, err)
	}
	list, err := r.APIKeys(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "mobile" || list[0].Key != "" {
		t.Errorf("list: %+v %v", list, err)
	}
	if err := r.DeleteAPIKey(t.Context(), "mobile"); err != nil {
		t.Error(err)
	}
	if err := r.DeleteAPIKey(t.Context(), "mobile"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("delete again: %v", err)
	}
}

func TestDomainsNeedTLS(t *testing.T) {
	r := newRig(t)
	if _, err := r.Domains(t.Context()); lambent.CodeOf(err) != lambent.CodeUnsupported {
		t.Errorf("list: %v", err)
	}
	if _, err := r.PutDomain(t.Context(), "a.test", client.PutDomain{}); lambent.CodeOf(err) != lambent.CodeUnsupported {
		t.Errorf("put: %v", err)
	}
}

// files keeps certificates in files only.
type files struct{ *certs.Store }

func (f files) Put(_ context.Context, name string, chain, key []byte) (certs.Domain, error) {
	return f.Store.Put(name, chain, key)
}

func (f files) Issue(ctx context.Context, name string, _ bool) (certs.Domain, error) {
	return f.Store.Issue(ctx, name)
}

func (f files) Delete(_ context.Context, name string) error { return f.Store.Delete(name) }

func TestDomains(t *testing.T) {
	store, err := certs.Open(certs.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	r := newRigWith(t, func(o *Options) { o.Domains = files{store} })
	for in, want := range map[client.PutDomain]lambent.Code{
		{ACME: true}: lambent.CodeUnsupported, {OnDemand: true}: lambent.CodeInvalid, {ACME: true, Certificate: "x"}: lambent.CodeInvalid,
	} {
		if _, err := r.PutDomain(t.Context(), "a.test", in); lambent.CodeOf(err) != want {
			t.Errorf("%+v: %v", in, err)
		}
	}
	if _, err := r.PutDomain(t.Context(), "a.test", client.PutDomain{Certificate: "x", Key: "y"}); lambent.ReasonOf(err) != "InvalidCertificate" {
		t.Errorf("put: %v", err)
	}
	if err := r.DeleteDomain(t.Context(), "a.test"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("delete: %v", err)
	}
	if list, err := r.Domains(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list: %v %v", list, err)
	}
}
