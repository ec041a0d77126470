package openstorage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// tokenAge is how long a token is used before its file is read again. Kubelets
// take about a minute to bring a rotated secret into a pod, so a few seconds more
// do not matter.
const tokenAge = 5 * time.Second

// tokensRemembered is how many tokens are known by heart, so that they can be
// taken out of what is logged. A watch that ends was opened with an older token
// than the one of today.
const tokensRemembered = 8

// tokenShape matches a JSON Web Token, be it cut off or one that was never ours:
// the first characters are those of every JSON object in base64.
var tokenShape = regexp.MustCompile(`eyJ[\w-]{8,}(\.[\w-]*)*`)

// tokenFile sends the content of a file as bearer token with every call. It never
// prints it.
type tokenFile struct {
	path      string
	plaintext bool // may be sent without TLS
	// trouble is told when the file becomes unreadable, and nil when it is
	// readable again.
	trouble func(error)
	maxAge  time.Duration

	mu   sync.Mutex
	sent []string  // the last tokens, the one in use at the end
	read time.Time // zero when the file must be read
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
			t.use(token)
		case len(t.sent) == 0:
			return nil, err
		}
		t.read = time.Now()
	}
	return map[string]string{"authorization": "bearer " + t.sent[len(t.sent)-1]}, nil
}

// use takes a token for the next calls. The caller holds the lock.
func (t *tokenFile) use(token string) {
	t.sent = slices.DeleteFunc(t.sent, func(sent string) bool { return sent == token })
	t.sent = append(t.sent, token)
	if surplus := len(t.sent) - tokensRemembered; surplus > 0 {
		t.sent = slices.Delete(t.sent, 0, surplus)
	}
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

// redact takes tokens out of an error: what a server says about a call may quote
// the one that came with it, and is logged.
func (t *tokenFile) redact(err error) error {
	if t == nil || err == nil {
		return err
	}
	const censored = "(token)"
	message := status.Convert(err).Message()
	clean := message
	t.mu.Lock()
	for _, token := range t.sent {
		clean = strings.ReplaceAll(clean, token, censored)
	}
	t.mu.Unlock()
	clean = tokenShape.ReplaceAllLiteralString(clean, censored)
	if clean == message {
		return err
	}
	return status.Error(status.Code(err), clean)
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
