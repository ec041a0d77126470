package openstorage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

const (
	// filePatience is how long a file may take to be read. Those of a Secret or a
	// ConfigMap are in memory; one on a mount that hangs may never be read at all.
	filePatience = time.Second
	// maxFile is the most that is read of a file, in bytes.
	maxFile = 1 << 20
)

var errFileHangs = errors.New("the file cannot be read in time: look for a mount that hangs")

// fileRead is one attempt to read a file, in a goroutine of its own: nothing can
// end a read on a mount that hangs.
type fileRead struct {
	done    chan struct{} // closed at the end
	content []byte
	err     error
}

// startRead begins to read a file.
func startRead(path string) *fileRead {
	r := &fileRead{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.content, r.err = readAll(path)
	}()
	return r
}

// await waits for the end of the attempt, but not for longer than filePatience.
func (r *fileRead) await(ctx context.Context) ([]byte, error) {
	timer := time.NewTimer(filePatience)
	defer timer.Stop()
	select {
	case <-r.done:
		return r.content, r.err
	case <-timer.C:
		return nil, errFileHangs
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hangs reports whether the attempt has not ended.
func (r *fileRead) hangs() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// readAll reads a file. One that is a pipe is not waited for for longer than
// filePatience, so that the goroutine ends.
func readAll(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	// Ordinary files know no deadline.
	_ = file.SetReadDeadline(time.Now().Add(filePatience))
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errFileHangs
	case err != nil:
		return nil, err
	case len(content) > maxFile:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return content, nil
}
