package controlplane

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckBinaries(t *testing.T) {
	const works = "#!/bin/sh\necho v1\n"
	for name, row := range map[string]struct {
		apiServer string
		mode      fs.FileMode
		want      []string // empty for no error
	}{
		"all of them work":   {apiServer: works, mode: 0o700},
		"one is missing":     {want: []string{"kube-apiserver is missing", "make bin/kube-apiserver"}},
		"one is no program":  {apiServer: "text", mode: 0o700, want: []string{"kube-apiserver is broken", "make bin/kube-apiserver"}},
		"one may not be run": {apiServer: works, mode: 0o600, want: []string{"kube-apiserver is broken", "permission denied", "make bin/kube-apiserver"}},
		"one crashes":        {apiServer: "#!/bin/sh\nkill -SEGV $$\n", mode: 0o700, want: []string{"kube-apiserver is broken", "segmentation fault"}},
		"one complains":      {apiServer: "#!/bin/sh\necho no libc >&2\nexit 127\n", mode: 0o700, want: []string{"kube-apiserver is broken", "exit status 127", "no libc"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, binaries := t.TempDir(), (&Options{}).binaries()
			for _, binary := range binaries {
				content, mode := works, fs.FileMode(0o700)
				if binary == apiServerBinary {
					content, mode = row.apiServer, row.mode
				}
				if content == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, binary), []byte(content), mode); err != nil {
					t.Fatal(err)
				}
			}
			err := checkBinaries(t.Context(), dir, binaries)
			if len(row.want) == 0 {
				if err != nil {
					t.Errorf("checkBinaries() = %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("nothing was found wrong")
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}
