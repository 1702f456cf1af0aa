// Package conformance puts the case lists of protocols to the gateway: HTTP/2's by
// h2spec, WebSocket's after those of Autobahn. It owns no behaviour of the product:
// what does not pass is listed in the tests, with the reason.
package conformance
