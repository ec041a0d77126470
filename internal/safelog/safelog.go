// Package safelog keeps secrets out of the logs of the binaries.
package safelog

import (
	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// From verbosity 8 on, client-go logs what it sends to the API server and what it
// gets, under these two messages (k8s.io/client-go/rest/request.go): private keys in
// Secrets, tokens in TokenReviews.
const (
	requestBody  = "Request Body"
	responseBody = "Response Body"
)

// WithoutBodies returns a logger that says all that the given one says, but for the
// bodies of requests to the API server and of its answers.
func WithoutBodies(logger logr.Logger) logr.Logger {
	return logger.WithSink(bodiless{LogSink: withCallDepth(logger.GetSink(), 1)})
}

// HideBodies puts WithoutBodies before the logger that klog has now. It drops the
// function that flushes it: the logger must not buffer.
func HideBodies() {
	logger := klog.Background()
	options := []klog.LoggerOption{klog.ContextualLogger(true)}
	if writer, ok := logger.GetSink().(textlogger.KlogBufferWriter); ok {
		options = append(options, klog.WriteKlogBuffer(writer.WriteKlogBuffer)) // unstructured messages keep their form
	}
	klog.SetLoggerWithOptions(WithoutBodies(logger), options...)
}

// bodiless takes a name without naming the sink: kube-scheduler makes a logger with a name for
// every node that it looks at, and hardly ever says anything by it.
type bodiless struct {
	logr.LogSink
	name string
}

// named is the sink that says something.
func (s bodiless) named() logr.LogSink {
	if s.name == "" {
		return s.LogSink
	}
	return s.LogSink.WithName(s.name)
}

// Info implements logr.LogSink.
func (s bodiless) Info(level int, message string, keysAndValues ...any) {
	if message != requestBody && message != responseBody {
		s.named().Info(level, message, keysAndValues...)
	}
}

// Error implements logr.LogSink.
func (s bodiless) Error(err error, message string, keysAndValues ...any) {
	s.named().Error(err, message, keysAndValues...)
}

// WithValues implements logr.LogSink.
func (s bodiless) WithValues(keysAndValues ...any) logr.LogSink {
	return bodiless{LogSink: s.named().WithValues(keysAndValues...)}
}

// WithName implements logr.LogSink.
func (s bodiless) WithName(name string) logr.LogSink { return bodiless{s.named(), name} }

// WithCallDepth implements logr.CallDepthLogSink.
func (s bodiless) WithCallDepth(depth int) logr.LogSink {
	return bodiless{withCallDepth(s.LogSink, depth), s.name}
}

func withCallDepth(sink logr.LogSink, depth int) logr.LogSink {
	if deep, ok := sink.(logr.CallDepthLogSink); ok {
		return deep.WithCallDepth(depth)
	}
	return sink
}
