package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hyperconverge/scheduler/hack/image"
)

// chart packs the Helm chart with the version and the registry of the release.
func (r release) chart() error {
	files, err := image.Folder(filepath.Join(r.source, "charts", "hyperconverge"))
	if err != nil {
		return err
	}
	patterns, err := os.ReadFile(filepath.Join(r.source, "charts", "hyperconverge", ".helmignore"))
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f image.File) bool { return ignored(string(patterns), f.Path) })
	number := strings.TrimPrefix(r.version, "v")
	for i := range files {
		f := &files[i]
		switch f.Path {
		case "Chart.yaml":
			if f.Content, err = substitute(f.Content, "version: .*", "version: "+number); err == nil {
				f.Content, err = substitute(f.Content, "appVersion: .*", "appVersion: "+r.version)
			}
		case "values.yaml":
			f.Content, err = substitute(f.Content, `  registry: ""`, fmt.Sprintf("  registry: %q", r.registry))
		case "templates/scheduler.deployment.yaml", "templates/webhook.deployment.yaml", "templates/rebalancer.deployment.yaml":
			f.Content, err = r.onlyArch(f.Content)
		}
		if err != nil {
			return fmt.Errorf("charts/hyperconverge/%s: %w", f.Path, err)
		}
		f.Path = "hyperconverge/" + f.Path
	}
	archive, err := r.pack(files)
	return errors.Join(err, r.write("hyperconverge-"+number+".tgz", archive))
}

// ignored tells whether a file is left out by .helmignore: by the folder at the top that it
// is in, or by its name.
func ignored(patterns, file string) bool {
	for pattern := range strings.FieldsSeq(patterns) {
		if strings.HasSuffix(pattern, "/") && strings.HasPrefix(file, pattern) {
			return true
		}
		if matched, _ := path.Match(pattern, path.Base(file)); matched { // a pattern that is none matches nothing
			return true
		}
	}
	return false
}
