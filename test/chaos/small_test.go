package chaos

import (
	"bytes"
	"context"
	"io"
	"net/http"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
)

// bodyOf reads the body of a request and leaves it in place.
func bodyOf(q *http.Request) []byte {
	body, _ := io.ReadAll(q.Body) // what is cut off matches nothing
	q.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

func alreadyThere(err error) bool { return apierrors.IsAlreadyExists(err) }

func (r *run) fatClass(name string, parameters map[string]string) string {
	class := driver.NewClass(name+"-fat", storagev1.VolumeBindingWaitForFirstConsumer, parameters)
	class.Labels = map[string]string{mark: r.namespace}
	_, err := r.client.StorageV1().StorageClasses().Create(r.ctx, class, metav1.CreateOptions{})
	r.must(err)
	return class.Name
}

// startWebhookUnready does not wait until it is ready.
func (w *world) startWebhookUnready(ctx context.Context, name string) (*component, int, error) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	c, port, err := w.startWebhook(ended, name)
	if c != nil {
		err = nil
	}
	return c, port, err
}
