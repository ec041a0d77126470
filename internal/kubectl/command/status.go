package command

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/kubectl/view"
)

// rowsShown is how many lines a table has before it says that there are more.
const rowsShown = 25

func (t *tool) status() *cobra.Command {
	var all bool
	var selector string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "The cluster at a glance",
		Long: `The cluster at a glance: storage nodes by state, volumes by how far their replicas are
known, pods with volumes by how they stand to them, and of those that are not on their
data why, worst first. Pods of all namespaces, unless one is named.`,
		Example: `  kubectl hyperconverge status
  kubectl hyperconverge status -n shop -l app=db -o wide`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			selection := view.Selection{}
			if cmd.Flags().Changed("namespace") && !all {
				selection.Namespace = *t.connect.Kube.Namespace
			}
			var err error
			if selection.Labels, err = labels.Parse(selector); err != nil {
				return fmt.Errorf("-l: %w", err)
			}
			s, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			status, err := view.NewStatus(cmd.Context(), s.World, selection)
			if err != nil {
				return err
			}
			return t.print(status, status.Unknown, func(w io.Writer, wide bool) error { return drawStatus(w, status, wide) })
		},
	}
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "pods of all namespaces")
	cmd.Flags().StringVarP(&selector, "selector", "l", "", "pods with these labels only")
	t.addOutput(cmd)
	return cmd
}

func drawStatus(w io.Writer, s *view.Status, wide bool) error {
	p := console.PaletteOf(w)
	good, bad := p.Good, p.Bad
	count := func(n int, word string, paint func(string) string) string {
		text := strconv.Itoa(n) + " " + word
		if n == 0 || paint == nil {
			return text
		}
		return paint(text)
	}
	_, err := fmt.Fprintf(w, "%s  %s, %s, %s, %s, %s\n%s  %s, %s, %s, %s\n%s  %s, %s, %s, %s\n",
		p.Strong("Pods:         "), count(s.Pods.Local, "local", good), count(s.Pods.Partly, "partly", bad), count(s.Pods.Remote, "remote", bad),
		count(s.Pods.Away, "away, as they should be", nil), count(s.Pods.Unknown, "unknown", bad),
		p.Strong("Storage nodes:"), count(s.StorageNodes.Online, "Online", good), count(s.StorageNodes.StorageDown, "StorageDown", bad),
		count(s.StorageNodes.Degraded, "Degraded", bad), count(s.StorageNodes.Offline, "Offline", bad),
		p.Strong("Volumes:      "), count(s.Volumes.Fresh, "fresh", good), count(s.Volumes.Suspect, "suspect", bad),
		count(s.Volumes.Stale, "stale", bad), count(s.Volumes.Unknown, "unknown", bad))
	if err != nil {
		return err
	}
	if len(s.Misplaced) > 0 {
		if _, err := fmt.Fprintf(w, "\n%s\n", p.Strong("Not on their data")); err != nil {
			return err
		}
		b := newTable(w)
		b.row("NAMESPACE", "POD", "NODE", "LOCALITY", "WHY NOT")
		for _, m := range s.Misplaced[:shown(len(s.Misplaced), wide)] {
			b.row(m.Namespace, m.Name, m.Node, m.Locality, strings.Join(m.Reasons, "; "))
		}
		if err := b.end(); err != nil {
			return err
		}
		if err := more(w, len(s.Misplaced), wide, "pods"); err != nil {
			return err
		}
	}
	if len(s.Waiting) > 0 {
		if _, err := fmt.Fprintf(w, "\n%s\n", p.Strong("Waiting for a node")); err != nil {
			return err
		}
		b := newTable(w)
		b.row("NAMESPACE", "POD", "WHY")
		for _, m := range s.Waiting[:shown(len(s.Waiting), wide)] {
			b.row(m.Namespace, m.Name, m.Reason)
		}
		if err := b.end(); err != nil {
			return err
		}
		return more(w, len(s.Waiting), wide, "pods")
	}
	return nil
}

// shown is how many of n rows a table shows.
func shown(n int, wide bool) int {
	if wide {
		return n
	}
	return min(n, rowsShown)
}

// more says how many rows are left out.
func more(w io.Writer, n int, wide bool, what string) error {
	if left := n - shown(n, wide); left > 0 {
		_, err := fmt.Fprintf(w, "... and %d more %s (-o wide)\n", left, what)
		return err
	}
	return nil
}
