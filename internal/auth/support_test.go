package auth

import (
	"bufio"
	"io"
	"net/url"
	"strings"
)

func newBufio(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

func pathEscape(s string) string { return url.PathEscape(s) }

// queryEscape is as SDKs do it: a space is %20.
func queryEscape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
