package openstorage

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/status"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
)

// hangingFile replaces a file by a pipe in which nothing comes, as one on a mount
// hangs. The end of the test ends that.
func hangingFile(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := writer.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestTokenFileThatHangsStopsNoCalls(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path := tokenPath(t, "first.token")
	var mu sync.Mutex
	var outcomes []error
	token := &tokenFile{path: path, observe: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		outcomes = append(outcomes, err)
	}, maxAge: time.Hour}
	get := func() (string, error) {
		metadata, err := token.GetRequestMetadata(t.Context())
		return metadata["authorization"], err
	}
	if got, err := get(); err != nil || got != "bearer first.token" {
		t.Fatalf("token is %q, %v", got, err)
	}
	hangingFile(t, path)
	token.expire()
	var calls sync.WaitGroup
	start := time.Now()
	for range 10 {
		calls.Go(func() {
			if got, err := get(); err != nil || got != "bearer first.token" {
				t.Errorf("while the file hangs, the token is %q, %v", got, err)
			}
			token.expire()
			if err := token.redact(status.Error(2, "bad first.token")); strings.Contains(err.Error(), "first") {
				t.Errorf("while the file hangs, an error is %v", err)
			}
		})
	}
	calls.Wait()
	if took := time.Since(start); took > 10*filePatience {
		t.Errorf("calls took %v while the file hangs", took)
	}
	mu.Lock()
	if last := outcomes[len(outcomes)-1]; last == nil || !strings.Contains(last.Error(), "hangs") {
		t.Errorf("told is %v, want that the file hangs", last)
	}
	mu.Unlock()

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, "second.token")
	for deadline := time.Now().Add(10 * time.Second); ; {
		token.expire()
		if got, _ := get(); got == "bearer second.token" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a file that is readable again is not read")
		}
	}
	token.rest()
}

func TestCallFailsInTimeWhileItsFirstTokenHangs(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path := filepath.Join(t.TempDir(), "token")
	hangingFile(t, path)
	token := &tokenFile{path: path, observe: func(error) {}, maxAge: time.Hour}
	start := time.Now()
	if _, err := token.GetRequestMetadata(t.Context()); err == nil || !strings.Contains(err.Error(), "hangs") {
		t.Errorf("error is %v, want that the file hangs", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := token.GetRequestMetadata(ctx); status.Code(err).String() != "Canceled" {
		t.Errorf("error of a call that has ended is %v", err)
	}
	token.rest()
	if took := time.Since(start); took > 10*filePatience {
		t.Errorf("calls took %v", took)
	}
}

// Nobody is asked without the token, so that nobody refuses it, and no watch is missing.
func TestTokenFileThatIsNotThereIsAllThatIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	r := start(t, settings{config: Config{TokenFile: path, AllowPlaintextToken: true}, server: sim.ServerOptions{Tokens: newTokens()}})
	r.eventually("watches have failed", func() bool { return strings.Count(r.log.String(), "Watch of the storage API ended") > 2 })
	if conditions := r.source.Conditions(); len(conditions) != 1 || conditions[0].Reason != ReasonTokenUnreadable {
		t.Errorf("conditions are %+v, want that the token is unreadable alone", conditions)
	}
	writeFile(t, path, goodToken)
	r.watching()
	r.eventually("nothing is told", func() bool { return len(r.source.Conditions()) == 0 })
}

func TestProcessEndsWhileTheTokenFileHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	hangingFile(t, path)
	r := start(t, settings{config: Config{TokenFile: path, AllowPlaintextToken: true}})
	r.eventuallyProblem(ReasonTokenUnreadable, true)
	// The end of the test waits for the source.
}

func TestAuthorityThatHangsFailsInTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.crt")
	hangingFile(t, path)
	if _, err := tlsConfigOf(t.Context(), &TLSOptions{Enabled: true, CAFile: path}); err == nil || !strings.Contains(err.Error(), "hangs") {
		t.Errorf("error is %v, want that the file hangs", err)
	}
}

func TestOnlySmallFilesAreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	writeFile(t, path, strings.Repeat("x", maxFile+1))
	if _, err := startRead(path).await(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v, want one that names the file", err)
	}
}
