package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// staticCommand is what a site of files runs in its sandbox.
func (a *app) staticCommand() *cobra.Command {
	fallback := ""
	cmd := &cobra.Command{
		Use:   "static [--fallback FILE] DIR",
		Short: "Serve files over HTTP on the port in PORT",
		Long: "Serve the files of a directory over HTTP on the port that the variable PORT names. It is what\n" +
			"a deployed site without a program of its own runs. An application of a single page is served by\n" +
			"--fallback index.html: that file answers for the paths that only the page's own code knows.",
		Hidden: true,
		Args:   exactly(1, "one directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			port := a.getenv("PORT")
			if port == "" {
				return usageError{errors.New("the variable PORT is not set")}
			}
			root, err := os.OpenRoot(a.path(args[0]))
			if err != nil {
				return fmt.Errorf("open the site: %w", err)
			}
			defer func() { _ = root.Close() }() // only read from
			site := newSite(root.FS(), fallback)
			if fallback != "" && !site.isFile(fallback) {
				return usageError{fmt.Errorf("--fallback %s: there is no such file in %s", fallback, args[0])}
			}
			return serveStatic(cmd.Context(), site, port)
		},
	}
	cmd.Flags().StringVar(&fallback, "fallback", "", "file that answers for a page whose path names no file")
	return cmd
}

// Bounds of a static server, which only the gateway speaks to.
const (
	staticHeader = 30 * time.Second
	staticIdle   = 5 * time.Minute
	staticGrace  = 3 * time.Second
)

// serveStatic serves site on port until ctx ends.
func serveStatic(ctx context.Context, site *site, port string) error {
	s := &http.Server{Handler: site, ReadHeaderTimeout: staticHeader, IdleTimeout: staticIdle}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+port)
	if err != nil {
		return fmt.Errorf("listen on port %s: %w", port, err)
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), staticGrace)
		defer cancel()
		stopped <- s.Shutdown(grace)
	})
	err = s.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return <-stopped
	}
	stop()
	return fmt.Errorf("serve files: %w", err)
}
