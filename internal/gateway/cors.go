package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"lambent.dev/lambent"
)

// isPreflight tells the question of a browser whether it may send a request (Fetch
// standard, "CORS-preflight request").
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// answerPreflight answers for the function, which is not asked. Who is not allowed
// gets an answer without the headers that would allow it.
func answerPreflight(w http.ResponseWriter, r *http.Request, c *lambent.CORS) {
	h := w.Header()
	if addCORS(h, r, c) && allows(c.AllowMethods, r.Header.Get("Access-Control-Request-Method")) {
		h.Set("Access-Control-Allow-Methods", strings.Join(c.AllowMethods, ","))
		if len(c.AllowHeaders) > 0 {
			h.Set("Access-Control-Allow-Headers", strings.Join(c.AllowHeaders, ","))
		}
		if c.MaxAge > 0 {
			h.Set("Access-Control-Max-Age", strconv.Itoa(c.MaxAge))
		}
	}
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// addCORS adds what a browser looks for in every answer; it is false when the
// request's origin is not allowed.
func addCORS(h http.Header, r *http.Request, c *lambent.CORS) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	h.Add("Vary", "Origin")
	if !allows(c.AllowOrigins, origin) {
		return false
	}
	if slices.Contains(c.AllowOrigins, "*") {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if c.AllowCredentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	if len(c.ExposeHeaders) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(c.ExposeHeaders, ","))
	}
	return true
}

func allows(list []string, value string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return s == "*" || strings.EqualFold(s, value) })
}
