package server

import (
	"fmt"
	"log/slog"
	"net/netip"

	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/linux"
)

// newLinux makes the driver that the configuration names. Drivers are listed
// here and nowhere else.
func newLinux(c config.Config, log *slog.Logger) (sandbox.Driver, error) {
	if c.Sandbox.Driver != "linux" {
		return nil, fmt.Errorf("sandbox driver %q: this version has linux", c.Sandbox.Driver)
	}
	prefix, err := netip.ParsePrefix(c.Sandbox.NetworkPool)
	if err != nil {
		return nil, fmt.Errorf("sandbox.network_pool: %w", err)
	}
	driver, err := linux.New(linux.Options{
		DataDir: c.Data, CgroupRoot: c.Sandbox.CgroupRoot, NetworkPool: prefix,
		NoNetwork: !c.Sandbox.Outbound, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("open sandbox: %w", err)
	}
	return sandbox.Guard(driver), nil
}
