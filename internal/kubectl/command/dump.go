package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/kubectl/connect"
	"github.com/hyperconverge/scheduler/internal/kubectl/dump"
	"github.com/hyperconverge/scheduler/internal/kubectl/view"
)

// What is taken of each container's log.
const (
	logLines = 2000
	logBytes = 4 << 20
)

func (t *tool) dump() *cobra.Command {
	var file string
	var overwrite bool
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "A bundle with which a stranger can help",
		Long: `A bundle (tar.gz) of all that the other commands show, with the scheduler's configuration
and the last lines of its logs and the webhook's. No Secret is read, and what looks like
a token, a key or a password is taken out. Names of namespaces, pods, claims and nodes
are in it.`,
		Example: "  kubectl hyperconverge dump --file bundle.tar.gz",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			folder := "hyperconverge-" + now.UTC().Format("20060102-150405")
			path := file
			if path == "" {
				path = folder + ".tar.gz"
			}
			if _, err := os.Stat(path); err == nil && !overwrite {
				return fmt.Errorf("%s is there already: --overwrite replaces it", path)
			}
			s, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			files, err := t.bundle(cmd.Context(), s, now)
			if err != nil {
				return err
			}
			var archive bytes.Buffer
			if err := dump.Write(&archive, folder, now, files); err != nil {
				return err
			}
			t.tell(s.Unknown)
			return t.writeFile(path, archive.Bytes())
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "file to write; - is standard output (default hyperconverge-TIME.tar.gz)")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace the file if it is there")
	return cmd
}

// bundle gathers the files. What cannot be read is said in notes.txt.
func (t *tool) bundle(ctx context.Context, s *connect.Session, now time.Time) ([]dump.File, error) {
	all, err := view.NewMap(ctx, s.World, s.Cluster, now)
	if err != nil {
		return nil, err
	}
	var notes []string
	files := []dump.File{
		{Name: "status.yaml", Content: all.Status},
		{Name: "cluster.yaml", Content: all},
		{Name: "doctor.yaml", Content: t.examine(ctx, s)},
	}
	if s.State != nil {
		files = append(files, dump.File{Name: "scheduler.yaml", Content: s.State})
	}
	namespace := t.connect.SchedulerNamespace
	ours := metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=hyperconverge"}
	if deployments, err := s.Client.AppsV1().Deployments(namespace).List(ctx, ours); err != nil {
		notes = append(notes, "deployments: "+err.Error())
	} else {
		for i := range deployments.Items {
			dump.HideSecrets(&deployments.Items[i].ObjectMeta, &deployments.Items[i].Spec.Template.Spec)
		}
		files = append(files, dump.File{Name: "deployments.yaml", Content: deployments.Items})
	}
	pods, err := s.Client.CoreV1().Pods(namespace).List(ctx, ours)
	if err != nil {
		notes = append(notes, "pods: "+err.Error())
		pods = &v1.PodList{}
	}
	for i := range pods.Items {
		for _, container := range pods.Items[i].Spec.Containers {
			name := "logs/" + pods.Items[i].Name + "-" + container.Name + ".log"
			text, err := logOf(ctx, s, &pods.Items[i], container.Name)
			if err != nil {
				notes = append(notes, name+": "+err.Error())
				continue
			}
			files = append(files, dump.File{Name: name, Content: text})
		}
	}
	notes = append(notes, s.Unknown...)
	return append(files, dump.File{Name: "notes.txt", Content: strings.Join(notes, "\n")}), nil
}

// logOf reads the end of a container's log.
func logOf(ctx context.Context, s *connect.Session, pod *v1.Pod, container string) ([]byte, error) {
	stream, err := s.Client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &v1.PodLogOptions{
		Container: container, TailLines: ptr.To[int64](logLines), LimitBytes: ptr.To[int64](logBytes),
	}).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()
	return io.ReadAll(stream)
}
