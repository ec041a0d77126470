package story

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
)

// The manifests are what a person would apply with kubectl.
//
//go:embed manifests
var manifests embed.FS

// read decodes the objects of a manifest.
func read(name string) ([]runtime.Object, error) {
	file, err := manifests.Open("manifests/" + name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	documents := yaml.NewDocumentDecoder(file)
	defer func() { _ = documents.Close() }()
	var objects []runtime.Object
	buffer := make([]byte, 64<<10)
	for {
		n, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(buffer[:n], nil, nil)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		objects = append(objects, object)
	}
}

// apply creates the objects of a manifest. edit, if given, may change each of
// them and says whether it is wanted.
func (s *stage) apply(ctx context.Context, name string, edit func(runtime.Object) bool) error {
	objects, err := read(name)
	if err != nil {
		return err
	}
	for _, object := range objects {
		if edit != nil && !edit(object) {
			continue
		}
		if err := s.create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) create(ctx context.Context, object runtime.Object) error {
	core, apps := s.sandbox.Client.CoreV1(), s.sandbox.Client.AppsV1()
	var err error
	switch object := object.(type) {
	case *corev1.PersistentVolumeClaim:
		_, err = core.PersistentVolumeClaims(namespace).Create(ctx, object, metav1.CreateOptions{})
	case *corev1.Service:
		_, err = core.Services(namespace).Create(ctx, object, metav1.CreateOptions{})
	case *corev1.Pod:
		_, err = core.Pods(namespace).Create(ctx, object, metav1.CreateOptions{})
	case *appsv1.Deployment:
		_, err = apps.Deployments(namespace).Create(ctx, object, metav1.CreateOptions{})
	case *appsv1.StatefulSet:
		_, err = apps.StatefulSets(namespace).Create(ctx, object, metav1.CreateOptions{})
	default:
		return fmt.Errorf("the story creates no %T", object)
	}
	if err != nil {
		return fmt.Errorf("creating a %T: %w", object, err)
	}
	return nil
}

// removePods deletes all workloads of the story and returns when their pods are
// gone.
func (s *stage) removePods(ctx context.Context) error {
	core, apps := s.sandbox.Client.CoreV1(), s.sandbox.Client.AppsV1()
	options, all := metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}, metav1.ListOptions{}
	for _, remove := range []func(context.Context, metav1.DeleteOptions, metav1.ListOptions) error{
		apps.Deployments(namespace).DeleteCollection,
		apps.ReplicaSets(namespace).DeleteCollection,
		apps.StatefulSets(namespace).DeleteCollection,
		core.Pods(namespace).DeleteCollection,
	} {
		if err := remove(ctx, options, all); err != nil {
			return fmt.Errorf("deleting workloads: %w", err)
		}
	}
	return s.until(ctx, "the pods are gone", func(ctx context.Context) (bool, string, error) {
		pods, err := core.Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, "", err
		}
		return len(pods.Items) == 0, fmt.Sprintf("%d left", len(pods.Items)), nil
	})
}

// clear deletes all that an act created and returns when the claims are gone.
// Their volumes follow, which the end of the story looks at.
func (s *stage) clear(ctx context.Context) error {
	if err := s.removePods(ctx); err != nil {
		return err
	}
	claims := s.sandbox.Client.CoreV1().PersistentVolumeClaims(namespace)
	if err := claims.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("deleting claims: %w", err)
	}
	return s.until(ctx, "the claims are gone", func(ctx context.Context) (bool, string, error) {
		left, err := claims.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, "", err
		}
		return len(left.Items) == 0, fmt.Sprintf("%d left", len(left.Items)), nil
	})
}
