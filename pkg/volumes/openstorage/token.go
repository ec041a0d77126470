package openstorage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	// observe gets the outcome of each attempt to read the file, nil for success.
	observe func(error)
	maxAge  time.Duration

	mu   sync.Mutex // not held while the file is read
	sent []string   // the last tokens, the one in use at the end
	read time.Time  // zero when the file must be read
	// reading is the last attempt to read the file. There is none beside it that
	// hangs.
	reading *fileRead
}

// GetRequestMetadata implements credentials.PerRPCCredentials. While the file
// cannot be read, the last token is used; while that takes long, without waiting
// for it more than once in maxAge.
func (t *tokenFile) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	var err error
	if reading := t.due(); reading != nil {
		var content []byte
		content, err = reading.await(ctx)
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		err = t.finish(content, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.sent) == 0 {
		return nil, err
	}
	return map[string]string{"authorization": "bearer " + t.sent[len(t.sent)-1]}, nil
}

// due returns the attempt to read the file whose end is to be waited for; nil if the
// last token is young enough, or another call waits already and there is a token to
// use meanwhile.
func (t *tokenFile) due() *fileRead {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.read) < t.maxAge {
		return nil
	}
	if len(t.sent) > 0 {
		t.read = time.Now()
	}
	if t.reading == nil || !t.reading.hangs() {
		t.reading = startRead(t.path)
	}
	return t.reading
}

// finish takes what came of an attempt.
func (t *tokenFile) finish(content []byte, err error) error {
	token := ""
	if err == nil {
		token, err = parseToken(t.path, content)
	} else {
		err = fmt.Errorf("read the token: %w", err)
	}
	t.observe(err)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.use(token)
	t.read = time.Now()
	return nil
}

// rest waits for the end of an attempt that is under way, but not for longer than a
// mount that hangs deserves.
func (t *tokenFile) rest() {
	if t == nil {
		return
	}
	t.mu.Lock()
	reading := t.reading
	t.mu.Unlock()
	if reading != nil {
		_, _ = reading.await(context.Background()) // nobody needs the token any more
	}
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

func parseToken(path string, content []byte) (string, error) {
	token := string(bytes.TrimSpace(content))
	if token == "" {
		return "", fmt.Errorf("token file %s is empty", path)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("token file " + path + " holds more than one token, or something else")
	}
	return token, nil
}
