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

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRedact(t *testing.T) {
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl"
	for _, tc := range []struct{ name, text, want string }{
		{"a token in a message", "rpc error: token " + jwt + " expired", "rpc error: token <token> expired"},
		{"a header", "Authorization: Bearer abcdef123456==", "Authorization: Bearer <token>"},
		{"a private key", "a\n-----BEGIN EC PRIVATE KEY-----\nMHc\nCAQ\n-----END EC PRIVATE KEY-----\nb", "a\n<private key>\nb"},
		{"a password in YAML", "db_password: hunter2\nuser: me", "db_password: <hidden>\nuser: me"},
		{"a password in JSON", `{"PASSWORD":"hunter2","user":"me"}`, `{"PASSWORD":<hidden>,"user":"me"}`},
		{"a flag with a token", "args: [--token=abc, --px-token=def]", "args: [--token=<hidden>, --px-token=<hidden>]"},
		{"a proxy with a password", "http://user:pw@proxy:3128", "http://<hidden>@proxy:3128"},
		{"basic authentication", "Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic <token>"},
		{"an access key", "AWS_SECRET_ACCESS_KEY: abc", "AWS_SECRET_ACCESS_KEY: <hidden>"},
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

func TestHideSecrets(t *testing.T) {
	object := metav1.ObjectMeta{Annotations: map[string]string{v1.LastAppliedConfigAnnotation: "s3cret", "kept": "yes"}}
	pod := v1.PodSpec{
		InitContainers: []v1.Container{{Env: []v1.EnvVar{{Name: "PX_PASSWORD", Value: "s3cret"}}}},
		Containers: []v1.Container{{Env: []v1.EnvVar{
			{Name: "ANY", Value: "s3cret"}, {Name: "POD_NAME", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
		}}},
	}
	HideSecrets(&object, &pod)
	text, err := json.Marshal([]any{object, pod})
	if err != nil {
		t.Fatal(err)
	}
	if said := string(text); strings.Contains(said, "s3cret") || !strings.Contains(said, "kept") || !strings.Contains(said, "metadata.name") {
		t.Errorf("left is %s", said)
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
