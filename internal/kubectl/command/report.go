package command

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperconverge/scheduler/internal/kubectl/report"
	"github.com/hyperconverge/scheduler/internal/kubectl/view"
)

func (t *tool) report() *cobra.Command {
	var file string
	var overwrite bool
	cmd := &cobra.Command{
		Use:   "report --html FILE",
		Short: "A page about the whole cluster, for people",
		Long: `One self-contained page: a grade, a map of zones, racks and nodes with volumes and pods,
the pods that are not on their data and why. It needs no network.`,
		Example: "  kubectl hyperconverge report --html report.html",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return errors.New("want --html FILE; - is standard output")
			}
			if _, err := os.Stat(file); err == nil && !overwrite {
				return fmt.Errorf("%s is there already: --overwrite replaces it", file)
			}
			s, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			m, err := view.NewMap(cmd.Context(), s.World, s.Cluster, time.Now())
			if err != nil {
				return err
			}
			var page bytes.Buffer
			if err := report.Write(&page, m); err != nil {
				return err
			}
			t.tell(s.Unknown)
			return t.writeFile(file, page.Bytes())
		},
	}
	cmd.Flags().StringVar(&file, "html", "", "file to write; - is standard output")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace the file if it is there")
	return cmd
}

// writeFile writes a file that nobody else may read, and says so.
func (t *tool) writeFile(path string, content []byte) error {
	if path == "-" {
		_, err := t.Out.Write(content)
		return err
	}
	// Beside it, and then in its place: never half a file, and nobody else reads it.
	file, err := os.CreateTemp(filepath.Dir(path), ".hyperconverge-*")
	if err != nil {
		return fmt.Errorf("writing the file: %w", err)
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing the file: %w", errors.Join(err, os.Remove(file.Name())))
	}
	_, err = fmt.Fprintf(t.Out, "wrote %s (%d kB)\n", path, (len(content)+999)/1000)
	return err
}
