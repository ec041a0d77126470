package demo

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

// The Deployment of step a is the one that users of Stork have; nothing about it
// may be made easier.
func TestMySQLIsWrittenForStork(t *testing.T) {
	objects, err := read("mysql.yaml")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"app": "mysql"}
	want := appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](1),
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Strategy: appsv1.DeploymentStrategy{
			Type: appsv1.RollingUpdateDeploymentStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(1)),
			},
		},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec: corev1.PodSpec{
				SchedulerName: "stork",
				Containers: []corev1.Container{{
					Name:         "mysql",
					Image:        "mysql:5.6",
					Env:          []corev1.EnvVar{{Name: "MYSQL_ROOT_PASSWORD", Value: "password"}},
					Ports:        []corev1.ContainerPort{{ContainerPort: 3306}},
					VolumeMounts: []corev1.VolumeMount{{Name: "mysql-data", MountPath: "/var/lib/mysql"}},
				}},
				Volumes: []corev1.Volume{{
					Name: "mysql-data",
					VolumeSource: corev1.VolumeSource{
						PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "mysql-data"},
					},
				}},
			},
		},
	}
	deployment, ok := objects[1].(*appsv1.Deployment)
	if !ok {
		t.Fatalf("the second object is a %T", objects[1])
	}
	if diff := cmp.Diff(want, deployment.Spec); diff != "" {
		t.Errorf("Deployment differs (-want +got):\n%s", diff)
	}
}

func TestTheAnnotationsOfTheDemoStandWhereTheyCount(t *testing.T) {
	ledger, err := read("ledger.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shared, err := read("shared.yaml")
	if err != nil {
		t.Fatal(err)
	}
	strict := ledger[1].(*appsv1.StatefulSet).Spec.Template.Annotations
	if got := strict["stork.libopenstorage.org/preferLocalNodeOnly"]; got != "true" {
		t.Errorf("the ledger is not strict: %v", strict)
	}
	off := shared[1].(*appsv1.Deployment).Spec.Template.Annotations
	if got := off["stork.libopenstorage.org/disableHyperconvergence"]; got != "true" {
		t.Errorf("the web servers want hyperconvergence: %v", off)
	}
}

func TestOnlyNodesWithEveryReplicaSetCountAsReplicaNodes(t *testing.T) {
	set := func(nodes ...string) []openstoragesim.Replica {
		var replicas []openstoragesim.Replica
		for _, n := range nodes {
			replicas = append(replicas, openstoragesim.Replica{Node: n})
		}
		return replicas
	}
	for name, row := range map[string]struct {
		sets [][]openstoragesim.Replica
		want []string
	}{
		"one set":       {[][]openstoragesim.Replica{set("node-2", "node-1")}, []string{"node-2", "node-1"}},
		"two stripes":   {[][]openstoragesim.Replica{set("node-1", "node-2"), set("node-3", "node-2")}, []string{"node-2"}},
		"nothing whole": {[][]openstoragesim.Replica{set("node-1"), set("node-2")}, nil},
		"no data":       {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := replicaNodes(openstoragesim.VolumeSummary{ReplicaSets: row.sets})
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("nodes differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPodAsTheMapNeedsIt(t *testing.T) {
	got := mapPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "mysql-5d9c-x7k2p", Labels: map[string]string{"pod-template-hash": "5d9c"}},
		Spec: corev1.PodSpec{Volumes: []corev1.Volume{
			{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "mysql-data"}}},
			{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		}},
		Status: corev1.PodStatus{
			Phase: corev1.PodPending,
			Conditions: []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/12 nodes are available",
			}},
		},
	})
	want := Pod{Name: "mysql", Volumes: []string{"mysql-data"}, Reason: "0/12 nodes are available"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pod differs (-want +got):\n%s", diff)
	}
}
