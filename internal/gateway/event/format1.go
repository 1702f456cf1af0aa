package event

import (
	"encoding/base64"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// AppendV1 appends the event of payload format 1.0, which is that of a REST API's
// proxy integration too (Amazon API Gateway developer guide, "Working with AWS
// Lambda proxy integrations for HTTP APIs").
func AppendV1(b []byte, r *Request) []byte {
	b = member(b, `{"version":"1.0","resource":`, r.Resource)
	b = member(b, `,"path":`, unescapePath(r.Path))
	b = member(b, `,"httpMethod":`, r.Method)
	headers, query := headersV1(r), queryV1(r.Query)
	b = appendLasts(append(b, `,"headers":`...), headers)
	b = appendLists(append(b, `,"multiValueHeaders":`...), headers)
	b = appendLasts(append(b, `,"queryStringParameters":`...), query)
	b = appendLists(append(b, `,"multiValueQueryStringParameters":`...), query)
	b = append(b, `,"requestContext":`...)
	b = appendContextV1(b, r)
	b = append(b, `,"pathParameters":`...)
	b = appendFieldsOrNull(b, r.Params)
	b = append(b, `,"stageVariables":null`...)
	return append(appendWholeBody(b, r, "null"), '}')
}

// list is a name with its values in order.
type list struct {
	name   string
	values []string
}

// headersV1 are the headers by canonical name, with what a front end adds.
func headersV1(r *Request) []list {
	out := make([]list, 0, len(r.Header)+5)
	for name, values := range r.Header {
		switch name {
		case "Host", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Amzn-Trace-Id":
			continue
		}
		if !hop[name] {
			out = append(out, list{name, values})
		}
	}
	out = append(out,
		list{"Host", []string{r.Host}},
		list{"X-Forwarded-For", []string{strings.Join(append(slices.Clone(r.Header["X-Forwarded-For"]), r.SourceIP), ", ")}},
		list{"X-Forwarded-Port", []string{r.Port}}, list{"X-Forwarded-Proto", []string{r.Scheme}}, list{"X-Amzn-Trace-Id", []string{r.TraceID}})
	slices.SortFunc(out, func(a, b list) int { return strings.Compare(a.name, b.name) })
	return out
}

// queryV1 is the parameters, decoded, in the order in which they first came.
func queryV1(query string) []list {
	var out []list
	index := map[string]int{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = unescape(name)
		i, ok := index[name]
		if !ok {
			i = len(out)
			index[name] = i
			out = append(out, list{name: name})
		}
		out[i].values = append(out[i].values, unescape(value))
	}
	return out
}

// appendLasts writes the last value of each name.
func appendLasts(b []byte, lists []list) []byte {
	fields := make([]Field, 0, len(lists))
	for _, l := range lists {
		fields = append(fields, Field{l.name, l.values[len(l.values)-1]})
	}
	return appendFieldsOrNull(b, fields)
}

// appendLists writes all values of each name.
func appendLists(b []byte, lists []list) []byte {
	if len(lists) == 0 {
		return append(b, "null"...)
	}
	for i, l := range lists {
		b = AppendString(append(b, "{,"[min(i, 1)]), l.name)
		b = append(b, ':')
		for j, v := range l.values {
			b = AppendString(append(b, "[,"[min(j, 1)]), v)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendFieldsOrNull(b []byte, fields []Field) []byte {
	if len(fields) == 0 {
		return append(b, "null"...)
	}
	return appendFields(b, fields)
}

// appendFields writes an object of text.
func appendFields(b []byte, fields []Field) []byte {
	b = append(b, '{')
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendString(b, f.Name)
		b = AppendString(append(b, ':'), f.Value)
	}
	return append(b, '}')
}

func appendContextV1(b []byte, r *Request) []byte {
	domain := hostname(r.Host)
	prefix, _, _ := strings.Cut(domain, ".")
	b = member(b, `{"accountId":`, r.AccountID)
	b = member(b, `,"apiId":`, r.APIID)
	b = append(b, `,"authorizer":{"claims":`...)
	b = appendFieldsOrNull(b, r.Claims)
	b = append(b, `,"scopes":null}`...)
	b = member(b, `,"domainName":`, domain)
	b = member(b, `,"domainPrefix":`, prefix)
	b = member(b, `,"extendedRequestId":`, r.RequestID)
	b = member(b, `,"httpMethod":`, r.Method)
	b = append(b, `,"identity":{"accessKey":`...)
	b = appendIAM(b, r, func(i *IAM) string { return i.AccessKey })
	b = append(b, `,"accountId":`...)
	b = appendIAM(b, r, func(i *IAM) string { return i.Account })
	b = append(b, `,"caller":`...)
	b = appendIAM(b, r, func(i *IAM) string { return i.AccessKey })
	b = append(b, `,"cognitoAuthenticationProvider":null,"cognitoAuthenticationType":null,"cognitoIdentityId":null,"cognitoIdentityPoolId":null,"principalOrgId":null`...)
	b = member(b, `,"sourceIp":`, r.SourceIP)
	b = append(b, `,"user":`...)
	b = appendIAM(b, r, func(i *IAM) string { return i.AccessKey })
	b = member(b, `,"userAgent":`, first(r.Header["User-Agent"]))
	b = append(b, `,"userArn":`...)
	b = appendIAM(b, r, func(i *IAM) string { return i.UserARN })
	b = member(b, `},"path":`, unescapePath(r.Path))
	b = member(b, `,"protocol":`, r.Protocol)
	b = member(b, `,"requestId":`, r.RequestID)
	b = append(b, `,"requestTime":"`...)
	b = r.Time.UTC().AppendFormat(b, "02/Jan/2006:15:04:05 +0000")
	b = append(b, `","requestTimeEpoch":`...)
	b = strconv.AppendInt(b, r.Time.UnixMilli(), 10)
	b = member(b, `,"resourceId":`, r.RouteKey)
	b = member(b, `,"resourcePath":`, r.Resource)
	return append(b, `,"stage":"$default"}`...)
}

func appendIAM(b []byte, r *Request, of func(*IAM) string) []byte {
	if r.IAM == nil {
		return append(b, "null"...)
	}
	return AppendString(b, of(r.IAM))
}

// unescapePath decodes a path; what is no escape stays as it came.
func unescapePath(p string) string {
	return unescape(strings.ReplaceAll(p, "+", "%2B"))
}

// appendWholeBody is appendBody for formats that always have the member.
func appendWholeBody(b []byte, r *Request, empty string) []byte {
	b = append(b, `,"body":`...)
	switch {
	case len(r.Body) == 0:
		b = append(b, empty...)
	case isText(r.Header) && utf8.Valid(r.Body):
		b = appendText(b, r.Body)
	default:
		b = base64.StdEncoding.AppendEncode(append(b, '"'), r.Body)
		return append(b, `","isBase64Encoded":true`...)
	}
	return append(b, `,"isBase64Encoded":false`...)
}

// ParseV1 reads an answer of payload format 1.0 or to a load balancer: an object
// with a statusCode, headers, multiValueHeaders and a body that is text. Of a header
// that is in both, all values go out, each once. The answer may share memory with
// payload.
func ParseV1(payload []byte) (Answer, error) {
	var parts answerParts
	var multi []byte
	ok := isObject(payload, func(name, value []byte) {
		switch string(name) {
		case "multiValueHeaders":
			multi = value
		case "cookies": // of another format
		default:
			parts.set(name, value)
		}
	})
	switch {
	case !ok:
		return Answer{}, unlike("it is no object")
	case parts.status == nil:
		return Answer{}, unlike("it has no statusCode")
	case isSet(parts.body) && parts.body[0] != '"':
		return Answer{}, unlike("body is no text")
	}
	parts.streamed = isSet(multi) // which may name the type
	a, err := parts.answer()
	if err != nil || !isSet(multi) {
		return a, err
	}
	if a.Header, err = mergeLists(a.Header, multi); err != nil {
		return Answer{}, err
	}
	if !slices.ContainsFunc(a.Header, func(f Field) bool { return f.Name == "Content-Type" }) {
		a.Header = append(a.Header, Field{"Content-Type", jsonType})
	}
	return a, nil
}

func trimSpace(v []byte) []byte { return v[space(v, 0):] }

// mergeLists adds multiValueHeaders. Values of one name are joined, but cookies,
// which cannot be (RFC 6265, section 3).
func mergeLists(fields []Field, multi []byte) ([]Field, error) {
	if multi[0] != '{' {
		return nil, unlike("multiValueHeaders is no object")
	}
	for name, values := range members(multi) {
		name := textproto.CanonicalMIMEHeaderKey(string(name))
		if hop[name] || name == "Content-Length" || !isToken(name) || !isSet(values) {
			continue
		}
		if values[0] != '[' {
			return nil, unlike("a value of multiValueHeaders is no list")
		}
		for value := range elements(values) {
			text, ok := scalar(value)
			if !ok {
				return nil, unlike("a value of multiValueHeaders is no list of texts")
			}
			fields = addValue(fields, name, text)
		}
	}
	return fields, nil
}

func addValue(fields []Field, name, value string) []Field {
	for i, f := range fields {
		switch {
		case f.Name != name:
		case f.Value == value:
			return fields
		case name != "Set-Cookie":
			fields[i].Value += ", " + value
			return fields
		}
	}
	return append(fields, Field{name, value})
}
