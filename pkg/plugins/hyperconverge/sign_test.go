package hyperconverge

import (
	"testing"

	v1 "k8s.io/api/core/v1"
)

func TestSignPod(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pod    func(s *scene) *v1.Pod
		signed bool
	}{
		{
			name: "a pod without volumes signs with nothing", signed: true,
			pod: func(*scene) *v1.Pod { return makePod("web").Obj() },
		},
		{
			name: "a pod with volumes of another driver signs with nothing", signed: true,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", pv: func(pv *v1.PersistentVolume) { pv.Spec.CSI.Driver = "ebs.csi.aws.com" }})
				return makePod("web", "data").Obj()
			},
		},
		{
			name: "a pod with a bound volume of the driver does not sign",
			pod: func(s *scene) *v1.Pod {
				s.data("data", 1)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "a pod with an unbound volume of the driver does not sign",
			pod: func(s *scene) *v1.Pod {
				s.unbound("data", driver, nil)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "a pod with a claim that is not there yet does not sign",
			pod:  func(*scene) *v1.Pod { return makePod("db", "later").Obj() },
		},
		{
			name: "a pod with an unbound volume of another driver does not sign",
			pod: func(s *scene) *v1.Pod {
				s.unbound("data", "ebs.csi.aws.com", nil)
				return makePod("web", "data").Obj()
			},
		},
		{
			name: "a pod of the storage system does not sign",
			pod:  func(*scene) *v1.Pod { return makePod("px-csi-ext-1").Obj() },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, online(1), func(s *scene) {
				fragments, status := s.pl.SignPod(s.ctx, tc.pod(s))
				same(s, "signed", tc.signed, status.IsSuccess())
				same(s, "fragments", 0, len(fragments))
			})
		})
	}
}
