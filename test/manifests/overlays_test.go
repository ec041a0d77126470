package manifests

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/internal/minor"
	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

// What is applied has to pass the API server's strict validation; the scheduler
// that it describes has to work with the token of its account alone.
func TestOverlayBindsPodsWithVolumesByItsOwnRightsOnly(t *testing.T) {
	plane := sharedPlane(t)
	for _, folder := range overlays(t) {
		t.Run(folder, func(t *testing.T) {
			objects := build(t, folder)
			plane.apply(t, objects)
			gangs := strings.Contains(configuration(t, objects), "Coscheduling")
			if gangs && minor.Kubernetes >= 37 {
				t.Skip("Coscheduling is left out of this build, so that the scheduler does not start (docs/versions.md)")
			}
			storage := openstoragesim.ServerOptions{}
			if strings.Contains(configuration(t, objects), "tokenFile:") {
				storage = plane.secureStorage(t)
			}
			c := newCluster(t, plane, 3, storage)
			mark := plane.auditMark(t)
			replica := plane.startReplica(t, objects, podOptions{name: "the scheduler", endpoint: c.Server.Endpoint()})
			replica.awaitReady(t)

			for _, profile := range profiles(t, objects) {
				c.Volume("data-"+profile, "n2")
				c.Create(c.pod(profile, profile, "data-"+profile))
				c.ExpectNode(profile, "n2")
			}
			if gangs {
				c.expectGang()
			}

			replica.stop(t)
			requests := plane.requests(t, schedulerUser, mark)
			expectNoDenial(t, requests)
			excused := excusedVerbs(t)
			for _, p := range ownPermissions(t, objects, schedulerName) {
				if !p.used(requests) && !excused[p.role+"/"+p.verb] {
					t.Errorf("granted by %s, but not used and without a comment on the verb: %s", p.role, p)
				}
			}
		})
	}
}

// profiles are the names in the configuration of an overlay.
func profiles(t *testing.T, objects []*unstructured.Unstructured) []string {
	t.Helper()
	var config struct {
		Profiles []struct{ SchedulerName string }
	}
	if err := yaml.Unmarshal([]byte(configuration(t, objects)), &config); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, profile := range config.Profiles {
		names = append(names, profile.SchedulerName)
	}
	return names
}

// configuration is the text of the KubeSchedulerConfiguration.
func configuration(t *testing.T, objects []*unstructured.Unstructured) string {
	t.Helper()
	for _, object := range ofKind(objects, "ConfigMap") {
		text, found, err := unstructured.NestedString(object.Object, "data", "scheduler.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if found {
			return text
		}
	}
	t.Fatal("there is no scheduler.yaml")
	return ""
}

// storageToken is the only one that a secured storage system takes.
const storageToken = "the-token-of-the-storage-cluster"

// selfSigned is a certificate for this machine.
func selfSigned(t *testing.T) (pair tls.Certificate, certificate []byte) {
	t.Helper()
	certificate, key, err := certutil.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err = tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair, certificate
}

// secureStorage makes the two objects that the overlay wants to find, and a
// storage system that takes nothing else.
func (p *controlPlane) secureStorage(t *testing.T) openstoragesim.ServerOptions {
	t.Helper()
	pair, certificate := selfSigned(t)
	core := p.Client.CoreV1()
	secret := &v1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "hyperconverge-storage-token"},
		Data:       map[string][]byte{"auth-token": []byte(storageToken)},
	}
	if _, err := core.Secrets(systemNamespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	authority := &v1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "hyperconverge-storage-ca"},
		Data:       map[string]string{"ca.crt": string(certificate)},
	}
	if _, err := core.ConfigMaps(systemNamespace).Create(t.Context(), authority, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		for _, err := range []error{
			core.Secrets(systemNamespace).Delete(ctx, secret.Name, metav1.DeleteOptions{}),
			core.ConfigMaps(systemNamespace).Delete(ctx, authority.Name, metav1.DeleteOptions{}),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	tokens := &openstoragesim.Tokens{}
	tokens.Set(storageToken, openstoragesim.Token{User: "scheduler", Roles: []string{openstoragesim.RoleView}, Groups: []string{openstoragesim.AdminGroup}})
	return openstoragesim.ServerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{pair}}, Tokens: tokens}
}

// expectGang has a gang of two wait for its second member.
func (c *cluster) expectGang() {
	c.Helper()
	group := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "scheduling.x-k8s.io/v1alpha1", "kind": "PodGroup",
		"metadata": map[string]any{"name": "gang", "namespace": c.Namespace},
		"spec":     map[string]any{"minMember": int64(2)},
	}}
	c.Must(c.plane.Apply(c.Ctx, group))
	for _, member := range []struct{ pod, node string }{{"first", "n1"}, {"second", "n3"}} {
		c.Volume(member.pod, member.node)
		c.Create(c.pod(member.pod, schedulerName, member.pod).Label("scheduling.x-k8s.io/pod-group", "gang"))
	}
	c.ExpectNode("first", "n1")
	c.ExpectNode("second", "n3")
}
