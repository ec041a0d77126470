package perf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/child"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// BenchmarkKubectl measures the commands of kubectl hyperconverge, each as a process of
// its own, from its start to its end: reading the cluster and asking storage for all
// replicas included. Three quarters of the pods run beside their data. Run it with
// -benchtime=1x.
func BenchmarkKubectl(b *testing.B) {
	const nodes, pods = 1000, 10_000
	c := newCluster(b, nodes, 0)
	c.Must(c.addRunningPods(c.Ctx, pods))
	kubeconfig := controlplane.Kubeconfig(b, c.Config)
	binary := child.Build(b, b.TempDir(), "cmd/kubectl-hyperconverge")
	for round := range *rounds {
		for _, command := range [][]string{
			{"status", "-A"},
			{"explain", "pod", "running-0"},
			{"simulate", "--pod", "running-0"},
			{"report", "--html", b.TempDir() + "/report-" + strconv.Itoa(round) + ".html"},
		} {
			b.Run(fmt.Sprintf("round=%d/command=%s", round+1, command[0]), func(b *testing.B) {
				run := exec.CommandContext(b.Context(), binary, append(command, "--kubeconfig", kubeconfig, "--storage-endpoint", c.Server.Endpoint())...)
				var output bytes.Buffer
				run.Stdout, run.Stderr = &output, &output
				began := time.Now()
				c.Must(run.Start())
				peak := watchMemory(run.Process.Pid)
				if err := run.Wait(); err != nil {
					b.Fatalf("%v: %s", err, output.String())
				}
				b.ReportMetric(0, "ns/op") // of no meaning here
				b.ReportMetric(time.Since(began).Seconds(), "s")
				b.ReportMetric(peak(), "rss-MB")
			})
		}
	}
}

// watchMemory looks at a process until it has ended, and returns its greatest resident
// memory in MB. What the kernel says after its end includes that of this process, of
// which it is a fork.
func watchMemory(pid int) (peak func() float64) {
	seen := make(chan float64, 1)
	go func() {
		kilobytes := 0.0
		for {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, after, found := strings.Cut(string(status), "VmHWM:")
			if err != nil || !found { // it has no memory any more
				seen <- kilobytes / 1000
				return
			}
			if value, err := strconv.ParseFloat(strings.Fields(after)[0], 64); err == nil {
				kilobytes = max(kilobytes, value)
			}
			time.Sleep(memoryInterval)
		}
	}()
	return func() float64 { return <-seen }
}

// memoryInterval is short beside a command's second, and long beside a look.
const memoryInterval = 5 * time.Millisecond

// addRunningPods makes pods that have a node, and a volume each.
func (c *cluster) addRunningPods(ctx context.Context, pods int) error {
	names := map[string]string{} // storage node id -> node name
	for _, n := range c.Storage.Nodes() {
		names[n.ID] = n.SchedulerNodeName
	}
	handles, places := make([]string, pods), make([]string, pods)
	for i := range pods {
		made, err := c.Storage.CreateVolume(openstoragesim.CreateRequest{
			Name: fmt.Sprintf("running-%d", i), Parameters: map[string]string{"repl": strconv.Itoa(replicas)},
		})
		if err != nil {
			return err
		}
		handles[i], places[i] = made.GetId(), names[made.GetReplicaSets()[0].GetNodes()[0]]
		if i%4 == 0 {
			places[i] = fmt.Sprintf("node-%04d", i%c.nodes)
		}
	}
	return parallel(ctx, pods, func(i int) error {
		name := fmt.Sprintf("running-%d", i)
		volumeErr := c.addVolume(ctx, name, kit.Driver, handles[i])
		pod := kit.Pod(c.Namespace, name, "hyperconverge-scheduler", name).Node(places[i]).Req(map[v1.ResourceName]string{v1.ResourceCPU: "10m"}).Obj()
		_, podErr := c.Client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
		return errors.Join(volumeErr, podErr)
	})
}
