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

// schemas are the versions of the events that can be asked for. What differs is in
// members that extensions ignore where they do not know them.
var schemas = []string{"2022-07-01", "2022-12-13", "2025-01-29"}

// hosts are names of the instance in a destination.
var hosts = []string{"sandbox.localdomain", "sandbox"}

// subscription is what a subscriber wants.
type subscription struct {
	kinds   [kinds]bool
	items   int
	bytes   int
	timeout time.Duration
	port    int
	url     string // of an HTTP listener; "" is lines of JSON over TCP
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
func parse(body []byte, reserved int) (subscription, *Refusal) {
	var in struct {
		Schema    string   `json:"schemaVersion"`
		Types     []string `json:"types"`
		Buffering struct {
			Items   *int `json:"maxItems"`
			Bytes   *int `json:"maxBytes"`
			Timeout *int `json:"timeoutMs"`
		} `json:"buffering"`
		Destination struct {
			Protocol string `json:"protocol"`
			URI      string `json:"URI"`
			Port     int    `json:"port"`
		} `json:"destination"`
	}
	if len(body) > MaxSubscription {
		return subscription{}, invalid("the request is too large")
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return subscription{}, invalid("failed to parse JSON: " + err.Error())
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
	if !slices.Contains(schemas, in.Schema) {
		fail("schemaVersion should be one of %s", strings.Join(schemas, ", "))
	}
	var s subscription
	switch in.Destination.Protocol {
	case "HTTP":
		s.port, s.url = httpDestination(in.Destination.URI, fail)
	case "TCP":
		s.port = in.Destination.Port
		if s.port <= 0 || s.port > 65535 {
			fail("port is not provided")
		}
	default:
		fail("protocol should be HTTP or TCP")
	}
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
		return subscription{}, invalid(strings.Join(wrong, "; "))
	}
	return s, nil
}

func invalid(message string) *Refusal {
	return &Refusal{http.StatusBadRequest, "ValidationError", message}
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
