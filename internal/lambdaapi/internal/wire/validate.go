package wire

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"lambent.dev/lambent"
)

// constraint is what the model demands of a simple value, a list or a map.
type constraint struct {
	min, max   *float64 // of a length, a count or a value
	pattern    string
	enum       []string
	enumText   []string // what a violation lists, where that is not enum
	elem       string   // shape of a list's elements
	key, value string   // shapes of a map
	plainElems bool     // violations of elements stand alone
	nullable   bool     // elements may be null
	float      bool
	sensitive  bool // the value is not repeated in violations

	once    sync.Once
	matches func(string) bool
}

func bound(f float64) *float64 { return &f }

// maxViolations bounds how many are reported; a request may hold thousands.
const maxViolations = 50

// Validate checks a request, or any shape in it, and returns nil or the
// ValidationException as AWS words it (recorded): the number of violations, then
// each with the value and the member's path.
func Validate(in any) error {
	w := walker{}
	w.structure(reflect.ValueOf(in).Elem(), "")
	if len(w.violations) == 0 {
		return nil
	}
	noun := "errors"
	if len(w.violations) == 1 {
		noun = "error"
	}
	return &lambent.Error{
		Code: lambent.CodeInvalid, Reason: "ValidationException",
		Message: fmt.Sprintf("%d validation %s detected: %s", len(w.violations), noun, strings.Join(w.violations, "; ")),
	}
}

type walker struct{ violations []string }

func (w *walker) report(path, value string, c *constraint, rule string) {
	if len(w.violations) >= maxViolations {
		return
	}
	shown := "Value '" + value + "'"
	if c != nil && c.sensitive {
		shown = "Value"
	}
	w.violations = append(w.violations, shown+" at '"+path+"' failed to satisfy constraint: "+rule)
}

func (w *walker) structure(v reflect.Value, prefix string) {
	for _, f := range plan(v.Type()) {
		path := prefix + strings.ToLower(f.name[:1]) + f.name[1:]
		fv := v.Field(f.index)
		if fv.IsNil() {
			if f.required && len(w.violations) < maxViolations {
				w.violations = append(w.violations, "Value null at '"+path+"' failed to satisfy constraint: Member must not be null")
			}
			continue
		}
		if fv.Kind() == reflect.Pointer {
			fv = fv.Elem()
		}
		w.value(fv, path, f.shape)
	}
}

func (w *walker) value(v reflect.Value, path string, c *constraint) {
	if c != nil {
		for _, rule := range c.broken(v) {
			w.report(path, show(v), c, rule)
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		w.structure(v, path+".")
	case reflect.Slice:
		for i := range v.Len() {
			if e := v.Index(i); e.Kind() == reflect.Struct {
				w.structure(e, path+"."+strconv.Itoa(i+1)+".member.")
			}
		}
	case reflect.Map:
		if v.Type().Elem().Kind() != reflect.Struct {
			return
		}
		for _, k := range sortedKeys(v) {
			w.structure(v.MapIndex(reflect.ValueOf(k)), path+"."+k+".member.")
		}
	}
}

// broken lists the rules that a value breaks.
func (c *constraint) broken(v reflect.Value) []string {
	var out []string
	switch v.Kind() {
	case reflect.String:
		s := v.String()
		out = c.outOf(float64(utf8.RuneCountInString(s)), "length")
		if c.pattern != "" && !c.match(s) {
			out = append(out, c.patternRule())
		}
		if len(c.enum) > 0 && !slices.Contains(c.enum, s) {
			out = append(out, c.enumRule())
		}
	case reflect.Int64:
		out = c.outOf(float64(v.Int()), "value")
	case reflect.Float64:
		out = c.outOf(v.Float(), "value")
	case reflect.Slice:
		out = c.outOf(float64(v.Len()), "length")
		out = append(out, c.elements(v)...)
	case reflect.Map:
		out = c.outOf(float64(v.Len()), "length")
		out = append(out, c.entries(v)...)
	}
	return out
}

func (c *constraint) outOf(n float64, what string) []string {
	switch {
	case c.max != nil && n > *c.max:
		return []string{c.boundRule("less", what, *c.max)}
	case c.min != nil && n < *c.min:
		return []string{c.boundRule("greater", what, *c.min)}
	}
	return nil
}

// elements reports the first rule of the list's elements that is broken: AWS
// names the whole list and all rules of an element, once.
func (c *constraint) elements(v reflect.Value) []string {
	e := constraints[c.elem]
	if e == nil {
		return nil
	}
	for i := range v.Len() {
		if len(e.broken(v.Index(i))) == 0 {
			continue
		}
		if c.plainElems {
			return []string{e.enumRule()}
		}
		return []string{"Member must satisfy constraint: [" + strings.Join(e.rules(!c.nullable), ", ") + "]"}
	}
	return nil
}

func (c *constraint) entries(v reflect.Value) []string {
	var out []string
	key, value := constraints[c.key], constraints[c.value]
	for _, k := range sortedKeys(v) {
		if key != nil && len(key.broken(reflect.ValueOf(k))) > 0 {
			out = append(out, "Map keys must satisfy constraint: ["+strings.Join(key.rules(false), ", ")+"]")
			break
		}
	}
	for _, k := range sortedKeys(v) {
		if value != nil && len(value.broken(v.MapIndex(reflect.ValueOf(k)))) > 0 {
			out = append(out, "Map value must satisfy constraint: ["+strings.Join(value.rules(true), ", ")+"]")
			break
		}
	}
	return out
}

// rules words everything that is demanded of a value.
func (c *constraint) rules(notNull bool) []string {
	what := "length"
	if c.float {
		what = "value"
	}
	var out []string
	if c.max != nil {
		out = append(out, c.boundRule("less", what, *c.max))
	}
	if c.min != nil {
		out = append(out, c.boundRule("greater", what, *c.min))
	}
	if c.pattern != "" {
		out = append(out, c.patternRule())
	}
	if len(c.enum) > 0 {
		out = append(out, c.enumRule())
	}
	if notNull {
		out = append(out, "Member must not be null")
	}
	return out
}

func (c *constraint) boundRule(than, what string, n float64) string {
	text := strconv.FormatFloat(n, 'f', -1, 64)
	if c.float {
		text = javaDouble(n)
	}
	return "Member must have " + what + " " + than + " than or equal to " + text
}

func (c *constraint) patternRule() string {
	return "Member must satisfy regular expression pattern: " + c.pattern
}

func (c *constraint) enumRule() string {
	names := c.enumText
	if len(names) == 0 {
		names = c.enum
	}
	return "Member must satisfy enum value set: [" + strings.Join(names, ", ") + "]"
}

// lookarounds are the patterns that use what package regexp, for the sake of
// linear time, does not have: such a value must match one and not the other.
var lookarounds = map[string]struct{ match, not string }{
	`(?!^[0-9]+$)([a-zA-Z0-9-_]+)`:                   {`[a-zA-Z0-9-_]+`, `[0-9]+`},
	`((?!^\d+$)^[0-9a-zA-Z-_]+$)`:                    {`[0-9a-zA-Z-_]+`, `\d+`},
	`(^(?!(system\x2e)))(^[_a-zA-Z0-9])([^$]*)`:      {`[_a-zA-Z0-9][^$]*`, `(?s)system\..*`},
	`[0-9A-Za-z\.\-_]*(?<!\.)`:                       {`[0-9A-Za-z.\-_]*`, `.*\.`},
	urlFunctionName + `(:((?!\d+$)[0-9a-zA-Z-_]+))?`: {urlFunctionName + `(:[0-9a-zA-Z-_]+)?`, urlFunctionName + `:\d+`},
}

const urlFunctionName = `(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]{1,64})`

// match compiles the pattern at its first use. Patterns of the model hold for
// the whole value.
func (c *constraint) match(s string) bool {
	c.once.Do(func() {
		if l, ok := lookarounds[c.pattern]; ok {
			match, not := whole(l.match), whole(l.not)
			c.matches = func(s string) bool { return match.MatchString(s) && !not.MatchString(s) }
			return
		}
		c.matches = whole(c.pattern).MatchString
	})
	return c.matches(s)
}

func whole(pattern string) *regexp.Regexp { return regexp.MustCompile(`\A(?:` + pattern + `)\z`) }

// show prints a value as Java does, which is what AWS's messages hold.
func show(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		return javaDouble(v.Float())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = show(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Map:
		keys := sortedKeys(v)
		for i, k := range keys {
			keys[i] = k + "=" + show(v.MapIndex(reflect.ValueOf(k)))
		}
		return "{" + strings.Join(keys, ", ") + "}"
	}
	return ""
}

func javaDouble(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func sortedKeys(v reflect.Value) []string {
	keys := make([]string, 0, v.Len())
	for _, k := range v.MapKeys() {
		keys = append(keys, k.String())
	}
	sort.Strings(keys)
	return keys
}
