package minor

import (
	"strings"
	"testing"
)

func TestSkew(t *testing.T) {
	for _, tc := range []struct {
		name          string
		server        uint
		fault, advice string
		broken        bool
	}{
		{"the same", 36, "", "", false},
		{"an API server that is one minor newer", 37, "", "", false},
		{"an API server that is two minors newer", 38, "the scheduler is of Kubernetes 1.36, the API server of 1.38", "use the build for Kubernetes 1.38 (docs/versions.md)", false},
		{"an API server that is older", 35, "the scheduler is of Kubernetes 1.36, the API server of 1.35: it may schedule nothing", "use the build for Kubernetes 1.35 (docs/versions.md)", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if fault, advice, broken := Skew(36, tc.server); fault != tc.fault || advice != tc.advice || broken != tc.broken {
				t.Errorf("%q, %q, %t", fault, advice, broken)
			}
		})
	}
}

func TestAPluginThatIsLeftOutSaysSo(t *testing.T) {
	_, err := leftOut("Some", "use another")(t.Context(), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "Some") || !strings.Contains(err.Error(), "use another") {
		t.Errorf("error is %v", err)
	}
}
