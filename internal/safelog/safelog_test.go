package safelog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// echo is an API server that answers with what it is sent.
type echo struct{}

func (echo) RoundTrip(request *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: request.Header, Body: request.Body}, nil
}

// Whatever client-go calls the messages with the bodies: it has to be those that are
// left out. All others are said from the place that says them.
func TestBodiesAreLeftOut(t *testing.T) {
	for _, contentType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		t.Run(contentType, func(t *testing.T) {
			var said bytes.Buffer
			verbose := textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(10), textlogger.Output(&said)))
			client, err := kubernetes.NewForConfig(&rest.Config{
				Host: "http://api", Transport: echo{}, ContentConfig: rest.ContentConfig{ContentType: contentType},
			})
			if err != nil {
				t.Fatal(err)
			}
			create := func(logger klog.Logger) string {
				said.Reset()
				_, err := client.CoreV1().Secrets("ns").Create(klog.NewContext(t.Context(), logger),
					&v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"key": "private"}}, metav1.CreateOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return said.String()
			}
			if text := create(verbose); !strings.Contains(text, "private") {
				t.Fatalf("this test cannot see bodies: %s", text)
			}
			for name, logger := range map[string]klog.Logger{
				"itself": WithoutBodies(verbose), "with a name": WithoutBodies(verbose).WithName("name"),
				"with values": WithoutBodies(verbose).WithValues("key", "value"), "of another depth": WithoutBodies(verbose).WithCallDepth(1),
			} {
				if text := create(logger); strings.Contains(text, "private") || strings.Contains(text, "Body") {
					t.Errorf("the logger %s says %s", name, text)
				}
			}
		})
	}
}

func TestAllElseIsSaidAsBefore(t *testing.T) {
	for name, say := range map[string]func(klog.Logger){
		"a message":                           func(l klog.Logger) { l.V(10).Info("Said", "key", "value") },
		"an error":                            func(l klog.Logger) { l.Error(errors.New("fault"), "Said", "key", "value") },
		"an error with a name":                func(l klog.Logger) { l.WithName("a").Error(errors.New("fault"), "Said") },
		"two names":                           func(l klog.Logger) { l.WithName("a").WithName("b").Info("Said") },
		"a name, values and another name":     func(l klog.Logger) { l.WithName("a").WithValues("key", "value").WithName("b").Info("Said") },
		"a name and a place further up":       func(l klog.Logger) { l.WithName("a").WithCallDepth(1).Info("Said") },
		"an error from a place further up":    func(l klog.Logger) { l.WithCallDepth(1).WithName("a").Error(nil, "Said") },
		"what is too verbose, not even named": func(l klog.Logger) { l.WithName("a").V(11).Info("Said") },
	} {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(10), textlogger.Output(&said), textlogger.FixedTime(time.Unix(0, 0))))
			var texts []string
			for _, logger := range []klog.Logger{logger, WithoutBodies(logger)} {
				said.Reset()
				say(logger)
				texts = append(texts, said.String())
			}
			if texts[0] != texts[1] {
				t.Errorf("it says %q, want %q", texts[1], texts[0])
			}
		})
	}
}

// kube-scheduler names a logger for every node.
func TestNamesCostNoMoreThanBefore(t *testing.T) {
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(io.Discard)))
	cost := func(logger klog.Logger) float64 {
		return testing.AllocsPerRun(100, func() { logger.WithName("Filter").V(4).Info("Said") })
	}
	if before, now := cost(logger), cost(WithoutBodies(logger)); before == 0 || now > before {
		t.Errorf("a name costs %v allocations, and %v without bodies", before, now)
	}
}

func TestLoggerOfKlogLeavesBodiesOut(t *testing.T) {
	state := klog.CaptureState()
	defer state.Restore()
	var said bytes.Buffer
	klog.SetLoggerWithOptions(textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(10), textlogger.Output(&said))), klog.ContextualLogger(true))
	HideBodies()
	klog.FromContext(context.WithoutCancel(t.Context())).Info(requestBody, "body", "private")
	klog.InfoS(responseBody, "body", "private")
	klog.Infof("of %s", "old")
	if text := said.String(); strings.Contains(text, "private") || !strings.Contains(text, "] of old") {
		t.Errorf("klog says %q", text)
	}
}
