package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/kubectl/view"
	"github.com/hyperconverge/scheduler/internal/rebalancer"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

func (t *tool) home() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "home",
		Short: "Which pods would return to their data, and why the others not",
		Long: `Which pods the rebalancer would bring back to their data now, in which order, and why the
others stay. Nothing is evicted. The rebalancer need not be installed: without one, its
defaults hold. Pods of all namespaces, unless one is named.`,
		Example: `  kubectl hyperconverge home
  kubectl hyperconverge home -n shop -o wide
  kubectl hyperconverge home --rebalancer-config rebalancer.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			namespace := ""
			if cmd.Flags().Changed("namespace") && !all {
				namespace = *t.connect.Kube.Namespace
			}
			t.connect.Follow = rebalancer.Follow
			s, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			decision, err := t.connect.Rebalance(cmd.Context(), s, time.Now())
			if err != nil {
				return err
			}
			doc := view.NewHome(decision, namespace, s.Unknown)
			if err := doc.Explain(cmd.Context(), s.World); err != nil {
				return err
			}
			return t.print(doc, doc.Unknown, func(w io.Writer, wide bool) error { return drawHome(w, doc, wide) })
		},
	}
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "pods of all namespaces")
	cmd.Flags().StringVar(&t.connect.RebalancerConfig, "rebalancer-config", "", "file with the RebalancerConfiguration, instead of that of the installed rebalancer")
	t.addOutput(cmd)
	return cmd
}

func drawHome(w io.Writer, doc *view.Home, wide bool) error {
	p := console.PaletteOf(w)
	now := 0
	for i := range doc.Moves {
		if doc.Moves[i].Now {
			now++
		}
	}
	state := "not installed"
	switch {
	case doc.Installed && doc.DryRun:
		state = "installed, in a dry run"
	case doc.Installed:
		state = "installed, and evicts"
	}
	_, err := fmt.Fprintf(w, "%s  %s\n%s  %d would go home, %d of them now; %d stay; %d under way\n",
		p.Strong("Rebalancer:"), state, p.Strong("Pods:      "), len(doc.Moves), now, len(doc.Kept), len(doc.UnderWay))
	if err == nil && doc.Held != "" {
		_, err = fmt.Fprintf(w, "%s  %s\n", p.Bad("None goes now:"), clean(doc.HeldBecause))
	}
	if err != nil {
		return err
	}
	if len(doc.Moves) > 0 {
		if _, err := fmt.Fprintf(w, "\n%s\n", p.Strong("Would go home, in this order")); err != nil {
			return err
		}
		b := newTable(w)
		b.row("NAMESPACE", "POD", "FROM", "TO", "SCORE", "WHEN")
		for i := range doc.Moves[:shown(len(doc.Moves), wide)] {
			m := &doc.Moves[i]
			when := "later"
			if m.Now {
				when = "now"
			}
			if wide {
				when += ", as " + m.WouldBe + " instead of " + m.Locality + alternatives(m.OrOn, 3)
			}
			b.row(m.Namespace, m.Name, m.From, m.To, fmt.Sprintf("%d to %d", m.Score, m.WouldScore), when)
		}
		if err := b.end(); err != nil {
			return err
		}
		if err := more(w, len(doc.Moves), wide, "pods"); err != nil {
			return err
		}
	}
	if len(doc.Kept) == 0 {
		return nil
	}
	return drawKept(w, doc.Kept, wide)
}

// drawKept has a word for each pod, so that lines are short, and says below what the words
// mean.
func drawKept(w io.Writer, kept []view.HomeKept, wide bool) error {
	if _, err := fmt.Fprintf(w, "\n%s\n", console.PaletteOf(w).Strong("Not on their data, and stay")); err != nil {
		return err
	}
	b := newTable(w)
	b.row("NAMESPACE", "POD", "NODE", "LOCALITY", "WHY")
	var words []rebalance.StayReason
	said := map[rebalance.StayReason]bool{}
	for i := range kept[:shown(len(kept), wide)] {
		k := &kept[i]
		why := k.Reason
		if reason := rebalance.StayReason(k.Reason); wide {
			why = strings.Join(append([]string{why + ": " + k.Because}, k.ReplicaNodes...), "; ")
		} else if !said[reason] {
			said[reason] = true
			words = append(words, reason)
		}
		b.row(k.Namespace, k.Name, k.Node, k.Locality, why)
	}
	if err := b.end(); err != nil {
		return err
	}
	if err := more(w, len(kept), wide, "pods"); err != nil {
		return err
	}
	if len(words) > 0 {
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	for _, reason := range words {
		if _, err := fmt.Fprintf(w, "%s: %s\n", reason, reason.Sentence()); err != nil {
			return err
		}
	}
	return nil
}
