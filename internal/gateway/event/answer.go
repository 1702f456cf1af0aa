package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Answer is a function's answer as HTTP.
type Answer struct {
	Status int
	Header []Field
	Body   []byte
}

// Field is one header of an answer, its name in canonical form.
type Field struct{ Name, Value string }

// ErrAnswer tells that a function's answer cannot be sent as HTTP. What this package
// returns says what is wrong with it, too, and nothing that is in it.
var ErrAnswer = errors.New("the function's answer is not in the form of an HTTP answer")

func unlike(what string) error { return fmt.Errorf("%w: %s", ErrAnswer, what) }

const jsonType = "application/json"

// ParseV2 reads an answer of payload format 2.0: an object with a statusCode, or
// any other JSON, which is a body by itself (AWS Lambda developer guide, "Invoking
// Lambda function URLs", response payload format). A lone string goes out without
// its quotes, as on AWS. The answer may share memory with payload.
func ParseV2(payload []byte) (Answer, error) {
	v := trimSpace(payload)
	var parts answerParts
	switch {
	case isObject(v, parts.set):
		if parts.status != nil {
			return parts.answer()
		}
	case !isJSON(v):
		return Answer{}, unlike("it is no JSON")
	case v[0] == '"':
		return plain(unquote(bytes.TrimRight(v, " \t\r\n"))), nil
	}
	return plain(payload), nil
}

func plain(body []byte) Answer {
	return Answer{Status: http.StatusOK, Header: []Field{{"Content-Type", jsonType}}, Body: body}
}

// ParsePrelude reads what goes before the body of a streamed answer: statusCode,
// headers and cookies, all optional.
func ParsePrelude(prelude []byte) (Answer, error) {
	parts := answerParts{status: []byte("200"), streamed: true}
	ok := isObject(prelude, func(name, value []byte) {
		if string(name) != "body" {
			parts.set(name, value)
		}
	})
	if !ok {
		return Answer{}, unlike("its prelude is no object")
	}
	return parts.answer()
}

// answerParts are the members of an answer as JSON; nil is absent.
type answerParts struct {
	status, headers, cookies, body, encoded []byte
	streamed                                bool
}

func (p *answerParts) set(name, value []byte) {
	switch string(name) {
	case "statusCode":
		p.status = value
	case "headers":
		p.headers = value
	case "cookies":
		p.cookies = value
	case "body":
		p.body = value
	case "isBase64Encoded":
		p.encoded = value
	}
}

func (p *answerParts) answer() (a Answer, err error) {
	text, _ := scalar(p.status)
	if a.Status, err = strconv.Atoi(text); err != nil || a.Status < 200 || a.Status > 599 {
		return Answer{}, unlike("statusCode is no number from 200 to 599")
	}
	if a.Header, err = p.fields(); err != nil {
		return Answer{}, err
	}
	a.Body, err = p.content()
	return a, err
}

// fields are the headers and cookies. Those that belong to the connection, or that
// could not be sent, are left out.
func (p *answerParts) fields() ([]Field, error) {
	fields := make([]Field, 0, 8)
	typed := p.streamed
	if isSet(p.headers) {
		if p.headers[0] != '{' {
			return nil, unlike("headers is no object")
		}
		for name, value := range members(p.headers) {
			text, ok := scalar(value)
			if !ok {
				return nil, unlike("a value of headers is no text")
			}
			name := textproto.CanonicalMIMEHeaderKey(string(name))
			if hop[name] || name == "Content-Length" || !isToken(name) {
				continue
			}
			typed = typed || name == "Content-Type"
			fields = append(fields, Field{name, text})
		}
	}
	if !typed {
		fields = append(fields, Field{"Content-Type", jsonType})
	}
	if isSet(p.cookies) {
		if p.cookies[0] != '[' {
			return nil, unlike("cookies is no list")
		}
		for value := range elements(p.cookies) {
			text, ok := scalar(value)
			if !ok {
				return nil, unlike("a value of cookies is no text")
			}
			fields = append(fields, Field{"Set-Cookie", text})
		}
	}
	return fields, nil
}

// content is the body: text, bytes in base64, or JSON that stands for itself.
func (p *answerParts) content() ([]byte, error) {
	if !isSet(p.body) {
		return nil, nil
	}
	if p.body[0] != '"' {
		return p.body, nil
	}
	text := unquote(p.body)
	if flag, _ := scalar(p.encoded); flag != "true" {
		return text, nil
	}
	body := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(body, text)
	if err != nil {
		return nil, unlike("body is no base64, as isBase64Encoded says")
	}
	return body[:n], nil
}

func isSet(value []byte) bool { return value != nil && value[0] != 'n' }

// scalar is a string, number or boolean as text; null is "".
func scalar(value []byte) (text string, ok bool) {
	switch {
	case len(value) == 0 || value[0] == 'n':
		return "", true
	case value[0] == '"':
		return string(unquote(value)), true
	}
	return string(value), value[0] != '{' && value[0] != '['
}

// isToken tells whether name may be a header's (RFC 9110, section 5.6.2).
func isToken(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return name != ""
}

// unquote decodes a JSON string that is known to be one.
func unquote(v []byte) []byte {
	in := v[1 : len(v)-1]
	if bytes.IndexByte(in, '\\') < 0 && utf8.Valid(in) {
		return in
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		return nil // not reached: it is a string
	}
	return []byte(s)
}
