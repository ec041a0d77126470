package connect

import (
	"context"
	"fmt"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/internal/kubectl/view"
	"github.com/hyperconverge/scheduler/internal/rebalancer"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

// rebalancerFile is the key of the configuration in the rebalancer's ConfigMap.
const rebalancerFile = "rebalancer.yaml"

// Rebalance decides what the rebalancer would decide now, about all candidates. Where none
// is installed its defaults hold, and Unknown says so. The session has to follow
// rebalancer.Follow.
func (o *Options) Rebalance(ctx context.Context, s *Session, now time.Time) (*view.Decision, error) {
	d := &view.Decision{Configuration: rebalance.Default(), Journal: &rebalance.Journal{}}
	paused, err := o.installed(ctx, s, d)
	if err != nil {
		return nil, err
	}
	storage, err := configured(s.Configuration)
	if err != nil {
		return nil, err
	}
	observer := &rebalancer.Observer{
		Engine: s.Engine, Conditions: func() (reasons []string) {
			for _, c := range s.conditions() {
				reasons = append(reasons, c.Reason)
			}
			return reasons
		},
		NodeListMaxAge: 3*storage.NodePollInterval.Duration + storage.RequestTimeout.Duration,
	}
	if s.Restored != nil {
		observer.Index = s.Restored.Index()
	} else {
		observer.Index = s.Asked.Index()
	}
	picture, err := observer.Look(ctx)
	if err != nil {
		return nil, err
	}
	picture.Paused, picture.Namespace = paused, o.SchedulerNamespace
	d.Owners = picture.Owners
	d.Plan = rebalance.Decide(now, d.Configuration, &picture.ClusterState, d.Journal, picture, rebalance.Demand{All: true})
	return d, ctx.Err()
}

// conditions are what is wrong with the storage API, as who asks it says.
func (s *Session) conditions() []openstorage.Condition {
	switch {
	case s.State != nil:
		return s.State.Conditions
	case s.Asked != nil:
		return s.Engine.Conditions()
	default:
		return nil
	}
}

// installed reads what the rebalancer is told, and what it remembers.
func (o *Options) installed(ctx context.Context, s *Session, d *view.Decision) (paused bool, err error) {
	data, where := []byte(nil), o.RebalancerConfig
	if where != "" {
		if data, err = os.ReadFile(where); err != nil {
			return false, fmt.Errorf("reading --rebalancer-config: %w", err)
		}
	}
	deployment, err := s.Client.AppsV1().Deployments(o.SchedulerNamespace).Get(ctx, rebalancer.Name, metav1.GetOptions{})
	switch {
	case err == nil:
		d.Installed = true
		paused = rebalance.PausedBy(deployment.Annotations)
		if d.Journal, err = rebalancer.ReadJournal(ctx, s.Client, o.SchedulerNamespace, rebalancer.Name); err != nil {
			return false, err
		}
		if data == nil {
			where = "the configuration of the rebalancer"
			if data, err = o.mounted(ctx, s, deployment, rebalancerFile); err != nil {
				return false, fmt.Errorf("%s: %w", where, err)
			}
		}
	case apierrors.IsNotFound(err):
		s.Unknown = append(s.Unknown, fmt.Sprintf("There is no rebalancer in the namespace %s: this is what one would do (--scheduler-namespace, --rebalancer-config).", o.SchedulerNamespace))
	default:
		return false, fmt.Errorf("looking for the rebalancer: %w", err)
	}
	if data == nil {
		return paused, nil
	}
	if d.Configuration, err = rebalance.Decode(data); err != nil {
		return false, fmt.Errorf("%s: %w", where, err)
	}
	return paused, nil
}
