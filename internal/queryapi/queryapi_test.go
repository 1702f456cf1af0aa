package queryapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
)

func TestSpeaks(t *testing.T) {
	form := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("Action=GetCallerIdentity"))
	targeted := httptest.NewRequest(http.MethodPost, "/", nil)
	targeted.Header.Set("X-Amz-Target", "Logs_20140328.GetLogEvents")
	if !Speaks(form) || Speaks(targeted) || Speaks(httptest.NewRequest(http.MethodGet, "/2015-03-31/functions", nil)) {
		t.Error("the dialect of a request is not told by its path and its target")
	}
}

func TestAnswers(t *testing.T) {
	said := func(result any, err error) Action {
		return func(context.Context, *Call) (any, error) { return result, err }
	}
	door := New(map[string]API{"one": {Namespace: "n:1", Actions: map[string]Action{
		"Nothing": said(nil, nil),
		"Names":   said(struct{ Names List[string] }{List[string]{[]string{"a<b"}}}, nil),
		"None":    said(struct{ Names List[string] }{}, nil),
		"Lost":    said(nil, &lambent.Error{Code: lambent.CodeNotFound, Message: "it is gone"}),
		"Full":    said(nil, &lambent.Error{Code: lambent.CodeConflict, Reason: "LimitExceeded", Message: "no more"}),
		"Broken":  said(nil, errors.New("the secret")),
	}}}, nil)
	for _, c := range []struct {
		service, form string
		status        int
		want          string
	}{
		{"one", "Action=Nothing", 200, `<NothingResponse xmlns="n:1"><ResponseMetadata><RequestId>`},
		{"one", "Action=Names", 200, `<NamesResult><Names><member>a&lt;b</member></Names></NamesResult>`},
		{"one", "Action=None", 200, `<NoneResult><Names></Names></NoneResult>`},
		{"one", "Action=Lost", 404, `<Type>Sender</Type><Code>NoSuchEntity</Code><Message>it is gone</Message>`},
		{"one", "Action=Full", 409, `<Code>LimitExceeded</Code>`},
		{"one", "Action=Broken", 500, `<Type>Receiver</Type><Code>InternalFailure</Code>`},
		{"one", "Action=Other", 501, `<Code>NotImplemented</Code><Message>one:Other is`},
		{"two", "Action=Nothing", 501, `<Code>NotImplemented</Code>`},
		{"one", "Action=%zz", 400, `<Code>MalformedQueryString</Code>`},
		{"one", "Action=Nothing&x=" + strings.Repeat("x", maxForm), 400, `<Code>MalformedQueryString</Code>`},
	} {
		r := httptest.NewRequestWithContext(auth.With(t.Context(), auth.Identity{Service: c.service}), http.MethodPost, "/", strings.NewReader(c.form))
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		text, err := io.ReadAll(w.Body)
		if err != nil || w.Code != c.status || !strings.Contains(string(text), c.want) || strings.Contains(string(text), "secret") ||
			!strings.HasSuffix(string(text), "Response>") {
			t.Errorf("%s %.20s: status %d, %v: %s", c.service, c.form, w.Code, err, text)
		}
	}
}

func TestList(t *testing.T) {
	for form, want := range map[string][]string{
		"": nil,
		"A.member.1.x=a&A.member.1.y=other&A.member.2.x=b": {"a", "b"},
		"A.member.10.x=b&A.member.9.x=a":                   {"a", "b"},
		"A.member.2.x=a&A.member.2000.x=b":                 {"a", "b"},
		"A.member.1.y=other":                               {""},
		"A.member=a&A=b&Ax.member.1.x=c&A.member.n.x=d":    {"d"},
	} {
		params, err := url.ParseQuery(form)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&Call{Params: params}).List("A.x"); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", form, got, want)
		}
	}
}
