package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const (
	rebalancerBinary = "rebalancer"
	// rebalancerName is that of its roles, its journal and its Deployment.
	rebalancerName = "hyperconverge-rebalancer"
	// rebalancerNamespace is where kubectl hyperconverge looks for it.
	rebalancerNamespace = "hyperconverge-system"
	// rebalancerFile is its configuration, in the sandbox folder and in its ConfigMap.
	rebalancerFile = "rebalancer.yaml"
)

// rebalancerConfig is for people who watch: pods may go as soon as they are ready.
const rebalancerConfig = `apiVersion: hyperconverge.dev/v1
kind: RebalancerConfiguration
dryRun: %s
interval: 1s
minAge: 0s
budgets: {maxPerHour: 1000}
`

// rebalancer brings pods home that ask for it.
func (cp *ControlPlane) rebalancer() component {
	port := cp.ports[rebalancerBinary]
	port.Release() // the rebalancer shares no port
	return component{
		name: rebalancerBinary,
		args: []string{
			"--kubeconfig=" + cp.credentials.kubeconfigPath(rebalancerUser),
			"--config=" + cp.options.Dir.Join(rebalancerFile),
			"--scheduler-config=" + cp.config,
			"--namespace=" + rebalancerNamespace,
			"--leader-elect=false",
			"--ops-address=" + port.Address(),
			"--logging-format=json",
			"--v=2",
		},
		ready:  client(&http.Transport{}),
		health: "http://" + port.Address() + "/readyz",
	}
}

// installRebalancer makes what its manifests make: its rights, its journal, and a
// Deployment, without pods here, whose annotations pause and resume it.
func (cp *ControlPlane) installRebalancer(ctx context.Context) error {
	config := fmt.Sprintf(rebalancerConfig, strconv.FormatBool(!cp.options.Rebalance))
	if err := os.WriteFile(cp.options.Dir.Join(rebalancerFile), []byte(config), 0o600); err != nil {
		return fmt.Errorf("writing the configuration of the rebalancer: %w", err)
	}
	const configMap = rebalancerName + "-config"
	core, options := cp.client.CoreV1(), metav1.CreateOptions{}
	_, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: rebalancerNamespace}}, options)
	if err != nil {
		return fmt.Errorf("making the namespace of the rebalancer: %w", err)
	}
	for name, data := range map[string]map[string]string{rebalancerName: nil, configMap: {rebalancerFile: config}} {
		_, err := core.ConfigMaps(rebalancerNamespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}, options)
		if err != nil {
			return fmt.Errorf("making the ConfigMap %s: %w", name, err)
		}
	}
	labels := map[string]string{"app.kubernetes.io/name": rebalancerName}
	_, err = cp.client.AppsV1().Deployments(rebalancerNamespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: rebalancerName, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: rebalancerBinary, Image: rebalancerName}},
				Volumes: []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{
					ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}},
				}}},
			}},
		},
	}, options)
	if err != nil {
		return fmt.Errorf("making the Deployment of the rebalancer: %w", err)
	}
	return cp.grantRebalancerRights(ctx)
}

// grantRebalancerRights gives the rebalancer's user what its installation gives it.
func (cp *ControlPlane) grantRebalancerRights(ctx context.Context) error {
	rbac, options, meta := cp.client.RbacV1(), metav1.CreateOptions{}, metav1.ObjectMeta{Name: rebalancerName}
	read := []string{"list", "watch"}
	_, err := rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Verbs: read, Resources: []string{
			"nodes", "pods", "namespaces", "services", "replicationcontrollers", "persistentvolumeclaims", "persistentvolumes",
		}},
		{APIGroups: []string{"apps"}, Verbs: read, Resources: []string{"replicasets", "statefulsets"}},
		{APIGroups: []string{"policy"}, Verbs: read, Resources: []string{"poddisruptionbudgets"}},
		{APIGroups: []string{"storage.k8s.io", "resource.k8s.io"}, Verbs: read, Resources: []string{rbacv1.ResourceAll}},
		{APIGroups: []string{""}, Verbs: []string{"create"}, Resources: []string{"pods/eviction"}},
		{APIGroups: []string{"events.k8s.io"}, Verbs: []string{"create", "patch"}, Resources: []string{"events"}},
	}}, options)
	if err != nil {
		return fmt.Errorf("making the role %s: %w", rebalancerName, err)
	}
	_, err = rbac.Roles(rebalancerNamespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Verbs: []string{"get", "update"}, Resources: []string{"configmaps"}, ResourceNames: []string{rebalancerName}},
		{APIGroups: []string{"apps"}, Verbs: []string{"get"}, Resources: []string{"deployments"}, ResourceNames: []string{rebalancerName}},
	}}, options)
	if err != nil {
		return fmt.Errorf("making the role %s: %w", rebalancerName, err)
	}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: rebalancerUser.name}}
	_, err = rbac.RoleBindings(rebalancerNamespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: rebalancerName},
	}, options)
	for _, role := range []string{rebalancerName, resourcesRole} {
		if err != nil {
			break
		}
		_, err = rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: rebalancerName + ":" + role}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		}, options)
	}
	if err != nil {
		return fmt.Errorf("binding %s: %w", rebalancerName, err)
	}
	return nil
}
