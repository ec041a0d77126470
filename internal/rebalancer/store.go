package rebalancer

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

// journalKey is where the journal stands in its ConfigMap.
const journalKey = "journal.json"

// store keeps the journal in a ConfigMap, which the manifests make: the controller may get
// and update the one of this name, and nothing else. Whoever writes must have read the last
// version, so that a leader that has lost its lease and does not know it writes nothing.
type store struct {
	client          kubernetes.Interface
	namespace, name string
	// object is the last version, of which every write makes another.
	object *v1.ConfigMap
}

// ReadJournal reads the journal for those who only look.
func ReadJournal(ctx context.Context, client kubernetes.Interface, namespace, name string) (*rebalance.Journal, error) {
	return (&store{client: client, namespace: namespace, name: name}).read(ctx)
}

// read gets the journal as it stands now.
func (s *store) read(ctx context.Context) (*rebalance.Journal, error) {
	object, err := s.client.CoreV1().ConfigMaps(s.namespace).Get(ctx, s.name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the journal (ConfigMap %s/%s): %w", s.namespace, s.name, err)
	}
	journal, err := rebalance.DecodeJournal([]byte(object.Data[journalKey]))
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s/%s, key %s: %w; empty it if its cool-downs may be forgotten", s.namespace, s.name, journalKey, err)
	}
	s.object = object
	return journal, nil
}

// write replaces the journal.
func (s *store) write(ctx context.Context, journal *rebalance.Journal) error {
	data, err := journal.Encode()
	if err != nil {
		return err
	}
	changed := s.object.DeepCopy()
	if changed.Data == nil {
		changed.Data = map[string]string{}
	}
	changed.Data[journalKey] = string(data)
	if changed, err = s.client.CoreV1().ConfigMaps(s.namespace).Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing the journal (ConfigMap %s/%s): %w", s.namespace, s.name, err)
	}
	s.object = changed
	return nil
}
