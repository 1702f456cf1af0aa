package catalog

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// eventRecord has the members of [lambent.EventConfig] that its key does not.
type eventRecord struct {
	MaxRetries   *int              `json:"maxRetries,omitempty"`
	MaxAge       time.Duration     `json:"maxAgeNs,omitempty"`
	OnSuccess    destinationRecord `json:"onSuccess,omitzero"`
	OnFailure    destinationRecord `json:"onFailure,omitzero"`
	Rules        []ruleRecord      `json:"rules,omitempty"`
	LastModified time.Time         `json:"lastModified"`
}

type destinationRecord struct {
	ARN    string `json:"arn,omitempty"`
	Secret string `json:"secret,omitempty"`
}

type ruleRecord struct {
	Error      string        `json:"error,omitempty"`
	MaxRetries int           `json:"maxRetries"`
	Delay      time.Duration `json:"delayNs,omitempty"`
	Factor     float64       `json:"factor,omitempty"`
	MaxDelay   time.Duration `json:"maxDelayNs,omitempty"`
	Jitter     float64       `json:"jitter,omitempty"`
}

// Bounds of a [lambent.RetryRule]. They are ours.
const (
	maxRetryRules   = 16
	maxErrorPattern = 256 // bytes
	maxRetries      = 1000
)

// EventChange is what a request says about an event configuration; nil members are
// left out.
type EventChange struct {
	Namespace, Function, Qualifier string // "" is [lambent.Latest]
	MaxRetries                     *int
	MaxAge                         *time.Duration
	OnSuccess, OnFailure           *lambent.Destination
	Rules                          *[]lambent.RetryRule
}

// says tells whether there is anything in the change.
func (in *EventChange) says() bool {
	return in.MaxRetries != nil || in.MaxAge != nil || in.OnSuccess != nil || in.OnFailure != nil || in.Rules != nil
}

// PutEventConfig replaces the event configuration of a version or an alias. With
// update it changes what there is instead; there being none is CodeNotFound then.
// Texts are AWS's.
func (c *Catalog) PutEventConfig(ctx context.Context, in EventChange, update bool) (*lambent.EventConfig, error) {
	k := id{in.Namespace, in.Function}
	in.Qualifier = cmp.Or(in.Qualifier, lambent.Latest)
	var made *lambent.EventConfig
	err := c.change(ctx, k, func(old *function) (next *function, err error) {
		if old == nil || !old.has(in.Qualifier) {
			return nil, lambent.Errorf(lambent.CodeNotFound, "The function doesn't exist.")
		}
		if !in.says() {
			return nil, saysNothing()
		}
		if update && old.event(in.Qualifier) == nil {
			return nil, c.noEventConfig(k, in.Qualifier)
		}
		next = old.clone()
		made, err = c.eventChanged(next, in, update)
		return next, err
	})
	return made, err
}

// eventChanged gives f an event configuration that in says, or with update one that it
// changes.
func (c *Catalog) eventChanged(f *function, in EventChange, update bool) (*lambent.EventConfig, error) {
	k := id{in.Namespace, in.Function}
	was := f.event(in.Qualifier)
	e := &lambent.EventConfig{Namespace: k.ns, Function: k.name, Qualifier: in.Qualifier}
	if update && was != nil {
		*e = *was
	}
	e.LastModified = c.now()
	in.apply(e, was)
	if err := c.checkEventConfig(k, e); err != nil {
		return nil, err
	}
	if err := c.checkMay(f, in); err != nil {
		return nil, err
	}
	f.putEvent(e)
	return e, nil
}

func saysNothing() error {
	return invalid("EventConfig", "You must specify at least one of error handling or destination setting.")
}

// apply writes the change into e. The secret of an endpoint that stays is kept, and
// that of a new one made, unless one is given.
func (in *EventChange) apply(e, was *lambent.EventConfig) {
	if in.MaxRetries != nil {
		e.MaxRetries = in.MaxRetries
	}
	if in.MaxAge != nil {
		e.MaxAge = *in.MaxAge
	}
	if in.OnSuccess != nil {
		e.OnSuccess = *in.OnSuccess
	}
	if in.OnFailure != nil {
		e.OnFailure = *in.OnFailure
	}
	if in.Rules != nil {
		e.Rules = slices.Clone(*in.Rules)
	}
	for _, d := range []*lambent.Destination{&e.OnSuccess, &e.OnFailure} {
		if d.Secret != "" || d.Service() != "lambent" {
			continue
		}
		if was != nil && was.OnSuccess.ARN == d.ARN {
			d.Secret = was.OnSuccess.Secret
		} else if was != nil && was.OnFailure.ARN == d.ARN {
			d.Secret = was.OnFailure.Secret
		} else {
			var b [20]byte
			_, _ = rand.Read(b[:]) // never fails (crypto/rand)
			d.Secret = strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
		}
	}
}

// deliverable are the services that records can go to (AWS Lambda API reference,
// OnFailure), and ours.
var deliverable = []string{"lambda", "sqs", "sns", "events", "s3", "lambent"}

func (c *Catalog) checkEventConfig(k id, e *lambent.EventConfig) error {
	for _, d := range []lambent.Destination{e.OnSuccess, e.OnFailure} {
		if d.ARN == "" {
			continue
		}
		switch service := d.Service(); {
		case !slices.Contains(deliverable, service):
			text := func(d lambent.Destination, name string) string {
				if d.ARN == "" {
					return "null"
				}
				return name + "(destination=" + d.ARN + ")"
			}
			return invalid("Destination", "The provided destination config DestinationConfig(onSuccess=%s, onFailure=%s) is invalid.",
				text(e.OnSuccess, "OnSuccess"), text(e.OnFailure, "OnFailure"))
		case service == "lambda":
			if err := c.checkDestination(k, d); err != nil {
				return err
			}
		case service == "lambent" && d.URL() == nil:
			return invalid("Destination", "The destination ARN %s is invalid.", d.ARN)
		}
	}
	return checkRules(e)
}

// checkDestination checks a function that records go to.
func (c *Catalog) checkDestination(k id, d lambent.Destination) error {
	ref, err := lambent.ParseFunctionName(d.ARN, c.o.Region)
	if err == nil && ref.Account == k.ns && ref.Name == k.name {
		return invalid("Destination", "You can't specify the function as a destination for itself.")
	}
	if err == nil && ref.Account == k.ns {
		if f := c.functions.get(id{k.ns, ref.Name}); f != nil && f.has(cmp.Or(ref.Qualifier, lambent.Latest)) {
			return nil
		}
	}
	return invalid("Destination", "The destination ARN %s is invalid.", d.ARN)
}

// checkMay refuses a function as a new destination that the role of f does not let it
// call. What it allows may change: it is asked again when a record goes there.
func (c *Catalog) checkMay(f *function, in EventChange) error {
	from, _ := f.resolve(in.Qualifier)
	for _, d := range []*lambent.Destination{in.OnSuccess, in.OnFailure} {
		if d != nil && d.Service() == "lambda" && c.o.May != nil && c.o.May(from, d.ARN) != nil {
			return invalid("Destination", "The function's execution role does not have permissions to call InvokeFunction on %s", d.ARN)
		}
	}
	return nil
}

func checkRules(e *lambent.EventConfig) error {
	if e.MaxRetries != nil && (*e.MaxRetries < 0 || *e.MaxRetries > maxRetries) {
		return outOfRange("The number of retries", *e.MaxRetries, 0, maxRetries)
	}
	if e.MaxAge < 0 {
		return invalid("MaxAge", "The maximum age of an event is negative")
	}
	if len(e.Rules) > maxRetryRules {
		return invalid("Rules", "there are %d rules; at most %d are allowed", len(e.Rules), maxRetryRules)
	}
	for i, r := range e.Rules {
		what := fmt.Sprintf("rule %d", i+1)
		switch {
		case len(r.Error) > maxErrorPattern:
			return invalid("Rules", "%s: its pattern has more than %d bytes", what, maxErrorPattern)
		case r.MaxRetries < 0 || r.MaxRetries > maxRetries:
			return invalid("Rules", "%s: %d retries are not from 0 to %d", what, r.MaxRetries, maxRetries)
		case r.Delay < 0 || r.MaxDelay < 0 || !(r.Factor >= 0 && r.Factor <= 100) || !(r.Jitter >= 0 && r.Jitter <= 1):
			return invalid("Rules", "%s: delays are not negative, the factor is from 0 to 100 and the jitter from 0 to 1", what)
		}
	}
	return nil
}

func (c *Catalog) noEventConfig(k id, qualifier string) error {
	return lambent.Errorf(lambent.CodeNotFound, "The function %s doesn't have an EventInvokeConfig",
		lambent.FunctionARN(c.o.Region, k.ns, k.name, qualifier))
}

// EventConfigOf finds the event configuration of a qualifier; nil is none. It
// touches the snapshot only.
func (c *Catalog) EventConfigOf(ns, fn, qualifier string) *lambent.EventConfig {
	if f := c.functions.get(id{ns, fn}); f != nil {
		return f.event(cmp.Or(qualifier, lambent.Latest))
	}
	return nil
}

// EventConfig is EventConfigOf with an error for none.
func (c *Catalog) EventConfig(ns, fn, qualifier string) (*lambent.EventConfig, error) {
	if e := c.EventConfigOf(ns, fn, qualifier); e != nil {
		return e, nil
	}
	return nil, c.noEventConfig(id{ns, fn}, cmp.Or(qualifier, lambent.Latest))
}

// DeleteEventConfig takes an event configuration away.
func (c *Catalog) DeleteEventConfig(ctx context.Context, ns, fn, qualifier string) error {
	k := id{ns, fn}
	qualifier = cmp.Or(qualifier, lambent.Latest)
	return c.change(ctx, k, func(old *function) (*function, error) {
		if old == nil {
			return nil, c.noEventConfig(k, qualifier)
		}
		i, ok := old.eventIndex(qualifier)
		if !ok {
			return nil, c.noEventConfig(k, qualifier)
		}
		next := old.clone()
		next.events = slices.Delete(next.events, i, i+1)
		return next, nil
	})
}

// EventConfigs returns the event configurations of a function by qualifier, paged
// as in [Catalog.List].
func (c *Catalog) EventConfigs(ns, fn, after string, limit int) (items []*lambent.EventConfig, next string, err error) {
	f := c.functions.get(id{ns, fn})
	if f == nil {
		return nil, "", lambent.Errorf(lambent.CodeNotFound, "The function doesn't exist.")
	}
	items, next = byEvent.page(f.events, after, limit)
	return items, next, nil
}

// has tells whether the function has a version or an alias of that name.
func (f *function) has(qualifier string) bool {
	v, _ := f.resolve(qualifier)
	return v != nil
}

func (f *function) event(qualifier string) *lambent.EventConfig {
	return byEvent.find(f.events, qualifier)
}

func (f *function) eventIndex(qualifier string) (int, bool) {
	return byEvent.index(f.events, qualifier)
}

func (f *function) putEvent(e *lambent.EventConfig) { f.events = byEvent.put(f.events, e) }

func (b *batch) events(k id, old, next *function) {
	prefix := "event/" + k.ns + "/" + k.name + "/"
	byEvent.changes(old.events, next.events, func(e *lambent.EventConfig) {
		rec := eventRecord{
			MaxRetries: e.MaxRetries, MaxAge: e.MaxAge, LastModified: e.LastModified,
			OnSuccess: destinationRecord(e.OnSuccess), OnFailure: destinationRecord(e.OnFailure),
		}
		for _, r := range e.Rules {
			rec.Rules = append(rec.Rules, ruleRecord(r))
		}
		b.put(prefix+e.Qualifier, rec)
	}, func(qualifier string) { b.delete(prefix + qualifier) })
}

func (l *loader) addEvent(k id, qualifier string, value []byte) error {
	f := l.functions[k]
	if f == nil {
		return errOrphan
	}
	var rec eventRecord
	if err := json.Unmarshal(value, &rec); err != nil {
		return err
	}
	e := &lambent.EventConfig{
		Namespace: f.shared.Namespace, Function: f.shared.Name, Qualifier: qualifier,
		MaxRetries: rec.MaxRetries, MaxAge: rec.MaxAge, LastModified: rec.LastModified,
		OnSuccess: lambent.Destination(rec.OnSuccess), OnFailure: lambent.Destination(rec.OnFailure),
	}
	for _, r := range rec.Rules {
		e.Rules = append(e.Rules, lambent.RetryRule(r))
	}
	f.putEvent(e)
	return nil
}

// maxAsyncTimeout is the longest that an asynchronous call may run. It is ours.
const maxAsyncTimeout = 30 * 24 * time.Hour

func checkAsyncTimeout(d time.Duration) error {
	if d != 0 && (d < time.Second || d > maxAsyncTimeout) {
		return outOfRange("The time of an asynchronous call, in seconds,", int(d.Seconds()), 1, int(maxAsyncTimeout.Seconds()))
	}
	return nil
}
