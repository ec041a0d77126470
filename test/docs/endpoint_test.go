package docs

import (
	"path/filepath"
	"regexp"
	"testing"

	v1 "github.com/hyperconverge/scheduler/pkg/apis/config/v1"
)

// TestEndpointIsOne keeps the namespace of the storage API the same in the default,
// the manifests and the documents: whoever follows one of them meets no other.
// The changelog tells what the default was before, and the tests of kubectl hyperconverge
// migrate are about clusters that have it elsewhere.
func TestEndpointIsOne(t *testing.T) {
	var openStorage v1.OpenStorage
	v1.SetDefaults_OpenStorage(&openStorage)
	host := regexp.MustCompile(`portworx-api\.[a-z0-9-]+\.svc`)
	want := host.FindString(*openStorage.Endpoint)
	if want == "" {
		t.Fatalf("the default endpoint %q names no Service portworx-api", *openStorage.Endpoint)
	}

	found := 0
	for _, file := range textFiles(t) {
		if file == "CHANGELOG.md" || filepath.Base(file) == "migrate_test.go" {
			continue
		}
		for _, got := range host.FindAllString(read(t, file), -1) {
			found++
			if got != want {
				t.Errorf("%s: the endpoint is at %s, the default at %s", file, got, want)
			}
		}
	}
	if found < 10 {
		t.Errorf("%s is named only %d times", want, found)
	}
}
