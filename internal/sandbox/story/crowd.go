package story

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/sandbox/clustermap"
	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
)

const (
	crowdSize      = 60
	stockScheduler = corev1.DefaultSchedulerName
	ourScheduler   = "hyperconverge-scheduler"
)

// crowd is act e.
func (s *stage) crowd(ctx context.Context) error {
	s.tags = nil
	s.say("%d databases with a volume of two replicas each. The volumes are the same for both schedulers.", crowdSize)
	for i := range crowdSize {
		if err := s.create(ctx, crowdClaim(i)); err != nil {
			return err
		}
	}
	if err := s.untilBound(ctx, crowdSize); err != nil {
		return err
	}
	stock, err := s.scheduleCrowd(ctx, stockScheduler)
	if err != nil {
		return err
	}
	if err := s.removePods(ctx); err != nil {
		return err
	}
	s.out.Printf("")
	ours, err := s.scheduleCrowd(ctx, ourScheduler)
	if err != nil {
		return err
	}
	s.out.Printf("\n%s", sideBySide(stock.Tally(), ours.Tally()))
	s.expect(
		allOnData(ours, fmt.Sprintf("with %s, %d of %d are on their data", ourScheduler, crowdSize, crowdSize)),
		moreOnData(ours.Tally(), stock.Tally()),
	)
	return nil
}

// scheduleCrowd creates the pods and shows where they were put.
func (s *stage) scheduleCrowd(ctx context.Context, scheduler string) (clustermap.Scene, error) {
	s.say("By %s:", s.palette.Strong(scheduler))
	for i := range crowdSize {
		if err := s.create(ctx, crowdPod(i, scheduler)); err != nil {
			return clustermap.Scene{}, err
		}
	}
	// Being put somewhere is enough: where there is no storage they never run.
	scene, err := s.untilScene(ctx, "all have a node", crowdSize, hasNode)
	if err != nil {
		return clustermap.Scene{}, err
	}
	s.showCrowd(scene)
	return scene, nil
}

// untilBound waits until so many claims are bound.
func (s *stage) untilBound(ctx context.Context, claims int) error {
	return s.until(ctx, "the volumes are there", func(ctx context.Context) (bool, string, error) {
		list, err := s.sandbox.Client.CoreV1().PersistentVolumeClaims(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, "", err
		}
		bound := 0
		for i := range list.Items {
			if list.Items[i].Status.Phase == corev1.ClaimBound {
				bound++
			}
		}
		return bound == claims, fmt.Sprintf("%d of %d", bound, claims), nil
	})
}

func crowdClaim(i int) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("data-%02d", i)},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To(driver.ClassDB),
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			},
		},
	}
}

func crowdPod(i int, scheduler string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("db-%02d", i), Labels: map[string]string{"app": "db"}},
		Spec: corev1.PodSpec{
			SchedulerName: scheduler,
			Containers: []corev1.Container{{
				Name:  "postgres",
				Image: "postgres:17",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU:    resource.MustParse("500m"),
					corev1.ResourceMemory: resource.MustParse("1Gi"),
				}},
				VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/var/lib/postgresql/data"}},
			}},
			Volumes: []corev1.Volume{{
				Name: "data",
				VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
					ClaimName: crowdClaim(i).Name,
				}},
			}},
		},
	}
}

// sideBySide is the table of act e.
func sideBySide(stock, ours clustermap.Tally) string {
	const row = "  %-40s %18s   %24s\n"
	var table strings.Builder
	fmt.Fprintf(&table, row, "", stockScheduler, ourScheduler)
	for _, line := range []struct {
		what        string
		stock, ours int
	}{
		{"on a node with their data", stock.OnData, ours.OnData},
		{"on another node, data over the network", stock.Away, ours.Away},
		{"on a node where they cannot start", stock.NoStorage, ours.NoStorage},
	} {
		fmt.Fprintf(&table, row, line.what, outOf(line.stock), outOf(line.ours))
	}
	return table.String()
}

func outOf(pods int) string { return fmt.Sprintf("%d of %d", pods, crowdSize) }

// moreOnData promises that ours is better than stock, which is luck if it is
// good at all.
func moreOnData(ours, stock clustermap.Tally) promise {
	p := promise{text: "that is more than with " + stockScheduler}
	if ours.OnData <= stock.OnData {
		p.instead = fmt.Sprintf("%d with ours and %d with the stock scheduler", ours.OnData, stock.OnData)
	}
	return p
}
