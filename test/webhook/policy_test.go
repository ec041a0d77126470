package webhook

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/test/kit"
)

// TestPolicy proves what the MutatingAdmissionPolicy decides without a webhook,
// and what it cannot.
func TestPolicy(t *testing.T) {
	c := newCluster(t)
	c.Must(c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(c.Ctx, name, metav1.DeleteOptions{}))
	c.Must(c.applier.Apply(c.Ctx, build(t, manifests+"/policy")...))
	c.namespace("db", nil)
	c.namespace("opted-out", map[string]string{"hyperconverge.dev/webhook": "disabled"})
	c.Class(kit.Class("px-csi-db", kit.Driver)) // in the policy's list
	c.Class(kit.Class("px-of-my-own", kit.Driver))
	c.claim("coming", ptr.To("px-csi-db"))
	c.claim("coming-of-my-own", ptr.To("px-of-my-own"))
	c.claim("other-coming", ptr.To("disk"))
	c.volume("static", kit.Driver)
	provisioned := kit.Claim("db", "provisioned", ptr.To("px-of-my-own"))
	provisioned.Annotations = map[string]string{"volume.kubernetes.io/storage-provisioner": kit.Driver}
	c.Claim(provisioned)
	c.Eventually("both policies are in force", func() error {
		return errors.Join(isOurs(c.try(podIn("db", inTree))), isOurs(c.try(podIn("db", pvc("coming")))))
	})

	const left = v1.DefaultSchedulerName
	for what, test := range map[string]choice{
		"a claim of a listed class":             {pod: []podOption{pvc("coming")}, want: ourScheduler},
		"a claim that the driver provisions":    {pod: []podOption{pvc("provisioned")}, want: ourScheduler},
		"an in-tree volume":                     {pod: []podOption{inTree}, want: ourScheduler},
		"a CSI inline volume of the driver":     {pod: []podOption{inline(kit.Driver)}, want: ourScheduler},
		"an ephemeral volume of a listed class": {pod: []podOption{ephemeral(ptr.To("px-csi-db"))}, want: ourScheduler},
		"a claim of the driver among others":    {pod: []podOption{pvc("other-coming"), pvc("coming"), inTree}, want: ourScheduler},
		"a pod of ours that lacks tolerations":  {pod: []podOption{askingFor(ourScheduler), inTree}, want: ourScheduler},
		"a pod without volumes":                 {want: left},
		"a claim of another driver":             {pod: []podOption{pvc("other-coming")}, want: left},
		"a CSI inline volume of another driver": {pod: []podOption{inline("secrets.example.com")}, want: left},
		"an ephemeral volume of another class":  {pod: []podOption{ephemeral(ptr.To("disk"))}, want: left},
		"a pod of another scheduler":            {pod: []podOption{askingFor("gang"), inTree}, want: "gang"},
		"a pod that opts out":                   {pod: []podOption{annotation("stork.libopenstorage.org/disable-admission-controller", "true"), inTree}, want: left},
		"a pod that opts out of something else": {pod: []podOption{annotation("example.com/disable", "true"), inTree}, want: ourScheduler},
		"a pod that has its node":               {pod: []podOption{func(pod *v1.Pod) { pod.Spec.NodeName = "n1" }, inTree}, want: left},
		"a pod of a DaemonSet":                  {pod: []podOption{ofDaemonSet, inTree}, want: left},
		"a pod in kube-system":                  {namespace: "kube-system", pod: []podOption{inTree}, want: left},
		"a pod in a namespace that opts out":    {namespace: "opted-out", pod: []podOption{inTree}, want: left},

		// The limits that docs/webhook.md names.
		"limit: an unbound claim of a class that is not listed": {pod: []podOption{pvc("coming-of-my-own")}, want: left},
		"limit: a claim of a volume that was made by hand":      {pod: []podOption{pvc("static")}, want: left},
		"limit: a pod before its claim":                         {pod: []podOption{pvc("never")}, want: left},
		"limit: an ephemeral volume of the default class":       {pod: []podOption{ephemeral(nil)}, want: left},
	} {
		t.Run(what, func(t *testing.T) {
			c.in(t).expectScheduler(test)
		})
	}

	// Both policies have the same list of tolerations.
	for what, test := range map[string]struct {
		has, added []v1.Toleration
	}{
		"a pod that tolerates nothing":        {added: []v1.Toleration{forStorage, forStorageless}},
		"a pod that tolerates something else": {has: []v1.Toleration{{Key: "gpu", Operator: v1.TolerationOpExists}}, added: []v1.Toleration{forStorage, forStorageless}},
		"a pod that tolerates both":           {has: []v1.Toleration{forStorage, forStorageless}},
		"a pod that tolerates storage nodes":  {has: []v1.Toleration{forStorage}, added: []v1.Toleration{forStorageless}},
		"any value":                           {has: []v1.Toleration{{Key: forStorage.Key, Operator: v1.TolerationOpExists}}, added: []v1.Toleration{forStorageless}},
		"any effect":                          {has: []v1.Toleration{{Key: forStorageless.Key, Value: "true"}}, added: []v1.Toleration{forStorage}},
		"everything":                          {has: []v1.Toleration{{Operator: v1.TolerationOpExists}}},
		"everything that keeps pods away":     {has: []v1.Toleration{{Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoSchedule}}, added: []v1.Toleration{forStorageless}},
		"everything that is second choice":    {has: []v1.Toleration{{Operator: v1.TolerationOpExists, Effect: v1.TaintEffectPreferNoSchedule}}, added: []v1.Toleration{forStorage}},
		"everything that evicts":              {has: []v1.Toleration{{Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute}}, added: []v1.Toleration{forStorage, forStorageless}},
		"the taint's key with another effect": {has: []v1.Toleration{{Key: forStorage.Key, Value: "true", Effect: v1.TaintEffectNoExecute}}, added: []v1.Toleration{forStorage, forStorageless}},
		"the taint's key with another value":  {has: []v1.Toleration{{Key: forStorageless.Key, Value: "false"}}, added: []v1.Toleration{forStorage, forStorageless}},
		"the effect of the other of the two":  {has: []v1.Toleration{{Key: forStorage.Key, Value: "true", Effect: v1.TaintEffectPreferNoSchedule}}, added: []v1.Toleration{forStorage, forStorageless}},
	} {
		for by, volume := range map[string]podOption{"volumes": inTree, "claims": pvc("coming")} {
			t.Run("tolerations by "+by+": "+what, func(t *testing.T) {
				c := c.in(t)
				pod := c.try(podIn("db", volume, func(pod *v1.Pod) { pod.Spec.Tolerations = test.has }))
				got := slices.DeleteFunc(pod.Spec.Tolerations, func(toleration v1.Toleration) bool {
					return strings.HasPrefix(toleration.Key, "node.kubernetes.io/") // every pod gets these
				})
				if diff := cmp.Diff(slices.Concat(test.has, test.added), got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("the tolerations (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// What the policies add.
var (
	forStorage     = v1.Toleration{Key: "node.portworx.io/px-storage", Operator: v1.TolerationOpEqual, Value: "true", Effect: v1.TaintEffectNoSchedule}
	forStorageless = v1.Toleration{Key: "node.portworx.io/px-storageless", Operator: v1.TolerationOpEqual, Value: "true", Effect: v1.TaintEffectPreferNoSchedule}
)
