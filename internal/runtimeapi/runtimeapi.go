// Package runtimeapi speaks the AWS Lambda Runtime API to the process in one
// sandbox. A Session belongs to one instance: it owns the state machine of
// "Custom runtimes, Runtime API" (AWS Lambda developer guide), refuses every
// request that is out of order, and hands events and answers between the pool's
// side (Init, Invoke) and the runtime's side (the HTTP handler). It starts no
// process and keeps no log; its neighbour above is a sandbox driver.
package runtimeapi
