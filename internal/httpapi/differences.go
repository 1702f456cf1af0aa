package httpapi

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"lambent.dev/lambent/internal/client"
)

// maxDifferences bounds how many places are told in which two answers differ.
const maxDifferences = 100

// differences compares two JSON texts; what is not JSON is compared as a whole.
func differences(was, now json.RawMessage) []client.Difference {
	a, errA := decode(was)
	b, errB := decode(now)
	if errA != nil || errB != nil {
		if bytes.Equal(was, now) {
			return nil
		}
		return []client.Difference{{Path: "$", Was: was, Now: now}}
	}
	d := &differ{}
	d.compare("$", a, b)
	return d.found
}

// decode keeps numbers as they are written.
func decode(text json.RawMessage) (v any, err error) {
	if len(text) == 0 {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	err = dec.Decode(&v)
	return v, err
}

type differ struct{ found []client.Difference }

// absent stands for what one side has not.
type absent struct{}

func (d *differ) compare(path string, was, now any) {
	if len(d.found) == maxDifferences {
		return
	}
	switch a := was.(type) {
	case map[string]any:
		if b, ok := now.(map[string]any); ok {
			d.objects(path, a, b)
			return
		}
	case []any:
		if b, ok := now.([]any); ok {
			for i := range max(len(a), len(b)) {
				d.compare(path+"["+strconv.Itoa(i)+"]", element(a, i), element(b, i))
			}
			return
		}
	default:
		switch now.(type) {
		case map[string]any, []any:
		default:
			if was == now {
				return
			}
		}
	}
	d.found = append(d.found, client.Difference{Path: path, Was: encoded(was), Now: encoded(now)})
}

func (d *differ) objects(path string, a, b map[string]any) {
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, ok := a[name]
		if !ok {
			was = absent{}
		}
		now, ok := b[name]
		if !ok {
			now = absent{}
		}
		d.compare(path+"."+name, was, now)
	}
}

func element(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return absent{}
}

func encoded(v any) json.RawMessage {
	if _, ok := v.(absent); ok {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil { // it was decoded from JSON
		panic(err)
	}
	return b
}
