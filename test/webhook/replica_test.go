package webhook

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// binary compiles the webhook, once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hyperconverge-webhook")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "webhook")
	output, err := exec.Command("go", "build", "-o", path, "../../cmd/webhook").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, output)
	}
	return path, nil
})

// replica is a process of the webhook.
type replica struct {
	tb      testing.TB
	token   string
	command *exec.Cmd
	log     string // path
	address string // of the admission endpoint
	ops     string // address of health and metrics
	ended   chan struct{}
}

// startReplica runs the binary as the Deployment would, with the rights of the
// given configuration, and flags that a test may want besides.
func startReplica(tb testing.TB, config *rest.Config, deployment *unstructured.Unstructured, flags ...string) *replica {
	tb.Helper()
	path, err := binary()
	if err != nil {
		tb.Fatal(err)
	}
	var typed appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(deployment.Object, &typed); err != nil {
		tb.Fatal(err)
	}
	r := &replica{tb: tb, token: config.BearerToken, address: freeAddress(tb), ops: freeAddress(tb), ended: make(chan struct{})}
	_, port, err := net.SplitHostPort(r.address)
	if err != nil {
		tb.Fatal(err)
	}
	container := typed.Spec.Template.Spec.Containers[0]
	args := append([]string{}, container.Args...)
	args = append(args, "--kubeconfig="+writeKubeconfig(tb, config), "--bind-address=127.0.0.1", "--port="+port, "--ops-address="+r.ops)
	args = append(args, flags...)
	r.command = exec.Command(path, args...)
	for _, variable := range container.Env {
		value := variable.Value
		if variable.Name == "POD_NAMESPACE" {
			value = typed.Namespace
		}
		r.command.Env = append(r.command.Env, variable.Name+"="+value)
	}
	log, err := os.CreateTemp(tb.TempDir(), "log")
	if err != nil {
		tb.Fatal(err)
	}
	r.log, r.command.Stderr, r.command.Stdout = log.Name(), log, log
	if err := r.command.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		_ = r.command.Wait() // how it ends is seen in its log
		_ = log.Close()
	}()
	tb.Cleanup(func() {
		r.signal(syscall.SIGKILL)
		<-r.ended
		if tb.Failed() {
			tb.Logf("log of the webhook at %s:\n%s", r.address, r.tail())
		}
	})
	return r
}

// signal is ignored by a process that has ended.
func (r *replica) signal(signal syscall.Signal) { _ = r.command.Process.Signal(signal) }

func (r *replica) tail() string {
	text, err := os.ReadFile(r.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-8000):])
}

// ready returns why the replica is not ready.
func (r *replica) ready() error {
	select {
	case <-r.ended:
		r.tb.Fatalf("the webhook has ended:\n%s", r.tail())
	default:
	}
	response, err := http.Get("http://" + r.ops + "/readyz")
	if err != nil {
		return err
	}
	defer closeIt(r.tb, response.Body)
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", text)
	}
	return nil
}

// metric returns the sum of a metric over those labels that are given, in the
// order of name and value.
func (r *replica) metric(name string, labels ...string) float64 {
	r.tb.Helper()
	response, err := http.Get("http://" + r.ops + "/metrics")
	if err != nil {
		r.tb.Fatal(err)
	}
	defer closeIt(r.tb, response.Body)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		r.tb.Fatal(err)
	}
	sum := 0.0
	for _, metric := range families[name].GetMetric() {
		if hasLabels(metric, labels) {
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return sum
}

func hasLabels(metric *dto.Metric, labels []string) bool {
	found := 0
	for i := 0; i < len(labels); i += 2 {
		for _, pair := range metric.GetLabel() {
			if pair.GetName() == labels[i] && pair.GetValue() == labels[i+1] {
				found += 2
			}
		}
	}
	return found == len(labels)
}

// memory returns the resident memory of the process now and at most, in bytes.
func (r *replica) memory() (now, most float64) {
	r.tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.command.Process.Pid))
	if err != nil {
		r.tb.Fatal(err)
	}
	read := func(key string) (kilobytes float64) {
		for line := range strings.Lines(string(text)) {
			if rest, found := strings.CutPrefix(line, key+":"); found {
				if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
					r.tb.Fatal(err)
				}
			}
		}
		return kilobytes * 1024
	}
	return read("VmRSS"), read("VmHWM")
}

// writeKubeconfig returns the path of a kubeconfig with a bearer token.
func writeKubeconfig(tb testing.TB, config *rest.Config) string {
	tb.Helper()
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["test"] = &clientcmdapi.Cluster{
		Server:                   config.Host,
		CertificateAuthority:     config.CAFile,
		CertificateAuthorityData: config.CAData,
		TLSServerName:            config.ServerName,
	}
	kubeconfig.AuthInfos["test"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	kubeconfig.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	kubeconfig.CurrentContext = "test"
	path := filepath.Join(tb.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		tb.Fatal(err)
	}
	return path
}
