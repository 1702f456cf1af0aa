package relay

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// API is one of those by which an extension subscribes: by one of them only, as on AWS.
type API uint8

const (
	Telemetry API = iota
	Logs
)

func (a API) String() string { return [...]string{"Telemetry", "Logs"}[a] }

// event is the type of the event that tells of a subscription.
func (a API) event() string {
	return [...]string{"platform.telemetrySubscription", "platform.logsSubscription"}[a]
}

func (a API) closed(why string) *Refusal {
	return &Refusal{http.StatusForbidden, a.String() + ".SubscriptionClosed", a.String() + " API subscription " + why}
}

// Invalid refuses what is wrong with a subscription.
func (a API) Invalid(message string) *Refusal {
	kind := "ValidationError"
	if a == Logs {
		kind = "Logs.ValidationError"
	}
	return &Refusal{http.StatusBadRequest, kind, message}
}

// schemas are the versions of the events that can be asked for.
func (a API) schemas() []string {
	if a == Logs {
		return logsSchemas
	}
	return schemas
}

// MaxSubscription is the largest body of a subscription, in bytes.
const MaxSubscription = 64 << 10

// Refusal is why there is no subscription, as the extension is told.
type Refusal struct {
	Status        int
	Type, Message string
}

// Limits of a subscription's buffer (AWS Lambda developer guide, "Configuring memory
// usage and buffering").
const (
	minItems, maxItems     = 1000, 10000
	minBytes, maxBytes     = 256 << 10, 1 << 20
	minTimeout, maxTimeout = 25, 30000 // in milliseconds
	defaultTimeout         = 1000
)

// schemas are the versions of the Telemetry API's events. What differs is in members
// that extensions ignore where they do not know them.
var schemas = []string{"2022-07-01", "2022-12-13", "2025-01-29"}

// hosts are names of the instance in a destination.
var hosts = []string{"sandbox.localdomain", "sandbox"}

// subscription is what a subscriber wants.
type subscription struct {
	api     API
	schema  string
	kinds   [kinds]bool
	items   int
	bytes   int
	timeout time.Duration
	port    int
	url     string // of an HTTP listener; "" is lines of JSON over TCP
	method  string // by which it is told
}

func (s *subscription) types() []string {
	var names []string
	for k, on := range s.kinds {
		if on {
			names = append(names, kindNames[k])
		}
	}
	return names
}

// parse reads the body of a subscription. All that is wrong with it is said at once,
// as AWS does. Reserved is a port that is not the extension's.
func parse(api API, body []byte, reserved int) (subscription, *Refusal) {
	var in struct {
		Schema    string   `json:"schemaVersion"`
		Types     []string `json:"types"`
		Buffering struct {
			Items   *int `json:"maxItems"`
			Bytes   *int `json:"maxBytes"`
			Timeout *int `json:"timeoutMs"`
		} `json:"buffering"`
		Destination destination `json:"destination"`
	}
	if len(body) > MaxSubscription {
		return subscription{}, api.Invalid("the request is too large")
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return subscription{}, api.Invalid("failed to parse JSON: " + err.Error())
	}
	var wrong []string
	fail := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	number := func(name string, v *int, least, most, usual int) int {
		switch {
		case v == nil:
			return usual
		case *v < least || *v > most:
			fail("%s should be between %d and %d", name, least, most)
		}
		return *v
	}
	if api == Logs && in.Schema == "" {
		in.Schema = logsSchemas[0]
	}
	if known := api.schemas(); !slices.Contains(known, in.Schema) {
		fail("schemaVersion should be one of %s", strings.Join(known, ", "))
	}
	s := subscription{api: api, schema: in.Schema, method: http.MethodPost}
	s.deliverTo(in.Destination, fail)
	if s.port == reserved && reserved != 0 {
		fail("port %d is reserved", reserved)
	}
	for _, name := range in.Types {
		k := slices.Index(kindNames[:], name)
		if k < 0 {
			fail("types should be among %s", strings.Join(kindNames[:], ", "))
			break
		}
		s.kinds[k] = true
	}
	if len(in.Types) == 0 {
		fail("types should not be empty")
	}
	s.items = number("maxItems", in.Buffering.Items, minItems, maxItems, maxItems)
	s.bytes = number("maxBytes", in.Buffering.Bytes, minBytes, maxBytes, minBytes)
	s.timeout = time.Duration(number("timeoutMs", in.Buffering.Timeout, minTimeout, maxTimeout, defaultTimeout)) * time.Millisecond
	if len(wrong) > 0 {
		return subscription{}, api.Invalid(strings.Join(wrong, "; "))
	}
	return s, nil
}

// destination is a listener as a subscription names it.
type destination struct {
	Protocol string `json:"protocol"`
	URI      string `json:"URI"`
	Method   string `json:"method"`
	Port     int    `json:"port"`
}

// deliverTo checks where events are to go.
func (s *subscription) deliverTo(d destination, fail func(format string, args ...any)) {
	switch d.Protocol {
	case "HTTP":
		s.port, s.url = httpDestination(d.URI, fail)
		if s.api == Logs && d.Method == http.MethodPut {
			s.method = http.MethodPut
		}
	case "TCP":
		s.port = d.Port
		if s.port <= 0 || s.port > 65535 {
			fail("port is not provided")
		}
	default:
		fail("protocol should be HTTP or TCP")
	}
}

// httpDestination checks the URI of a listener: one inside the instance.
func httpDestination(uri string, fail func(format string, args ...any)) (port int, to string) {
	u, err := url.Parse(uri)
	switch {
	case uri == "":
		fail("URI is not provided")
	case err != nil:
		fail("URI is not valid")
	case u.Scheme != "http":
		fail("URI scheme should be http")
	case !slices.Contains(hosts, u.Hostname()):
		fail("URI host should be %s", hosts[0])
	case u.Port() == "":
		fail("URI port is not provided")
	default:
		port, err = strconv.Atoi(u.Port())
		if err != nil || port <= 0 || port > 65535 {
			fail("URI port is not valid")
		}
		u.User, u.Fragment, u.RawFragment = nil, "", ""
		return port, u.String()
	}
	return 0, ""
}
