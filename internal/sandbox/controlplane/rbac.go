package controlplane

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// leaseName is the lease that the scheduler's replicas compete for.
const leaseName = "hyperconverge-scheduler"

// machinesRole lets the scheduler read virtual machines.
const machinesRole = "hyperconverge-scheduler:virtual-machines"

// grantSchedulerRights gives the scheduler's user what its installation gives
// it: the roles that Kubernetes keeps for schedulers, and what those do not cover, its
// own lease and the virtual machines of KubeVirt.
func grantSchedulerRights(ctx context.Context, client kubernetes.Interface) error {
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: scheduler.name}}

	_, err := client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: machinesRole},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"kubevirt.io"}, Resources: []string{"virtualmachineinstances"}, Verbs: []string{"list", "watch"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("making the role %s: %w", machinesRole, err)
	}
	for _, role := range []string{"system:kube-scheduler", "system:volume-scheduler", machinesRole} {
		_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: scheduler.name + ":" + role},
			Subjects:   subjects,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("binding %s to %s: %w", scheduler.name, role, err)
		}
	}

	_, err = client.RbacV1().Roles(metav1.NamespaceSystem).Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: leaseName},
		Rules: []rbacv1.PolicyRule{{
			APIGroups:     []string{"coordination.k8s.io"},
			Resources:     []string{"leases"},
			ResourceNames: []string{leaseName},
			Verbs:         []string{"get", "update", "patch"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("making the role %s: %w", leaseName, err)
	}
	for _, role := range []string{leaseName, "extension-apiserver-authentication-reader"} {
		_, err := client.RbacV1().RoleBindings(metav1.NamespaceSystem).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: scheduler.name + ":" + role},
			Subjects:   subjects,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
		}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("binding %s to %s: %w", scheduler.name, role, err)
		}
	}
	return nil
}
