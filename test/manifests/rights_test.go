package manifests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	certutil "k8s.io/client-go/util/cert"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/minor"
	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
)

const certificates = "hyperconverge-webhook-certificates"

// Whatever is tried here is tried without being stored.
var (
	tryCreate = metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	tryUpdate = metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}
	tryPatch  = metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}
	tryDelete = metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
)

// account is who has stolen the token of an account.
type account struct {
	kubernetes.Interface
	ctx   context.Context
	admin kubernetes.Interface
}

func (p *controlPlane) as(t *testing.T, name string) *account {
	t.Helper()
	client, err := kubernetes.NewForConfig(p.As(t, systemNamespace, name))
	if err != nil {
		t.Fatal(err)
	}
	return &account{Interface: client, ctx: t.Context(), admin: p.Client}
}

// attempt is one thing that an account may try.
type attempt func(*account) error

// expectRefused tries each, and has it refused by RBAC or by a policy.
func (a *account) expectRefused(t *testing.T, attempts map[string]attempt) {
	t.Helper()
	for name, attempt := range attempts {
		t.Run(name, func(t *testing.T) {
			if err := attempt(a); !refused(err) {
				t.Errorf("it is not refused: %v", err)
			}
		})
	}
}

// refused tells an answer of RBAC or of one of our policies from every other error.
func refused(err error) bool {
	return apierrors.IsForbidden(err) && !strings.Contains(fmt.Sprint(err), "not yet ready") ||
		apierrors.IsInvalid(err) && (strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'hyperconverge-") || strings.Contains(err.Error(), "immutable"))
}

// applyArmed applies objects with the webhook's configuration, which apply takes away.
// Nobody may make pods meanwhile.
func (p *controlPlane) applyArmed(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	p.apply(t, objects)
	for _, configuration := range ofKind(objects, "MutatingWebhookConfiguration") {
		if err := p.Apply(t.Context(), configuration); err != nil {
			t.Fatal(err)
		}
	}
	// The clean-up of apply takes it away.
}

func changeConfiguration(change func(*admissionv1.MutatingWebhookConfiguration)) attempt {
	return func(a *account) error {
		configuration, err := a.admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(a.ctx, webhookName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(configuration)
		_, err = a.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(a.ctx, configuration, tryUpdate)
		return err
	}
}

func changeSecret(change func(*v1.Secret)) attempt {
	return func(a *account) error {
		secret, err := a.admin.CoreV1().Secrets(systemNamespace).Get(a.ctx, certificates, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(secret)
		_, err = a.CoreV1().Secrets(systemNamespace).Update(a.ctx, secret, tryUpdate)
		return err
	}
}

func createSecret(namespace string, secret v1.Secret) attempt {
	return func(a *account) error {
		_, err := a.CoreV1().Secrets(namespace).Create(a.ctx, &secret, tryCreate)
		return err
	}
}

// tokenSecret becomes a token of an account, where it is created.
func tokenSecret(name, account string) v1.Secret {
	return v1.Secret{Type: v1.SecretTypeServiceAccountToken, ObjectMeta: metav1.ObjectMeta{
		Name: name, Annotations: map[string]string{v1.ServiceAccountNameKey: account}}}
}

func readSecret(namespace, name string) attempt {
	return func(a *account) error {
		_, err := a.CoreV1().Secrets(namespace).Get(a.ctx, name, metav1.GetOptions{})
		return err
	}
}

func listSecrets(namespace string) attempt {
	return func(a *account) error {
		_, err := a.CoreV1().Secrets(namespace).List(a.ctx, metav1.ListOptions{})
		return err
	}
}

func createToken(namespace, name string) attempt {
	return func(a *account) error {
		_, err := a.CoreV1().ServiceAccounts(namespace).CreateToken(a.ctx, name, &authenticationv1.TokenRequest{}, tryCreate)
		return err
	}
}

func createPod(namespace string) attempt {
	return func(a *account) error {
		_, err := a.CoreV1().Pods(namespace).Create(a.ctx, &v1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c", Image: "i"}}},
		}, tryCreate)
		return err
	}
}

// ofBoth is what neither account may do.
func ofBoth() map[string]attempt {
	return map[string]attempt{
		"read the token of the storage system":                        readSecret(systemNamespace, "hyperconverge-storage-token"),
		"list the secrets of its namespace":                           listSecrets(systemNamespace),
		"list the secrets of the cluster":                             listSecrets(""),
		"create a secret":                                             createSecret(systemNamespace, v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}),
		"create a secret elsewhere":                                   createSecret("kube-system", v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}),
		"have the API server make a token of the scheduler's account": createSecret(systemNamespace, tokenSecret("s", schedulerName)),
		"have it make one of the webhook's account":                   createSecret(systemNamespace, tokenSecret("s", webhookName)),
		"ask for a token of the scheduler's account":                  createToken(systemNamespace, schedulerName),
		"ask for a token of the webhook's account":                    createToken(systemNamespace, webhookName),
		"ask for a token of a controller":                             createToken("kube-system", "default"),
		"create a pod in its namespace, with any account":             createPod(systemNamespace),
		"create a pod elsewhere":                                      createPod("default"),
		"bind itself to cluster-admin": func(a *account) error {
			_, err := a.RbacV1().ClusterRoleBindings().Create(a.ctx, &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: "b"},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			}, tryCreate)
			return err
		},
		"take the policy away": func(a *account) error {
			policies := a.AdmissionregistrationV1().ValidatingAdmissionPolicies()
			return errors.Join(policies.Delete(a.ctx, certificates, tryDelete), policies.Delete(a.ctx, schedulerName, tryDelete))
		},
		"take the binding of the policy away": func(a *account) error {
			bindings := a.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
			return errors.Join(bindings.Delete(a.ctx, certificates, tryDelete), bindings.Delete(a.ctx, schedulerName, tryDelete))
		},
		"create a webhook of its own": func(a *account) error {
			_, err := a.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(a.ctx,
				&admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "w"}}, tryCreate)
			return err
		},
		"delete a webhook": func(a *account) error {
			return a.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(a.ctx, webhookName, tryDelete)
		},
		"act as somebody else": func(a *account) error {
			return a.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes").SetHeader("Impersonate-User", "admin").Do(a.ctx).Error()
		},
		"change a node": func(a *account) error {
			_, err := a.CoreV1().Nodes().Patch(a.ctx, "n1", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), tryPatch)
			return err
		},
		"change its own Deployment": func(a *account) error {
			_, err := a.AppsV1().Deployments(systemNamespace).Patch(a.ctx, webhookName, types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), tryPatch)
			return err
		},
	}
}

func TestStolenTokenOfTheWebhook(t *testing.T) {
	plane := sharedPlane(t)
	plane.applyArmed(t, build(t, "manifests/base"))
	thief := plane.as(t, webhookName)
	bundle, _, err := certutil.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := func(change func(*admissionv1.WebhookClientConfig)) attempt {
		return changeConfiguration(func(c *admissionv1.MutatingWebhookConfiguration) { change(&c.Webhooks[0].ClientConfig) })
	}
	hook := func(change func(*admissionv1.MutatingWebhook)) attempt {
		return changeConfiguration(func(c *admissionv1.MutatingWebhookConfiguration) { change(&c.Webhooks[0]) })
	}
	everything := admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.OperationAll},
		Rule:       admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
	}
	kit.Eventually(t, kit.Patience, "the policy is in force", func() error {
		if err := hook(func(w *admissionv1.MutatingWebhook) { w.TimeoutSeconds = ptr.To[int32](1) })(thief); !refused(err) {
			return fmt.Errorf("it lets a change pass: %w", err)
		}
		return nil
	})

	for name, allowed := range map[string]attempt{
		"publish a CA bundle":        client(func(c *admissionv1.WebhookClientConfig) { c.CABundle = bundle }),
		"take the CA bundle away":    client(func(c *admissionv1.WebhookClientConfig) { c.CABundle = nil }),
		"write its certificates":     changeSecret(func(s *v1.Secret) { s.Data = map[string][]byte{"tls.crt": []byte("x")} }),
		"find its certificates gone": changeSecret(func(s *v1.Secret) { s.Data = nil }),
	} {
		t.Run("its work: "+name, func(t *testing.T) {
			if err := allowed(thief); err != nil {
				t.Error(err)
			}
		})
	}

	thief.expectRefused(t, ofBoth())
	thief.expectRefused(t, map[string]attempt{
		"be sent everything":   hook(func(w *admissionv1.MutatingWebhook) { w.Rules = []admissionv1.RuleWithOperations{everything} }),
		"be sent secrets, too": hook(func(w *admissionv1.MutatingWebhook) { w.Rules = append(w.Rules, everything) }),
		"be sent pods that change": hook(func(w *admissionv1.MutatingWebhook) {
			w.Rules[0].Operations = append(w.Rules[0].Operations, admissionv1.Update)
		}),
		"be sent other namespaces":    hook(func(w *admissionv1.MutatingWebhook) { w.NamespaceSelector = nil }),
		"be sent pods without volume": hook(func(w *admissionv1.MutatingWebhook) { w.MatchConditions = nil }),
		"stop all pods":               hook(func(w *admissionv1.MutatingWebhook) { w.FailurePolicy = ptr.To(admissionv1.Fail) }),
		"be called earlier":           hook(func(w *admissionv1.MutatingWebhook) { w.ReinvocationPolicy = nil }),
		"be another webhook":          hook(func(w *admissionv1.MutatingWebhook) { w.Name = "other.hyperconverge.dev" }),
		"send reviews elsewhere by address": client(func(c *admissionv1.WebhookClientConfig) {
			c.Service, c.URL = nil, ptr.To("https://attacker.example.com")
		}),
		"send reviews to another Service":   client(func(c *admissionv1.WebhookClientConfig) { c.Service.Name = "attacker" }),
		"send reviews to another namespace": client(func(c *admissionv1.WebhookClientConfig) { c.Service.Namespace = "default" }),
		"send reviews to another path":      client(func(c *admissionv1.WebhookClientConfig) { c.Service.Path = ptr.To("/") }),
		"send reviews to another port":      client(func(c *admissionv1.WebhookClientConfig) { c.Service.Port = ptr.To[int32](8080) }),
		"add a webhook": changeConfiguration(func(c *admissionv1.MutatingWebhookConfiguration) {
			second := c.Webhooks[0].DeepCopy()
			second.Name, second.Rules = "second.hyperconverge.dev", []admissionv1.RuleWithOperations{everything}
			c.Webhooks = append(c.Webhooks, *second)
		}),
		"take all webhooks away": changeConfiguration(func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks = nil }),
		"have cert-manager put an authority in": changeConfiguration(func(c *admissionv1.MutatingWebhookConfiguration) {
			metav1.SetMetaDataAnnotation(&c.ObjectMeta, "cert-manager.io/inject-ca-from", "default/attacker")
		}),
		"change labels": changeConfiguration(func(c *admissionv1.MutatingWebhookConfiguration) { metav1.SetMetaDataLabel(&c.ObjectMeta, "a", "b") }),
		"tie the configuration to a finalizer": changeConfiguration(func(c *admissionv1.MutatingWebhookConfiguration) {
			c.Finalizers = []string{"example.com/never"}
		}),
		"tie the configuration to an owner": changeConfiguration(func(c *admissionv1.MutatingWebhookConfiguration) {
			c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "gone", UID: "gone"}}
		}),
		"patch the configuration": func(a *account) error {
			_, err := a.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(a.ctx, webhookName, types.MergePatchType, []byte(`{"webhooks":[]}`), tryPatch)
			return err
		},
		"change the configuration of others": func(a *account) error {
			_, err := a.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(a.ctx,
				&admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "others"}}, tryUpdate)
			return err
		},
		"make its secret a token of the scheduler": changeSecret(func(s *v1.Secret) {
			token := tokenSecret(certificates, schedulerName)
			s.Type, s.Annotations = token.Type, token.Annotations
		}),
		"change the type of its secret": changeSecret(func(s *v1.Secret) { s.Type = v1.SecretTypeTLS }),
		"name an account in its secret": changeSecret(func(s *v1.Secret) { s.Annotations = tokenSecret("", schedulerName).Annotations }),
		"have its secret copied around": changeSecret(func(s *v1.Secret) {
			metav1.SetMetaDataAnnotation(&s.ObjectMeta, "reflector.v1.k8s.emberstack.com/reflection-allowed", "true")
		}),
		"freeze its secret": changeSecret(func(s *v1.Secret) { s.Immutable = ptr.To(true) }),
		"delete its secret": func(a *account) error {
			return a.CoreV1().Secrets(systemNamespace).Delete(a.ctx, certificates, tryDelete)
		},
		"write the storage token": func(a *account) error {
			_, err := a.CoreV1().Secrets(systemNamespace).Update(a.ctx, &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "hyperconverge-storage-token"}}, tryUpdate)
			return err
		},
		"read pods": func(a *account) error {
			_, err := a.CoreV1().Pods("").List(a.ctx, metav1.ListOptions{})
			return err
		},
		"change a claim": func(a *account) error {
			_, err := a.CoreV1().PersistentVolumeClaims("default").Patch(a.ctx, "c", types.MergePatchType, []byte(`{}`), tryPatch)
			return err
		},
		"change a volume": func(a *account) error {
			_, err := a.CoreV1().PersistentVolumes().Patch(a.ctx, "v", types.MergePatchType, []byte(`{}`), tryPatch)
			return err
		},
	})

	// Where the secret is missing, nothing brings it back but the manifests.
	secrets := plane.Client.CoreV1().Secrets(systemNamespace)
	if err := secrets.Delete(t.Context(), certificates, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	thief.expectRefused(t, map[string]attempt{
		"create its secret while it is missing":     createSecret(systemNamespace, v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: certificates}}),
		"create a token in the place of its secret": createSecret(systemNamespace, tokenSecret(certificates, schedulerName)),
		"create its secret by server-side apply": func(a *account) error {
			_, err := a.CoreV1().Secrets(systemNamespace).Patch(a.ctx, certificates, types.ApplyPatchType,
				[]byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"`+certificates+`"}}`),
				metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: "thief"})
			return err
		},
	})
	secret := tokenSecret(certificates, schedulerName)
	if _, err := thief.CoreV1().Secrets(systemNamespace).Update(t.Context(), &secret, tryUpdate); !apierrors.IsNotFound(err) {
		t.Errorf("an update of a secret that is missing ends with %v", err)
	}
}

func TestStolenTokenOfTheScheduler(t *testing.T) {
	plane := sharedPlane(t)
	for folder, lease := range map[string]types.NamespacedName{
		"manifests/base":                       {Namespace: systemNamespace, Name: schedulerName},
		"manifests/overlays/default-scheduler": {Namespace: "kube-system", Name: "kube-scheduler"},
	} {
		t.Run(folder, func(t *testing.T) {
			plane.apply(t, build(t, folder))
			c := newCluster(t, plane, 1, openstoragesim.ServerOptions{})
			c.Volume("data", "n1")
			const free, reserved = "free", "reserved"
			for name, claim := range map[string]*v1.ObjectReference{free: nil, reserved: {Namespace: c.Namespace, Name: "data"}} {
				volume := kit.Volume(c.PVName(name), kit.Claim(c.Namespace, name, nil), kit.CSI(schedulerName, name))
				volume.Spec.ClaimRef = claim
				_, err := plane.Client.CoreV1().PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{})
				c.Must(err)
			}
			const devices, extended = "devices", "extended"
			claimTo := func(name string) *resourcev1.ResourceClaim {
				made := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
				if name == extended {
					metav1.SetMetaDataAnnotation(&made.ObjectMeta, resourcev1.ExtendedResourceClaimAnnotation, "true")
				}
				return made
			}
			for _, name := range []string{devices, extended} {
				_, err := plane.Client.ResourceV1().ResourceClaims(c.Namespace).Create(t.Context(), claimTo(name), metav1.CreateOptions{})
				c.Must(err)
			}
			makeDevices := func(name string) attempt {
				return func(a *account) error {
					claim := claimTo(name)
					claim.Name += "-more"
					_, err := a.ResourceV1().ResourceClaims(c.Namespace).Create(a.ctx, claim, tryCreate)
					return err
				}
			}
			deleteDevices := func(name string) attempt {
				return func(a *account) error {
					return a.ResourceV1().ResourceClaims(c.Namespace).Delete(a.ctx, name, tryDelete)
				}
			}
			changeDevices := func(name, patch string) attempt {
				return func(a *account) error {
					_, err := a.ResourceV1().ResourceClaims(c.Namespace).Patch(a.ctx, name, types.MergePatchType, []byte(patch), tryPatch)
					return err
				}
			}
			thief := plane.as(t, schedulerName)
			createLease := func(namespace, name string) attempt {
				return func(a *account) error {
					_, err := a.CoordinationV1().Leases(namespace).Create(a.ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, tryCreate)
					if apierrors.IsAlreadyExists(err) {
						return nil // admission has let it pass; another test's scheduler has it
					}
					return err
				}
			}
			volume := func(name string, change func(*v1.PersistentVolume)) attempt {
				return func(a *account) error {
					volume, err := a.admin.CoreV1().PersistentVolumes().Get(a.ctx, c.PVName(name), metav1.GetOptions{})
					if err != nil {
						return err
					}
					change(volume)
					_, err = a.CoreV1().PersistentVolumes().Update(a.ctx, volume, tryUpdate)
					return err
				}
			}
			// bind is what the scheduler does, by the very code.
			bind := func(name string, change func(*v1.ObjectReference)) attempt {
				return volume(name, func(v *v1.PersistentVolume) {
					claim, err := plane.Client.CoreV1().PersistentVolumeClaims(c.Namespace).Get(t.Context(), "data", metav1.GetOptions{})
					c.Must(err)
					bound, changed, err := storagehelpers.GetBindVolumeToClaim(v, claim)
					c.Must(err)
					if !changed {
						t.Errorf("volume %s is bound already", name)
					}
					change(bound.Spec.ClaimRef)
					*v = *bound
				})
			}
			claim := func(patch string) attempt {
				return func(a *account) error {
					_, err := a.CoreV1().PersistentVolumeClaims(c.Namespace).Patch(a.ctx, "data", types.MergePatchType, []byte(patch), tryPatch)
					return err
				}
			}
			kit.Eventually(t, kit.Patience, "the policy is in force", func() error {
				if err := createLease(systemNamespace, "any")(thief); !refused(err) {
					return fmt.Errorf("it lets a lease pass: %w", err)
				}
				// The policy of the choice before has the same name and another lease.
				return createLease(lease.Namespace, lease.Name)(thief)
			})
			work := map[string]attempt{
				"create its lease":                                 createLease(lease.Namespace, lease.Name),
				"choose a node for a claim":                        claim(`{"metadata":{"annotations":{"volume.kubernetes.io/selected-node":"n1"}}}`),
				"bind a claim to a volume that is free":            bind(free, func(*v1.ObjectReference) {}),
				"bind a claim to a volume that is reserved for it": bind(reserved, func(*v1.ObjectReference) {}),
				"protect a claim to devices":                       changeDevices(devices, `{"metadata":{"finalizers":["resource.kubernetes.io/delete-protection"]}}`),
			}
			if minor.Kubernetes >= 36 { // extended resources get their devices by claims by default
				work["make a claim for an extended resource"] = makeDevices(extended)
				work["delete a claim of an extended resource"] = deleteDevices(extended)
			}
			for name, allowed := range work {
				if err := allowed(thief); err != nil {
					t.Errorf("its work: %s: %v", name, err)
				}
			}
			thief.expectRefused(t, ofBoth())
			attempts := map[string]attempt{
				"read the certificates of the webhook": readSecret(systemNamespace, certificates),
				"write the certificates of the webhook": func(a *account) error {
					_, err := a.CoreV1().Secrets(systemNamespace).Update(a.ctx, &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: certificates}}, tryUpdate)
					return err
				},
				"change the configuration of the webhook": func(a *account) error {
					_, err := a.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(a.ctx,
						&admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhookName}}, tryUpdate)
					return err
				},
				"take the lease of the controller manager": createLease("kube-system", "kube-controller-manager"),
				"keep a dead node alive":                   createLease("kube-node-lease", "n1"),
				"take part in coordinated leader election": func(a *account) error {
					return a.CoordinationV1().RESTClient().Post().AbsPath("/apis/coordination.k8s.io/v1beta1/namespaces/kube-system/leasecandidates").
						Param("dryRun", metav1.DryRunAll).SetHeader("Content-Type", "application/json").
						Body([]byte(`{"apiVersion":"coordination.k8s.io/v1beta1","kind":"LeaseCandidate","metadata":{"name":"thief"},"spec":{` +
							`"leaseName":"kube-controller-manager","binaryVersion":"9.0.0","emulationVersion":"9.0.0","strategy":"OldestEmulationVersion"}}`)).
						Do(a.ctx).Error()
				},
				"take a volume from its claim": volume("data", func(v *v1.PersistentVolume) {
					v.Spec.ClaimRef = &v1.ObjectReference{Namespace: "default", Name: "mine"}
				}),
				"free a volume": volume("data", func(v *v1.PersistentVolume) { v.Spec.ClaimRef = nil }),
				"give a volume to another claim of its namespace": volume("data", func(v *v1.PersistentVolume) { v.Spec.ClaimRef.Name = "mine" }),
				"give a volume to a claim of its claim's name elsewhere": volume("data", func(v *v1.PersistentVolume) {
					v.Spec.ClaimRef.Namespace = "default"
				}),
				// Its claim counts as deleted then, and the volume is deleted by its policy.
				"have a volume deleted by another uid of its claim": volume("data", func(v *v1.PersistentVolume) { v.Spec.ClaimRef.UID = "another" }),
				"keep a volume for whoever takes the name of its claim": volume("data", func(v *v1.PersistentVolume) {
					v.Spec.ClaimRef.UID = ""
				}),
				"change another field of a volume's claim": volume("data", func(v *v1.PersistentVolume) { v.Spec.ClaimRef.FieldPath = "spec" }),
				"say of a bound volume that it was bound by the controller": volume("data", func(v *v1.PersistentVolume) {
					metav1.SetMetaDataAnnotation(&v.ObjectMeta, storagehelpers.AnnBoundByController, "yes")
				}),
				"give a reserved volume to another claim":                  bind(reserved, func(r *v1.ObjectReference) { r.Name = "mine" }),
				"give a reserved volume to a claim of that name elsewhere": bind(reserved, func(r *v1.ObjectReference) { r.Namespace = "default" }),
				"free a reserved volume":                                   volume(reserved, func(v *v1.PersistentVolume) { v.Spec.ClaimRef = nil }),
				"change the reservation of a volume":                       bind(reserved, func(r *v1.ObjectReference) { r.UID = "" }),
				"reserve a free volume for a name":                         bind(free, func(r *v1.ObjectReference) { r.UID = "" }),
				"have a volume deleted with its claim": volume("data", func(v *v1.PersistentVolume) {
					v.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimDelete
				}),
				"change the class of a volume":    volume("data", func(v *v1.PersistentVolume) { v.Spec.StorageClassName = "other" }),
				"change annotations of a volume":  volume("data", func(v *v1.PersistentVolume) { metav1.SetMetaDataAnnotation(&v.ObjectMeta, "a", "b") }),
				"tie a volume to a finalizer":     volume("data", func(v *v1.PersistentVolume) { v.Finalizers = []string{"example.com/never"} }),
				"make a claim to devices":         makeDevices(devices),
				"delete a claim to devices":       deleteDevices(devices),
				"call a claim to devices its own": changeDevices(devices, `{"metadata":{"annotations":{"resource.kubernetes.io/extended-resource-claim":"true"}}}`),
				"grow a claim":                    claim(`{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`),
				"change annotations of a claim":   claim(`{"metadata":{"annotations":{"a":"b"}}}`),
				"change labels of a claim":        claim(`{"metadata":{"labels":{"a":"b"}}}`),
				"change the spec of a pod": func(a *account) error {
					_, err := a.CoreV1().Pods(c.Namespace).Patch(a.ctx, "p", types.MergePatchType, []byte(`{}`), tryPatch)
					return err
				},
				"run a command in a pod": func(a *account) error {
					return a.CoreV1().RESTClient().Post().Namespace(c.Namespace).Resource("pods").Name("p").SubResource("exec").Do(a.ctx).Error()
				},
				"read the logs of a pod": func(a *account) error {
					return a.CoreV1().RESTClient().Get().Namespace(c.Namespace).Resource("pods").Name("p").SubResource("log").Do(a.ctx).Error()
				},
				"read configurations": func(a *account) error {
					_, err := a.CoreV1().ConfigMaps("").List(a.ctx, metav1.ListOptions{})
					return err
				},
			}
			if lease.Name != "kube-scheduler" {
				attempts["take the lease of the cluster's scheduler"] = createLease("kube-system", "kube-scheduler")
				// A scheduler of another test may have left it.
				if _, err := plane.Client.CoordinationV1().Leases("kube-system").Create(t.Context(),
					&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "kube-scheduler"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
					t.Fatal(err)
				}
				attempts["stop the cluster's scheduler by its lease"] = func(a *account) error {
					lease, err := a.admin.CoordinationV1().Leases("kube-system").Get(a.ctx, "kube-scheduler", metav1.GetOptions{})
					if err != nil {
						return err
					}
					lease.Spec.HolderIdentity = ptr.To("thief")
					_, err = a.CoordinationV1().Leases("kube-system").Update(a.ctx, lease, tryUpdate)
					return err
				}
			}
			thief.expectRefused(t, attempts)
		})
	}
}

// Every right of both accounts, in any overlay, stands in docs/security.md, with what
// somebody could do with it.
func TestEveryRightIsDocumented(t *testing.T) {
	plane := sharedPlane(t)
	var rows []string
	for line := range strings.Lines(read(t, "docs", "security.md")) {
		if strings.HasPrefix(line, "|") {
			rows = append(rows, line)
		}
	}
	rights := map[string][]permission{}
	for _, folder := range append(overlays(t), "manifests/webhook") {
		objects := build(t, folder)
		for _, account := range []string{schedulerName, webhookName} {
			rights[account] = append(rights[account], ownPermissions(t, objects, account)...)
		}
	}
	for _, name := range []string{"system:kube-scheduler", "system:volume-scheduler"} {
		role, err := plane.Client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		rights[schedulerName] = append(rights[schedulerName], permissionsOf(name, role.Rules)...)
	}
	missing := map[string]bool{}
	for account, permissions := range rights {
		if len(permissions) < 5 {
			t.Errorf("%s has %d rights only", account, len(permissions))
		}
		for _, p := range permissions {
			resource := strings.TrimSuffix(p.resource+"."+p.group, ".")
			if !slices.ContainsFunc(rows, func(row string) bool {
				return strings.Contains(row, "`"+resource+"`") && strings.Contains(row, p.verb)
			}) {
				missing[p.verb+" "+resource+" of "+account] = true
			}
		}
	}
	for right := range missing {
		t.Errorf("docs/security.md has no row for %s", right)
	}
}
