package pages

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// placeholders are the words of the pages that their readers replace, with what stands
// for them in the sandbox. {{...}} is filled in when it runs.
var placeholders = map[string]string{
	"PATH":      "{{project}}",
	"REGISTRY":  "registry.example.com",
	"VERSION":   "v0.1.0",
	"NODE":      "node-3",
	"POD":       "pod-of-the-pages",
	"NAME":      "name-of-the-pages",
	"NAMESPACE": "shop",
	"GROUP":     "viewers",
	"ACCOUNT":   "default",
}

// rewritten are commands that are as good with what the sandbox has.
var rewritten = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`KUBECONFIG=\.\.\.`), `KUBECONFIG={{kubeconfig}}`},
	// Nobody has logged what they look for.
	{regexp.MustCompile(` \| grep .*$`), ``},
	// The scheduler of the sandbox is no pod that could be asked by way of the API server.
	{regexp.MustCompile(` --scheduler-endpoint (https://)?\.\.\.`), ``},
	{regexp.MustCompile(`^(kubectl hyperconverge|bin/kubectl-hyperconverge)( (?:status|explain|report|doctor|dump|simulate)\b[^#]*)`), `$1$2 {{plugin}} `},
}

// tolerated are commands whose exit code says more than that they failed.
var tolerated = map[string]int{
	"kubectl diff":                 1, // there are differences
	"kubectl hyperconverge doctor": 1, // there are findings
}

// elsewhere are the commands that do not run here, by how they begin, with the reason,
// and with what can be found out about them without running them.
var elsewhere = []elsewhereEntry{
	{"make ", "the targets run for minutes, or until Ctrl-C", isTarget},
	{"test/perf/bench.sh", "measures for minutes", exists("test/perf/bench.sh")},
	{"go test ./test/perf", "measures for minutes", exists("test/perf/scheduling_test.go")},
	{"helm ", "test/manifests runs Helm on the chart: install, upgrade, rollback and uninstall", usesChart},
	{"skopeo ", "wants a registry, and the archives of make image", nil},
	{"mkdir scheduler && tar ", "wants a registry, and the archives of make image", nil},
	{"mkdir webhook && tar ", "wants a registry, and the archives of make image", nil},
	{"ctr ", "wants the container runtime of a node", nil},
	{"az deployment ", "wants an Azure subscription", exists("manifests/monitoring/azure/rules.json")},
	{"minisign ", "wants a release that was downloaded", nil},
	{"sha256sum ", "wants a release that was downloaded", nil},
	{"pxctl ", "wants a node of the storage system", nil},
	{"kubectl -n hyperconverge-system port-forward ", "nothing runs in the pods of the sandbox", nil},
	{"curl -sk ", "wants the port that was forwarded", nil},
}

// plain is the kustomization of pages that show none.
const plain = "resources: [PATH/manifests/base]\n"

// setup brings what the pages take for given: the product, installed, and what Stork and its
// operator leave in a cluster.
const setup = `
kubectl delete mutatingwebhookconfiguration hyperconverge-webhook --ignore-not-found
kubectl apply --server-side --force-conflicts -f manifests/base/scheduler/namespace.yaml
kubectl apply --server-side --force-conflicts -k manifests/base
kubectl apply --server-side --force-conflicts -f - <<'OBJECTS'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: storageclusters.core.libopenstorage.org}
spec:
  group: core.libopenstorage.org
  names: {kind: StorageCluster, plural: storageclusters, singular: storagecluster}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: v1
kind: Namespace
metadata: {name: portworx}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data-db-0, namespace: shop}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: hyperconverge-scheduler, namespace: hyperconverge-system}
OBJECTS
for deployment in portworx/stork portworx/stork-scheduler default/name-of-the-pages; do
  kubectl create deployment -n ${deployment%/*} ${deployment#*/} --image=nothing --replicas=0 --dry-run=client -o yaml |
    kubectl apply --server-side --force-conflicts -f -
done
kubectl wait --for=condition=Established crd/storageclusters.core.libopenstorage.org
kubectl apply --server-side --force-conflicts -f - <<'OBJECTS'
apiVersion: core.libopenstorage.org/v1
kind: StorageCluster
metadata: {name: name-of-the-pages, namespace: portworx}
spec: {}
OBJECTS
for pod in default/pod-of-the-pages hyperconverge-system/pod-of-the-pages shop/db-0; do
  kubectl get pod -n ${pod%/*} ${pod#*/} >/dev/null 2>&1 && continue
  kubectl create -f - <<OBJECTS
apiVersion: v1
kind: Pod
metadata: {name: ${pod#*/}, namespace: ${pod%/*}}
spec:
  schedulerName: hyperconverge-scheduler
  securityContext: {runAsNonRoot: true, runAsUser: 1, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: nothing
    image: nothing
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
OBJECTS
done
kubectl -n hyperconverge-system rollout status deploy/hyperconverge-scheduler
kubectl -n hyperconverge-system rollout status deploy/hyperconverge-webhook
kubectl wait --for=condition=Ready pod/pod-of-the-pages --timeout=60s
kubectl wait --for=condition=Ready pod/pod-of-the-pages -n hyperconverge-system --timeout=60s
`

// elsewhereEntry is a line of the table.
type elsewhereEntry struct {
	begins, why string
	check       func(text string) error
}

// isTarget reports whether the Makefile has the targets of a command.
func isTarget(text string) error {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return err
	}
	makefile = bytes.ReplaceAll(makefile, []byte("$(BIN)/"), []byte("bin/"))
	targets := 0
	command, _, _ := strings.Cut(text, "#")
	for _, word := range regexp.MustCompile(`[A-Z]+=('[^']*'|\S*)|\S+`).FindAllString(command, -1)[1:] {
		if name, _, isVariable := strings.Cut(word, "="); isVariable {
			if !strings.Contains(string(makefile), "$("+name+")") {
				return fmt.Errorf("the Makefile has no variable %s", name)
			}
			continue
		}
		targets++
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(word) + `:`).Match(makefile) {
			return fmt.Errorf("the Makefile has no target %s", word)
		}
	}
	if targets == 0 {
		return errors.New("it names no target")
	}
	return nil
}

// exists reports whether a file is there.
func exists(path string) func(string) error {
	return func(string) error {
		_, err := os.Stat(filepath.Join(root, path))
		return err
	}
}

// usesChart reports whether a command of Helm that names a chart names ours, and sets values
// that it has.
func usesChart(text string) error {
	for _, path := range regexp.MustCompile(`\bcharts/\S+`).FindAllString(text, -1) {
		if _, err := os.Stat(filepath.Join(root, path, "Chart.yaml")); err != nil {
			return err
		}
	}
	values, err := os.ReadFile(filepath.Join(root, "charts", "hyperconverge", "values.yaml"))
	if err != nil {
		return err
	}
	for _, set := range regexp.MustCompile(`--set[= ]([a-zA-Z.]+)=`).FindAllStringSubmatch(text, -1) {
		rest := string(values)
		for depth, key := range strings.Split(set[1], ".") {
			_, after, found := strings.Cut("\n"+rest, "\n"+strings.Repeat("  ", depth)+key+":")
			if !found {
				return fmt.Errorf("the chart has no value %s", set[1])
			}
			rest = after
		}
	}
	return nil
}
