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
	rbac, options := client.RbacV1(), metav1.CreateOptions{}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: scheduler.name}}
	_, err := rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: machinesRole},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"kubevirt.io"}, Resources: []string{"virtualmachineinstances"}, Verbs: []string{"list", "watch"},
		}},
	}, options)
	if err != nil {
		return fmt.Errorf("making the role %s: %w", machinesRole, err)
	}
	_, err = rbac.Roles(metav1.NamespaceSystem).Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: leaseName},
		Rules: []rbacv1.PolicyRule{{
			APIGroups:     []string{"coordination.k8s.io"},
			Resources:     []string{"leases"},
			ResourceNames: []string{leaseName},
			Verbs:         []string{"get", "update", "patch"},
		}},
	}, options)
	if err != nil {
		return fmt.Errorf("making the role %s: %w", leaseName, err)
	}
	for _, role := range []rbacv1.RoleRef{
		{Kind: "ClusterRole", Name: "system:kube-scheduler"},
		{Kind: "ClusterRole", Name: "system:volume-scheduler"},
		{Kind: "ClusterRole", Name: machinesRole},
		{Kind: "Role", Name: leaseName},
		{Kind: "Role", Name: "extension-apiserver-authentication-reader"},
	} {
		role.APIGroup = rbacv1.GroupName
		meta := metav1.ObjectMeta{Name: scheduler.name + ":" + role.Name}
		if role.Kind == "ClusterRole" {
			_, err = rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: role}, options)
		} else {
			_, err = rbac.RoleBindings(metav1.NamespaceSystem).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: role}, options)
		}
		if err != nil {
			return fmt.Errorf("binding %s to %s: %w", scheduler.name, role.Name, err)
		}
	}
	return nil
}
