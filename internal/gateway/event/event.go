// Package event is the two shapes that an HTTP call has on its way through a
// function: the event that the function gets and the answer that it gives, as
// AWS defines them. It is pure: bytes in, bytes out, without I/O, clocks or
// reflection, and takes nothing of what a caller or a function sent on trust. The
// gateway above decides who may call; below it is only the standard library.
package event

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Request is an HTTP request to a function, as the gateway understood it.
type Request struct {
	Method, Protocol string
	// Path and Query are as the caller wrote them, without what led to the
	// function.
	Path, Query string
	Host        string // of the request, with its port if there was one
	Header      http.Header
	SourceIP    string
	Scheme      string // "http" or "https"
	Port        string // that the request came in on
	Body        []byte

	RequestID string
	TraceID   string // X-Amzn-Trace-Id
	Time      time.Time
	// APIID is the id of the URL or route; AccountID is the caller's for a signed
	// request, else "anonymous" for a function URL.
	APIID, AccountID string
	IAM              *IAM // of a signed request

	// RouteKey is a route's method and path, "" for a function URL; Resource is the
	// path alone.
	RouteKey, Resource string
	Params             []Field // of the path, decoded
	Claims             []Field // of a token that was checked
	TargetGroup        string  // ARN, for a load balancer's event
}

// IAM is who signed a request.
type IAM struct{ AccessKey, Account, UserARN string }

// hop are headers that concern one connection, not the request (RFC 9110, section
// 7.6.1); in canonical form.
var hop = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true, "Http2-Settings": true,
}

// AppendV2 appends the event of payload format 2.0 (AWS Lambda developer guide,
// "Invoking Lambda function URLs", request payload format).
func AppendV2(b []byte, r *Request) []byte {
	b = member(b, `{"version":"2.0","routeKey":`, routeKey(r))
	b = member(b, `,"rawPath":`, r.Path)
	b = append(b, `,"rawQueryString":`...)
	b = AppendString(b, r.Query)
	b = appendCookies(b, r.Header["Cookie"])
	b = append(b, `,"headers":`...)
	b = appendHeaders(b, r)
	b = appendQuery(b, r.Query)
	b = append(b, `,"requestContext":`...)
	b = appendContext(b, r)
	if len(r.Params) > 0 {
		b = appendFields(append(b, `,"pathParameters":`...), r.Params)
	}
	return append(appendBody(b, r), '}')
}

func routeKey(r *Request) string {
	if r.RouteKey == "" {
		return "$default"
	}
	return r.RouteKey
}

func appendContext(b []byte, r *Request) []byte {
	domain := hostname(r.Host)
	prefix, _, _ := strings.Cut(domain, ".")
	b = member(b, `{"accountId":`, r.AccountID)
	b = member(b, `,"apiId":`, r.APIID)
	if r.IAM != nil {
		b = member(b, `,"authorizer":{"iam":{"accessKey":`, r.IAM.AccessKey)
		b = member(b, `,"accountId":`, r.IAM.Account)
		b = member(b, `,"callerId":`, r.IAM.AccessKey)
		b = append(b, `,"cognitoIdentity":null,"principalOrgId":null`...)
		b = member(b, `,"userArn":`, r.IAM.UserARN)
		b = member(b, `,"userId":`, r.IAM.AccessKey)
		b = append(b, "}}"...)
	} else if r.Claims != nil {
		b = appendFields(append(b, `,"authorizer":{"jwt":{"claims":`...), r.Claims)
		b = append(b, `,"scopes":null}}`...)
	}
	b = member(b, `,"domainName":`, domain)
	b = member(b, `,"domainPrefix":`, prefix)
	b = member(b, `,"http":{"method":`, r.Method)
	b = member(b, `,"path":`, r.Path)
	b = member(b, `,"protocol":`, r.Protocol)
	b = member(b, `,"sourceIp":`, r.SourceIP)
	b = member(b, `,"userAgent":`, first(r.Header["User-Agent"]))
	b = member(b, `},"requestId":`, r.RequestID)
	b = member(b, `,"routeKey":`, routeKey(r))
	b = append(b, `,"stage":"$default","time":"`...)
	b = r.Time.UTC().AppendFormat(b, "02/Jan/2006:15:04:05 +0000")
	b = append(b, `","timeEpoch":`...)
	b = strconv.AppendInt(b, r.Time.UnixMilli(), 10)
	return append(b, '}')
}

func member(b []byte, name, value string) []byte { return AppendString(append(b, name...), value) }

// hostname is a host without its port.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		return host[:i]
	}
	return host
}

// appendCookies splits the Cookie headers into a list.
func appendCookies(b []byte, headers []string) []byte {
	empty := true
	for _, h := range headers {
		for c := range strings.SplitSeq(h, ";") {
			if c = strings.TrimSpace(c); c == "" {
				continue
			}
			if empty {
				b = append(b, `,"cookies":[`...)
			} else {
				b = append(b, ',')
			}
			empty = false
			b = AppendString(b, c)
		}
	}
	if !empty {
		b = append(b, ']')
	}
	return b
}

// appendHeaders writes the headers in lower case, those that came several times
// joined by commas, and with them what AWS's front end adds.
func appendHeaders(b []byte, r *Request) []byte {
	var room [40]string
	names := room[:0]
	for name := range r.Header {
		switch name {
		case "Host", "Cookie", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Amzn-Trace-Id":
			continue
		}
		if !hop[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	b = member(b, `{"host":`, r.Host)
	for _, name := range names {
		b = appendLower(append(b, ','), name)
		b = appendJoined(append(b, ':'), r.Header[name])
	}
	b = append(b, `,"x-forwarded-for":`...)
	b = appendJoined(b, append(slices.Clone(r.Header["X-Forwarded-For"]), r.SourceIP))
	b = member(b, `,"x-forwarded-port":`, r.Port)
	b = member(b, `,"x-forwarded-proto":`, r.Scheme)
	b = member(b, `,"x-amzn-trace-id":`, r.TraceID)
	return append(b, '}')
}

func appendJoined(b []byte, values []string) []byte {
	if len(values) == 1 {
		return AppendString(b, values[0])
	}
	return AppendString(b, strings.Join(values, ","))
}

// appendLower writes a name in lower-case ASCII.
func appendLower(b []byte, name string) []byte {
	from := len(b)
	b = AppendString(b, name)
	for i := from; i < len(b); i++ {
		if c := b[i]; 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}

// appendQuery writes the parameters, decoded; those that came several times are
// joined by commas.
func appendQuery(b []byte, query string) []byte {
	if query == "" {
		return b
	}
	var names []string
	var values map[string]string
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = unescape(name), unescape(value)
		if values == nil {
			values = make(map[string]string, 8)
		}
		if before, ok := values[name]; ok {
			values[name] = before + "," + value
			continue
		}
		names = append(names, name)
		values[name] = value
	}
	for i, name := range names {
		if i == 0 {
			b = append(b, `,"queryStringParameters":{`...)
		} else {
			b = append(b, ',')
		}
		b = AppendString(b, name)
		b = AppendString(append(b, ':'), values[name])
	}
	if names != nil {
		b = append(b, '}')
	}
	return b
}

// unescape decodes a part of a query; what is no escape stays as it came.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			out = append(out, ' ')
		case s[i] == '%' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			out = append(out, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return string(out)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// appendBody writes the body as text where its type says that it is text, else in
// base64; a request without a body has no such member.
func appendBody(b []byte, r *Request) []byte {
	switch {
	case len(r.Body) == 0:
		return append(b, `,"isBase64Encoded":false`...)
	case isText(r.Header) && utf8.Valid(r.Body):
		b = appendText(append(b, `,"body":`...), r.Body)
		return append(b, `,"isBase64Encoded":false`...)
	}
	b = append(b, `,"body":"`...)
	b = base64.StdEncoding.AppendEncode(b, r.Body)
	return append(b, `","isBase64Encoded":true`...)
}

// isText tells whether a body is handed over as it is: AWS does so for text, JSON,
// XML and JavaScript, and not for forms. An encoded body is not text.
func isText(h http.Header) bool {
	if e := first(h["Content-Encoding"]); e != "" && e != "identity" {
		return false
	}
	kind, _, _ := strings.Cut(first(h["Content-Type"]), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "json") || strings.HasSuffix(kind, "xml") || strings.HasSuffix(kind, "javascript")
}

func first(v []string) string {
	if len(v) == 0 {
		return ""
	}
	return v[0]
}

// AppendString appends s as a JSON string. Bytes that are no UTF-8 become U+FFFD,
// as with encoding/json.
func AppendString(b []byte, s string) []byte { return appendText(b, s) }

const hexDigits = "0123456789abcdef"

func appendText[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		}
		b = append(b, s[start:i]...)
		b = appendEscape(b, c)
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

// appendEscape writes a byte that cannot stand for itself.
func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	if c >= utf8.RuneSelf {
		return append(b, "\uFFFD"...)
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
