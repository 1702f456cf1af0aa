package route

import (
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"lambent.dev/lambent"
)

// change is a [lambent.Mapping] that has been checked.
type change struct {
	do, in, name string
	value        []piece // of "set" and "append"
	to           string  // of "rename"
}

// piece is text, or a variable of a source.
type piece struct{ text, source, name string }

// fixed are headers that are not for mappings: they belong to the connection, or
// say how long a message is or whom it is for.
var fixed = []string{
	"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto",
}

func (e *Entry) mappings() (err error) {
	if len(e.Request)+len(e.Response) > maxMappings {
		return invalid("more than %d mappings", maxMappings)
	}
	if e.request, err = changes(e.Request, false); err != nil {
		return err
	}
	e.named, e.alike = make(map[string]bool), make(map[string]bool)
	for _, c := range e.request {
		if c.in != "header" {
			continue
		}
		names := []string{c.name}
		if c.do == "rename" {
			names = append(names, c.to)
		}
		for _, name := range names {
			e.named[name], e.alike[hyphens(name)] = true, true
		}
	}
	e.response, err = changes(e.Response, true)
	return err
}

// hyphens is a header's name as it is to programs that cannot tell a low line from a
// hyphen: those that see headers as variables, by CGI, WSGI or Rack.
func hyphens(name string) string {
	return textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

func changes(list []lambent.Mapping, answer bool) ([]change, error) {
	out := make([]change, 0, len(list))
	for _, m := range list {
		c := change{do: m.Do, in: m.In, name: m.Name, to: m.Value}
		if m.In != "header" && (m.In != "query" || answer) {
			return nil, invalid("mapping in %q: header or, for requests, query", m.In)
		}
		var err error
		if c.name, err = mappedName(m.In, m.Name); err != nil {
			return nil, err
		}
		switch m.Do {
		case "set", "append":
			c.value, err = template(m.Value)
		case "rename":
			c.to, err = mappedName(m.In, m.Value)
		case "remove":
			if m.Value != "" {
				err = invalid("mapping remove %s has a value", m.Name)
			}
		default:
			err = invalid("mapping %q is not set, append, remove or rename", m.Do)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func mappedName(in, name string) (string, error) {
	if in == "query" {
		if name == "" || len(name) > 128 {
			return "", invalid("mapping: %q is not the name of a parameter", name)
		}
		return name, nil
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if !tokenForm.MatchString(name) || slices.Contains(fixed, canonical) {
		return "", invalid("mapping: %q is not a header that can be changed", name)
	}
	return canonical, nil
}

// template cuts text at its ${source.name}.
func template(text string) ([]piece, error) {
	if len(text) > 1024 {
		return nil, invalid("mapping: a value has more than 1024 bytes")
	}
	if unsafeText(text) {
		return nil, invalid("mapping: a value has control characters")
	}
	var out []piece
	for {
		before, rest, ok := strings.Cut(text, "${")
		if before != "" {
			out = append(out, piece{text: before})
		}
		if !ok {
			return out, nil
		}
		variable, after, closed := strings.Cut(rest, "}")
		source, name, named := strings.Cut(variable, ".")
		switch {
		case !closed || !named || name == "":
			return nil, invalid("mapping: ${%s is not a variable such as ${path.id}", rest)
		case variable == "request.id" || variable == "source.ip" || source == "path" || source == "claims" || source == "query":
		case source == "header":
			name = textproto.CanonicalMIMEHeaderKey(name)
		default:
			return nil, invalid("mapping: ${%s} is not path, claims, header, query, request.id or source.ip", variable)
		}
		out = append(out, piece{source: source, name: name})
		text = after
	}
}

// Facts are what the variables of mappings stand for.
type Facts struct {
	Found               *Found
	Claims              Claims
	Header              http.Header // of the request, as it came
	Query               string      // as it came
	RequestID, SourceIP string
}

// MapRequest makes a request's headers, in place, and query what the route wants.
// f.Header is looked at as it came: it must not be h itself when there are mappings.
func (f *Facts) MapRequest(h http.Header, query string) string {
	e := f.Found
	maps.DeleteFunc(h, func(name string, _ []string) bool { return !e.named[name] && e.alike[hyphens(name)] })
	for i := range f.Found.request {
		c := &f.Found.request[i]
		if c.in == "header" {
			f.header(h, c)
		} else {
			query = f.parameter(query, c)
		}
	}
	return query
}

// MapResponse makes an answer's headers what the route wants.
func (f *Facts) MapResponse(h http.Header) {
	for i := range f.Found.response {
		f.header(h, &f.Found.response[i])
	}
}

// MapsRequest tells whether there is anything to do to a request.
func (e *Entry) MapsRequest() bool { return len(e.request) > 0 }

func (f *Facts) header(h http.Header, c *change) {
	switch c.do {
	case "remove":
		delete(h, c.name)
	case "rename":
		values := h[c.name]
		delete(h, c.name)
		delete(h, c.to) // who calls cannot send the new name himself
		if len(values) > 0 {
			h[c.to] = values
		}
	default:
		value, ok := f.value(c)
		if c.do == "set" {
			delete(h, c.name)
		}
		if ok && !unsafeText(value) {
			h[c.name] = append(h[c.name][:len(h[c.name]):len(h[c.name])], value)
		}
	}
}

func (f *Facts) parameter(query string, c *change) string {
	var out []string
	add := func(name, value string) { out = append(out, url.QueryEscape(name)+"="+url.QueryEscape(value)) }
	var renamed []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			plain = name
		}
		switch {
		case pair == "":
		case plain == c.name && c.do == "rename":
			renamed = append(renamed, url.QueryEscape(c.to)+"="+value)
		case plain == c.name && c.do != "append", plain == c.to && c.do == "rename":
		default:
			out = append(out, pair)
		}
	}
	if c.do == "set" || c.do == "append" {
		if value, ok := f.value(c); ok {
			add(c.name, value)
		}
	}
	return strings.Join(append(out, renamed...), "&")
}

// value puts a template together; it is none when a variable is absent.
func (f *Facts) value(c *change) (string, bool) {
	var b strings.Builder
	for _, p := range c.value {
		text, ok := p.text, true
		if p.source != "" {
			text, ok = f.variable(p)
		}
		if !ok {
			return "", false
		}
		b.WriteString(text)
	}
	return b.String(), true
}

func (f *Facts) variable(p piece) (string, bool) {
	switch p.source {
	case "path":
		return f.Found.Param(p.name)
	case "claims":
		return f.Claims.Text(p.name)
	case "header":
		v := f.Header[p.name]
		return strings.Join(v, ","), len(v) > 0
	case "query":
		values, _ := url.ParseQuery(f.Query) // what can be read of it
		v := values[p.name]
		return strings.Join(v, ","), len(v) > 0
	case "source":
		return f.SourceIP, true
	}
	return f.RequestID, true
}

// unsafeText tells of text that cannot be in a header (RFC 9110, section 5.5).
func unsafeText(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
