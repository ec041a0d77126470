package perf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/hyperconverge/scheduler/internal/sandbox/process"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/child"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// BenchmarkOwnProcess measures what the scheduler itself costs: it is a process of its own
// here, so that API server, etcd and client do not count. Stock is kube-scheduler itself. Run
// it with -benchtime=1x.
func BenchmarkOwnProcess(b *testing.B) {
	ours := child.Build(b, b.TempDir(), "cmd/scheduler")
	stock := child.BuildPackage(b, b.TempDir(), "k8s.io/kubernetes/cmd/kube-scheduler")
	for _, nodes := range sizes(b) {
		b.Run(fmt.Sprint("nodes=", nodes), func(b *testing.B) { benchmarkOwn(b, nodes, stock, ours) })
	}
}

func benchmarkOwn(b *testing.B, nodes int, stock, ours string) {
	c := newCluster(b, nodes, *podsFlag)
	factory := informers.NewSharedInformerFactory(c.Client, 0)
	pods := factory.Core().V1().Pods().Lister()
	factory.Start(c.Ctx.Done())
	factory.WaitForCacheSync(c.Ctx.Done())
	b.Cleanup(factory.Shutdown)
	for round := range *rounds {
		for _, v := range rivals(round) {
			b.Run(fmt.Sprintf("round=%d/variant=%s", round+1, v.name), func(b *testing.B) {
				binary := stock
				if v.plugin() {
					binary = ours
				}
				s := startOwn(b, c, v, binary)
				// What the start has left to be collected is not part of this.
				s.schedule(b, c, workloads[0], pods, func(int) {})
				for _, w := range workloads {
					b.Run("workload="+w.name, func(b *testing.B) { s.measureOwn(b, c, w, pods) })
				}
			})
		}
	}
}

// ownProcess is a scheduler as it is deployed.
type ownProcess struct {
	*child.Process
	plugin bool
}

// startOwn starts a variant, and returns when it knows all there is to know.
func startOwn(b *testing.B, c *cluster, v variant, binary string) *ownProcess {
	yaml, err := v.configuration(b, c)
	c.Must(err)
	kubeconfig := controlplane.Kubeconfig(b, c.Config)
	yaml = strings.Replace(yaml, "clientConnection: {", fmt.Sprintf("enableProfiling: true\nleaderElection: {leaderElect: false}\nclientConnection: {kubeconfig: %q, ", kubeconfig), 1)
	file := filepath.Join(b.TempDir(), "scheduler.yaml")
	c.Must(os.WriteFile(file, []byte(yaml), 0o600))
	address := kit.FreeAddress(b)
	_, port, _ := strings.Cut(address, ":")
	s := &ownProcess{plugin: v.plugin(), Process: child.Run(b, process.Command{
		Name: v.name, Path: binary,
		Args: []string{"--config=" + file, "--bind-address=127.0.0.1", "--secure-port=" + port, "--v=0",
			"--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
			"--authorization-always-allow-paths=/readyz,/metrics,/debug/pprof/profile"},
	}, "https://"+address)}
	c.Must(s.Ready(b.Context(), time.Minute))
	c.Must(kit.Wait(b.Context(), time.Minute, "the plugin knows all volumes", func() error {
		metrics, err := s.Metrics()
		if err != nil || !s.plugin {
			return err
		}
		if known, _ := metrics.Sum("scheduler_hyperconverge_volumes", "freshness", "fresh"); int(known) < c.volumes {
			return fmt.Errorf("it knows %v of %d", known, c.volumes)
		}
		return nil
	}))
	return s
}

// used is what the process has used so far, and what it holds.
func (s *ownProcess) used() (cpu, allocations, resident float64, err error) {
	metrics, err := s.Metrics()
	cpu, _ = metrics.Sum("process_cpu_seconds_total")
	allocations, _ = metrics.Sum("go_memstats_mallocs_total")
	resident, _ = metrics.Sum("process_resident_memory_bytes")
	return cpu, allocations, resident, err
}

// measureOwn has the process schedule the pods of a workload.
func (s *ownProcess) measureOwn(b *testing.B, c *cluster, w workload, lister corelisters.PodLister) {
	cpu, allocations, _, err := s.used()
	c.Must(err)
	share := make(chan float64, 1)
	go func() { share <- s.ownShare() }() // stock pays for it, too
	s.schedule(b, c, w, lister, func(n int) {
		cpuNow, allocationsNow, resident, err := s.used()
		c.Must(err)
		b.ReportMetric(0, "ns/op") // of no meaning here
		b.ReportMetric((cpuNow-cpu)*1e6/float64(n), "own-cpu-µs/pod")
		b.ReportMetric((allocationsNow-allocations)/float64(n), "own-allocs/pod")
		b.ReportMetric(resident/1e6, "own-rss-MB")
		b.ReportMetric(float64(c.volumes), "volumes")
	})
	if ours := <-share; s.plugin {
		b.ReportMetric(ours, "own-share-%")
	}
}

// schedule creates the pods of a workload, calls bound when all are, and deletes them.
func (s *ownProcess) schedule(b *testing.B, c *cluster, w workload, lister corelisters.PodLister, bound func(pods int)) {
	ctx, n := b.Context(), c.pods*w.fold
	c.Must(parallel(ctx, n, func(i int) error {
		_, err := c.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, w.pod(i), metav1.CreateOptions{})
		return err
	}))
	of := labels.SelectorFromSet(labels.Set{workloadLabel: w.name})
	count := func(bound bool, want int) error {
		list, err := lister.List(of)
		found := 0
		for _, pod := range list {
			if !bound || pod.Spec.NodeName != "" {
				found++
			}
		}
		if err == nil && found != want {
			err = fmt.Errorf("%d of %d", found, want)
		}
		return err
	}
	c.Must(kit.Wait(ctx, patience, "all pods are bound", func() error { return count(true, n) }))
	bound(n)
	c.Must(c.Client.CoreV1().Pods(metav1.NamespaceDefault).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64)},
		metav1.ListOptions{LabelSelector: of.String()}))
	c.Must(kit.Wait(ctx, time.Minute, "the pods are gone", func() error { return count(false, 0) }))
}

// ownShare is how much of the CPU time of two seconds our own code has had, in per cent: that
// in which it stood nearer to the top of the stack than kube-scheduler's. Negative if nobody knows.
func (s *ownProcess) ownShare() float64 {
	text, err := s.Get("/debug/pprof/profile?seconds=2")
	if err != nil {
		return -1
	}
	taken, err := profile.Parse(bytes.NewBufferString(text))
	if err != nil {
		return -1
	}
	ours, all := int64(0), int64(0)
	for _, sample := range taken.Sample {
		value := sample.Value[len(sample.Value)-1]
		all += value
		if isOurs(sample) {
			ours += value
		}
	}
	return 100 * float64(ours) / float64(max(all, 1))
}

func isOurs(sample *profile.Sample) bool {
	for _, location := range sample.Location { // from the top of the stack
		for _, line := range location.Line {
			switch name := line.Function.Name; {
			case strings.HasPrefix(name, "github.com/hyperconverge/scheduler/"):
				return true
			case strings.HasPrefix(name, "k8s.io/kubernetes/pkg/scheduler"):
				return false
			}
		}
	}
	return false
}
