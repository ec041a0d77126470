// Package crds pins the versions of the custom resource definitions that the tests
// of the manifests apply. It is never built into anything.
package crds

import (
	_ "github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	_ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
)
