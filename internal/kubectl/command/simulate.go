package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/kubectl/connect"
	"github.com/hyperconverge/scheduler/internal/kubectl/view"
	"github.com/hyperconverge/scheduler/pkg/simulation"
)

// questions are the flags of simulate, of which one is given.
type questions struct{ file, pod, drain, offline string }

func (t *tool) simulate() *cobra.Command {
	var q questions
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Where pods would go now, without creating anything",
		Long: `Where pods would go now, node by node, by the scheduler's own code and configuration.
Nothing is created, bound or evicted. Several pods are placed one after the other, each
beside those before it. Preemption and extenders are left out.`,
		Example: `  kubectl hyperconverge simulate -f statefulset.yaml
  kubectl hyperconverge simulate --pod db-0 -n shop
  kubectl hyperconverge simulate --drain node-3
  kubectl hyperconverge simulate --storage-offline node-3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.runSimulation(cmd.Context(), &q) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&q.file, "filename", "f", "", "file with pods, or with workloads of which one pod is taken; - is standard input")
	flags.StringVar(&q.pod, "pod", "", "a pod of the cluster")
	flags.StringVar(&q.drain, "drain", "", "a node: all of its pods that a drain would evict")
	flags.StringVar(&q.offline, "storage-offline", "", "a node: its pods with volumes, if storage were offline there")
	for flag, list := range map[string]cobra.CompletionFunc{"pod": t.completeNames(podNames), "drain": t.completeNames(nodeNames), "storage-offline": t.completeNames(nodeNames)} {
		_ = cmd.RegisterFlagCompletionFunc(flag, list) // the flag is there
	}
	t.addOutput(cmd)
	return cmd
}

var errOneQuestion = errors.New("want one of -f, --pod, --drain and --storage-offline")

func (t *tool) runSimulation(ctx context.Context, q *questions) error {
	given := slices.DeleteFunc([]string{q.file, q.pod, q.drain, q.offline}, func(s string) bool { return s == "" })
	if len(given) != 1 {
		return errOneQuestion
	}
	var pods []*v1.Pod
	var passed []string
	if q.file != "" { // a mistake in it is told before the cluster is read
		namespace, _, err := t.connect.Kube.ToRawKubeConfigLoader().Namespace()
		if err != nil {
			return fmt.Errorf("reading the kubeconfig: %w", err)
		}
		if pods, passed, err = t.readManifest(q.file, namespace); err != nil {
			return err
		}
	}
	s, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if q.offline != "" {
		if err := s.Freeze(ctx); err != nil {
			return err
		}
	}
	cluster, err := s.Engine.Cluster()
	if err != nil {
		return err
	}
	what := ""
	switch {
	case q.file != "":
		what = "the pods of " + q.file
		if len(passed) > 0 {
			s.Unknown = append(s.Unknown, "Not looked at, because they make no pods: "+strings.Join(passed, ", ")+". Claims count once they exist.")
		}
	case q.pod != "":
		var pod *v1.Pod
		if pod, err = findPod(ctx, s, q.pod); err == nil {
			pods, what = []*v1.Pod{pod}, "pod "+pod.Namespace+"/"+pod.Name
		}
	case q.drain != "":
		what = "the pods of node " + q.drain + ", if it were drained"
		pods, err = drained(cluster, q.drain)
	default:
		what = "the pods with volumes of node " + q.offline + ", if storage were offline there"
		pods, err = stranded(ctx, s, cluster, q.offline)
	}
	if err != nil {
		return err
	}
	for _, pod := range pods {
		cluster.Remove(pod)
	}
	doc, err := view.NewSimulation(ctx, s.World, what, cluster, pods)
	if err != nil {
		return err
	}
	return t.print(doc, doc.Unknown, func(w io.Writer, wide bool) error { return drawSimulation(w, doc, q.drain != "", wide) })
}

// drained closes a node and returns the pods that kubectl drain would evict, the most
// important first.
func drained(cluster *simulation.Cluster, node string) ([]*v1.Pod, error) {
	if !cluster.Cordon(node) {
		return nil, fmt.Errorf("there is no node %s", node)
	}
	return podsOf(cluster, node, func(pod *v1.Pod) bool {
		controller := metav1.GetControllerOf(pod)
		_, mirror := pod.Annotations[v1.MirrorPodAnnotationKey]
		return !mirror && (controller == nil || controller.Kind != "DaemonSet")
	}), nil
}

// stranded takes storage offline on a node and returns its pods with volumes.
func stranded(ctx context.Context, s *connect.Session, cluster *simulation.Cluster, node string) ([]*v1.Pod, error) {
	pods := podsOf(cluster, node, func(pod *v1.Pod) bool {
		for _, c := range s.Plugin.Claims(pod) {
			if c.Driver != "" {
				return true
			}
		}
		return false
	})
	return pods, s.Restored.TakeOffline(ctx, node)
}

func podsOf(cluster *simulation.Cluster, node string, want func(*v1.Pod) bool) []*v1.Pod {
	var pods []*v1.Pod
	for _, pod := range cluster.Pods() {
		if pod.Spec.NodeName == node && want(pod) {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *v1.Pod) int {
		return cmp.Or(cmp.Compare(corev1helpers.PodPriority(b), corev1helpers.PodPriority(a)), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return pods
}

func drawSimulation(w io.Writer, doc *view.Simulation, evicted, wide bool) error {
	p := console.PaletteOf(w)
	if _, err := fmt.Fprintf(w, "%s %s\n\n", p.Strong("Where would they go now:"), clean(doc.What)); err != nil {
		return err
	}
	if len(doc.Pods) == 0 {
		_, err := fmt.Fprintln(w, "There are none.")
		return err
	}
	b := newTable(w)
	b.row("NAMESPACE", "POD", "FROM", "TO", "LOCALITY", "OR AS WELL ON / WHY NOWHERE")
	for i := range doc.Pods {
		pod := &doc.Pods[i]
		rest := cmp.Or(strings.TrimPrefix(alternatives(pod.OrOn, 3), ", or as well on "), pod.Message)
		if pod.Foreign {
			rest = strings.TrimPrefix(rest+"; left to "+pod.Scheduler, "; ")
		}
		if pod.Lost && evicted {
			rest = strings.TrimPrefix(rest+"; nobody makes it anew, a drain needs --force", "; ")
		}
		b.row(pod.Namespace, pod.Name, pod.From, pod.To, pod.Locality, rest)
	}
	if err := b.end(); err != nil {
		return err
	}
	for i := range doc.Pods {
		if len(doc.Pods) > 1 && !wide {
			break // the tables of many pods are for those who ask
		}
		if _, err := fmt.Fprintf(w, "\n%s\n", p.Strong("Nodes for "+doc.Pods[i].Namespace+"/"+doc.Pods[i].Name)); err != nil {
			return err
		}
		if err := drawNodes(w, doc.Pods[i].Nodes, wide); err != nil {
			return err
		}
	}
	return nil
}
