package config

import (
	"net/netip"
	"strings"
	"time"
)

// Async says how asynchronous calls are run and kept.
type Async struct {
	// Concurrency is how many run at the same time; 0 is nine tenths of
	// instances.concurrency, so that callers who wait find room.
	Concurrency int `yaml:"concurrency" doc:"asynchronous calls that run at the same time; 0 is nine tenths of instances.concurrency"`
	// Lease is how long a call is left to a server that nothing is heard of.
	Lease time.Duration `yaml:"lease" doc:"how long a call is left to a server that is not heard of any more"`
	// Pace stretches or shortens AWS's delays before retries, one minute and two.
	Pace       float64       `yaml:"pace" doc:"stretches the minute and the two minutes before AWS's retries"`
	MaxWaiting int           `yaml:"max_waiting" doc:"events that may wait; more are refused. 0 is no limit"`
	KeepFor    time.Duration `yaml:"keep_for" doc:"how long calls that have ended are remembered; 0 is until keep_bytes"`
	KeepBytes  Size          `yaml:"keep_bytes" doc:"what remembered calls may take; 0 is no limit"`
	// Sample is the share of the calls whose callers wait that is remembered; those
	// that fail always are.
	Sample float64 `yaml:"sample" doc:"share of the synchronous calls that is remembered, 0 to 1; those that fail are always"`
	// Networks are those that endpoints of tenants may be in, beside public addresses.
	// Endpoints of the account may be anywhere.
	Networks []string `yaml:"destination_networks" doc:"networks, in CIDR notation, that HTTP destinations of other accounts may be in beside public addresses"`
}

func defaultAsync() Async {
	return Async{Networks: []string{}, Lease: 30 * time.Second, Pace: 1, MaxWaiting: 10_000_000, KeepFor: 7 * 24 * time.Hour, KeepBytes: 2 << 30}
}

// Prefixes are the networks of a valid configuration.
func (a Async) Prefixes() []netip.Prefix { return Prefixes(a.Networks) }

// Prefixes are the networks in a list of a valid configuration.
func Prefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range list {
		if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func (k *check) async(a Async) {
	k.that(a.Concurrency >= 0, "async.concurrency", "%d is negative", a.Concurrency)
	k.that(a.Lease >= time.Second && a.Lease <= time.Hour, "async.lease", "%s is not from 1s to 1h", a.Lease)
	k.that(a.Pace > 0 && a.Pace <= 100, "async.pace", "%v is not above 0 and up to 100", a.Pace)
	k.that(a.MaxWaiting >= 0, "async.max_waiting", "%d is negative", a.MaxWaiting)
	k.that(a.KeepFor >= 0, "async.keep_for", "is negative")
	k.that(a.Sample >= 0 && a.Sample <= 1, "async.sample", "%v is not a share from 0 to 1", a.Sample)
	k.that(len(a.Prefixes()) == len(a.Networks), "async.destination_networks", "not all of %v are networks such as 10.1.0.0/16", a.Networks)
}
