// Package dump writes a bundle with which a stranger can help: an archive of documents,
// from which what looks like a credential is taken out.
package dump

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// File is one document of the bundle.
type File struct {
	// Name is a path without a leading slash.
	Name string
	// Content is written as it is if it is a []byte or a string, and as YAML otherwise.
	Content any
}

// Write writes the files as tar.gz below the folder. Each of them goes through Redact.
func Write(w io.Writer, folder string, taken time.Time, files []File) error {
	zipped := gzip.NewWriter(w)
	archive := tar.NewWriter(zipped)
	for _, f := range files {
		content, err := encode(f.Content)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		content = Redact(content)
		header := &tar.Header{Name: folder + "/" + f.Name, Mode: 0o600, Size: int64(len(content)), ModTime: taken}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(content); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return zipped.Close()
}

func encode(content any) ([]byte, error) {
	switch c := content.(type) {
	case []byte:
		return c, nil
	case string:
		return []byte(c), nil
	case json.RawMessage:
		return yaml.JSONToYAML(c)
	default:
		return yaml.Marshal(c)
	}
}

// HideSecrets takes out of an object what nobody can tell from a secret by its looks: the
// values of environment variables, and the copy of the object that kubectl apply keeps.
func HideSecrets(object *metav1.ObjectMeta, pod *v1.PodSpec) {
	object.ManagedFields = nil
	delete(object.Annotations, v1.LastAppliedConfigAnnotation)
	for _, containers := range [...][]v1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			for k := range containers[i].Env {
				if containers[i].Env[k].Value != "" {
					containers[i].Env[k].Value = "<hidden>"
				}
			}
		}
	}
}

// credentials are what tokens and keys look like, whoever has logged them. The programs
// of this project log none; other text, such as an environment or what a server quotes,
// may have one.
var credentials = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*`), "<token>"}, // JWT, RFC 7519
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`), "$1 <token>"},        // RFC 6750, 7617
	{regexp.MustCompile(`(\b[a-z][a-z0-9+.-]*://)[^/\s@"']+@`), "$1<hidden>@"},                 // RFC 3986
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----`), "<private key>"},
	{regexp.MustCompile(`(?i)(["']?\b[a-z0-9_.-]*(?:password|passwd|secret[_-]?key|access[_-]?key|shared[_-]?secret|api[_-]?key|client[_-]?secret|token)["']?\s*[:=]\s*)("[^"]+"|'[^']+'|[^\s,}\]"']+)`), "$1<hidden>"},
}

// Redact takes out what looks like a credential.
func Redact(content []byte) []byte {
	for _, c := range credentials {
		content = c.pattern.ReplaceAll(content, []byte(c.with))
	}
	return content
}
