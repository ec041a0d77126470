package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/kubectl/connect"
	"github.com/hyperconverge/scheduler/internal/kubectl/view"
)

func (t *tool) explain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Why a pod is where it is, or what decides about a volume",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	pod := &cobra.Command{
		Use:   "pod NAME",
		Short: "A pod's volumes, and what every node is to it",
		Long: `A pod's volumes with their replicas and the rule that applies to each (docs/behaviour.md),
and every node: how near it is to each volume, what the plugin scores it, and what
every plugin has against it. A pod that has a node is looked at as if it were to be
scheduled now.`,
		Example:           "  kubectl hyperconverge explain pod db-0 -n shop",
		Args:              exactly("the name of one pod"),
		ValidArgsFunction: t.completeNames(podNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.explainPod(cmd.Context(), args[0])
		},
	}
	t.addOutput(pod)
	volume := &cobra.Command{
		Use:     "volume CLAIM",
		Aliases: []string{"claim", "pvc"},
		Short:   "A claim's replicas, who uses it, and which keys are in force",
		Long: `A claim's volume: its replica sets, the pods that use it, and for each key that decides
about placement its value and where that comes from: an annotation of the claim, a
label of the volume, a parameter of its class, or the default.`,
		Example: `  kubectl hyperconverge explain volume data-db-0 -n shop
  kubectl hyperconverge explain volume shop/data-db-0`,
		Args:              exactly("the name of one claim"),
		ValidArgsFunction: t.completeNames(claimNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return t.explainVolume(cmd.Context(), args[0]) },
	}
	t.addOutput(volume)
	cmd.AddCommand(pod, volume)
	return cmd
}

// exactly wants one argument.
func exactly(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("want %s; see \"%s --help\"", what, cmd.CommandPath())
		}
		return nil
	}
}

func (t *tool) explainPod(ctx context.Context, name string) error {
	s, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	pod, err := findPod(ctx, s, name)
	if err != nil {
		return err
	}
	doc, err := view.NewPod(ctx, s.World, pod)
	if err != nil {
		return err
	}
	return t.print(doc, doc.Unknown, func(w io.Writer, wide bool) error { return drawPod(w, doc, wide) })
}

// findPod finds a pod by its name, or namespace and name. Those that have finished are not
// among those that were read.
func findPod(ctx context.Context, s *connect.Session, name string) (*v1.Pod, error) {
	namespace, name := namesOf(s, strings.TrimPrefix(name, "pod/"))
	pod, err := s.Client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no pod %s in the namespace %s: name its namespace by -n", name, namespace)
	}
	return pod, err
}

// namesOf takes a name, or namespace and name, apart.
func namesOf(s *connect.Session, name string) (namespace, bare string) {
	if before, after, found := strings.Cut(name, "/"); found && before != "" {
		return before, after
	}
	return s.Namespace, name
}

func drawPod(w io.Writer, doc *view.Pod, wide bool) error {
	p := console.PaletteOf(w)
	lines := []string{fmt.Sprintf("%s  %s/%s (%s)", p.Strong("Pod:      "), clean(doc.Pod.Namespace), clean(doc.Pod.Name), cmp.Or(doc.Pod.Phase, "Pending"))}
	add := func(label, text string) {
		if text != "" {
			lines = append(lines, p.Strong(fmt.Sprintf("%-10s", label+":"))+"  "+text)
		}
	}
	add("Node", cmp.Or(doc.Pod.Node, "none"))
	add("Locality", doc.Pod.Locality)
	if until := doc.Pod.WaitsUntil; !until.IsZero() {
		add("Waits", "for a node with its data, until "+until.Format(time.TimeOnly))
	}
	add("Scheduler", clean(doc.Pod.Scheduler+modeOf(doc)))
	if doc.Pod.Verdict != "" {
		add("Storage", p.Bad(clean(doc.Pod.Verdict))+" ("+doc.Pod.Rule+")")
	}
	switch {
	case doc.Pod.WouldRunOn != "":
		add("Now", "would run on "+p.Good(doc.Pod.WouldRunOn)+alternatives(doc.Pod.OrOn, 4))
	default:
		add("Now", p.Bad("would run nowhere: ")+clean(doc.Pod.Message))
	}
	for _, problem := range doc.Problems {
		add("Problem", clean(problem))
	}
	if _, err := fmt.Fprintln(w, strings.Join(lines, "\n")); err != nil {
		return err
	}
	if len(doc.Volumes) == 0 {
		_, err := fmt.Fprintln(w, "\nNo volume of the pod is of the storage driver: where it runs is up to the other plugins (F1).")
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", p.Strong("Volumes")); err != nil {
		return err
	}
	b := newTable(w)
	b.row("CLAIM", "KIND", "WEIGHT", "RULE", "REPLICAS", "KNOWN", "HERE")
	for i := range doc.Volumes {
		v := &doc.Volumes[i]
		weight := ""
		if v.Weight != 0 {
			weight = strconv.Itoa(int(v.Weight))
		}
		b.row(v.Claim, v.Kind, weight, v.Rule, cmp.Or(setsOf(v), expectedOn(v.Expected)), v.Freshness, v.Relation)
	}
	if err := b.end(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", p.Strong("Nodes")); err != nil {
		return err
	}
	return drawNodes(w, doc.Nodes, wide)
}

func modeOf(doc *view.Pod) string {
	if doc.Pod.Mode == "" {
		return ""
	}
	return " (profile " + doc.Pod.Profile + ", " + doc.Pod.Mode + ")"
}

// alternatives names nodes that are as good.
func alternatives(nodes []string, most int) string {
	if len(nodes) == 0 {
		return ""
	}
	named := nodes[:min(len(nodes), most)]
	text := ", or as well on " + strings.Join(named, ", ")
	if left := len(nodes) - len(named); left > 0 {
		text += fmt.Sprintf(" and %d more", left)
	}
	return text
}

// setsOf are the replicas of a volume: nodes of a stripe with commas, stripes with bars.
// What is not Online says so.
func setsOf(v *view.PodVolume) string {
	sets := make([]string, 0, len(v.ReplicaSets))
	for i, set := range v.ReplicaSets {
		names := make([]string, 0, len(set))
		for k, name := range set {
			if state := v.States[i][k]; state != "Online" {
				name += " " + state
			}
			names = append(names, name)
		}
		sets = append(sets, strings.Join(names, ","))
	}
	return strings.Join(sets, " | ")
}

// expectedOn says where a new volume will lie.
func expectedOn(e *view.Expectation) string {
	if e == nil || len(e.Nodes) == 0 {
		return ""
	}
	named := e.Nodes[:min(len(e.Nodes), 4)]
	text := "expected on " + strings.Join(named, ",")
	if left := len(e.Nodes) - len(named); left > 0 {
		text += fmt.Sprintf(" and %d more", left)
	}
	switch {
	case e.Source != "":
		text += " (copy of " + e.Source + ")"
	case e.Strategy != "":
		text += " (strategy " + e.Strategy + ")"
	}
	return text
}

func drawNodes(w io.Writer, nodes []view.PodNode, wide bool) error {
	b := newTable(w)
	b.row("NODE", "FEASIBLE", "SCORE", "TOTAL", "NEAREST", "STORAGE", "WHY NOT")
	for i := range nodes[:shown(len(nodes), wide)] {
		n := &nodes[i]
		feasible := "no"
		if n.Feasible {
			feasible = "yes"
		}
		total := ""
		if n.Total != 0 {
			total = strconv.FormatInt(n.Total, 10)
		}
		b.row(n.Name, feasible, strconv.FormatInt(n.Score, 10), total, cmp.Or(n.Relation, n.Expected), n.Storage, strings.Join(n.Reasons, "; "))
	}
	if err := b.end(); err != nil {
		return err
	}
	return more(w, len(nodes), wide, "nodes")
}

func (t *tool) explainVolume(ctx context.Context, name string) error {
	s, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	namespace, name := namesOf(s, name)
	if _, err := s.Engine.Informers().Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(namespace).Get(name); apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no claim %s in the namespace %s: name its namespace by -n", name, namespace)
	}
	doc, err := view.NewVolume(s.World, namespace, name)
	if err != nil {
		return err
	}
	return t.print(doc, doc.Unknown, func(w io.Writer, _ bool) error { return drawVolume(w, doc) })
}

func drawVolume(w io.Writer, doc *view.Volume) error {
	p := console.PaletteOf(w)
	verified := ""
	if !doc.Verified.IsZero() {
		verified = ", confirmed by storage " + time.Since(doc.Verified).Round(time.Second).String() + " ago"
	}
	_, err := fmt.Fprintf(w, "%s  %s\n%s  %s\n%s  %s\n%s  %s%s\n", p.Strong("Claim:   "), clean(doc.Claim), p.Strong("Volume:  "), clean(cmp.Or(doc.Handle, "none yet")),
		p.Strong("Kind:    "), doc.VolumeKind, p.Strong("Replicas:"), cmp.Or(doc.Freshness, expectedOn(doc.Expected), "none yet"), verified)
	if err != nil {
		return err
	}
	b := newTable(w)
	for i, set := range doc.Sets {
		for _, r := range set {
			b.row("  set "+strconv.Itoa(i+1), cmp.Or(r.Node, "no Kubernetes node"), r.State, r.StorageNode)
		}
	}
	if doc.Attached != "" {
		b.row("  attached to", doc.Attached)
	}
	b.row()
	b.row("USED BY", "NODE", "LOCALITY")
	for _, u := range doc.UsedBy {
		b.row(u.Namespace+"/"+u.Name, u.Node, u.Locality)
	}
	b.row()
	b.row("KEY", "VALUE", "FROM")
	for _, setting := range doc.Settings {
		b.row(setting.Key, setting.Value, setting.Origin)
	}
	return b.end()
}

// completionTimeout bounds how long a shell waits for names.
const completionTimeout = 3 * time.Second

// completeNames completes names of objects: in the namespace, if they are in one.
func (t *tool) completeNames(resource string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		names, err := t.names(ctx, resource)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// names lists the objects of a resource of the core group.
func (t *tool) names(ctx context.Context, resource string) ([]string, error) {
	config, err := t.connect.Kube.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	namespace, _, err := t.connect.Kube.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	if resource == nodeNames {
		namespace = ""
	}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	list, err := client.Resource(v1.SchemeGroupVersion.WithResource(resource)).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, nil
}

// Resources whose names are completed.
const (
	podNames   = "pods"
	claimNames = "persistentvolumeclaims"
	nodeNames  = "nodes"
)
