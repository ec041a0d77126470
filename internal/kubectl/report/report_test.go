package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hyperconverge/scheduler/internal/kubectl/view"
)

func TestGradeOf(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status view.Status
		want   string
		says   string
	}{
		{"an empty cluster has nothing to be blamed for", view.Status{}, "A", "no pod runs whose volumes want it near"},
		{"all local", view.Status{Pods: view.PodCounts{Local: 5}}, "A", "5 of 5 pods (100.0 %)"},
		{"99 % local", view.Status{Pods: view.PodCounts{Local: 99, Remote: 1}}, "A", "99 of 100"},
		{"98 % local", view.Status{Pods: view.PodCounts{Local: 98, Remote: 2}}, "B", "98 of 100"},
		{"partly counts as not local", view.Status{Pods: view.PodCounts{Local: 90, Partly: 10}}, "C", "90 of 100"},
		{"pods that want to be away do not count", view.Status{Pods: view.PodCounts{Local: 1, Away: 99}}, "A", "1 of 1"},
		{"84 % local", view.Status{Pods: view.PodCounts{Local: 84, Remote: 16}}, "D", "84 of 100"},
		{"half", view.Status{Pods: view.PodCounts{Local: 1, Remote: 1}}, "F", "1 of 2"},
		{"storage that is offline costs one", view.Status{Pods: view.PodCounts{Local: 1}, StorageNodes: view.StorageNodeCounts{Offline: 2}}, "B", "Offline on 2 nodes"},
		{"volumes that are not known cost one", view.Status{Volumes: view.VolumeCounts{Stale: 1, Unknown: 2}}, "B", "3 volumes are not known"},
		{"a cluster of which nothing is known has no grade", view.Status{Pods: view.PodCounts{Unknown: 12}}, "?", "of none of 12 pods"},
		{"nothing is worse than F", view.Status{Pods: view.PodCounts{Remote: 1}, StorageNodes: view.StorageNodeCounts{Offline: 1}, Volumes: view.VolumeCounts{Stale: 1}}, "F", "0 of 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			grade := GradeOf(&tc.status)
			if grade.Letter != tc.want || !strings.Contains(strings.Join(grade.Reasons, "; "), tc.says) {
				t.Errorf("got %+v, want %s and %q", grade, tc.want, tc.says)
			}
		})
	}
}

// example is a cluster of three zones with a pod of every kind.
func example(nodes, volumes int) *view.Map {
	m := &view.Map{Taken: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), Cluster: "production", Status: view.Status{
		Pods: view.PodCounts{Local: 2, Partly: 1, Remote: 1}, StorageNodes: view.StorageNodeCounts{Online: nodes - 1, Offline: 1}, Volumes: view.VolumeCounts{Fresh: volumes},
		Misplaced: []view.Misplaced{
			{Namespace: "shop", Name: "db-1", Node: "node-5", Locality: "remote", Reasons: []string{"node-1: Insufficient cpu", "node-2: would fit now"}},
			{Namespace: "shop", Name: "db-10", Node: "node-6", Locality: "partly", Reasons: []string{"node-3: storage Offline"}},
		},
		Waiting: []view.Waiting{{Namespace: "shop", Name: "db-2", Reason: "claim does not exist: shop/data"}},
	}}
	for i := range nodes {
		n := view.MapNode{Name: fmt.Sprintf("node-%d", i), Region: "eu", Zone: fmt.Sprintf("eu-%d", i%3), Rack: fmt.Sprintf("r%d", i%6), State: "Online"}
		if i == 3 {
			n.State = "Offline"
		}
		m.Nodes = append(m.Nodes, n)
	}
	localities := []string{"local", "partly", "remote", "away", "unknown"}
	for i := range volumes {
		claim := fmt.Sprintf("shop/data-%d", i)
		at := func(k int) string { return fmt.Sprintf("node-%d", (i+k)%nodes) }
		m.Volumes = append(m.Volumes, view.MapVolume{Claim: claim, Handle: fmt.Sprintf("7%017d", i), Freshness: "fresh", ReplicaSets: [][]string{{at(0), at(1), at(2)}}})
		m.Pods = append(m.Pods, view.MapPod{Namespace: "shop", Name: fmt.Sprintf("db-%d", i), Node: at(0), Locality: localities[i%5], Claims: []string{claim}})
	}
	return m
}

func TestPageHasEverythingAndLoadsNothing(t *testing.T) {
	var written bytes.Buffer
	if err := Write(&written, example(12, 20)); err != nil {
		t.Fatal(err)
	}
	text := written.String()
	for _, want := range []string{
		"production", "2026-11-26 12:00:00 UTC", "shop/db-1", "node-1: Insufficient cpu; node-2: would fit now", "claim does not exist: shop/data",
		"eu / eu-0", "<h3>r5</h3>", `data-node="node-11"`, `class="node sOffline"`, `data-volume="shop/data-19"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if got := strings.Count(text, `<article class="node`); got != 12 {
		t.Errorf("%d nodes are drawn, want 12", got)
	}
	if loads := regexp.MustCompile(`(?i)(src|href)\s*=|url\(|@import|https?://`).FindString(text); loads != "" {
		t.Errorf("the page loads something: %s", loads)
	}
}

func TestNamesFromTheClusterAreEscaped(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img onerror=x`
	m := example(3, 3)
	m.Cluster, m.Nodes[0].Zone, m.Nodes[0].Rack, m.Nodes[0].State = hostile, hostile, hostile, hostile
	m.Volumes[0].Claim, m.Pods[0].Name, m.Pods[0].Locality, m.Pods[0].Claims[0] = hostile, hostile, hostile, hostile
	m.Status.Misplaced[0].Reasons[0], m.Status.Waiting[0].Reason, m.Status.Unknown = hostile, hostile, []string{hostile}
	var written bytes.Buffer
	if err := Write(&written, m); err != nil {
		t.Fatal(err)
	}
	if text := written.String(); strings.Contains(text, "<script>alert") || strings.Contains(text, "<img") {
		t.Error("a name has become markup")
	}
}

// A person's browser shows it: nothing is wider than the window, the tables sort, and a
// pod shows its replicas.
func TestPageInABrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium on this machine")
	}
	var written bytes.Buffer
	if err := Write(&written, example(12, 20)); err != nil {
		t.Fatal(err)
	}
	// The test's own script stands behind the page's, which the policy would refuse.
	text := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`).ReplaceAllString(written.String(), "")
	text = strings.Replace(text, "</body>", `<script>
		const found = {fits: document.scrollingElement.scrollWidth <= window.innerWidth, width: document.scrollingElement.scrollWidth};
		const head = document.querySelector("th button");
		head.click(); head.click();
		found.sorted = document.querySelector("tbody td").textContent;
		document.querySelector(".tag[data-claims]").dispatchEvent(new Event("focusin", {bubbles: true}));
		found.hits = document.querySelectorAll(".node.hit").length;
		const filter = document.querySelector("input"); filter.value = "db-10"; filter.dispatchEvent(new Event("input"));
		found.left = document.querySelectorAll("main section table tbody tr:not([hidden])").length;
		document.documentElement.dataset.found = JSON.stringify(found);
	</script></body>`, 1)
	for _, width := range []int{1280, 400} {
		t.Run(fmt.Sprintf("%d px", width), func(t *testing.T) {
			// A frame may be narrower than a browser's window.
			inner, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			outer := fmt.Sprintf(`<iframe style="width:%dpx;height:900px;border:0"></iframe><script>
				const frame = document.querySelector("iframe");
				frame.addEventListener("load", () => {
					document.documentElement.dataset.found = frame.contentDocument.documentElement.dataset.found;
				});
				frame.srcdoc = %s;
			</script>`, width, inner) // Go's JSON escapes what would end the script
			file := filepath.Join(t.TempDir(), "page.html")
			if err := os.WriteFile(file, []byte(outer), 0o600); err != nil {
				t.Fatal(err)
			}
			output, err := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
				"--window-size=1400,1000", "--dump-dom", "file://"+file).Output()
			var exit *exec.ExitError
			if errors.As(err, &exit) || errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("%v: %s", err, exit.Stderr)
			}
			match := regexp.MustCompile(`data-found="([^"]*)"`).FindSubmatch(output)
			if match == nil {
				t.Fatalf("the page's scripts have not come to their end: %.300s", output)
			}
			var found struct {
				Fits        bool
				Width, Hits int
				Sorted      string
				Left        int
			}
			if err := json.Unmarshal([]byte(strings.ReplaceAll(string(match[1]), "&quot;", `"`)), &found); err != nil {
				t.Fatal(err)
			}
			if !found.Fits {
				t.Errorf("the page is %d px wide", found.Width)
			}
			if found.Sorted != "shop/db-10" {
				t.Errorf("sorted downwards by pod, the first is %s", found.Sorted)
			}
			if found.Hits != 3 {
				t.Errorf("a pod shows %d replicas, want 3", found.Hits)
			}
			if found.Left != 1+1+20 { // one misplaced, one that waits, all volumes
				t.Errorf("%d rows are left by the filter", found.Left)
			}
		})
	}
}

// 1000 nodes and 10 000 volumes and pods stay a page that a browser opens.
func TestSizeOfALargeCluster(t *testing.T) {
	var written bytes.Buffer
	if err := Write(&written, example(1000, 10_000)); err != nil {
		t.Fatal(err)
	}
	if mb := float64(written.Len()) / 1e6; mb > 10 {
		t.Errorf("the page has %.1f MB", mb)
	}
}
