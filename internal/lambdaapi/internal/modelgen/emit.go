package main

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

func emitTypes(b *bytes.Buffer, m *model) {
	for _, name := range m.structures() {
		s := m.Shapes[name]
		fmt.Fprintf(b, "type %s struct {\n", name)
		for _, member := range s.Members.names {
			r := s.Members.refs[member]
			tag := fmt.Sprintf("json:%q", jsonTag(s, member, r))
			if t := m.awsTag(s, member, r); t != "-" {
				tag += fmt.Sprintf(" aws:%q", t)
			}
			fmt.Fprintf(b, "%s %s `%s`\n", member, m.goType(r.Shape), tag)
		}
		b.WriteString("}\n\n")
	}
}

// jsonTag leaves members that are not in the body out of it.
func jsonTag(s *shape, member string, r ref) string {
	if r.Location != "" || s.Payload == member {
		return "-"
	}
	return ",omitzero"
}

// awsTag is "shape[ place[ name]][ required]": shape is "-" where it constrains
// nothing, place is path, query, header, status or payload.
func (m *model) awsTag(s *shape, member string, r ref) string {
	shape := r.Shape
	if !m.constrains(shape, map[string]bool{}) {
		shape = "-"
	}
	tag := shape
	switch r.Location {
	case "uri":
		tag += " path " + r.LocationName
	case "querystring":
		tag += " query " + r.LocationName
	case "header":
		tag += " header " + r.LocationName
	case "statusCode":
		tag += " status"
	}
	if s.Payload == member {
		tag += " payload"
	}
	if slices.Contains(s.Required, member) {
		tag += " required"
	}
	return tag
}

// constrains tells whether values of the shape can be invalid.
func (m *model) constrains(name string, seen map[string]bool) bool {
	s := m.Shapes[name]
	if seen[name] || s.unchecked {
		return false
	}
	seen[name] = true
	switch s.Type {
	case "structure":
		return false // walked by its Go type
	case "list":
		return s.Min != nil || s.Max != nil || m.constrains(s.Member.Shape, seen)
	case "map":
		return s.Min != nil || s.Max != nil || m.constrains(s.Key.Shape, seen) || m.constrains(s.Value.Shape, seen)
	}
	return s.Min != nil || s.Max != nil || s.Pattern != "" || len(s.Enum) > 0
}

func emitConstraints(b *bytes.Buffer, m *model) {
	used := map[string]bool{}
	var use func(name string)
	use = func(name string) {
		s := m.Shapes[name]
		if used[name] || !m.constrains(name, map[string]bool{}) {
			return
		}
		used[name] = true
		for _, r := range []*ref{s.Member, s.Key, s.Value} {
			if r != nil {
				use(r.Shape)
			}
		}
	}
	for _, name := range m.structures() {
		for _, r := range m.Shapes[name].Members.refs {
			use(r.Shape)
		}
	}
	names := make([]string, 0, len(used))
	for n := range used {
		names = append(names, n)
	}
	sort.Strings(names)
	b.WriteString("// constraints of the simple shapes, lists and maps, by shape.\nvar constraints = map[string]*constraint{\n")
	for _, n := range names {
		fmt.Fprintf(b, "%q: {%s},\n", n, m.constraint(m.Shapes[n]))
	}
	b.WriteString("}\n")
}

func (m *model) constraint(s *shape) string {
	var f []string
	add := func(format string, args ...any) { f = append(f, fmt.Sprintf(format, args...)) }
	if s.Min != nil {
		add("min: bound(%s)", number(*s.Min))
	}
	if s.Max != nil {
		add("max: bound(%s)", number(*s.Max))
	}
	if s.Pattern != "" {
		add("pattern: %s", quote(s.Pattern))
	}
	if len(s.Enum) > 0 {
		add("enum: %s", list(s.Enum))
	}
	if len(s.enumText) > 0 {
		add("enumText: %s", list(s.enumText))
	}
	for label, r := range map[string]*ref{"elem": s.Member, "key": s.Key, "value": s.Value} {
		if r != nil && m.constrains(r.Shape, map[string]bool{}) {
			add("%s: %q", label, r.Shape)
		}
	}
	if s.plainElems {
		add("plainElems: true")
	}
	if s.nullable {
		add("nullable: true")
	}
	if s.Type == "double" {
		add("float: true")
	}
	if s.Sensitive {
		add("sensitive: true")
	}
	sort.Strings(f)
	return strings.Join(f, ", ")
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func quote(s string) string {
	if strings.Contains(s, "`") {
		return strconv.Quote(s)
	}
	return "`" + s + "`"
}

func list(ss []string) string {
	q := make([]string, len(ss))
	for i, s := range ss {
		q[i] = strconv.Quote(s)
	}
	return "[]string{" + strings.Join(q, ", ") + "}"
}

func emitOperations(b *bytes.Buffer, m *model) {
	names := make([]string, 0, len(m.Operations))
	for n := range m.Operations {
		names = append(names, n)
	}
	sort.Strings(names)
	b.WriteString("// Ops are the operations of the API, by name in alphabetical order.\nvar Ops = []Op{\n")
	for _, n := range names {
		op := m.Operations[n]
		path, query, _ := strings.Cut(op.HTTP.URI, "?")
		if query != "" {
			query = fmt.Sprintf("Query: %q, ", query)
		}
		code := op.HTTP.Code
		if code == 0 {
			code = 200
		}
		fmt.Fprintf(b, "{Name: %q, Method: %q, Path: %q, %sStatus: %d, input: newOf[%s]},\n", n, op.HTTP.Method, path, query, code, op.Input.Shape)
	}
	b.WriteString("}\n")
}

func emitExceptions(b *bytes.Buffer, m *model) {
	var names []string
	for n, s := range m.Shapes {
		if s.Exception && s.Error != nil {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	b.WriteString("// Exceptions of the model. Member is the name of the message in the body.\nvar exceptions = map[string]Exception{\n")
	for _, n := range names {
		s := m.Shapes[n]
		member := "message"
		if _, ok := s.Members.refs["Message"]; ok {
			member = "Message"
		}
		fmt.Fprintf(b, "%q: {Status: %d, Member: %q},\n", n, s.Error.Status, member)
	}
	b.WriteString("}\n")
}
