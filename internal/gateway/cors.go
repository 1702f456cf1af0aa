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
	h, method := w.Header(), r.Header.Get("Access-Control-Request-Method")
	if addCORS(h, r, c) && allows(c.AllowMethods, method) {
		h.Set("Access-Control-Allow-Methods", spell(c.AllowMethods, method))
		if headers := spell(c.AllowHeaders, strings.Join(r.Header["Access-Control-Request-Headers"], ",")); headers != "" {
			h.Set("Access-Control-Allow-Headers", headers)
		}
		if c.MaxAge > 0 {
			h.Set("Access-Control-Max-Age", strconv.Itoa(c.MaxAge))
		}
	}
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// spell is a list as browsers take it: for all there is what they have asked for,
// because to them * is no wildcard where cookies are sent along, and never stands for
// Authorization (Fetch standard, "CORS-preflight fetch").
func spell(list []string, asked string) string {
	if slices.Contains(list, "*") {
		return asked
	}
	return strings.Join(list, ",")
}

// addCORS adds what a browser looks for in every answer; it is false when the
// request's origin is not allowed. What is for one origin must not be kept for
// another, nor what is for none.
func addCORS(h http.Header, r *http.Request, c *lambent.CORS) bool {
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !allows(c.AllowOrigins, origin) {
		return false
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
