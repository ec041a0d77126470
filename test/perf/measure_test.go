package perf

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/hyperconverge/scheduler/internal/minor"
	"github.com/hyperconverge/scheduler/test/kit"
)

// patience is how long the pods of one workload may take together.
const patience = 10 * time.Minute

// measurement is what one workload on one scheduler has shown.
type measurement struct {
	// throughput in pods per second, from the first pod that was bound to the last.
	throughput float64
	// loaded are the scheduling cycles meanwhile, when API server, etcd and extender
	// wanted the same cores.
	loaded cycles
	// cpu is the time per pod that all in this process, API server and etcd
	// included, kept the cores busy.
	cpu time.Duration
	// onData of scheduled pods run where LocalFirst has to put them.
	onData, scheduled int
}

// searchTime is how long search goes on at least, so that a quick scheduler is as
// warm as a slow one.
const searchTime = time.Second

// search has the scheduler look for nodes for the first pods of a workload without
// binding them, one after the other, again and again, while nothing else happens.
func (s *runningScheduler) search(ctx context.Context, w workload, pods int) (cycles, error) {
	runtime.GC() // what went before is not part of this
	s.stopwatch.take()
	for start := time.Now(); time.Since(start) < searchTime; {
		for i := range pods {
			pod := w.pod(i)
			pod.UID = types.UID("search-" + pod.Name)
			if _, err := minor.SchedulePod(ctx, s.Scheduler.Scheduler, s.Profiles[v1.DefaultSchedulerName], framework.NewCycleState(), pod); err != nil {
				return nil, fmt.Errorf("searching a node for %s: %w", pod.Name, err)
			}
		}
	}
	return s.stopwatch.take(), nil
}

// measure creates the first pods of a workload as fast as the API server takes
// them, while the scheduler runs, and waits until all are bound. It leaves the
// cluster as it was.
func (s *runningScheduler) measure(ctx context.Context, c *cluster, w workload, pods int) (*measurement, error) {
	runtime.GC()
	binds, stop, err := s.followBinds(w, pods)
	if err != nil {
		return nil, err
	}
	defer stop()
	s.stopwatch.take()
	busy, err := cpuTime()
	if err != nil {
		return nil, err
	}
	err = parallel(ctx, pods, func(i int) error {
		_, err := c.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, w.pod(i), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-binds.all:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(patience):
		return nil, fmt.Errorf("after %v, %d of %d pods are scheduled", patience, binds.number(), pods)
	}
	busyNow, err := cpuTime()
	if err != nil {
		return nil, err
	}
	m := &measurement{loaded: s.stopwatch.take(), throughput: binds.rate(), cpu: (busyNow - busy) / time.Duration(pods)}
	return m, errors.Join(m.locate(ctx, c, w), s.clear(ctx, c, w))
}

// cpuTime is what this process has used of the cores so far.
func cpuTime() (time.Duration, error) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), err
}

// locate finds out where the pods have come to.
func (m *measurement) locate(ctx context.Context, c *cluster, w workload) error {
	list, err := c.Client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: workloadLabel + "=" + w.name})
	if err != nil {
		return err
	}
	for _, pod := range list.Items {
		number, err := strconv.Atoi(strings.TrimPrefix(pod.Name, w.name+"-"))
		if err != nil {
			return fmt.Errorf("a pod that nobody made: %w", err)
		}
		m.scheduled++
		if w.onData(c, number, pod.Spec.NodeName) {
			m.onData++
		}
	}
	return nil
}

// clear deletes the pods of a workload, and waits until the scheduler has seen it.
func (s *runningScheduler) clear(ctx context.Context, c *cluster, w workload) error {
	err := c.Client.CoreV1().Pods(metav1.NamespaceDefault).DeleteCollection(ctx,
		metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{LabelSelector: workloadLabel + "=" + w.name})
	if err != nil {
		return err
	}
	lister := s.Informers.Core().V1().Pods().Lister()
	return kit.Wait(ctx, time.Minute, "the pods are gone", func() error {
		left, err := lister.List(labels.SelectorFromSet(labels.Set{workloadLabel: w.name}))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d are there", len(left))
		}
		return err
	})
}

// bindLog notes when pods are seen to be bound.
type bindLog struct {
	mu          sync.Mutex
	want, seen  int
	first, last time.Time
	all         chan struct{} // closed when all are bound
}

// followBinds watches through the scheduler's own informer, as scheduler_perf
// does: it sees each pod first without and then with a node.
func (s *runningScheduler) followBinds(w workload, pods int) (binds *bindLog, stop func(), err error) {
	binds = &bindLog{want: pods, all: make(chan struct{})}
	informer := s.Informers.Core().V1().Pods().Informer()
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(oldObj, newObj any) {
			old, isPod := oldObj.(*v1.Pod)
			pod, isPodToo := newObj.(*v1.Pod)
			if isPod && isPodToo && pod.Labels[workloadLabel] == w.name && old.Spec.NodeName == "" && pod.Spec.NodeName != "" {
				binds.add(time.Now())
			}
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return binds, func() {
		// It fails only for handlers of other informers.
		_ = informer.RemoveEventHandler(registration)
	}, nil
}

func (b *bindLog) add(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen == 0 {
		b.first = now
	}
	b.last = now
	b.seen++
	if b.seen == b.want {
		close(b.all)
	}
}

func (b *bindLog) number() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

func (b *bindLog) rate() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return float64(b.seen-1) / b.last.Sub(b.first).Seconds()
}
