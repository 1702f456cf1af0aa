// Package policy is the language of IAM's policy documents: it reads one, refuses
// what AWS refuses, and decides what a document says to a request. It is pure: it
// keeps nothing, asks no clock and knows nobody; package iam, above it, knows which
// documents belong to a role. What it does not understand, it never takes for a
// permission: such a statement allows nothing, and denies all that it may mean.
package policy

import (
	"strings"
	"time"
)

// Verdict is what a document says to a request.
type Verdict uint8

// The verdicts, the later ones above the earlier: what is denied is so whatever else
// is allowed (AWS Identity and Access Management User Guide, "Policy evaluation logic").
const (
	Silent Verdict = iota
	Allowed
	Denied
)

// Document is a policy that was checked. It never changes.
type Document struct {
	statements []statement
}

// statement is one rule of a document.
type statement struct {
	deny       bool
	not        struct{ action, resource bool } // the lists are of what is meant not
	actions    []string
	resources  []arn
	conditions []condition
	principals []principal // of a trust policy
	// vague is a statement whose resources or principals are not understood: no
	// allowance applies, and every denial.
	vague bool
}

// Request is what a document is asked about, and what conditions may look at.
type Request struct {
	Action   string // "lambda:InvokeFunction"
	Resource string // ARN, or "*" for one that is not told, which every denial is about
	// Who asks to assume a role: a service, "lambda.amazonaws.com", or else somebody of
	// Account, by the ARNs that may name him, with a name for the session.
	Service             string
	Named               []string
	Session, ExternalID string

	Now       time.Time
	Region    string
	Principal string // ARN of the role that asks
	Account   string // of the principal
	Tags      map[string]string
	PassedTo  string // service that is given a role, "lambda.amazonaws.com"
	// SourceARN and SourceAccount are of the resource that a service acts for.
	SourceARN, SourceAccount string
}

// Decide tells what the document says to a request. A nil document is silent.
func (d *Document) Decide(q *Request) Verdict {
	verdict, _ := d.Find(q)
	return verdict
}

// Find is Decide, and which statement decides, from 0; -1 where it is silent.
func (d *Document) Find(q *Request) (verdict Verdict, by int) {
	if d == nil {
		return Silent, -1
	}
	resource := parseARN(q.Resource)
	by = -1
	for i := range d.statements {
		s := &d.statements[i]
		if !s.applies(q, &resource) {
			continue
		}
		if s.deny {
			return Denied, i
		}
		if verdict == Silent {
			verdict, by = Allowed, i
		}
	}
	return verdict, by
}

// applies tells whether a statement is about a request. In doubt one that denies is,
// and one that allows is not.
func (s *statement) applies(q *Request, resource *arn) bool {
	if s.matchesAction(q.Action) == s.not.action {
		return false
	}
	if s.vague {
		return s.deny
	}
	if len(s.principals) > 0 && s.trusts(q) == stranger {
		return false
	}
	if !s.about(q, resource) {
		return false
	}
	for i := range s.conditions {
		switch s.conditions[i].holds(q) {
		case no:
			return false
		case unknown:
			if !s.deny {
				return false
			}
		}
	}
	return true
}

// about tells whether a statement is about the resource of a request; a trust policy's
// have none. Where it is not told, it may be any: that is what a denial is of, and
// what an allowance is of only where it says so.
func (s *statement) about(q *Request, resource *arn) bool {
	if len(s.resources) == 0 {
		return true
	}
	if q.Resource == "*" && (s.deny || s.not.resource) {
		return s.deny
	}
	return s.matchesResource(resource) != s.not.resource
}

func (s *statement) matchesAction(action string) bool {
	for _, pattern := range s.actions {
		if glob(pattern, action, true) {
			return true
		}
	}
	return false
}

func (s *statement) matchesResource(resource *arn) bool {
	for i := range s.resources {
		if s.resources[i].matches(resource) {
			return true
		}
	}
	return false
}

// arn is an ARN in its six parts: what stands in one is never matched by a wildcard
// in another (IAM User Guide, "IAM JSON policy elements: Resource").
type arn [6]string

// parseARN takes an ARN apart. One that has less parts means any in their place; a
// text without a colon is in the first part alone, and "*" is everything.
func parseARN(text string) arn {
	var a arn
	if strings.IndexByte(text, ':') < 0 {
		a[0] = text
		return a
	}
	for i := range a {
		part, rest, more := strings.Cut(text, ":")
		if i == len(a)-1 {
			a[i] = text
			return a
		}
		a[i], text = part, rest
		if !more {
			for j := i + 1; j < len(a); j++ {
				a[j] = "*"
			}
			return a
		}
	}
	return a
}

// matches tells whether a pattern is of a resource.
func (a *arn) matches(resource *arn) bool {
	if a[0] == "*" && a[1] == "" {
		return true
	}
	for i := range a {
		if !glob(a[i], resource[i], false) {
			return false
		}
	}
	return true
}

// glob tells whether a text matches a pattern in which * is any text and ? any
// character, with fold whatever the case of ASCII letters. Only the last * is ever
// tried again, so that the time is bounded by the product of the lengths.
func glob(pattern, text string, fold bool) bool {
	p, t := 0, 0
	star, from := -1, 0 // of the last *, and where what it stands for ends
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || same(pattern[p], text[t], fold)):
			p++
			t++
		case star >= 0:
			from++
			p, t = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

func same(a, b byte, fold bool) bool {
	return a == b || fold && lower(a) == lower(b)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
