package server

import (
	"errors"
	"fmt"
	"net/netip"

	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/linux"
	"lambent.dev/lambent/internal/sandbox/wasm"
)

// initCPUs is how many processors an instance may use until it has initialised,
// however small: a JVM compiles on one what it runs on the other.
const initCPUs = 2

// newDriver makes the driver that the configuration names, with the one that runs
// modules beside it. Drivers are listed here and nowhere else.
func (s *Server) newDriver() (sandbox.Driver, error) {
	c, log := s.config, s.log
	if c.Sandbox.Driver != "linux" {
		return nil, fmt.Errorf("sandbox driver %q: this version has linux", c.Sandbox.Driver)
	}
	prefix, err := netip.ParsePrefix(c.Sandbox.NetworkPool)
	if err != nil {
		return nil, fmt.Errorf("sandbox.network_pool: %w", err)
	}
	processes, err := linux.New(linux.Options{
		DataDir: c.Data, CgroupRoot: c.Sandbox.CgroupRoot, NetworkPool: prefix,
		InitCPUs: initCPUs, NoNetwork: !c.Sandbox.Outbound, ReserveMB: reserveMB(c.Instances.Reserve), Tasks: hostTasks().bound(),
		Rush: s.hooks.Rush, Calls: s.callsFrom, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("open sandbox: %w", err)
	}
	modules, err := wasm.New(wasm.Options{DataDir: c.Data, NoReserve: c.Instances.Reserve == 0, Log: log})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open sandbox for modules: %w", err), processes.Close())
	}
	return sandbox.Guard(sandbox.ByName(map[string]sandbox.Driver{"linux": processes, "wasm": modules}, "linux")), nil
}

// lazyImages tells why images cannot be started before all of them is here; nil
// means that they can.
func lazyImages() error { return linux.CanMountTrees() }

// reserveMB is a size as the driver takes it, to which 0 is the default.
func reserveMB(size config.Size) int {
	if size <= 0 {
		return -1
	}
	return int(max(1, size>>20))
}
