package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/component-base/version"

	"github.com/hyperconverge/scheduler/internal/kubectl/migrate"
)

// migration are the flags of migrate.
type migration struct {
	migrate.Options
	file, namespace   string
	folder, manifests string
	overwrite         bool
}

func (t *tool) migrate() *cobra.Command {
	m := &migration{}
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Write the configuration that Stork's settings come to",
		Long: `Read what Stork was told, and write the folder for kustomize, or the values for the Helm
chart, with which this scheduler does the same: from the StorageCluster, or, without an
operator, from the Deployments stork and stork-scheduler. What cannot be carried over is
said, with the reason, in the files and on standard error; then the next commands. Nothing
in the cluster is changed, and no Secret is read.

Run it twice: first for a scheduler beside Stork, and with --take-over for one in its place.
docs/migrate-from-stork.md has the steps.`,
		Example: `  kubectl hyperconverge migrate                                 # look at it
  kubectl hyperconverge migrate --output cluster --manifests hyperconverge/manifests --registry REGISTRY
  kubectl hyperconverge migrate --output cluster --format helm
  kubectl get storagecluster -A -o yaml | kubectl hyperconverge migrate -f - --take-over`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("namespace") {
				m.namespace = *t.connect.Kube.Namespace
			}
			return t.runMigration(cmd.Context(), m)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&m.file, "filename", "f", "", "file with the StorageCluster, or with Stork's Deployments and ConfigMap, instead of the cluster; - is standard input")
	flags.StringVar(&m.folder, "output", "", "folder to write the files to; standard output without it")
	flags.BoolVar(&m.overwrite, "overwrite", false, "replace files that are there")
	flags.StringVar(&m.Format, "format", migrate.Kustomize, "kustomize or helm")
	flags.BoolVar(&m.TakeOver, "take-over", false, "serve the name of Stork's scheduler, and have the webhook give it")
	flags.StringVar(&m.manifests, "manifests", "", "folder manifests of the project, or its git URL (https://HOST/REPOSITORY//manifests?ref=VERSION), for kustomize")
	flags.StringVar(&m.Registry, "registry", "", "registry and folder of the images (default customImageRegistry of the StorageCluster)")
	flags.StringVar(&m.Tag, "tag", releaseTag(version.Get().GitVersion), "tag of the images")
	formats := []string{migrate.Kustomize, migrate.Helm}
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

// releaseTag is the tag of the images of the release that a program of this version is
// part of, v1.35.4+hyperconverge.v1.2.3 for example, if it is one.
func releaseTag(version string) string {
	_, tag, found := strings.Cut(version, "+hyperconverge.")
	if !found || strings.Contains(tag, "-dev-") {
		return "VERSION"
	}
	return tag
}

func (t *tool) runMigration(ctx context.Context, m *migration) error {
	if m.Format != migrate.Kustomize && m.Format != migrate.Helm {
		return fmt.Errorf("--format %s: want %s or %s", m.Format, migrate.Kustomize, migrate.Helm)
	}
	if err := m.place(); err != nil {
		return err
	}
	objects, err := t.storkObjects(ctx, m)
	if err != nil {
		return err
	}
	source, err := migrate.Select(objects, m.namespace)
	if errors.Is(err, migrate.ErrNothing) {
		where := ""
		if m.namespace != "" {
			where = " of the namespace " + m.namespace
		}
		err = fmt.Errorf("%w%s in %s: kubectl get storagecluster -A -o yaml has the first", err, where, m.file)
	}
	if err != nil {
		return err
	}
	plan, err := migrate.Plan(source, m.Options)
	if err != nil {
		return err
	}
	if err := t.writeFolder(m, plan.Files); err != nil {
		return err
	}
	for _, text := range plan.Lost {
		_, _ = fmt.Fprintln(t.ErrOut, "Not carried over:", clean(text))
	}
	_, _ = fmt.Fprintln(t.ErrOut, "Next:")
	for _, command := range plan.Next {
		_, _ = fmt.Fprintln(t.ErrOut, "  "+clean(command))
	}
	return nil
}

// storkObjects reads the file, or the cluster.
func (t *tool) storkObjects(ctx context.Context, m *migration) (objects []*unstructured.Unstructured, err error) {
	if m.file == "" {
		line := newProgress(t.ErrOut)
		defer line.clear()
		line.say("reading what Stork was told")
		return t.connect.Stork(ctx, m.namespace)
	}
	err = t.eachObject(m.file, func(object *unstructured.Unstructured) error {
		objects = append(objects, object)
		return nil
	})
	return objects, err
}

// place finds the manifests as they are seen from the folder.
func (m *migration) place() error {
	m.Folder, m.Manifests = m.folder, m.manifests
	if m.folder == "" {
		m.Folder = "FOLDER"
	} else if strings.ContainsAny(m.folder, " '\"$`\\;&|<>()*?#~") {
		m.Folder = "'" + strings.ReplaceAll(m.folder, "'", `'\''`) + "'"
	}
	switch {
	case m.Format == migrate.Helm:
		if m.manifests != "" {
			return errors.New("--manifests is for --format kustomize: the chart has its own")
		}
		return nil
	case migrate.IsRemote(m.manifests):
		if !strings.Contains(strings.TrimPrefix(m.manifests[strings.Index(m.manifests, ":")+1:], "//"), "//") {
			return fmt.Errorf("--manifests %s: kustomize wants two slashes between repository and folder, as in https://HOST/REPOSITORY//manifests?ref=VERSION", m.manifests)
		}
		return nil
	case m.folder == "" && m.manifests == "":
		m.Manifests = "PATH/manifests"
		return nil
	case m.folder == "" && filepath.IsAbs(m.manifests):
		return fmt.Errorf("--manifests %s: kustomize takes no absolute path: name it as it is seen from the folder, or the folder by --output", m.manifests)
	case m.folder == "":
		return nil
	}
	if m.manifests == "" {
		m.manifests = "manifests"
	}
	if _, err := os.Stat(filepath.Join(m.manifests, "base", "kustomization.yaml")); err != nil {
		return fmt.Errorf("--manifests %s: there is no base/kustomization.yaml in it: name the folder manifests of the project, or its git URL", m.manifests)
	}
	from, err := resolve(m.folder)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	to, err := resolve(m.manifests)
	if err != nil {
		return fmt.Errorf("--manifests: %w", err)
	}
	relative, err := filepath.Rel(from, to)
	if err != nil {
		return fmt.Errorf("--manifests: %w", err)
	}
	m.Manifests = filepath.ToSlash(relative)
	return nil
}

// resolve is a path without links, also of what does not exist yet: kustomize goes by where
// a folder really is.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		found, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(found, rest), nil
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, os.ErrNotExist) || parent == path {
			return "", err
		}
		rest, path = filepath.Join(filepath.Base(path), rest), parent
	}
}

// writeFolder writes the files, or prints them one after the other.
func (t *tool) writeFolder(m *migration, files []migrate.File) error {
	if m.folder == "" {
		for i, file := range files {
			if i > 0 {
				_, _ = fmt.Fprintln(t.Out, "---")
			}
			if _, err := fmt.Fprintf(t.Out, "# %s\n%s", file.Name, file.Content); err != nil {
				return err
			}
		}
		return nil
	}
	for _, file := range files {
		if path := filepath.Join(m.folder, file.Name); !m.overwrite {
			if _, err := os.Stat(path); err == nil {
				return fmt.Errorf("%s is there already: --overwrite replaces it", path)
			}
		}
	}
	if err := os.MkdirAll(m.folder, 0o750); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	for _, file := range files {
		if err := t.writeFile(filepath.Join(m.folder, file.Name), []byte(file.Content)); err != nil {
			return err
		}
	}
	return nil
}
