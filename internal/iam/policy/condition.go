package policy

import (
	"strconv"
	"strings"
	"time"
)

// answer is what is known of a condition.
type answer uint8

const (
	no answer = iota
	yes
	unknown
)

// condition is one key of a statement's conditions: one of the values must fit, or
// with an operator that negates, none.
type condition struct {
	test     func(value, want string) bool // nil is an operator that is not understood
	key      string                        // in lower case, but for what follows a slash
	values   []string
	negated  bool
	ifExists bool
	null     bool // the condition is on the key's being there
}

// operators are those that are understood, without "IfExists" (IAM User Guide, "IAM
// JSON policy elements: Condition operators").
var operators = map[string]condition{
	"StringEquals":              {test: equal},
	"StringNotEquals":           {test: equal, negated: true},
	"StringEqualsIgnoreCase":    {test: strings.EqualFold},
	"StringNotEqualsIgnoreCase": {test: strings.EqualFold, negated: true},
	"StringLike":                {test: like},
	"StringNotLike":             {test: like, negated: true},
	"ArnEquals":                 {test: likeARN},
	"ArnLike":                   {test: likeARN},
	"ArnNotEquals":              {test: likeARN, negated: true},
	"ArnNotLike":                {test: likeARN, negated: true},
	"DateEquals":                {test: dated(func(n int) bool { return n == 0 })},
	"DateNotEquals":             {test: dated(func(n int) bool { return n == 0 }), negated: true},
	"DateLessThan":              {test: dated(func(n int) bool { return n < 0 })},
	"DateLessThanEquals":        {test: dated(func(n int) bool { return n <= 0 })},
	"DateGreaterThan":           {test: dated(func(n int) bool { return n > 0 })},
	"DateGreaterThanEquals":     {test: dated(func(n int) bool { return n >= 0 })},
	"Null":                      {null: true},
}

// beyond are operators that a document may have, and that are not understood: what
// they look at is not known here.
var beyond = []string{
	"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan",
	"NumericGreaterThanEquals", "Bool", "BinaryEquals", "IpAddress", "NotIpAddress",
}

func equal(value, want string) bool { return value == want }
func like(value, want string) bool  { return glob(want, value, false) }

func likeARN(value, want string) bool {
	pattern, resource := parseARN(want), parseARN(value)
	return pattern.matches(&resource)
}

// dated compares two moments.
func dated(fits func(n int) bool) func(value, want string) bool {
	return func(value, want string) bool {
		a, ok := parseDate(value)
		b, fine := parseDate(want)
		return ok && fine && fits(a.Compare(b))
	}
}

// parseDate reads a date of ISO 8601, or seconds since 1970.
func parseDate(text string) (time.Time, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && len(text) > 4 {
		return time.Unix(n, 0), true
	}
	text = strings.ToUpper(text)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02", "2006-01", "2006"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// newCondition is the condition of an operator as a document names it.
func newCondition(operator, key string, values []string) condition {
	name, ifExists := strings.CutSuffix(operator, "IfExists")
	c := operators[name] // none for what is not understood, those of several values among it
	c.ifExists, c.values = ifExists, values
	keyword, tag, tagged := strings.Cut(key, "/")
	c.key = strings.ToLower(keyword)
	if tagged {
		c.key += "/" + tag
	}
	for _, v := range values {
		if strings.Contains(v, "${") { // a variable, which nothing is put in for
			c.test, c.null = nil, false
		}
	}
	return c
}

// holds tells whether a request fulfils the condition.
func (c *condition) holds(q *Request) answer {
	if c.test == nil && !c.null {
		return unknown
	}
	value, exists, known := q.value(c.key)
	if !known {
		return unknown
	}
	if c.null {
		return whether(c.any(strconv.FormatBool(!exists), strings.EqualFold))
	}
	if !exists {
		return whether(c.ifExists || c.negated)
	}
	return whether(c.any(value, c.test) != c.negated)
}

func (c *condition) any(value string, test func(value, want string) bool) bool {
	for _, want := range c.values {
		if test(value, want) {
			return true
		}
	}
	return false
}

func whether(b bool) answer {
	if b {
		return yes
	}
	return no
}

// value is what a request says about a condition's key. Most keys of AWS are not
// known here, which is not the same as being absent.
func (q *Request) value(key string) (value string, exists, known bool) {
	switch key {
	case "aws:currenttime", "aws:epochtime":
		return q.Now.UTC().Format(time.RFC3339), true, !q.Now.IsZero()
	case "aws:requestedregion":
		return q.Region, true, q.Region != ""
	case "aws:principalarn":
		return q.Principal, true, q.Principal != ""
	case "aws:principalaccount":
		return q.Account, true, q.Account != ""
	case "aws:resourceaccount":
		resource := parseARN(q.Resource)
		return resource[4], true, resource[4] != ""
	case "iam:passedtoservice":
		return q.PassedTo, true, q.PassedTo != ""
	case "sts:externalid":
		return q.ExternalID, q.ExternalID != "", true
	case "sts:rolesessionname":
		return q.Session, true, q.Session != ""
	case "aws:sourcearn":
		return q.SourceARN, true, q.SourceARN != ""
	case "aws:sourceaccount":
		return q.SourceAccount, true, q.SourceAccount != ""
	}
	if tag, ok := strings.CutPrefix(key, "aws:principaltag/"); ok && q.Principal != "" {
		for name, v := range q.Tags { // a role's tags are told apart by more than their case
			if strings.EqualFold(name, tag) {
				return v, true, true
			}
		}
		return "", false, true
	}
	return "", false, false
}
