package main

import (
	"fmt"
	"strconv"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/hyperconverge/scheduler/internal/safelog"
)

// Values of --log-format.
const (
	formatJSON = "json"
	formatText = "text"
)

// debugVerbosity is what --log-level=debug stands for, as in Kubernetes.
const debugVerbosity = 4

// setLogger makes the one logger of the process and hands it to klog, to
// controller-runtime and to the standard library. What it buffers is written by
// flush.
func setLogger(format, level string) (flush func(), err error) {
	config := zap.NewProductionConfig() // samples: a hundred equal lines a second, then every hundredth
	config.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	config.DisableStacktrace = true // an error says what went wrong, and a crash has its stack with it
	switch format {
	case formatJSON:
	case formatText:
		config.Encoding = "console"
	default:
		return nil, fmt.Errorf("--log-format %q is neither %s nor %s", format, formatJSON, formatText)
	}
	zapLevel, err := zapLevelOf(level)
	if err != nil {
		return nil, err
	}
	config.Level = zap.NewAtomicLevelAt(zapLevel)
	logger, err := config.Build()
	if err != nil {
		return nil, fmt.Errorf("making the logger: %w", err)
	}
	discreet := safelog.WithoutBodies(zapr.NewLogger(logger)) // the Secret of certificates is a body
	klog.SetLoggerWithOptions(discreet, klog.ContextualLogger(true))
	ctrllog.SetLogger(discreet)
	restore := zap.RedirectStdLog(logger)
	return func() {
		restore()
		_ = logger.Sync() // fails on terminals, which need none
	}, nil
}

// zapLevelOf reads --log-level. A verbosity of n is zap's level -n.
func zapLevelOf(level string) (zapcore.Level, error) {
	switch level {
	case "error":
		return zapcore.ErrorLevel, nil
	case "info":
		return zapcore.InfoLevel, nil
	case "debug":
		return -debugVerbosity, nil
	}
	verbosity, err := strconv.ParseUint(level, 10, 8)
	if err != nil || verbosity > 10 {
		return 0, fmt.Errorf("--log-level %q is neither error, info, debug nor a number from 0 to 10", level)
	}
	return zapcore.Level(-int8(verbosity)), nil
}
