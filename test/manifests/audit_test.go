package manifests

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

// auditMark is a place in the audit log.
func (p *controlPlane) auditMark(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(p.audit)
	if os.IsNotExist(err) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// requests are what a user has asked of the API server since the mark.
func (p *controlPlane) requests(t *testing.T, user string, since int64) []auditv1.Event {
	t.Helper()
	file, err := os.Open(p.audit)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(since, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	var requests []auditv1.Event
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatalf("the audit log cannot be read: %v: %s", err, lines.Text())
		}
		if event.User.Username == user {
			requests = append(requests, event)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(requests) == 0 {
		t.Fatalf("the audit log has nothing of %s", user)
	}
	return requests
}

// expectNoDenial fails for every request that was not allowed.
func expectNoDenial(t *testing.T, requests []auditv1.Event) {
	t.Helper()
	denied := map[string]bool{}
	for i := range requests {
		r := &requests[i]
		refused := r.ResponseStatus != nil && (r.ResponseStatus.Code == http.StatusForbidden || r.ResponseStatus.Code == http.StatusUnauthorized)
		if refused || r.Annotations["authorization.k8s.io/decision"] == "forbid" {
			denied[r.Verb+" "+r.RequestURI] = true
		}
	}
	for request := range denied {
		t.Errorf("denied: %s", request)
	}
}

// permission is one verb on one resource, the smallest thing that can be granted.
type permission struct {
	role, group, resource, verb string
	// names is empty for all.
	names []string
}

func (p permission) String() string {
	text := fmt.Sprintf("%s %s", p.verb, p.resource)
	if p.group != "" {
		text += "." + p.group
	}
	if len(p.names) > 0 {
		text += fmt.Sprint(" ", p.names)
	}
	return text
}

func permissionsOf(role string, rules []rbacv1.PolicyRule) []permission {
	var all []permission
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					all = append(all, permission{role: role, group: group, resource: resource, verb: verb, names: rule.ResourceNames})
				}
			}
		}
	}
	return all
}

// covers reports whether the request needed this permission.
func (p permission) covers(request *auditv1.Event) bool {
	object := request.ObjectRef
	if object == nil || object.APIGroup != p.group || request.Verb != p.verb {
		return false
	}
	resource := object.Resource
	if object.Subresource != "" {
		resource += "/" + object.Subresource
	}
	return resource == p.resource && (len(p.names) == 0 || slices.Contains(p.names, object.Name))
}

func (p permission) used(requests []auditv1.Event) bool {
	return slices.ContainsFunc(requests, func(r auditv1.Event) bool { return p.covers(&r) })
}

// ownPermissions are those that the objects themselves define for an account, not
// those of roles that they only bind.
func ownPermissions(t *testing.T, objects []*unstructured.Unstructured, account string) []permission {
	t.Helper()
	var all []permission
	for _, object := range ofKind(objects, "ClusterRoleBinding", "RoleBinding") {
		// Both kinds of binding have the same fields.
		binding := deploy.Find[rbacv1.ClusterRoleBinding](t, []*unstructured.Unstructured{object}, object.GetKind(), object.GetName())
		if !slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return s.Kind == "ServiceAccount" && s.Name == account }) {
			continue
		}
		for _, candidate := range ofKind(objects, binding.RoleRef.Kind) {
			if candidate.GetName() == binding.RoleRef.Name {
				role := deploy.Find[rbacv1.ClusterRole](t, []*unstructured.Unstructured{candidate}, binding.RoleRef.Kind, binding.RoleRef.Name)
				all = append(all, permissionsOf(role.Name, role.Rules)...)
			}
		}
	}
	return all
}

// excusedVerbs are those whose line in the manifest says why they are granted
// although no test needs them, as role/verb. Comments are lost when kustomize
// builds, so the files themselves are read.
func excusedVerbs(t *testing.T) map[string]bool {
	t.Helper()
	excused := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(root, "manifests", "*", "*", "rbac.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, filepath.Join(root, "manifests", "rebalancer", "rbac.yaml"))
	for _, file := range files {
		for _, document := range readDocuments(t, file) {
			rules, err := document.Pipe(yaml.Lookup("rules"))
			if err != nil || rules == nil {
				continue // a binding
			}
			for _, rule := range rules.Content() {
				verbs, err := yaml.NewRNode(rule).Pipe(yaml.Lookup("verbs"))
				if err != nil || verbs == nil {
					t.Fatalf("%s: a rule of %s has no verbs", file, document.GetName())
				}
				for _, verb := range verbs.Content() {
					if verb.LineComment != "" {
						excused[document.GetName()+"/"+verb.Value] = true
					}
				}
			}
		}
	}
	return excused
}
