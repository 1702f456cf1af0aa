package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/server"
	"lambent.dev/lambent/internal/telemetry"
)

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: "Run the server until an interrupt. Its addresses are printed, and are in DIR/endpoints.json\n" +
			"once it is ready; DIR/credentials has the keys for AWS clients.",
		Example: "  lambent serve --data ./.lambent\n  lambent serve --listen 127.0.0.1:0 --set instances.idle=30s",
		Args:    exactly(0, "no argument"),
	}
	f := a.configFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.load(f)
		if err != nil {
			return err
		}
		return a.serve(cmd.Context(), c)
	}
	return cmd
}

// serve runs a server and says where it is.
func (a *app) serve(ctx context.Context, c config.Config) error {
	log, err := telemetry.NewLogger(a.Stderr, c.Log.Level, c.Log.Format)
	if err != nil {
		return err
	}
	err = a.runServer(ctx, c, log, func(at server.Addresses) {
		_ = a.printf("api          %s\ngateway      %s\ncredentials  %s\n", at.API, at.Gateway, filepath.Join(c.Data, "credentials"))
	})
	return plainStart(c, err)
}

// plainStart says of the faults of a data directory what they mean, where the room
// that met them has not.
func plainStart(c config.Config, err error) error {
	if lambent.CodeOf(err) != lambent.CodeInternal {
		return err
	}
	for _, fault := range []struct {
		is   error
		text string
	}{
		{syscall.ENOSPC, "the disk is full: free some space, or choose another place with --data"},
		{syscall.EDQUOT, "the disk quota is used up: free some space, or choose another place with --data"},
		{syscall.EROFS, "it cannot be written: choose another place with --data"},
		{syscall.EACCES, "it cannot be written by this user: choose another place with --data"},
	} {
		if errors.Is(err, fault.is) && concerns(err, c.Data) {
			return fmt.Errorf("data directory %s: %s (%w)", c.Data, fault.text, err)
		}
	}
	return err
}

// concerns tells whether err is about a path in or above a directory.
func concerns(err error, dir string) bool {
	var p *fs.PathError
	if !errors.As(err, &p) {
		return false
	}
	return strings.HasPrefix(p.Path, dir) || strings.HasPrefix(dir, p.Path)
}
