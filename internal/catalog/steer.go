package catalog

import (
	"net/http"
	"net/textproto"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/httpwire"
)

// Limits of the rules of one alias.
const (
	maxAliasRules = 32
	maxRuleText   = 256 // of a name or a value
)

// checkRules checks the rules of an alias.
func (c *Catalog) checkRules(k id, f *function, a *lambent.Alias) error {
	if len(a.Rules) > maxAliasRules {
		return invalid("Rules", "there are %d rules; at most %d are allowed", len(a.Rules), maxAliasRules)
	}
	for i := range a.Rules {
		r := &a.Rules[i]
		name := r.Header + r.Cookie
		switch {
		case (r.Header == "") == (r.Cookie == ""):
			return invalid("Rules", "rule %d: want the name of a header or of a cookie", i+1)
		case !httpwire.IsToken(name) || len(name) > maxRuleText:
			return invalid("Rules", "rule %d: %q is not the name of a header or a cookie", i+1, name)
		case r.Value == "" || len(r.Value) > maxRuleText:
			return invalid("Rules", "rule %d: want a value of at most %d bytes", i+1, maxRuleText)
		case f.version(r.Version) == nil:
			return c.functionNotFound(k, r.Version)
		}
		r.Header = textproto.CanonicalMIMEHeaderKey(r.Header)
	}
	return nil
}

// Steer finds the version that a rule of the alias that a request calls wants for
// it; "" is for all other requests. What has no rules costs next to nothing.
func (c *Catalog) Steer(ns, function, qualifier string, h http.Header) string {
	if qualifier == "" {
		return ""
	}
	f := c.functions.get(id{ns, function})
	if f == nil {
		return ""
	}
	a := f.alias(qualifier)
	if a == nil || len(a.Rules) == 0 {
		return ""
	}
	for i := range a.Rules {
		if r := &a.Rules[i]; fits(r, h) && f.version(r.Version) != nil {
			return r.Version
		}
	}
	return ""
}

func fits(r *lambent.AliasRule, h http.Header) bool {
	if r.Header != "" {
		for _, v := range h[r.Header] {
			if v == r.Value {
				return true
			}
		}
		return false
	}
	for _, line := range h["Cookie"] {
		cookies, err := http.ParseCookie(line)
		if err != nil {
			continue
		}
		for _, c := range cookies {
			if c.Name == r.Cookie && c.Value == r.Value {
				return true
			}
		}
	}
	return false
}
