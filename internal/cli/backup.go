package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/backup"
)

func (a *app) backupCommand() *cobra.Command {
	logs := false
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write everything the server keeps into one file",
		Long: "Write functions, code, queued and finished invocations, keys and certificates into one file,\n" +
			"while the server goes on. The file holds secrets: keep it as safe as the data directory.",
		Example: "  lambent backup lambent.tar\n  lambent backup --logs lambent.tar",
		Args:    exactly(1, "the name of a file"),
	}
	cmd.Flags().BoolVar(&logs, "logs", false, "with the logs of functions")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.backup(cmd.Context(), a.path(args[0]), logs) }
	return a.jsonFlag(cmd)
}

// backup writes beside the file, checks what came, and puts it in place.
func (a *app) backup(ctx context.Context, path string, logs bool) (err error) {
	c, err := a.client()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists: choose another name", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close() // closed already, or of no use
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	stop := a.spin("writing " + filepath.Base(path))
	defer stop()
	if err := c.Backup(ctx, f, logs); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	head, err := backup.Verify(f)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	stop()
	return a.told(path, head, size)
}

// told prints what a backup is.
func (a *app) told(path string, head backup.Head, size int64) error {
	if a.json {
		return a.printJSON(struct {
			File  string `json:"file"`
			Bytes int64  `json:"bytes"`
			backup.Head
		}{path, size, head})
	}
	return a.printf("%s  %s  version %s\n", path, bytesText(size), head.Version)
}

func (a *app) restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a data directory of a backup",
		Long: "Make the data directory of what `lambent backup` wrote. The directory must be missing or\n" +
			"empty. With store.url the database goes to PostgreSQL, where its tables must be empty: so a\n" +
			"server moves from one to the other.",
		Example: "  lambent restore lambent.tar --data ./new\n" +
			"  lambent restore lambent.tar --data ./new --set store.url=postgres://USER:PASSWORD@HOST/DATABASE",
		Args: exactly(1, "the name of a file"),
	}
	f := a.configFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.restore(cmd.Context(), f, a.path(args[0])) }
	return a.jsonFlag(cmd)
}

func (a *app) restore(ctx context.Context, flags *configFlags, path string) error {
	c, err := a.load(flags)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	stop := a.spin("restoring " + filepath.Base(path))
	defer stop()
	head, err := backup.Target{Data: c.Data, URL: string(c.Store.URL)}.Restore(ctx, f)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	stop()
	return a.told(c.Data, head, info.Size())
}
