// Package workdir gives a running sandbox a temporary folder of its own, and
// clears away the folders of sandboxes that were killed before they could.
//
// A folder belongs to a living sandbox exactly as long as somebody holds a lock
// on it. The lock is taken with flock(2) on the folder itself, so the kernel
// drops it with the process, however that ends, and no file has to be trusted
// to say who is alive.
package workdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// prefix marks the folders that this package made, in the folder for temporary
// files.
const prefix = "hyperconverge-sandbox-"

// attempts bounds how often Create starts over after another sandbox, which was
// clearing away at the same moment, took the new folder for an abandoned one.
const attempts = 10

// Dir is the folder of one running sandbox.
type Dir struct {
	path string
	lock *os.File
}

// Create makes a new, locked folder below parent that only the user may enter.
func Create(parent string) (*Dir, error) {
	for range attempts {
		path, err := os.MkdirTemp(parent, prefix)
		if err != nil {
			return nil, fmt.Errorf("making the sandbox folder: %w", err)
		}
		lock, err := tryLock(path)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(path) // empty still; whoever looked at it may have left it
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("locking the sandbox folder: %w", err)
		}
		if !stillThere(path, lock) {
			_ = lock.Close()
			continue
		}
		return &Dir{path: path, lock: lock}, nil
	}
	return nil, fmt.Errorf("making the sandbox folder below %s: other sandboxes kept clearing it away", parent)
}

// Path is the folder's absolute or relative path, as parent was.
func (d *Dir) Path() string { return d.path }

// Join is the path of a file in the folder.
func (d *Dir) Join(name ...string) string {
	return filepath.Join(append([]string{d.path}, name...)...)
}

// Remove deletes the folder with all that is in it and gives up the lock.
func (d *Dir) Remove() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

// RemoveStale deletes the folders below parent that no living sandbox holds and
// returns their paths. Folders of other users and of living sandboxes stay.
func RemoveStale(parent string) (removed []string, err error) {
	return removed, each(parent, func(path string) error {
		lock, err := tryLock(path)
		if err != nil {
			// Held by the living, gone in the meantime, or not ours to open.
			return nil
		}
		defer func() { _ = lock.Close() }()
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing a folder that a killed sandbox left: %w", err)
		}
		removed = append(removed, path)
		return nil
	})
}

// Running returns the paths of the folders below parent that living sandboxes
// hold.
func Running(parent string) (running []string, err error) {
	return running, each(parent, func(path string) error {
		lock, err := tryLock(path)
		switch {
		case err == nil:
			return lock.Close()
		case errors.Is(err, unix.EWOULDBLOCK):
			running = append(running, path)
		}
		return nil
	})
}

// each calls visit for every sandbox folder of this user below parent, and goes
// on after an error.
func each(parent string, visit func(path string) error) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("looking for sandbox folders: %w", err)
	}
	var failures []error
	for _, entry := range entries {
		// Type is not followed: a link with such a name is none of ours.
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), prefix) {
			continue
		}
		path := filepath.Join(parent, entry.Name())
		if !ownedByUser(path) {
			continue
		}
		failures = append(failures, visit(path))
	}
	return errors.Join(failures...)
}

// tryLock opens the folder and takes its lock without waiting; the error is
// EWOULDBLOCK when somebody else has it.
func tryLock(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

// stillThere is whether path is the folder that lock was taken on.
func stillThere(path string, lock *os.File) bool {
	held, err := lock.Stat()
	if err != nil {
		return false
	}
	found, err := os.Lstat(path)
	return err == nil && os.SameFile(held, found)
}

func ownedByUser(path string) bool {
	var stat unix.Stat_t
	return unix.Lstat(path, &stat) == nil && int(stat.Uid) == os.Getuid()
}
