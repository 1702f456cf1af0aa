package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"time"

	"github.com/spf13/cobra"
)

// staticCommand is what a site of files runs in its sandbox.
func (a *app) staticCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "static DIR",
		Short: "Serve files over HTTP on the port in PORT",
		Long: "Serve the files of a directory over HTTP on the port that the variable PORT names. It is what\n" +
			"a deployed site without a program of its own runs.",
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
			return serveStatic(cmd.Context(), root.FS(), port)
		},
	}
}

// Bounds of a static server, which only the gateway speaks to.
const (
	staticHeader = 30 * time.Second
	staticIdle   = 5 * time.Minute
	staticGrace  = 3 * time.Second
)

// serveStatic serves site on port until ctx ends.
func serveStatic(ctx context.Context, site fs.FS, port string) error {
	s := &http.Server{Handler: staticHandler(site), ReadHeaderTimeout: staticHeader, IdleTimeout: staticIdle}
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

// staticHandler serves files, index.html for a directory that has one and 404.html
// for what is not there. It lists no directory and shows no hidden file.
func staticHandler(site fs.FS) http.Handler {
	files := http.FileServerFS(site)
	missing, _ := fs.ReadFile(site, "404.html") // there need not be one
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are served here", http.StatusMethodNotAllowed)
			return
		}
		if !served(site, path.Clean("/" + r.URL.Path)[1:]) {
			if missing == nil {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write(missing) // the caller may be gone
			return
		}
		files.ServeHTTP(w, r)
	})
}

// served tells whether there is something to show at name.
func served(site fs.FS, name string) bool {
	for at := name; at != "" && at != "."; at = path.Dir(at) {
		if path.Base(at)[0] == '.' && path.Base(at) != ".well-known" {
			return false
		}
	}
	if name == "" {
		name = "."
	}
	info, err := fs.Stat(site, name)
	if err == nil && info.IsDir() {
		_, err = fs.Stat(site, path.Join(name, "index.html"))
	}
	return err == nil
}
