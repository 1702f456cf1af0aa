package lambdaapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// The recordings are answers of AWS to a public test suite. They lie beside the
// repository and are not part of it; each is named by its test and step, and
// what the steps sent is in the scenarios of this package's other replay files.
const recordings = "shared/reference/aws-recorded/lambda_api.snapshot.json"

// mustMatch is how many answers matched when this number was last raised.
const mustMatch = 749

// session replays one recorded test against a server of its own.
type session struct {
	t        *testing.T
	handler  http.Handler
	catalog  *catalog.Catalog
	fn       string // the function's name
	recorded map[string]any
	done     map[string]bool   // steps that were replayed
	bound    map[string]string // placeholder -> what it stands for
	owner    map[string]string // value -> placeholder, where values are unique
	problems []string
	matched  int
	s3       map[string][]byte // "bucket/key" -> object
}

// send makes a call and gives the answer in the form of the recordings.
func (s *session) send(operation string, members m) m {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, request(operation, members))
	return s.answer(operation, w)
}

func (s *session) answer(operation string, w *httptest.ResponseRecorder) m {
	s.t.Helper()
	out := m{}
	if w.Body.Len() > 0 && operation != "Invoke" {
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			s.t.Fatalf("%s answers %d %q: %v", operation, w.Code, w.Body, err)
		}
	}
	if name := w.Header().Get("x-amzn-errortype"); name != "" {
		if operation == "Invoke" {
			_ = json.Unmarshal(w.Body.Bytes(), &out)
		}
		message := out["message"]
		if message == nil {
			message = out["Message"]
		}
		if _, modelled, _ := wire.LookupException(name); !modelled {
			out = m{}
		}
		out["Error"] = m{"Code": name, "Message": message}
	}
	if operation == "DeleteFunction" && w.Code < 300 {
		out["StatusCode"] = float64(w.Code)
	}
	out["ResponseMetadata"] = m{"HTTPHeaders": m{}, "HTTPStatusCode": float64(w.Code)}
	return out
}

// do replays a step and compares its answer.
func (s *session) do(step, operation string, members m) m {
	s.t.Helper()
	got := s.send(operation, members)
	s.compare(step, got)
	return got
}

// compare holds an answer against the recording of a step.
func (s *session) compare(step string, got any) {
	s.t.Helper()
	want, ok := s.recorded[step]
	if !ok {
		s.t.Errorf("there is no recorded step %q", step)
		return
	}
	s.done[step] = true
	bound, owner := maps.Clone(s.bound), maps.Clone(s.owner)
	diffs := s.diff(step, want, got)
	if len(diffs) == 0 {
		s.matched++
		return
	}
	s.bound, s.owner = bound, owner
	s.problems = append(s.problems, diffs...)
}

var placeholder = regexp.MustCompile(`<[a-z][a-zA-Z0-9_:()-]*>`)

// loose placeholders stand for something else each time.
var loose = map[string]bool{"<location>": true, "<layer-location>": true, "<code-size>": true}

func (s *session) diff(path string, want, got any) []string {
	switch want := want.(type) {
	case m:
		if text, ok := got.(string); ok {
			var v any
			if json.Unmarshal([]byte(text), &v) == nil {
				got = v
			}
		}
		g, ok := got.(m)
		if !ok {
			return []string{fmt.Sprintf("%s: want an object, got %v", path, got)}
		}
		if strings.HasSuffix(path, ".ResponseMetadata") { // some tests recorded headers
			want = m{"HTTPStatusCode": want["HTTPStatusCode"], "HTTPHeaders": m{}}
		}
		return s.diffObject(path, want, g)
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(want) {
			return []string{fmt.Sprintf("%s: want %d elements, got %v", path, len(want), got)}
		}
		var out []string
		for i := range want {
			out = append(out, s.diff(fmt.Sprintf("%s[%d]", path, i), want[i], g[i])...)
		}
		return out
	case string:
		return s.diffText(path, want, got)
	}
	if !reflect.DeepEqual(want, got) {
		return []string{fmt.Sprintf("%s: want %v, got %v", path, want, got)}
	}
	return nil
}

func (s *session) diffObject(path string, want, got m) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if _, ok := got[k]; !ok {
			out = append(out, fmt.Sprintf("%s.%s: want %v, got nothing", path, k, want[k]))
			continue
		}
		out = append(out, s.diff(path+"."+k, want[k], got[k])...)
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			out = append(out, fmt.Sprintf("%s.%s: want nothing, got %v", path, k, got[k]))
		}
	}
	return out
}

// diffText compares a text that may have placeholders. Each stands for one value
// within a test, and two revisions or hashes for two values.
func (s *session) diffText(path, want string, got any) []string {
	text := fmt.Sprint(got)
	if want == "date" && text != "" {
		return nil
	}
	if seconds, ok := got.(float64); ok && want == "datetime" && seconds > 1e9 && seconds < 1e10 {
		return nil // the suite's own client makes a time of it
	}
	expr, names, rest := `(?s)\A`, []string{}, want
	for loc := placeholder.FindStringIndex(rest); loc != nil; loc = placeholder.FindStringIndex(rest) {
		name := rest[loc[0]:loc[1]]
		expr += regexp.QuoteMeta(rest[:loc[0]])
		rest = rest[loc[1]:]
		if value, ok := s.bound[name]; ok {
			expr += regexp.QuoteMeta(value)
			continue
		}
		expr += "(.+?)"
		names = append(names, name)
	}
	found := regexp.MustCompile(expr + regexp.QuoteMeta(rest) + `\z`).FindStringSubmatch(text)
	if found == nil {
		return []string{fmt.Sprintf("%s: want %s, got %s", path, s.fill(want), text)}
	}
	for i, name := range names {
		if loose[name] {
			continue
		}
		value := found[i+1]
		if strings.HasPrefix(name, "<uuid:") || strings.HasPrefix(name, "<code-sha256:") {
			if other, taken := s.owner[value]; taken {
				return []string{fmt.Sprintf("%s: want a value that differs from %s, got the same", path, other)}
			}
			s.owner[value] = name
		}
		s.bound[name] = value
	}
	return nil
}

func (s *session) fill(text string) string {
	for name, value := range s.bound {
		text = strings.ReplaceAll(text, name, value)
	}
	return text
}

// settle lets the catalog work until nothing is pending.
func (s *session) settle(function string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	stopped := make(chan error, 1)
	go func() { stopped <- s.catalog.Run(ctx) }() // received below
	defer func() { cancel(); <-stopped }()
	for ctx.Err() == nil {
		items, _, err := s.catalog.Versions(account, function, "", 100)
		if err != nil {
			return
		}
		if !slices.ContainsFunc(items, func(v *lambent.Version) bool {
			return v.State == lambent.StatePending || v.UpdateStatus == lambent.UpdateInProgress
		}) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	s.t.Fatalf("%s does not settle", function)
}

// create makes a function as the suite's own client call does, with what the
// recorded answer shows of the request, and waits for it. A step of "" is
// neither recorded nor compared.
func (s *session) create(step string, members m) m {
	s.t.Helper()
	return s.made(step, members, m{"Handler": "index.handler"}, func(out m) any { return out })
}

// fixture is create through the suite's helper, which has other defaults and
// wraps the answer.
func (s *session) fixture(step string, members m) m {
	s.t.Helper()
	return s.made(step, members, m{"Handler": "handler.handler", "Timeout": 30, "Environment": m{"Variables": m{}}}, func(out m) any {
		if out["Error"] != nil {
			return out
		}
		return m{"CreateFunctionResponse": out, "CreateEventSourceMappingResponse": nil}
	})
}

func (s *session) made(step string, members, defaults m, wrap func(m) any) m {
	s.t.Helper()
	in := m{"FunctionName": s.fn, "Role": role, "Runtime": "python3.12"}
	maps.Copy(in, defaults)
	maps.Copy(in, members)
	if _, ok := in["Code"]; !ok {
		in["Code"] = m{"ZipFile": archive("index.py", "code of "+fmt.Sprint(in["FunctionName"]))}
	}
	out := s.send("CreateFunction", in)
	if step != "" {
		s.compare(step, wrap(out))
	} else if out["Error"] != nil {
		s.t.Fatalf("create: %v", out)
	}
	if name, ok := out["FunctionName"].(string); ok {
		s.settle(name)
	}
	return out
}

// pages collects all pages of a list, one item each, as the suite's paginator.
func (s *session) pages(step, operation, list string, members m) {
	s.t.Helper()
	all, in := []any{}, maps.Clone(members)
	in["MaxItems"] = 1
	for range 100 {
		out := s.send(operation, in)
		items, _ := out[list].([]any)
		all = append(all, items...)
		next, ok := out["NextMarker"]
		if !ok {
			break
		}
		in["Marker"] = next
	}
	s.compare(step, m{list: all})
}

type scenario func(s *session)

// TestReplay holds the door's answers against AWS's.
func TestReplay(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", recordings))
	if err != nil {
		t.Skipf("the recordings are not beside the repository: %v", err)
	}
	var tests map[string]struct {
		Content map[string]any `json:"recorded-content"`
	}
	if err := json.Unmarshal(raw, &tests); err != nil {
		t.Fatal(err)
	}
	scenarios := scenarios()
	sessions := map[string]*session{}
	t.Run("all", func(t *testing.T) { // ends when all of its parts have
		for full, test := range tests {
			_, name, _ := strings.Cut(full, "::")
			if run, ok := scenarios[name]; ok {
				sessions[name] = replay(t, name, test.Content, run)
			}
		}
	})
	matched, total := 0, 0
	var problems, uncovered []string
	for _, full := range slices.Sorted(maps.Keys(tests)) {
		_, name, _ := strings.Cut(full, "::")
		content := tests[full].Content
		if scenarios[name] == nil {
			if reason := outOfScope(name); reason == "" && len(content) > 0 {
				t.Errorf("%s is neither replayed nor out of scope", name)
			} else if len(content) > 0 {
				uncovered = append(uncovered, fmt.Sprintf("%s (%d answers): %s", name, len(content), reason))
			}
			continue
		}
		s := sessions[name]
		matched, total = matched+s.matched, total+len(content)
		for _, p := range s.problems {
			step, _, _ := strings.Cut(strings.TrimSpace(p), ":")
			step, _, _ = strings.Cut(step, ".")
			reason := accepted(name + "::" + step)
			if reason == "" {
				t.Errorf("%s::%s", name, p)
			}
			problems = append(problems, name+"::"+p+" ("+reason+")")
		}
		for _, step := range slices.Sorted(maps.Keys(content)) {
			if s.done[step] {
				continue
			}
			reason := unsent(name + "::" + step)
			if reason == "" {
				t.Errorf("%s::%s is not sent", name, step)
			}
			uncovered = append(uncovered, name+"::"+step+": "+reason)
			total--
		}
	}
	sort.Strings(uncovered)
	t.Logf("%d of %d recorded answers match", matched, total)
	t.Logf("mismatches:\n%s", strings.Join(problems, "\n"))
	t.Logf("not replayed:\n%s", strings.Join(uncovered, "\n"))
	if matched < mustMatch {
		t.Errorf("%d of %d recorded answers match, at least %d must", matched, total, mustMatch)
	}
}

// replay starts the replay of one test; it is over when t's parallel parts are.
func replay(t *testing.T, name string, content map[string]any, run scenario) *session {
	t.Helper()
	s := &session{
		t: t, fn: "fn-1a2b3c4d", recorded: content, done: map[string]bool{},
		bound: map[string]string{"<partition>": "aws", "<region>": region}, owner: map[string]string{}, s3: map[string][]byte{},
	}
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		s.t = t
		s.handler, s.catalog = server(t, s.s3)
		run(s)
	})
	return s
}
