package relay

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	s, refused := parse(Telemetry, []byte(`{"schemaVersion":"2025-01-29","types":["platform","function"],
		"buffering":{"maxItems":1000,"maxBytes":1048576,"timeoutMs":25},
		"destination":{"protocol":"HTTP","URI":"http://me@sandbox.localdomain:8080/a/b?c#d"}}`), 9001)
	want := subscription{kinds: [kinds]bool{true, true, false}, items: 1000, bytes: 1 << 20, timeout: 25 * time.Millisecond,
		port: 8080, url: "http://sandbox.localdomain:8080/a/b?c", schema: "2025-01-29", method: "POST"}
	if refused != nil || s != want {
		t.Errorf("%+v, %+v; want %+v", s, refused, want)
	}
	s, refused = parse(Telemetry, []byte(`{"schemaVersion":"2022-07-01","types":["extension"],"destination":{"protocol":"HTTP","URI":"http://sandbox:1"}}`), 9001)
	if refused != nil || s.items != 10000 || s.bytes != 262144 || s.timeout != time.Second {
		t.Errorf("without buffering: %+v, %+v", s, refused)
	}
}

// TestRefusals: what AWS's guide says is refused, in its words where it gives them.
func TestRefusals(t *testing.T) {
	for body, want := range map[string]string{
		`{`:  "failed to parse JSON: unexpected end of JSON input",
		`[]`: "failed to parse JSON: json: cannot unmarshal array into Go value of type struct",
		`{"schemaVersion":"2022-12-13","types":[],"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain"}}`: "URI port is not provided; types should not be empty",
		`{"types":["platform"]}`: "schemaVersion should be one of 2022-07-01, 2022-12-13, 2025-01-29; protocol should be HTTP or TCP",
		`{"schemaVersion":"2022-12-13","types":["platform","all"],"destination":{"protocol":"TCP"}}`: "port is not provided; types should be among platform, function, extension",
		with(`"timeoutMs":24`):                 "timeoutMs should be between 25 and 30000",
		with(`"timeoutMs":30001`):              "timeoutMs should be between 25 and 30000",
		with(`"maxItems":999`):                 "maxItems should be between 1000 and 10000",
		with(`"maxItems":10001`):               "maxItems should be between 1000 and 10000",
		with(`"maxBytes":262143`):              "maxBytes should be between 262144 and 1048576",
		with(`"maxBytes":1048577`):             "maxBytes should be between 262144 and 1048576",
		to("https://sandbox:1"):                "URI scheme should be http",
		to("http://127.0.0.1:1"):               "URI host should be sandbox.localdomain",
		to("http://10.0.0.1:1"):                "URI host should be sandbox.localdomain",
		to("http://sandbox.evil.io:1"):         "URI host should be sandbox.localdomain",
		to("http://sandbox:0"):                 "URI port is not valid",
		to("http://sandbox:65536"):             "URI port is not valid",
		to("http://sandbox:9001"):              "port 9001 is reserved",
		to("http://sandbox:x"):                 "URI is not valid",
		to(""):                                 "URI is not provided",
		strings.Repeat(" ", MaxSubscription+1): "the request is too large",
	} {
		_, refused := parse(Telemetry, []byte(body), 9001)
		if refused == nil || refused.Status != 400 || refused.Type != "ValidationError" || !strings.HasPrefix(refused.Message, want) {
			t.Errorf("%.120s: %+v, want %s", body, refused, want)
		}
	}
}

func with(buffering string) string {
	return `{"schemaVersion":"2022-12-13","types":["platform"],"buffering":{` + buffering + `},"destination":{"protocol":"HTTP","URI":"http://sandbox:1"}}`
}

func to(uri string) string {
	return `{"schemaVersion":"2022-12-13","types":["platform"],"destination":{"protocol":"HTTP","URI":"` + uri + `"}}`
}

// FuzzParse: whatever an extension sends is refused with a message, or leads to a port
// of its own and to bounds that AWS allows.
func FuzzParse(f *testing.F) {
	for _, body := range []string{
		`{}`, with(`"maxItems":1000,"maxBytes":300000,"timeoutMs":1000`), to("http://sandbox.localdomain:8080/a?b#c"), to("http://sandbox:80@evil:1"),
		`{"schemaVersion":"2022-12-13","types":["function"],"destination":{"protocol":"TCP","port":1}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, refused := parse(Telemetry, body, 9001)
		if refused != nil {
			if refused.Message == "" || refused.Status != 400 {
				t.Errorf("%q: %+v", body, refused)
			}
			return
		}
		if s.port < 1 || s.port > 65535 || s.port == 9001 || s.items < minItems || s.items > maxItems || s.bytes < minBytes || s.bytes > maxBytes ||
			s.timeout < minTimeout*time.Millisecond || s.timeout > maxTimeout*time.Millisecond || len(s.types()) == 0 {
			t.Errorf("%q: %+v", body, s)
		}
		if s.url != "" {
			u, err := url.Parse(s.url)
			if err != nil || u.Scheme != "http" || u.Hostname() != "sandbox" && u.Hostname() != "sandbox.localdomain" || u.User != nil {
				t.Errorf("%q leads to %q: %v", body, s.url, err)
			}
		}
		if _, err := json.Marshal(s.types()); err != nil {
			t.Error(err)
		}
	})
}
