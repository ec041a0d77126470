package safelog

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

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
			said.Reset()
			WithoutBodies(verbose).V(10).Info("Anything else")
			if text := said.String(); !strings.Contains(text, "safelog_test.go") || !strings.Contains(text, "Anything else") {
				t.Errorf("another message is %q", text)
			}
		})
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
