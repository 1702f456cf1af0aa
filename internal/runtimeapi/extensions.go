package runtimeapi

import (
	"net/http"
	"strings"
)

// Paths of the Extensions, Telemetry and Logs APIs (AWS Lambda developer guide,
// "Using the Lambda Extensions API", "Telemetry API").
const (
	extensionPath = "/2020-01-01/extension/"
	telemetryPath = "/2022-07-01/telemetry"
	logsPath      = "/2020-08-15/logs"
)

// extensionRoute finds the operations beside the Runtime API. All that lambent
// says about extensions so far is in this file.
func extensionRoute(method, path string) operation {
	switch {
	case path == telemetryPath:
		return onlyPut(method, opTelemetry)
	case path == logsPath:
		return onlyPut(method, opLogs)
	case strings.HasPrefix(path, extensionPath):
		return opExtension
	}
	return opUnknown
}

func onlyPut(method string, op operation) operation {
	if method != http.MethodPut {
		return opWrongMethod
	}
	return op
}

// unsupported is the honest answer for what is not there. For telemetry and logs
// it is AWS's own for a place without them, a 202 that clients carry on after.
// An extension that believed itself registered would wait for events for ever,
// so that one is told.
func unsupported(op operation) reply {
	switch op {
	case opTelemetry:
		return refuse(http.StatusAccepted, "Telemetry.NotSupported", "Telemetry API is not supported")
	case opLogs:
		return refuse(http.StatusAccepted, "Logs.NotSupported", "Logs API is not supported")
	}
	return refuse(http.StatusNotImplemented, "Extension.NotSupported", "Extensions API is not supported")
}
