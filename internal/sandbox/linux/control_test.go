package linux

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimeapi"
	"lambent.dev/lambent/internal/sandbox"
)

// TestWhatDiffers: a blank that can do with it is told what differs from the environment
// that it has, and comes to the same.
func TestWhatDiffers(t *testing.T) {
	for name, c := range map[string]struct {
		had, env []string
		says     string // all that is sent
	}{
		"the same":  {[]string{"A=1", "B=2"}, []string{"B=2", "A=1"}, `{"gone":[],"env":{}}`},
		"one more":  {[]string{"A=1"}, []string{"A=1", "B=2"}, `{"gone":[],"env":{"B":"2"}}`},
		"one less":  {[]string{"A=1", "B=2"}, []string{"A=1"}, `{"gone":["B"],"env":{}}`},
		"another":   {[]string{"A=1", "AB=1"}, []string{"A=2", "AB=1"}, `{"gone":[],"env":{"A":"2"}}`},
		"a prefix":  {[]string{"A=1"}, []string{"AB=1", "ABC=1"}, `{"gone":["A"],"env":{"AB":"1","ABC":"1"}}`},
		"empty":     {[]string{"A="}, []string{"A=", "B="}, `{"gone":[],"env":{"B":""}}`},
		"all of it": {nil, []string{"A=1"}, `{"env":{"A":"1"}}`},
	} {
		message, err := environmentMessage(c.env, told{had: c.had})
		if err != nil || string(message[4:]) != c.says {
			t.Errorf("%s: %q, %v, want %q", name, message[4:], err, c.says)
		}
		var got struct {
			Env  map[string]string
			Gone []string
		}
		if err := json.Unmarshal(message[4:], &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		have := asMap(c.had)
		maps.DeleteFunc(have, func(name, _ string) bool { return slices.Contains(got.Gone, name) })
		maps.Copy(have, got.Env)
		if want := asMap(c.env); !maps.Equal(have, want) {
			t.Errorf("%s: the blank has %v, want %v", name, have, want)
		}
	}
}

// TestWhoseVariableCounts: the function's over the runtime's, in its place, and ours over
// both; a name that only begins alike is another one.
func TestWhoseVariableCounts(t *testing.T) {
	version := &lambent.Version{}
	for name, c := range map[string]struct{ runtime, own, want []string }{
		"none twice":   {[]string{"A=1"}, []string{"B=2"}, []string{"A=1", "B=2"}},
		"the function": {[]string{"A=1", "AB=2"}, []string{"C=3", "A=4", "ABC="}, []string{"A=4", "AB=2", "C=3", "ABC="}},
		"ours":         {[]string{"A=1"}, []string{"AWS_LAMBDA_RUNTIME_API=mine", "B=2"}, []string{"A=1", "", "B=2"}},
	} {
		b := &builder{spec: sandbox.Spec{Version: version, Env: c.own, Runtime: sandbox.Runtime{Env: c.runtime}}}
		const api = "AWS_LAMBDA_RUNTIME_API=" + runtimeAPIAddress
		if i := slices.Index(c.want, ""); i >= 0 {
			c.want[i] = api
		} else {
			c.want = append(c.want, api)
		}
		if got := b.environment(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func asMap(env []string) map[string]string {
	m := map[string]string{}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		m[name] = value
	}
	return m
}

// TestRuntimeAPIAfterTheWords: a request that is in the control socket already when the
// driver reads the last word goes to the Runtime API.
func TestRuntimeAPIAfterTheWords(t *testing.T) {
	for name, c := range map[string]struct {
		serves bool
		says   string
	}{
		"served":           {true, "LM\x00\x00\x00\x02[]"},
		"not served":       {false, "LM\x00\x00\x00\x02[]"},
		"no words of ours": {true, "LX"},
	} {
		control, far, err := newControl()
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		if _, err := far.WriteString(c.says + "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		i := &Instance{guest: &guest{control: control}, serves: c.serves, began: time.Now(), turned: make(chan struct{}),
			session: runtimeapi.NewSession(runtimeapi.Options{Log: verbose(t)})}
		i.follow()
		answer, err := io.ReadAll(far)
		want := c.serves && strings.HasPrefix(c.says, "LM")
		if served := err == nil && strings.HasPrefix(string(answer), "HTTP/1.1 "); served != want {
			t.Errorf("%s: %q, %v", name, answer, err)
		}
		i.session.Close()
	}
}
