package workdir

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheFolderOfALivingSandboxIsLeftAlone(t *testing.T) {
	parent := t.TempDir()
	dir := create(t, parent)

	removed, err := RemoveStale(parent)
	if err != nil || len(removed) != 0 {
		t.Errorf("RemoveStale() = %v, %v; want nothing removed", removed, err)
	}
	if _, err := os.Stat(dir.Path()); err != nil {
		t.Errorf("the folder is gone: %v", err)
	}
	if running, err := Running(parent); err != nil || !cmp.Equal(running, []string{dir.Path()}) {
		t.Errorf("Running() = %v, %v; want the one folder", running, err)
	}
}

func TestAnAbandonedFolderIsRemovedWithAllThatIsInIt(t *testing.T) {
	parent := t.TempDir()
	abandoned := create(t, parent)
	write(t, abandoned.Join("etcd", "db"))
	// What a killed process leaves: the folder without its lock.
	if err := abandoned.lock.Close(); err != nil {
		t.Fatal(err)
	}

	if running, err := Running(parent); err != nil || len(running) != 0 {
		t.Errorf("Running() = %v, %v; want none", running, err)
	}
	removed, err := RemoveStale(parent)
	if err != nil || !cmp.Equal(removed, []string{abandoned.Path()}) {
		t.Errorf("RemoveStale() = %v, %v; want the abandoned folder", removed, err)
	}
	if _, err := os.Stat(abandoned.Path()); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestWhatOthersPutBesideIsNotTouched(t *testing.T) {
	parent := t.TempDir()
	elsewhere := t.TempDir()
	write(t, filepath.Join(elsewhere, "precious"))
	write(t, filepath.Join(parent, "other-program-1", "file"))
	write(t, filepath.Join(parent, prefix+"is-a-file"))
	if err := os.Symlink(elsewhere, filepath.Join(parent, prefix+"is-a-link")); err != nil {
		t.Fatal(err)
	}

	if removed, err := RemoveStale(parent); err != nil || len(removed) != 0 {
		t.Errorf("RemoveStale() = %v, %v; want nothing removed", removed, err)
	}
	if _, err := os.Stat(filepath.Join(elsewhere, "precious")); err != nil {
		t.Errorf("followed a link: %v", err)
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	parent := t.TempDir()
	dir := create(t, parent)
	write(t, dir.Join("logs", "scheduler.log"))

	if err := dir.Remove(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(parent)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestTheFolderIsClosedToOtherUsers(t *testing.T) {
	dir := create(t, t.TempDir())
	stat, err := os.Stat(dir.Path())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := stat.Mode().Perm(), fs.FileMode(0o700); got != want {
		t.Errorf("mode is %v, want %v", got, want)
	}
}

func TestAParentThatDoesNotExistIsAnError(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := Create(missing); err == nil {
		t.Error("Create() succeeded")
	}
	if _, err := RemoveStale(missing); err == nil {
		t.Error("RemoveStale() succeeded")
	}
}

func create(t *testing.T, parent string) *Dir {
	t.Helper()
	dir, err := Create(parent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.lock.Close() })
	return dir
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}
