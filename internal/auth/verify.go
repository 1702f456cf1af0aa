package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"lambent.dev/lambent"
)

// signer makes signatures with one signing key: that of an access key for one
// day, region and service. It is shared by all requests of that scope.
type signer struct {
	secret string
	macs   sync.Pool // of hash.Hash, keyed
}

func newSigner(secret string, c *claim) *signer {
	key := []byte("AWS4" + secret)
	for _, part := range []string{c.date, c.region, c.service, terminator} {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	s := &signer{secret: secret}
	s.macs.New = func() any { return hmac.New(sha256.New, key) }
	return s
}

// sign appends the signature of text to dst.
func (s *signer) sign(dst, text []byte) []byte {
	m := s.macs.Get().(hash.Hash)
	m.Reset()
	m.Write(text)
	dst = m.Sum(dst)
	s.macs.Put(m)
	return dst
}

// scopeKey names a signing key.
type scopeKey struct{ access, date, region, service string }

func (c *claim) scope() scopeKey { return scopeKey{c.access, c.date, c.region, c.service} }

// maxSigners bounds the cache of signing keys. A server sees one a day for each
// access key, region and service in use.
const maxSigners = 1024

// signers caches signing keys: deriving one costs four HMACs.
type signers struct {
	mu    sync.RWMutex // guards known
	known map[scopeKey]*signer
}

// get gives the signing key of a claim's scope; nil if it is not known.
func (s *signers) get(key Key, c *claim) *signer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if found := s.known[c.scope()]; found != nil && found.secret == key.Secret {
		return found
	}
	return nil
}

// keep keeps the signing key of a claim whose signature holds: anybody can make up scopes.
func (s *signers) keep(c *claim, with *signer) {
	id := c.scope()
	// Its strings are parts of a request's header: keep copies.
	id = scopeKey{strings.Clone(id.access), strings.Clone(id.date), strings.Clone(id.region), strings.Clone(id.service)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxSigners {
		s.known = make(map[scopeKey]*signer)
	}
	s.known[id] = with
}

// skew is how far a request's time may be from ours: 15 minutes for S3 (Amazon
// S3 API reference, "RequestTimeTooSkewed"), 5 for the other services, as their
// messages say.
func skew(service string) time.Duration {
	if service == "s3" {
		return 15 * time.Minute
	}
	return 5 * time.Minute
}

// checkScope holds the credential's scope against the request's date and what
// the server serves.
func (c *claim) checkScope(region, service string) *lambent.Error {
	if service != "" && c.service != service {
		return denied(reasonInvalid, "Credential should be scoped to correct service: '"+service+"'. ")
	}
	if region != "" && c.region != region {
		return denied(reasonInvalid, "Credential should be scoped to a valid region, not '"+clip(c.region)+"'. ")
	}
	if day := c.stamp[:8]; c.date != day {
		return denied(reasonInvalid, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '"+
			clip(c.date)+"' != '"+day+"', from '"+c.stamp+"'.")
	}
	return nil
}

// checkTime refuses a request that is too old, or from too far in the future.
func (c *claim) checkTime(now time.Time) *lambent.Error {
	now = now.UTC()
	allowed := skew(c.service)
	if limit := now.Add(allowed); c.at.After(limit) {
		return denied(reasonInvalid, "Signature not yet current: "+c.stamp+" is still later than "+limit.Format(basicISO)+
			" ("+now.Format(basicISO)+" + "+minutes(allowed)+" min.)")
	}
	if c.presigned {
		allowed = c.expires
	}
	if limit := now.Add(-allowed); c.at.Before(limit.Truncate(time.Second)) {
		return denied(reasonInvalid, "Signature expired: "+c.stamp+" is now earlier than "+limit.Format(basicISO)+
			" ("+now.Format(basicISO)+" - "+minutes(allowed)+" min.)")
	}
	return nil
}

func minutes(d time.Duration) string {
	return strconv.FormatFloat(d.Minutes(), 'f', -1, 64)
}

// scratch is the working memory of one verification.
type scratch struct {
	canonical, text []byte
	sum             [sha256.Size]byte
}

var scratches = sync.Pool{New: func() any { return &scratch{canonical: make([]byte, 0, 2048), text: make([]byte, 0, 256)} }}

// matches tells whether the claim's signature is that of the request with this
// payload hash.
func (c *claim) matches(r *http.Request, s *signer, payload string) bool {
	if c.matchesAs(r, s, payload, spelling{}) {
		return true
	}
	// Only repeated parameters can be in another order.
	ordered := strings.Count(r.URL.RawQuery, "&") > 0
	if ordered && c.matchesAs(r, s, payload, spelling{order: byDecoded}) {
		return true
	}
	return c.service != "s3" && collapses(wirePath(r)) && (c.matchesAs(r, s, payload, spelling{collapsed: true}) ||
		ordered && c.matchesAs(r, s, payload, spelling{order: byDecoded, collapsed: true}))
}

func (c *claim) matchesAs(r *http.Request, s *signer, payload string, as spelling) bool {
	w := scratches.Get().(*scratch)
	defer scratches.Put(w)
	var ok bool
	w.canonical, ok = c.appendCanonical(w.canonical[:0], r, payload, as)
	if !ok {
		return false
	}
	w.sum = sha256.Sum256(w.canonical)
	w.text = append(append(w.text[:0], algorithm...), '\n')
	w.text = append(append(w.text, c.stamp...), '\n')
	w.text = append(c.appendScope(w.text), '\n')
	w.text = hex.AppendEncode(w.text, w.sum[:])
	got := s.sign(w.sum[:0], w.text)
	return subtle.ConstantTimeCompare(got, c.signature[:]) == 1
}
