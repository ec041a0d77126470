package demo

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
)

// The manifests are what a person would apply with kubectl.
//
//go:embed manifests
var manifests embed.FS

// read decodes the objects of a manifest.
func read(name string) ([]runtime.Object, error) {
	content, err := manifests.ReadFile("manifests/" + name)
	if err != nil {
		return nil, err
	}
	var objects []runtime.Object
	for document := range bytes.SplitSeq(content, []byte("\n---\n")) {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// apply creates the objects of a manifest, as far as they are not there yet. edit,
// if given, changes each of them before.
func (d *demo) apply(ctx context.Context, name string, edit func(runtime.Object)) error {
	objects, err := read(name)
	if err != nil {
		return err
	}
	core, apps, options := d.sandbox.Client.CoreV1(), d.sandbox.Client.AppsV1(), metav1.CreateOptions{}
	for _, object := range objects {
		if edit != nil {
			edit(object)
		}
		switch object := object.(type) {
		case *corev1.PersistentVolumeClaim:
			_, err = core.PersistentVolumeClaims(namespace).Create(ctx, object, options)
		case *corev1.Service:
			_, err = core.Services(namespace).Create(ctx, object, options)
		case *corev1.Pod:
			_, err = core.Pods(namespace).Create(ctx, object, options)
		case *policyv1.PodDisruptionBudget:
			_, err = d.sandbox.Client.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, object, options)
		case *appsv1.Deployment:
			_, err = apps.Deployments(namespace).Create(ctx, object, options)
		case *appsv1.StatefulSet:
			_, err = apps.StatefulSets(namespace).Create(ctx, object, options)
		default:
			err = errors.New("the demo knows no such objects")
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating a %T: %w", object, err)
		}
	}
	return nil
}

// removePods deletes all workloads of the demo and returns when their pods are
// gone.
func (d *demo) removePods(ctx context.Context) error {
	core, apps := d.sandbox.Client.CoreV1(), d.sandbox.Client.AppsV1()
	options, all := metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}, metav1.ListOptions{}
	for _, remove := range []func(context.Context, metav1.DeleteOptions, metav1.ListOptions) error{
		apps.Deployments(namespace).DeleteCollection,
		apps.ReplicaSets(namespace).DeleteCollection,
		apps.StatefulSets(namespace).DeleteCollection,
		core.Pods(namespace).DeleteCollection,
		d.sandbox.Client.PolicyV1().PodDisruptionBudgets(namespace).DeleteCollection,
	} {
		if err := remove(ctx, options, all); err != nil {
			return fmt.Errorf("deleting workloads: %w", err)
		}
	}
	return d.until(ctx, "the pods are gone", func(ctx context.Context) (bool, string, error) {
		pods, err := core.Pods(namespace).List(ctx, all)
		if err != nil {
			return false, "", err
		}
		return len(pods.Items) == 0, fmt.Sprintf("%d left", len(pods.Items)), nil
	})
}

// clear deletes all that a step created and returns when the claims are gone.
// Their volumes follow, which the end of the demo looks at.
func (d *demo) clear(ctx context.Context) error {
	if err := d.removePods(ctx); err != nil {
		return err
	}
	claims, all := d.sandbox.Client.CoreV1().PersistentVolumeClaims(namespace), metav1.ListOptions{}
	if err := claims.DeleteCollection(ctx, metav1.DeleteOptions{}, all); err != nil {
		return fmt.Errorf("deleting claims: %w", err)
	}
	return d.until(ctx, "the claims are gone", func(ctx context.Context) (bool, string, error) {
		left, err := claims.List(ctx, all)
		if err != nil {
			return false, "", err
		}
		return len(left.Items) == 0, fmt.Sprintf("%d left", len(left.Items)), nil
	})
}

// deletePods deletes pods as kubectl does: they are given time to end, and what
// owns them makes new ones.
func (d *demo) deletePods(ctx context.Context, selector string) error {
	err := d.sandbox.Client.CoreV1().Pods(namespace).
		DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return fmt.Errorf("deleting pods with %s: %w", selector, err)
	}
	return nil
}
