package image

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
)

// errElsewhere marks what went wrong at a place that a registry sent us to: a store of
// blobs, or a server of tokens. Its name is not the caller's to know.
var errElsewhere = errors.New("not the registry itself")

// unreachable tells, of a place that is called who, why nothing could be had from it: in
// words of ours, as an error of the network has addresses in it. It is "" where the way
// there is not what failed.
func unreachable(who string, err error) string {
	if errors.Is(err, errElsewhere) {
		who = "a place that " + who + " leads to"
	}
	var name *net.DNSError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return "The name of " + who + " is not known (DNS)."
	case errors.As(err, &name):
		return "The name of " + who + " could not be looked up (DNS)."
	}
	why := untrusted(err)
	switch {
	case why != "":
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "refuses connections"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		why = "cannot be reached from this network"
	case errors.Is(err, http.ErrSchemeMismatch):
		why = "does not speak TLS: if it is not supposed to, it must be configured as insecure in registries"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		why = "broke the connection off"
	default:
		return ""
	}
	return capital(who) + " " + why + "."
}

// untrusted tells why a place is not who it says, if that is it.
func untrusted(err error) string {
	var (
		authority x509.UnknownAuthorityError
		other     x509.HostnameError
		invalid   x509.CertificateInvalidError
		any       *tls.CertificateVerificationError
		alert     *net.OpError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		return "has a certificate (TLS) of an authority that this host does not know"
	case errors.As(err, &other):
		return "has a certificate (TLS) for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "has a certificate (TLS) that has expired or does not hold yet"
	case errors.As(err, &invalid), errors.As(err, &any):
		return "has a certificate (TLS) that is not valid"
	case errors.As(err, &record), errors.As(err, &alert) && alert.Op == "remote error": // as crypto/tls calls an alert
		return "could not agree on TLS"
	}
	return ""
}

// capital is text as the beginning of a sentence; it begins with a letter of ASCII.
func capital(text string) string { return string(text[0]-'a'+'A') + text[1:] }
