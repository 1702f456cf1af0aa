package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"lambent.dev/lambent"
)

// The versions of the language.
const (
	current = "2012-10-17"
	old     = "2008-10-17"
)

// malformed is the error of a document that AWS refuses, in its words.
func malformed(message string) error {
	return &lambent.Error{Code: lambent.CodeInvalid, Reason: "MalformedPolicyDocument", Message: message}
}

const syntax = "Syntax errors in policy."

// source is a document as it was written.
type source struct {
	version    string
	statements []sourceStatement
}

// sourceStatement is a statement as it was written; lists that are not there are nil.
type sourceStatement struct {
	sid, effect             string
	actions, notActions     []string
	resources, notResources []string
	principal, notPrincipal json.RawMessage
	conditions              []sourceCondition
}

type sourceCondition struct {
	operator, key string
	values        []string
}

// read takes a document apart by the grammar alone; ok is false for what it does not
// have (IAM User Guide, "Grammar of the IAM JSON policy language").
func read(text string) (s source, ok bool) {
	var top map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &top) != nil {
		return s, false
	}
	for name, value := range top {
		var id string
		switch name {
		case "Version":
			ok = json.Unmarshal(value, &s.version) == nil && (s.version == current || s.version == old)
		case "Id":
			ok = isString(value, &id)
		case "Statement":
			s.statements, ok = readStatements(value)
		default:
			ok = false
		}
		if !ok {
			return s, false
		}
	}
	return s, len(s.statements) > 0
}

// isString reads a string, and nothing that may stand for none.
func isString(value json.RawMessage, into *string) bool {
	return len(value) > 0 && value[0] == '"' && json.Unmarshal(value, into) == nil
}

func readStatements(value json.RawMessage) ([]sourceStatement, bool) {
	all := []json.RawMessage{value}
	if value[0] == '[' && json.Unmarshal(value, &all) != nil {
		return nil, false
	}
	out := make([]sourceStatement, len(all))
	for i, one := range all {
		if !out[i].read(one) {
			return nil, false
		}
	}
	return out, true
}

// Statement is a statement of a document that was checked, as it was written; nil
// where there is none of that place.
func Statement(text string, place int) json.RawMessage {
	var top struct{ Statement json.RawMessage }
	if json.Unmarshal([]byte(text), &top) != nil || len(top.Statement) == 0 {
		return nil
	}
	all := []json.RawMessage{top.Statement}
	if top.Statement[0] == '[' && json.Unmarshal(top.Statement, &all) != nil || place >= len(all) {
		return nil
	}
	return all[place]
}

func (s *sourceStatement) read(value json.RawMessage) (ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil {
		return false
	}
	for name, value := range members {
		switch name {
		case "Sid":
			ok = isString(value, &s.sid)
		case "Effect":
			ok = isString(value, &s.effect)
		case "Action":
			s.actions, ok = readList(value)
		case "NotAction":
			s.notActions, ok = readList(value)
		case "Resource":
			s.resources, ok = readList(value)
		case "NotResource":
			s.notResources, ok = readList(value)
		case "Principal":
			s.principal, ok = value, true
		case "NotPrincipal":
			s.notPrincipal, ok = value, true
		case "Condition":
			s.conditions, ok = readConditions(value)
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	twice := s.actions != nil && s.notActions != nil || s.resources != nil && s.notResources != nil || s.principal != nil && s.notPrincipal != nil
	return !twice && (strings.EqualFold(s.effect, "Allow") || strings.EqualFold(s.effect, "Deny"))
}

// readList reads one string or a list of them; the list is never nil.
func readList(value json.RawMessage) ([]string, bool) {
	var one string
	if isString(value, &one) {
		return []string{one}, true
	}
	var all []json.RawMessage
	if json.Unmarshal(value, &all) != nil || all == nil {
		return nil, false
	}
	out := make([]string, len(all))
	for i := range all {
		if !isString(all[i], &out[i]) {
			return nil, false
		}
	}
	return out, true
}

func readConditions(value json.RawMessage) ([]sourceCondition, bool) {
	var all map[string]map[string]json.RawMessage
	if json.Unmarshal(value, &all) != nil || all == nil {
		return nil, false
	}
	var out []sourceCondition
	for operator, keys := range all {
		if keys == nil || len(keys) > 0 && !isOperator(operator) {
			return nil, false
		}
		for key, value := range keys {
			values, ok := readValues(value)
			if !ok {
				return nil, false
			}
			out = append(out, sourceCondition{operator, key, values})
		}
	}
	slices.SortFunc(out, func(a, b sourceCondition) int {
		return strings.Compare(a.operator+"\n"+a.key, b.operator+"\n"+b.key)
	})
	return out, true
}

// isOperator knows the operators that there are.
func isOperator(name string) bool {
	for _, prefix := range []string{"ForAllValues:", "ForAnyValue:"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			name = rest
			break
		}
	}
	name = strings.TrimSuffix(name, "IfExists")
	_, ok := operators[name]
	return ok || slices.Contains(beyond, name)
}

// readValues reads one value or a list of them, which may be numbers and truths, too.
func readValues(value json.RawMessage) ([]string, bool) {
	all := []json.RawMessage{value}
	if value[0] == '[' && json.Unmarshal(value, &all) != nil {
		return nil, false
	}
	out := make([]string, len(all))
	for i, one := range all {
		one = bytes.TrimSpace(one)
		switch {
		case isString(one, &out[i]):
		case one[0] == '{' || one[0] == '[' || one[0] == 'n':
			return nil, false
		default:
			out[i] = string(one)
		}
	}
	return out, true
}

// statement makes what is decided by of what was written.
func (s *sourceStatement) statement() statement {
	out := statement{deny: s.effect == "Deny", actions: s.actions}
	if s.notActions != nil {
		out.actions, out.not.action = s.notActions, true
	}
	resources := s.resources
	if s.notResources != nil {
		resources, out.not.resource = s.notResources, true
	}
	for _, r := range resources {
		out.vague = out.vague || strings.Contains(r, "${")
		out.resources = append(out.resources, parseARN(r))
	}
	for _, c := range s.conditions {
		out.conditions = append(out.conditions, newCondition(c.operator, c.key, c.values))
	}
	return out
}
