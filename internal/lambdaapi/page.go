package lambdaapi

import (
	"encoding/base64"
)

// pageSize is the most items on a page, whatever MaxItems asks for (AWS Lambda
// API reference, ListFunctions).
const pageSize = 50

type page struct {
	after string
	limit int
}

// pageOf reads a list's Marker and MaxItems.
func pageOf(marker *string, maxItems *int64) (page, error) {
	p := page{limit: pageSize}
	if n := deref(maxItems); n > 0 && n < pageSize {
		p.limit = int(n)
	}
	if m := deref(marker); m != "" {
		raw, err := base64.RawURLEncoding.DecodeString(m)
		if err != nil {
			return p, invalid("The Marker is not one that this server has given out.")
		}
		p.after = string(raw)
	}
	return p, nil
}

// pageOfFunction reads the Marker and MaxItems of a list of what a function has.
func (h *handler) pageOfFunction(c caller, name string, marker *string, maxItems *int64) (function string, p page, err error) {
	if function, err = h.function(c, name); err == nil {
		p, err = pageOf(marker, maxItems)
	}
	return function, p, err
}

// marker makes the opaque text that asks for the next page, or nil at the end.
func marker(next string) *string {
	return some(base64.RawURLEncoding.EncodeToString([]byte(next)))
}
