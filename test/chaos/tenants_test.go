package chaos

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
)

// others must not suffer from a tenant.
const othersGo = "pods of others are bound within 10 s"

func tenantRows() []row {
	rows := []row{
		{name: "a pod has 10 000 inline volumes", quick: true,
			holds: "it is turned down with a reason, in less than 100 ms per attempt; " + othersGo, do: manyVolumes(1, 10_000)},
		{name: "six pods have 45 000 inline volumes each", holds: "they are turned down with a reason; " + othersGo, within: longer, do: manyVolumes(6, 45_000)},
		{name: "a pod has 10 000 claims that do not exist", holds: othersGo, do: manyMissingClaims},
		{name: "a pod mounts one claim 5000 times", holds: othersGo + ", and it is bound or turned down with a reason", do: sameClaim},
		{name: "a pod has 500 claims that exist", holds: othersGo + ", and it is bound or turned down with a reason", within: longer, do: manyRealClaims},
		{name: "a pod names 2000 volumes that do not exist", quick: true,
			holds: "storage gets at most 20 calls a second for them, honest new volumes are known within 3 s, and all ends with the pod", do: invented(1, 2000)},
		{name: "100 pods name 20 volumes each that do not exist",
			holds: "storage gets at most 20 calls a second for them, honest new volumes are known within 3 s, and all ends with the pods", do: invented(100, 20)},
		{name: "100 short-lived pods name volumes with ids of 900 KiB", within: longer,
			holds: "the ids are turned down with a reason, and the heap is back at rest when the pods are gone", do: longIDs(100)},
		{name: "a pod names a volume with an id of 900 KiB", quick: true, holds: "the pod is turned down with a reason", do: longIDs(1)},
		{name: "a pod has 250 KiB of annotations", quick: true, holds: othersGo + ", and it is bound", do: hugeAnnotations},
		{name: "values that cannot be understood, on pod, claim and volume", quick: true, holds: "the pod is placed by the defaults, and events tell of them once", do: malformed},
		{name: "strict and remote-only at once, on the same nodes", holds: "the pod waits, with a reason that names both", do: contradiction},
		{name: "a pod's volume is named by text with control characters and markup", quick: true, holds: "the pod waits or is placed, and " + othersGo, do: oddHandles},
		{name: "a claim names itself with 253 characters", holds: "it is placed on its data", do: longNames},
		{name: "a pod claims a volume of another namespace by its id", holds: "it learns nothing of it but where it may run", do: foreignVolume},
		{name: "an ephemeral volume's claim exists already and is somebody else's", holds: "the pod waits, with the claim in the reason", do: ephemeralNotOwned},
		{name: "a pod says that it belongs to the storage system", holds: "it is bound, and others are not disturbed", do: pretender},
		{name: "150 pods belong to machines that do not exist", holds: othersGo, within: longer, do: ghostMachines},
		{name: "a claim's weight is 10 to the power of 30", holds: "it counts as the default, and an event says so", do: hugeWeight},
		{name: "a tenant labels nothing but sets a claim's restore flag for ever", holds: "only that tenant's pods wait", do: foreverRestoring},
		{name: "a StorageClass has 500 parameters", holds: "a node is chosen for its claim", do: fatClass},
		{name: "a claim changes its annotations 300 times", holds: othersGo, do: nervousClaims},
	}
	for i := range rows {
		rows[i].group = "tenants"
		if rows[i].within == 0 {
			rows[i].within = later
		}
	}
	return rows
}

// honest has a pod that did nothing wrong, and says how long it had to wait.
func (r *run) honest(within time.Duration) {
	r.Helper()
	name := fmt.Sprintf("honest-%d", len(r.tracked))
	holders := r.twoNodes()
	r.volume(name, at(holders...))
	begun := time.Now()
	r.arrives(r.create(strict(r.pod(name, name))).on(holders...), within)
	r.measured("another pod was bound after %.1f s", time.Since(begun).Seconds())
}

// short is a pod with as little text as possible.
func (r *run) short(name string) *v1.Pod {
	pod := r.pod(name)
	pod.Labels = nil
	return pod
}

func manyVolumes(pods, volumes int) func(r *run) {
	return func(r *run) {
		var made []*tracked
		before := r.metrics()
		for i := range pods {
			pod := r.short(fmt.Sprintf("p%d", i))
			pod.Spec.Volumes = make([]v1.Volume, volumes)
			for k := range pod.Spec.Volumes {
				pod.Spec.Volumes[k].Name = strconv.FormatInt(int64(k), 36)
				pod.Spec.Volumes[k].PortworxVolume = &v1.PortworxVolumeSource{VolumeID: strconv.Itoa(k)}
			}
			made = append(made, r.create(pod))
		}
		r.honest(soon)
		for _, p := range made {
			r.waits(p, later, "volumes")
		}
		after := r.metrics()
		const histogram = "scheduler_framework_extension_point_duration_seconds"
		n0, s0 := before.Sum(histogram, "extension_point", "PreFilter")
		n1, s1 := after.Sum(histogram, "extension_point", "PreFilter")
		r.measured("PreFilter took %.0f ms in %.0f cycles", 1000*(s1-s0), n1-n0)
		if each := (s1 - s0) / float64(pods); each > 0.1*max(1, float64(volumes)/10_000) {
			r.Errorf("PreFilter took %.2f s for each pod", each)
		}
		r.remove(made...)
	}
}

func manyMissingClaims(r *run) {
	pod := r.short("p")
	for i := range 10_000 {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: strconv.FormatInt(int64(i), 36), VolumeSource: v1.VolumeSource{
			PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "c" + strconv.Itoa(i)}}})
	}
	p := r.create(pod)
	r.honest(soon)
	r.waits(p, soon)
	r.remove(p)
}

func sameClaim(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	pod := r.short("p")
	for i := range 5000 {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: strconv.FormatInt(int64(i), 36), VolumeSource: v1.VolumeSource{
			PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}})
	}
	p := r.create(pod).only(holders...)
	r.honest(soon)
	r.decided(p, soon)
}

// decided waits until a pod is bound, or turned down with a reason.
func (r *run) decided(p *tracked, within time.Duration) {
	r.Helper()
	r.eventually(within, "pod "+p.name+" is decided about", func() error {
		pod, err := r.get(p)
		if err != nil {
			return err
		}
		if pod.Spec.NodeName == "" && waitingFor(pod) == "" {
			return errNotYet
		}
		return nil
	})
}

func manyRealClaims(r *run) {
	var claims []string
	for i := range 500 {
		name := fmt.Sprintf("c-%d", i)
		r.must(r.bind(name, r.inStorage(name, at(node(1))), vol{}))
		claims = append(claims, name)
	}
	r.claimsBound(claims...)
	p := r.create(r.pod("p", claims...)).only(node(1))
	r.honest(soon)
	r.decided(p, longer)
	r.remove(p)
}

// invented has pods name volumes that nobody has.
func invented(pods, each int) func(r *run) {
	return func(r *run) {
		fake := func(handle string) bool {
			return strings.HasPrefix(handle, "invented-") || strings.HasPrefix(handle, "99999")
		}
		r.server.forget()
		var made []*tracked
		begun := time.Now()
		for i := range pods {
			var handles []string
			for k := range each {
				handle := fmt.Sprintf("invented-%s-%d-%d", r.namespace, i, k)
				if k%2 == 0 {
					handle = fmt.Sprintf("99999%07d%05d", r.runs*1000+i, k)
				}
				handles = append(handles, handle)
			}
			made = append(made, r.create(inline(r.short(fmt.Sprintf("p%d", i)), handles...)))
		}
		r.honest(3 * time.Second)
		time.Sleep(5 * time.Second)
		r.honest(3 * time.Second)
		took := time.Since(begun).Seconds()
		inspects, searches := r.server.countAsked(fake), r.server.count(findByName)
		r.measured("%d Inspects and %d searches in %.0f s", inspects, searches, took)
		if float64(inspects+searches) > 20*took {
			r.Errorf("%d Inspects and %d searches in %.0f s", inspects, searches, took)
		}
		r.remove(made...)
		time.Sleep(2 * time.Second)
		r.server.forget()
		time.Sleep(3 * time.Second)
		if n := r.server.countAsked(fake) + r.server.count(findByName); n > 0 {
			r.Errorf("%d calls came when the pods were gone", n)
		}
	}
}

func longIDs(pods int) func(r *run) {
	return func(r *run) {
		for i := range pods {
			p := r.create(inline(r.short(fmt.Sprintf("p%d", i)), fmt.Sprintf("%d-%s", i, strings.Repeat("x", 900<<10))))
			if i == 0 {
				r.waits(p, soon, "volume")
				pod, err := r.get(p)
				r.must(err)
				if reason := waitingFor(pod); len(reason) > 1024 {
					r.Errorf("the reason has %d characters", len(reason))
				}
			}
			r.remove(p)
		}
		r.honest(soon)
	}
}

func hugeAnnotations(r *run) {
	r.volume("data", at(node(1)))
	pod := strict(r.pod("p", "data"))
	for i := range 5000 {
		pod.Annotations[fmt.Sprintf("a.test/%d", i)] = strings.Repeat("x", 35)
	}
	p := r.create(pod).on(node(1))
	r.honest(soon)
	r.arrives(p, soon)
}

func malformed(r *run) {
	r.volume("data", vol{sets: [][]string{{node(1)}}, annotations: map[string]string{
		weightKey: "many", "stork.libopenstorage.org/skipSchedulerScoring": "perhaps", "winshare": "\U0001F600"}})
	pod := annotated(r.pod("p", "data"), strictKey, "yes please")
	annotated(pod, "stork.libopenstorage.org/disableHyperconvergence", strings.Repeat("1", 10_000))
	r.arrives(r.create(pod).on(node(1)), soon)
	r.eventually(soon, "events tell of it", func() error {
		if len(r.events("InvalidValue")) < 2 {
			return errNotYet
		}
		return nil
	})
	for _, note := range r.events("InvalidValue") {
		if len(note) > 1024 {
			r.Errorf("an event has %d characters", len(note))
		}
	}
}

func contradiction(r *run) {
	r.volume("near", at(node(1)))
	r.volume("away", vol{sets: [][]string{{node(1)}}, params: map[string]string{"sharedv4": "true", "sharedv4_svc_type": "ClusterIP"},
		labels: map[string]string{remoteKey: "true"}})
	p := r.create(strict(r.pod("p", "near", "away")))
	r.stays(p, soon, time.Second, "preferLocalNodeOnly and preferRemoteNodeOnly")
	r.remove(p)
}

func oddHandles(r *run) {
	for i, handle := range []string{"\x01\x02\x03", "<script>alert(1)</script>", "%s%n%d", "../../etc/passwd", "a\nb\"c", strings.Repeat("é", 500), " "} {
		r.decided(r.create(inline(r.short(fmt.Sprintf("p%d", i)), handle)), soon)
	}
	r.honest(soon)
	r.remove(append([]*tracked(nil), r.tracked...)...)
}

func longNames(r *run) {
	name := strings.Repeat("abcdefghi.", 20) + "claim"
	handle := r.inStorage("data", at(node(1)))
	r.bound(name, handle, vol{})
	pod := r.pod("p")
	pod.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}
	r.arrives(r.create(strict(pod)).on(node(1)), soon)
}

func foreignVolume(r *run) {
	handle := r.volume("theirs", at(node(1)))
	// Half of the id, and the name in storage, of a volume that is not theirs.
	guess := r.create(strict(inline(r.short("guess"), handle[:len(handle)/2])))
	r.decided(guess, soon)
	pod, err := r.get(guess)
	r.must(err)
	for _, secret := range []string{handle, r.namespace + "-theirs"} {
		if reason := waitingFor(pod); strings.Contains(reason, secret) {
			r.Errorf("the reason names a volume of another: %s", reason)
		}
	}
	r.remove(guess)
}

func ephemeralNotOwned(r *run) {
	r.volume("p-scratch", at(node(1)))
	pod := r.pod("p")
	pod.Spec.Volumes = []v1.Volume{{Name: "scratch", VolumeSource: v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{
		VolumeClaimTemplate: &v1.PersistentVolumeClaimTemplate{Spec: v1.PersistentVolumeClaimSpec{
			AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, Resources: v1.VolumeResourceRequirements{Requests: oneGiB}}}}}}}
	p := r.create(pod)
	r.stays(p, soon, time.Second, "scratch")
	r.remove(p)
}

func pretender(r *run) {
	r.volume("data", at(node(1)))
	r.arrives(r.create(r.pod("px-csi-ext-of-a-tenant", "data")).on(), soon)
	r.honest(soon)
}

func ghostMachines(r *run) {
	r.volume("data", at(node(1)))
	pods := r.createMany(150, func(i int) *v1.Pod {
		pod := huge(r.pod(fmt.Sprintf("virt-launcher-%d", i), "data"))
		pod.Labels["kubevirt.io"] = "virt-launcher"
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "kubevirt.io/v1", Kind: "VirtualMachineInstance", Name: "ghost", UID: "ghost", Controller: ptr.To(false)}}
		return pod
	})
	r.honest(soon)
	r.remove(pods...)
}

func hugeWeight(r *run) {
	r.volume("data", vol{sets: [][]string{{node(1)}}, annotations: map[string]string{weightKey: "1" + strings.Repeat("0", 30)}})
	r.arrives(r.create(r.pod("p", "data")).on(node(1)), soon)
	r.eventually(soon, "an event tells of it", func() error {
		if len(r.events("InvalidValue")) == 0 {
			return errNotYet
		}
		return nil
	})
}

func foreverRestoring(r *run) {
	r.volume("data", vol{sets: [][]string{{node(1)}}, annotations: map[string]string{restoring: "true"}})
	pods := r.createMany(50, func(i int) *v1.Pod { return r.pod(fmt.Sprintf("p-%d", i), "data") })
	r.waits(pods[49], soon, "claim waits for its restore")
	r.honest(soon)
	r.remove(pods...)
}

func fatClass(r *run) {
	fat := map[string]string{}
	for i := range 500 { // more, or longer ones, the API server refuses
		fat[fmt.Sprintf("k%d", i)] = strings.Repeat("v", 400)
	}
	r.waitingClaim("data", r.class("fat", driver.Name, fat))
	p := r.create(r.pod("p", "data"))
	r.eventually(soon, "a node is chosen for the claim", func() error {
		claim, err := r.client.CoreV1().PersistentVolumeClaims(r.namespace).Get(r.ctx, "data", metav1.GetOptions{})
		if err == nil && claim.Annotations["volume.kubernetes.io/selected-node"] == "" {
			err = errNotYet
		}
		return err
	})
	r.honest(soon)
	r.remove(p)
}

func nervousClaims(r *run) {
	r.volume("data", at(node(1)))
	pods := r.createMany(20, func(i int) *v1.Pod { return huge(r.pod(fmt.Sprintf("huge-%d", i), "data")) })
	for i := range 300 {
		r.annotateClaim("data", "a.test/n", strconv.Itoa(i))
	}
	r.honest(soon)
	r.remove(pods...)
}
