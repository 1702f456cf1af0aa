// Package kpa holds the autoscaler's decisions against those of Knative's KPA, which
// it drives in-process from its published module, on identical loads. It is a module
// of its own, so that nothing else depends on that; README.md explains the
// differences.
package kpa
