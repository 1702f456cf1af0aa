package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// model is the part of a botocore service description that is used here. The
// order of members is kept, because AWS reports violations in it.
type model struct {
	Operations map[string]operation `json:"operations"`
	Shapes     map[string]*shape    `json:"shapes"`
}

type operation struct {
	HTTP struct {
		Method string `json:"method"`
		URI    string `json:"requestUri"`
		Code   int    `json:"responseCode"`
	} `json:"http"`
	Input  *ref `json:"input"`
	Output *ref `json:"output"`
}

type ref struct {
	Shape        string `json:"shape"`
	Location     string `json:"location"`
	LocationName string `json:"locationName"`
}

type shape struct {
	Type     string   `json:"type"`
	Required []string `json:"required"`
	Members  members  `json:"members"`
	Member   *ref     `json:"member"`
	Key      *ref     `json:"key"`
	Value    *ref     `json:"value"`
	Payload  string   `json:"payload"`
	Min      *float64 `json:"min"`
	Max      *float64 `json:"max"`
	Pattern  string   `json:"pattern"`
	Enum     []string `json:"enum"`
	// Exception and Error describe an exception's answer.
	Exception bool `json:"exception"`
	Error     *struct {
		Status int `json:"httpStatusCode"`
	} `json:"error"`
	Eventstream bool `json:"eventstream"`
	Event       bool `json:"event"`
	Sensitive   bool `json:"sensitive"`

	enumText   []string // what a violation lists, where that is not Enum
	unchecked  bool     // the service checks the values later, in its own words
	plainElems bool     // violations of elements are not wrapped in "Member must satisfy constraint"
	nullable   bool     // elements may be null
}

// members is a JSON object whose order matters.
type members struct {
	names []string
	refs  map[string]ref
}

func (m *members) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &m.refs); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		m.names = append(m.names, name.(string))
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return err
		}
	}
	return nil
}

// structures returns the names of the structures that requests and answers use,
// sorted.
func (m *model) structures() []string {
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		s := m.Shapes[name]
		if s == nil || seen[name] || s.Exception || s.Eventstream || s.Event {
			return
		}
		switch s.Type {
		case "structure":
			seen[name] = true
			for _, r := range s.Members.refs {
				visit(r.Shape)
			}
		case "list":
			visit(s.Member.Shape)
		case "map":
			visit(s.Value.Shape)
		}
	}
	for _, op := range m.Operations {
		for _, r := range []*ref{op.Input, op.Output} {
			if r != nil {
				visit(r.Shape)
			}
		}
	}
	names := make([]string, 0, len(seen))
	for n := range seen {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// goType is the Go type of a shape as a member: pointers where absence must be
// told from the zero value.
func (m *model) goType(name string) string {
	s := m.Shapes[name]
	switch s.Type {
	case "string":
		return "*string"
	case "integer", "long":
		return "*int64"
	case "boolean":
		return "*bool"
	case "double", "timestamp":
		return "*float64"
	case "blob":
		return "[]byte"
	case "list":
		return "[]" + strings.TrimPrefix(m.goType(s.Member.Shape), "*")
	case "map":
		return "map[string]" + strings.TrimPrefix(m.goType(s.Value.Shape), "*")
	case "structure":
		if s.Eventstream {
			return "[]byte"
		}
		return "*" + name
	}
	panic("modelgen: no Go type for " + s.Type)
}
