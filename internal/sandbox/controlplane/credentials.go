package controlplane

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"

	"github.com/hyperconverge/scheduler/internal/sandbox/ports"
	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

// user is who a component, or the person at the keyboard, is to the API server.
type user struct {
	name, group string
	// file is the name of the user's kubeconfig in the sandbox folder.
	file string
}

var (
	admin             = user{"sandbox-admin", "system:masters", "kubeconfig"}
	controllerManager = user{"system:kube-controller-manager", "", "kube-controller-manager.kubeconfig"}
	defaultScheduler  = user{"system:kube-scheduler", "", "kube-scheduler.kubeconfig"}
	// The scheduler has a user of its own with the rights of its real installation:
	// what it lacks there, it lacks here.
	scheduler      = user{"hyperconverge-scheduler", "", "scheduler.kubeconfig"}
	webhookUser    = user{"hyperconverge-webhook", "", "webhook.kubeconfig"}
	rebalancerUser = user{"hyperconverge-rebalancer", "", "rebalancer.kubeconfig"}
)

// credentials are the files in the sandbox folder that hold certificates, keys,
// tokens and kubeconfigs. All live as long as one sandbox.
type credentials struct {
	dir    *workdir.Dir
	server string // URL of the API server
	ca     []byte // what clients trust
	tokens map[user]string
}

// The files other than kubeconfigs. All components serve with one certificate; its
// key also signs the tokens of service accounts.
const (
	certFile   = "serving.crt" // with its authority
	keyFile    = "serving.key"
	tokensFile = "tokens.csv"
)

// writeCredentials makes a certificate to serve with, and a token for every user.
func writeCredentials(dir *workdir.Dir, apiServer string) (*credentials, error) {
	certificate, key, err := cert.GenerateSelfSignedCertKey(ports.Loopback, []net.IP{net.ParseIP(ports.Loopback)},
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"})
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	c := &credentials{dir: dir, server: "https://" + apiServer, ca: certificate, tokens: map[user]string{}}
	var tokens strings.Builder
	for _, u := range []user{admin, controllerManager, defaultScheduler, scheduler, webhookUser, rebalancerUser} {
		c.tokens[u] = rand.Text()
		fmt.Fprintf(&tokens, "%s,%s,%s,%s\n", c.tokens[u], u.name, u.name, u.group)
		if err := clientcmd.WriteToFile(c.kubeconfig(u), c.kubeconfigPath(u)); err != nil {
			return nil, fmt.Errorf("writing the kubeconfig of %s: %w", u.name, err)
		}
	}
	for name, content := range map[string][]byte{certFile: certificate, keyFile: key, tokensFile: []byte(tokens.String())} {
		if err := os.WriteFile(dir.Join(name), content, 0o600); err != nil {
			return nil, fmt.Errorf("writing credentials: %w", err)
		}
	}
	if err := c.writeWebhookCertificates(certificate, key); err != nil {
		return nil, fmt.Errorf("writing credentials: %w", err)
	}
	return c, nil
}

func (c *credentials) kubeconfigPath(u user) string { return c.dir.Join(u.file) }

func (c *credentials) kubeconfig(u user) clientcmdapi.Config {
	const cluster = "hyperconverge-sandbox"
	return clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{cluster: {Server: c.server, CertificateAuthorityData: c.ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{u.name: {Token: c.tokens[u]}},
		Contexts:       map[string]*clientcmdapi.Context{cluster: {Cluster: cluster, AuthInfo: u.name}},
		CurrentContext: cluster,
	}
}

// restConfig is for the parts of the sandbox that run in its own process. They
// stand for a whole cluster's worth of clients, so they are not slowed down.
func (c *credentials) restConfig() *rest.Config {
	return &rest.Config{
		Host:            c.server,
		BearerToken:     c.tokens[admin],
		TLSClientConfig: rest.TLSClientConfig{CAData: c.ca},
		QPS:             -1,
	}
}

// leaseName is the lease that the scheduler's replicas compete for.
const leaseName = "hyperconverge-scheduler"

// resourcesRole lets the scheduler read virtual machines, placement strategies and
// snapshots.
const resourcesRole = "hyperconverge-scheduler:custom-resources"

// grantSchedulerRights gives the scheduler's user what its installation gives
// it: the roles that Kubernetes keeps for schedulers, and what those do not cover, its
// own lease and custom resources.
func grantSchedulerRights(ctx context.Context, client kubernetes.Interface) error {
	rbac, options := client.RbacV1(), metav1.CreateOptions{}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: scheduler.name}}
	_, err := rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: resourcesRole},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"kubevirt.io"}, Resources: []string{"virtualmachineinstances"}, Verbs: []string{"list", "watch"}},
			{APIGroups: []string{"portworx.io"}, Resources: []string{"volumeplacementstrategies"}, Verbs: []string{"list", "watch"}},
			{APIGroups: []string{"snapshot.storage.k8s.io"}, Resources: []string{"volumesnapshots", "volumesnapshotcontents"}, Verbs: []string{"list", "watch"}},
		},
	}, options)
	if err != nil {
		return fmt.Errorf("making the role %s: %w", resourcesRole, err)
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
		{Kind: "ClusterRole", Name: resourcesRole},
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
