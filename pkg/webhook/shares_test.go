package webhook

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
)

// newUncached is a storage that has to look up everything, at the rate that is the
// default, and its API server.
func newUncached() (*storage, *fake.Clientset) {
	read := fake.NewClientset(stored()...)
	return newStorage(fake.NewClientset(), read, []string{portworx, inTree}, newShares(50, 100), newMetrics()), read
}

// crowd makes 100 pods a second in a namespace, each with as many claims as are looked
// up, none of which exists. It ends before the function that it returns does.
func crowd(ctx context.Context, s *storage, namespace string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var pods sync.WaitGroup
	pods.Go(func() {
		for number := 0; ctx.Err() == nil; number++ {
			pods.Go(func() {
				var claims []podOption
				for i := range maxLookups {
					claims = append(claims, pvc(fmt.Sprintf("missing-%d-%d", number, i)))
				}
				pod := podWith(claims...)
				pod.Namespace = namespace
				s.claimsOf(ctx, pod, false)
			})
			time.Sleep(10 * time.Millisecond)
		}
	})
	return func() {
		cancel()
		pods.Wait()
	}
}

func TestNamespacesShareLookups(t *testing.T) {
	for name, crowded := range map[string][]string{
		"beside nobody":                   {},
		"beside a crowd of one namespace": {"crowd"},
		"beside crowds of four":           {"crowd-1", "crowd-2", "crowd-3", "crowd-4"},
	} {
		t.Run("pods with late claims are decided "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := klog.NewContext(t.Context(), klog.Logger{})
				s, _ := newUncached()
				for _, namespace := range crowded {
					defer crowd(ctx, s, namespace)()
				}
				time.Sleep(3 * time.Second)
				for range 20 {
					pod := podWith(pvc("coming")) // the claim and its class
					found, complete := s.claimsOf(ctx, pod, false)
					if got := defaultRules.Decide(pod, found, complete).Outcome; got != Mutated {
						t.Errorf("a pod is %s", got)
					}
					time.Sleep(200 * time.Millisecond)
				}
			})
		})
	}
	t.Run("one namespace may take what is to spare", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, read := newUncached()
			stop := crowd(klog.NewContext(t.Context(), klog.Logger{}), s, "crowd")
			time.Sleep(3 * time.Second)
			stop()
			if got := len(read.Actions()); got < 180 || got > 250 {
				t.Errorf("%d lookups in 3 s, want half of the burst and 50 per second", got)
			}
		})
	})
	t.Run("names that no namespace has are not remembered", func(t *testing.T) {
		s := newShares(50, 100)
		for i := range 3 {
			s.ofNamespace(strings.Repeat("x", longestNamespace+1+i))
		}
		if got := s.own.Len(); got != 1 {
			t.Errorf("there are %d shares, want one for all", got)
		}
	})
}

func TestMissingObjectsAreNotReadAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := klog.NewContext(t.Context(), klog.Logger{})
		s, read := newUncached()
		long := fmt.Sprintf("%0*d", longestName+1, 0)
		for _, step := range []struct {
			after time.Duration
			claim string
			reads int
			says  string
		}{
			{0, "missing", 1, "it is read"},
			{absenceLasts / 2, "missing", 1, "it is remembered"},
			{0, "another", 2, "another is not"},
			{absenceLasts, "missing", 3, "it is read again after a while"},
			{0, long, 4, "a name that cannot be is read"},
			{0, long, 5, "and is not remembered"},
		} {
			time.Sleep(step.after)
			if _, complete := s.claimsOf(ctx, podWith(pvc(step.claim)), false); !complete {
				t.Errorf("%s: the answer is not complete", step.says)
			}
			if got := len(read.Actions()); got != step.reads {
				t.Errorf("%s: %d reads, want %d", step.says, got, step.reads)
			}
		}
	})
}
