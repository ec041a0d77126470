package openstoragesim

import (
	"fmt"

	"github.com/google/uuid"
)

// fillNamespaces is the number of namespaces that Fill spreads claims over.
const fillNamespaces = 100

// Fill makes that many volumes with these StorageClass parameters, named and
// labelled as provisioned ones are. It stops at the first that is not possible.
func (c *Cluster) Fill(count int, parameters map[string]string) error {
	for i := range count {
		labels := map[string]string{
			LabelNamespace: fmt.Sprintf("namespace-%02d", i%fillNamespaces),
			LabelPVC:       fmt.Sprintf("data-database-%d", i),
		}
		request := CreateRequest{Name: c.newVolumeName(), Parameters: parameters, Labels: labels}
		if _, err := c.CreateVolume(request); err != nil {
			return fmt.Errorf("volume %d of %d: %w", i+1, count, err)
		}
	}
	return nil
}

func (c *Cluster) newVolumeName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var id uuid.UUID
	for i := range id {
		id[i] = byte(c.random.Uint32())
	}
	return "pvc-" + id.String()
}
