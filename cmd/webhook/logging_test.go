package main

import (
	"testing"

	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

func TestLogLevels(t *testing.T) {
	for level, want := range map[string]zapcore.Level{
		"error": zapcore.ErrorLevel, "info": zapcore.InfoLevel, "debug": -4, "0": zapcore.InfoLevel, "2": -2, "10": -10,
	} {
		if got, err := zapLevelOf(level); err != nil || got != want {
			t.Errorf("%q is zap's level %d (%v), want %d", level, got, err, want)
		}
	}
	for _, level := range []string{"", "warn", "11", "-1", "2.5", "300"} {
		if got, err := zapLevelOf(level); err == nil {
			t.Errorf("%q is zap's level %d, want an error", level, got)
		}
	}
}

func TestOneLoggerForAll(t *testing.T) {
	for _, format := range []string{formatJSON, formatText} {
		flush, err := setLogger(format, "2")
		if err != nil {
			t.Fatal(err)
		}
		defer flush()
		for who, enabled := range map[string]func(int) bool{
			"klog":               func(v int) bool { return klog.Background().V(v).Enabled() },
			"controller-runtime": func(v int) bool { return ctrllog.Log.V(v).Enabled() },
		} {
			if !enabled(2) || enabled(3) {
				t.Errorf("%s logs at verbosity 2: %t, at 3: %t; want the first only", who, enabled(2), enabled(3))
			}
		}
	}
	if _, err := setLogger("yaml", "info"); err == nil {
		t.Error("a format that does not exist is accepted")
	}
}
