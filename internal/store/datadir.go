package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"lambent.dev/lambent"
)

// Format is the layout of the data directory that this build writes. A build
// refuses what is higher, and brings what is lower up to date at opening.
const Format = 2

// The reasons of faults that the operator can mend, in [lambent.Error.Reason].
const (
	ReasonDiskFull = "DiskFull"
	ReasonReadOnly = "ReadOnly"
	ReasonCorrupt  = "Corrupt"
	ReasonLocked   = "Locked"
	ReasonNewer    = "Newer"
	// The data directory belongs with another database.
	ReasonOther = "OtherDatabase"
)

// dataDir is a data directory that this process alone uses: the lock is held on
// an open file, so that the kernel gives it back however the process ends.
type dataDir struct {
	path string
	lock *os.File
}

func openDataDir(path string) (*dataDir, error) {
	if path == "" {
		return nil, lambent.Errorf(lambent.CodeInvalid, "open the data directory: no path is given")
	}
	doing := "use the data directory " + path
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fail(doing, err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fail(doing, err)
	}
	d := &dataDir{path: path, lock: lock}
	if err = d.take(); err == nil {
		err = d.checkFormat()
	}
	if err != nil {
		_ = lock.Close() // gives the lock back; there is nothing in it to lose
		return nil, fail(doing, err)
	}
	return d, nil
}

// take locks the directory and leaves this process's id in the lock file for
// the one who finds it locked.
func (d *dataDir) take() error {
	err := d.tryLock()
	// A process that was forked just before its server was killed has the lock for as long
	// as it takes to end.
	for end := time.Now().Add(orphanWait); errors.Is(err, unix.EWOULDBLOCK) && d.orphaned() && time.Now().Before(end); {
		time.Sleep(orphanWait / 200)
		err = d.tryLock()
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return d.taken()
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", d.lock.Name(), err)
	}
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	_, err = d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// orphanWait is how long a lock is waited for whose server is gone.
const orphanWait = 2 * time.Second

func (d *dataDir) tryLock() error { return unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// orphaned tells whether the process that has taken the lock is gone.
func (d *dataDir) orphaned() bool {
	pid := d.holder()
	return pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// holder is the process that the lock file names, 0 if it names none.
func (d *dataDir) holder() int {
	line := make([]byte, 20)
	n, _ := d.lock.ReadAt(line, 0) // what cannot be read names none
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		return 0
	}
	return pid
}

func (d *dataDir) taken() error {
	holder := "another process"
	if pid := d.holder(); pid > 0 {
		holder = fmt.Sprintf("process %d", pid)
	}
	return &lambent.Error{
		Code:    lambent.CodeUnavailable,
		Reason:  ReasonLocked,
		Message: fmt.Sprintf("data directory %s is in use by %s: stop it or choose another directory", d.path, holder),
		Cause:   ErrLocked,
	}
}

// checkFormat refuses what a newer build wrote, and marks a new directory.
func (d *dataDir) checkFormat() error {
	have, err := formatOf(d.path)
	if err != nil || have == Format {
		return err
	}
	return d.write("format", Format) // an older build must not meet the newer database
}

// Readable tells why this build could not use a data directory, whoever uses it now; nil
// also where there is none yet. It changes nothing.
func Readable(path string) error {
	_, err := formatOf(path)
	return err
}

// formatOf is the format of a data directory that this build can use; 0 is a new one's.
func formatOf(path string) (int, error) {
	name := filepath.Join(path, "format")
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(text)))
	switch {
	case err != nil || have < 1:
		return 0, damaged(fmt.Sprintf("%s does not hold a format number: remove it if the directory is of this version of lambent, "+
			"else restore it from a backup", name), err)
	case have > Format:
		return 0, newer("data directory "+path, have, Format)
	}
	return have, nil
}

// write puts a file that holds a number in place whole, before anything relies on it.
func (d *dataDir) write(file string, number int64) error {
	name := filepath.Join(d.path, file)
	temp, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(temp, number)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return err
	}
	return d.sync()
}

// sync makes the directory's entries durable.
func (d *dataDir) sync() error {
	dir, err := os.Open(d.path)
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fail("sync the data directory "+d.path, err)
	}
	return nil
}

// close gives the lock back. The file stays: removing it would race with the
// next server's lock.
func (d *dataDir) close() error { return d.lock.Close() }

// fail words a fault of the disk for the person who runs the server. An error of
// this room passes unchanged.
func fail(doing string, err error) error {
	var ours *lambent.Error
	if errors.As(err, &ours) {
		return err
	}
	code, primary := 0, 0
	var e *sqlite.Error
	if errors.As(err, &e) {
		code, primary = e.Code(), e.Code()&0xff // the upper bits tell the place
	}
	switch {
	case primary == sqlite3.SQLITE_FULL || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		code == sqlite3.SQLITE_IOERR_SHMSIZE:
		return mendable(ReasonDiskFull, doing+": the disk is full; free some space", err)
	case primary == sqlite3.SQLITE_READONLY || errors.Is(err, syscall.EROFS) || errors.Is(err, os.ErrPermission):
		return mendable(ReasonReadOnly, doing+": it cannot be written; check the file system and the permissions", err)
	case primary == sqlite3.SQLITE_CORRUPT || primary == sqlite3.SQLITE_NOTADB:
		return damaged(doing+": the database is damaged; restore it from a backup", err)
	case primary == sqlite3.SQLITE_BUSY:
		return mendable(ReasonLocked, doing+": another program holds the database open", err)
	}
	return lambent.Errorf(lambent.CodeInternal, "%s: %w", doing, err)
}

func mendable(reason, message string, cause error) error {
	return &lambent.Error{Code: lambent.CodeUnavailable, Reason: reason, Message: message, Cause: cause}
}

func damaged(message string, cause error) error {
	return &lambent.Error{Code: lambent.CodeInternal, Reason: ReasonCorrupt, Message: message, Cause: cause}
}

// isIO tells whether a write or sync failed in a way that leaves the disk's
// state unknown. That the log's index finds no room is told as such a failure, too, but
// comes before anything is done: the next transaction is written over this one.
func isIO(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_IOERR && e.Code() != sqlite3.SQLITE_IOERR_SHMSIZE
}

// isDuplicate tells whether a row was refused because its key is there.
func isDuplicate(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
}
