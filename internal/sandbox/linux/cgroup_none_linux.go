package linux

import "lambent.dev/lambent/internal/sandbox"

// none stands in on a host that gives us no control groups: nothing is limited
// or counted, and the driver says so.
type none struct{}

func (none) dirs() []string                       { return nil }
func (none) made() []string                       { return nil }
func (none) warnings() []string                   { return nil }
func (none) create(string, limits) (group, error) { return noGroup{}, nil }

type noGroup struct{}

func (noGroup) tasks() []int         { return nil }
func (noGroup) birth() int           { return -1 }
func (noGroup) limit(limits) error   { return nil }
func (noGroup) settle()              {}
func (noGroup) usage() sandbox.Usage { return sandbox.Usage{} }
func (noGroup) peak() int64          { return 0 }
func (noGroup) freeze(bool) error    { return errNoFreezer }
func (noGroup) paths() []string      { return nil }
func (noGroup) close()               {}
