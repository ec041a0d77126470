package hyperconverge

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	schedulerscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	schedulercache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/hyperconverge/scheduler/internal/minor"
	"github.com/hyperconverge/scheduler/pkg/apis/config"
	configv1 "github.com/hyperconverge/scheduler/pkg/apis/config/v1"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// profileHandle is what a plugin sees of its profile when it is made.
type profileHandle struct {
	fwk.Handle // for what nobody should ask
	name       string
	informers  informers.SharedInformerFactory
	queue      *queue
	events     *eventList
}

func (h *profileHandle) SnapshotSharedLister() fwk.SharedLister {
	return schedulercache.NewEmptySnapshot()
}

func (h *profileHandle) ProfileName() string                                    { return h.name }
func (h *profileHandle) SharedInformerFactory() informers.SharedInformerFactory { return h.informers }
func (h *profileHandle) Activate(logger klog.Logger, pods map[string]*v1.Pod) {
	h.queue.Activate(logger, pods)
}
func (h *profileHandle) KubeConfig() *rest.Config           { return nil }
func (h *profileHandle) EventRecorder() minor.EventRecorder { return h.events }

// process is what the profiles of one scheduler have in common.
type process struct {
	*testing.T
	ctx       context.Context
	factory   *Factory
	informers informers.SharedInformerFactory
	storage   *storageTable
	events    *eventList
}

// inProcess runs a test in a bubble.
func inProcess(t *testing.T, test func(p *process), objects ...runtime.Object) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := &process{
			T: t, ctx: ctx, factory: NewFactory(NewOpenStorageSource), storage: newStorageTable(), events: &eventList{},
			informers: informers.NewSharedInformerFactory(fake.NewClientset(objects...), 0),
		}
		p.factory.newSource = func(_ config.OpenStorage, index *volumes.Index) (ReplicaSource, error) {
			p.storage.index = index
			return p.storage, nil
		}
		t.Cleanup(func() {
			cancel()
			p.informers.Shutdown()
		})
		test(p)
	})
}

func (p *process) start() {
	p.informers.Start(p.ctx.Done())
	p.informers.WaitForCacheSync(p.ctx.Done())
	synctest.Wait()
}

// defaultArgs are the arguments of a profile that has none.
func defaultArgs(t *testing.T) *config.HyperconvergeArgs {
	t.Helper()
	gvk := configv1.SchemeGroupVersion.WithKind(Name + "Args")
	object, _, err := schedulerscheme.Codecs.UniversalDecoder().Decode([]byte("{}"), &gvk, nil)
	if err != nil {
		t.Fatal(err)
	}
	return object.(*config.HyperconvergeArgs)
}

// profile makes the plugin of a profile.
func (p *process) profile(name string, change func(*config.HyperconvergeArgs)) (*Hyperconverge, error) {
	p.Helper()
	args := defaultArgs(p.T)
	if change != nil {
		change(args)
	}
	pl, err := p.factory.New(p.ctx, args, &profileHandle{name: name, informers: p.informers, queue: &queue{}, events: p.events})
	if err != nil {
		return nil, err
	}
	return pl.(*Hyperconverge), nil
}

func (p *process) mustProfile(name string, change func(*config.HyperconvergeArgs)) *Hyperconverge {
	p.Helper()
	pl, err := p.profile(name, change)
	if err != nil {
		p.Fatal(err)
	}
	return pl
}

func (p *process) close(pl *Hyperconverge) {
	p.Helper()
	if err := pl.Close(); err != nil {
		p.Error(err)
	}
}

func TestTwoProfilesShareOneIndex(t *testing.T) {
	node, csiNode, _ := makeNode(1, "px/rack=a")
	other, otherCSINode, _ := makeNode(2, "px/rack=a")
	objects := []runtime.Object{node, csiNode, other, otherCSINode, makePV("data", "1001"), makeClaim("data", "pv-data")}
	inProcess(t, func(p *process) {
		near := p.mustProfile("near", nil)
		score := p.mustProfile("score", func(a *config.HyperconvergeArgs) {
			a.Preference, a.TierScores = placement.ScoreOnly, config.TierScores{Local: 80, Rack: 70}
		})
		if near.decider.index != score.decider.index {
			t.Error("each profile has an index of its own")
		}
		p.start()
		p.storage.put(observation("1001", on(1)))
		synctest.Wait()

		info := framework.NewNodeInfo()
		info.SetNode(other)
		pod := makePod("db", "data").Annotation(placement.PodDisableHyperconvergence, "no").Obj()
		for _, tc := range []struct {
			pl     *Hyperconverge
			score  int64
			offers bool
		}{{near, 50, true}, {score, 70, false}} {
			state := framework.NewCycleState()
			if _, status := tc.pl.PreFilter(p.ctx, state, pod, nil); !status.IsSuccess() {
				t.Fatal(status)
			}
			got, _ := tc.pl.Score(p.ctx, state, pod, info)
			same(t, "score", tc.score, got)
			offer, err := decisionOf(state)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "offers", tc.offers, len(slices.Collect(offer.Groups())) > 0)
		}
		same(t, "the user's mistake is told by one of them", 1, len(p.events.taken()))
		p.close(near)
		p.close(score)
	}, objects...)
}

func TestProfilesMustAgreeOnStorage(t *testing.T) {
	for _, tc := range []struct {
		path   string
		change func(*config.HyperconvergeArgs)
	}{
		{"openStorage.endpoint", func(a *config.HyperconvergeArgs) { a.OpenStorage.Endpoint = "other:9020" }},
		{"drivers", func(a *config.HyperconvergeArgs) { a.Drivers = []string{driver} }},
		{"topologyKeys.rack", func(a *config.HyperconvergeArgs) { a.TopologyKeys.Rack = nil }},
		{"unknownVolumeGracePeriod", func(a *config.HyperconvergeArgs) { a.UnknownVolumeGracePeriod.Duration = time.Second }},
		{"maxStaleness", func(a *config.HyperconvergeArgs) { a.MaxStaleness.Duration = time.Hour }},
	} {
		t.Run(tc.path, func(t *testing.T) {
			inProcess(t, func(p *process) {
				first := p.mustProfile("first", nil)
				_, err := p.profile("second", tc.change)
				same(t, "error", `profile "second": `+tc.path+" of Hyperconverge differs from another profile: "+
					"all profiles of one scheduler share one storage system, give it the same value in each", message(err))
				p.close(first)
			})
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestWrongArguments(t *testing.T) {
	attempt := func(p *process, object runtime.Object) string {
		_, err := p.factory.New(p.ctx, object, &profileHandle{name: "first", informers: p.informers, queue: &queue{}, events: p.events})
		return message(err)
	}
	inProcess(t, func(p *process) {
		same(t, "another type", "arguments of Hyperconverge are of type *v1.Pod, want HyperconvergeArgs", attempt(p, &v1.Pod{}))
		same(t, "none", "arguments of Hyperconverge are of type <nil>, want HyperconvergeArgs", attempt(p, nil))
		args := defaultArgs(t)
		args.TierScores.Rack = 101
		if got := attempt(p, args); !strings.HasPrefix(got, "pluginConfig[Hyperconverge].args.tierScores.rack: Invalid value: 101") {
			t.Errorf("error: %s", got)
		}
		p.factory.newSource = func(config.OpenStorage, *volumes.Index) (ReplicaSource, error) {
			return nil, errors.New("no such file")
		}
		same(t, "a source that cannot be made", "storage API portworx-api.portworx.svc:9020: no such file", attempt(p, defaultArgs(t)))
		same(t, "nothing is left to wait for", true, p.factory.HasSynced())
	})
}

// A file is looked for after all else has been found right, and is told of as all else is.
func TestMissingAuthorityIsNamedWithItsPath(t *testing.T) {
	inProcess(t, func(p *process) {
		p.factory.newSource = NewOpenStorageSource
		_, err := p.profile("near", func(a *config.HyperconvergeArgs) {
			a.OpenStorage.TLS = config.TLS{Enabled: true, CAFile: "/nowhere/ca.crt"}
		})
		const want = `pluginConfig[Hyperconverge].args.openStorage.tls.caFile: Invalid value: "/nowhere/ca.crt": read the certificate authority /nowhere/ca.crt: `
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("the error is %v, want one that begins with %s", err, want)
		}
	})
}

func TestClose(t *testing.T) {
	t.Run("the last plugin that is closed ends everything", func(t *testing.T) {
		inProcess(t, func(p *process) {
			before := goleak.IgnoreCurrent()
			first, second := p.mustProfile("first", nil), p.mustProfile("second", nil)
			p.close(first)
			if goleak.Find(before) == nil {
				t.Error("with a plugin left, nothing runs any more")
			}
			p.close(second)
			p.close(second)
			if err := goleak.Find(before); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("a plugin that is closed activates nobody, the other does", func(t *testing.T) {
		node, csiNode, _ := makeNode(1, "closed")
		pod := strict(makePod("db", "data"))
		inProcess(t, func(p *process) {
			first, second := p.mustProfile("first", nil), p.mustProfile("second", nil)
			p.start()
			p.storage.put(observation("1001", on(2)))
			synctest.Wait()
			for _, pl := range []*Hyperconverge{first, second} {
				pl.PreFilter(p.ctx, framework.NewCycleState(), pod, nil)
			}
			p.close(first)
			heard := first.waiting.received.Load()
			p.storage.put(observation("1001", on(1)))
			synctest.Wait()
			same(t, "what the closed one has heard of", heard, first.waiting.received.Load())
			same(t, "activated by the closed one", nil, first.handle.(*profileHandle).queue.taken())
			same(t, "activated by the other", []string{"shop/db"}, second.handle.(*profileHandle).queue.taken())
			p.close(second)
		}, node, csiNode, makePV("data", "1001"), makeClaim("data", "pv-data"), pod)
	})
	t.Run("after all are closed the factory begins anew, on informers that run", func(t *testing.T) {
		inProcess(t, func(p *process) {
			p.close(p.mustProfile("first", nil))
			p.start()
			second := p.mustProfile("first", nil)
			synctest.Wait()
			same(t, "synced", true, p.factory.HasSynced())
			p.close(second)
		})
	})
	t.Run("the end of the process is enough", func(t *testing.T) {
		inProcess(t, func(p *process) { p.mustProfile("first", nil) })
	})
}

func TestHasSynced(t *testing.T) {
	node, csiNode, _ := makeNode(1, "")
	inProcess(t, func(p *process) {
		same(t, "without a plugin", true, p.factory.HasSynced())
		pl := p.mustProfile("first", nil)
		synctest.Wait()
		same(t, "before the informers run", false, p.factory.HasSynced())
		p.start()
		same(t, "afterwards", true, p.factory.HasSynced())
		same(t, "nodes", 1, pl.decider.index.View().NumNodes())
		p.close(pl)
	}, node, csiNode)
}

// The source of real life takes the settings, waits for nothing, and ends.
func TestOpenStorageSource(t *testing.T) {
	before := goleak.IgnoreCurrent()
	factory := NewFactory(NewOpenStorageSource)
	args := defaultArgs(t)
	args.OpenStorage.Endpoint = "127.0.0.1:1"
	pl, err := factory.New(t.Context(), args, &profileHandle{
		name: "first", informers: informers.NewSharedInformerFactory(fake.NewClientset(), 0), queue: &queue{}, events: &eventList{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := pl.(*Hyperconverge).Close(); err != nil {
		t.Error(err)
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}

	args.OpenStorage.TokenFile = "/var/run/secrets/token" // without TLS
	_, err = NewOpenStorageSource(args.OpenStorage, volumes.NewIndex(volumes.Options{}))
	if err == nil || !strings.Contains(err.Error(), "allowPlaintextToken") {
		t.Errorf("error: %v", err)
	}
}
