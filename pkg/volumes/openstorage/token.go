package openstorage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// tokenAge is how long a token is used before its file is read again. Kubelets
// take about a minute to bring a rotated secret into a pod, so a few seconds more
// do not matter.
const tokenAge = 5 * time.Second

// tokenFile sends the content of a file as bearer token with every call. It never
// prints it.
type tokenFile struct {
	path      string
	plaintext bool // may be sent without TLS
	// trouble is told when the file becomes unreadable, and nil when it is
	// readable again.
	trouble func(error)
	maxAge  time.Duration

	mu    sync.Mutex
	token string
	read  time.Time // zero when it must be read
}

// GetRequestMetadata implements credentials.PerRPCCredentials. While the file
// cannot be read, the last token is used.
func (t *tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.read) >= t.maxAge {
		token, err := readToken(t.path)
		t.trouble(err)
		switch {
		case err == nil:
			t.token = token
		case t.token == "":
			return nil, err
		}
		t.read = time.Now()
	}
	return map[string]string{"authorization": "bearer " + t.token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (t *tokenFile) RequireTransportSecurity() bool { return !t.plaintext }

// expire has the file read again before the next call.
func (t *tokenFile) expire() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = time.Time{}
}

// redact takes the token out of an error: what a server says about a call may
// quote it, and is logged.
func (t *tokenFile) redact(err error) error {
	if t == nil || err == nil {
		return err
	}
	t.mu.Lock()
	token := t.token
	t.mu.Unlock()
	message := status.Convert(err).Message()
	if token == "" || !strings.Contains(message, token) {
		return err
	}
	return status.Error(status.Code(err), strings.ReplaceAll(message, token, "(token)"))
}

func readToken(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := string(bytes.TrimSpace(content))
	if token == "" {
		return "", fmt.Errorf("token file %s is empty", path)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("token file " + path + " holds more than one token, or something else")
	}
	return token, nil
}
