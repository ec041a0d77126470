package dump

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestRedact(t *testing.T) {
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl"
	for _, tc := range []struct{ name, text, want string }{
		{"a token in a message", "rpc error: token " + jwt + " expired", "rpc error: token <token> expired"},
		{"a header", "Authorization: Bearer abcdef123456==", "Authorization: Bearer <token>"},
		{"a private key", "a\n-----BEGIN EC PRIVATE KEY-----\nMHc\nCAQ\n-----END EC PRIVATE KEY-----\nb", "a\n<private key>\nb"},
		{"a password in YAML", "db_password: hunter2\nuser: me", "db_password: <hidden>\nuser: me"},
		{"a password in JSON", `{"PASSWORD":"hunter2","user":"me"}`, `{"PASSWORD":<hidden>,"user":"me"}`},
		{"the path of a token file stays", "tokenFile: /var/run/token", "tokenFile: /var/run/token"},
		{"a certificate stays", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(Redact([]byte(tc.text))); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestWrite(t *testing.T) {
	var written bytes.Buffer
	err := Write(&written, "bundle", time.Unix(0, 0), []File{
		{"a.txt", "Bearer abcdef123456"}, {"b.yaml", json.RawMessage(`{"x":[1]}`)}, {"c.yaml", struct{ Z int }{2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	zipped, err := gzip.NewReader(&written)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for archive := tar.NewReader(zipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(header.Name + ": " + string(content) + "\n")
	}
	if want := "bundle/a.txt: Bearer <token>\nbundle/b.yaml: x:\n- 1\n\nbundle/c.yaml: Z: 2\n\n"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}
