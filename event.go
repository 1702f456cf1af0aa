package lambent

import (
	"net/url"
	"strings"
	"time"
)

// EventConfig says what becomes of the asynchronous calls of a version or an
// alias: how often they are tried, for how long, and who is told of their end.
type EventConfig struct {
	Namespace string
	Function  string
	Qualifier string // [Latest], a published version's number or an alias
	// MaxRetries is how often a call that failed is tried again; nil is
	// [DefaultRetries].
	MaxRetries *int
	// MaxAge is how old an event may be when it is tried; 0 is [DefaultEventAge].
	MaxAge    time.Duration
	OnSuccess Destination
	OnFailure Destination
	// Rules go before MaxRetries: the first one whose pattern fits the error holds.
	Rules        []RetryRule
	LastModified time.Time
}

// RetryRule says how a call is tried again after a function error of a kind. It
// is ours: AWS has one rule for all errors.
type RetryRule struct {
	// Error is a pattern for the error's type, in which * is any text; "" is any.
	Error      string
	MaxRetries int
	Delay      time.Duration // before the first retry
	Factor     float64       // by which the delay grows each time; 1 where it is 0
	MaxDelay   time.Duration // 0 is no bound
	Jitter     float64       // share of the delay, 0 to 1, that is drawn at random
}

// Matches tells whether the rule is for an error of this type.
func (r RetryRule) Matches(errorType string) bool {
	return r.Error == "" || glob(r.Error, errorType)
}

// glob tells whether s fits a pattern in which * is any text.
func glob(pattern, s string) bool {
	head, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}

// Destination is where the record of an asynchronous call goes when it has ended.
type Destination struct {
	// ARN is of a function, a queue, a topic, a bucket or an event bus, or of an
	// HTTP endpoint: [HTTPDestination] and its URL. "" is no destination.
	ARN string
	// Secret is the key that records for an HTTP endpoint are signed with.
	Secret string
}

// HTTPDestination is what the ARN of an HTTP endpoint begins with. AWS has none;
// the form is one that its clients let pass.
const HTTPDestination = "arn:aws:lambent:::"

// Service is the part of the ARN that names what it leads to: "lambda", "sqs",
// "sns", "s3", "events", or "lambent" for an HTTP endpoint.
func (d Destination) Service() string {
	parts := strings.SplitN(d.ARN, ":", 4)
	if len(parts) < 4 || parts[0] != "arn" {
		return ""
	}
	return parts[2]
}

// URL is the address of an HTTP endpoint; nil if the destination is none, or not a
// valid one.
func (d Destination) URL() *url.URL {
	text, ok := strings.CutPrefix(d.ARN, HTTPDestination)
	if !ok {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil
	}
	return u
}

// Limits of asynchronous calls ("Error handling", AWS Lambda developer guide).
const (
	DefaultRetries  = 2
	MaxRetries      = 2 // of AWS's own setting; a [RetryRule] may say more
	DefaultEventAge = 6 * time.Hour
	MinEventAge     = time.Minute
	MaxTurns        = 16 // of a chain of calls through the same function
)
