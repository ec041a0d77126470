package controlplane

import (
	"crypto/tls"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

// user is who a component, or the person at the keyboard, is to the API server.
type user struct {
	name   string
	groups []string
	// file is the name of the user's kubeconfig in the sandbox folder.
	file string
}

var (
	admin             = user{"sandbox-admin", []string{"system:masters"}, "kubeconfig"}
	controllerManager = user{"system:kube-controller-manager", nil, "kube-controller-manager.kubeconfig"}
	defaultScheduler  = user{"system:kube-scheduler", nil, "kube-scheduler.kubeconfig"}
	// The scheduler has a user of its own with the rights of its real installation:
	// what it lacks there, it lacks here.
	scheduler = user{"hyperconverge-scheduler", nil, "scheduler.kubeconfig"}
)

// credentials are the files in the sandbox folder that hold certificates, keys
// and kubeconfigs.
type credentials struct {
	dir    *workdir.Dir
	server string // URL of the API server

	ca    []byte
	admin keyPair
	// adminCertificate is admin, parsed.
	adminCertificate tls.Certificate
}

// The files other than kubeconfigs.
const (
	caFile             = "ca.crt"
	servingCertFile    = "serving.crt"
	servingKeyFile     = "serving.key"
	serviceAccountFile = "service-account.key"
)

// writeCredentials makes a certificate authority and all that it signs.
func writeCredentials(dir *workdir.Dir, apiServer string) (*credentials, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	serving, err := ca.serving()
	if err != nil {
		return nil, err
	}
	accountKey, err := newKey()
	if err != nil {
		return nil, err
	}
	accountPEM, err := encodeKey(accountKey)
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{
		caFile:             ca.pem(),
		servingCertFile:    serving.certificate,
		servingKeyFile:     serving.key,
		serviceAccountFile: accountPEM,
	} {
		if err := os.WriteFile(dir.Join(name), content, 0o600); err != nil {
			return nil, fmt.Errorf("writing credentials: %w", err)
		}
	}

	c := &credentials{dir: dir, server: "https://" + apiServer, ca: ca.pem()}
	for _, u := range []user{admin, controllerManager, defaultScheduler, scheduler} {
		pair, err := ca.client(u.name, u.groups...)
		if err != nil {
			return nil, err
		}
		if u.name == admin.name {
			c.admin = pair
			if c.adminCertificate, err = tls.X509KeyPair(pair.certificate, pair.key); err != nil {
				return nil, fmt.Errorf("reading back the certificate of %s: %w", u.name, err)
			}
		}
		if err := clientcmd.WriteToFile(c.kubeconfig(u, pair), c.kubeconfigPath(u)); err != nil {
			return nil, fmt.Errorf("writing the kubeconfig of %s: %w", u.name, err)
		}
	}
	return c, nil
}

func (c *credentials) kubeconfigPath(u user) string { return c.dir.Join(u.file) }

func (c *credentials) kubeconfig(u user, pair keyPair) clientcmdapi.Config {
	const cluster = "hyperconverge-sandbox"
	return clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{
			cluster: {Server: c.server, CertificateAuthorityData: c.ca},
		},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{
			u.name: {ClientCertificateData: pair.certificate, ClientKeyData: pair.key},
		},
		Contexts: map[string]*clientcmdapi.Context{
			cluster: {Cluster: cluster, AuthInfo: u.name},
		},
		CurrentContext: cluster,
	}
}

// restConfig is for the parts of the sandbox that run in its own process. They
// stand for a whole cluster's worth of clients, so they are not slowed down.
func (c *credentials) restConfig() *rest.Config {
	return &rest.Config{
		Host: c.server,
		TLSClientConfig: rest.TLSClientConfig{
			CAData:   c.ca,
			CertData: c.admin.certificate,
			KeyData:  c.admin.key,
		},
		QPS: -1,
	}
}
