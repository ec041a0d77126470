package manifests

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"k8s.io/klog/v2"
	"k8s.io/kubernetes/test/utils/ktesting"
)

// atExit is run after the last test, last in first out.
var atExit []func()

func TestMain(m *testing.M) {
	ktesting.SetDefaultVerbosity(1)
	flag.Parse()
	startLog()
	code := m.Run()
	for _, f := range slices.Backward(atExit) {
		f()
	}
	endLog(code)
	os.Exit(code)
}

// logFile takes what etcd and the API server have to say. Without -v it is a
// file, so that the output of a failed test is about that test.
var logFile = "stderr"

func startLog() {
	if testing.Verbose() {
		return
	}
	file, err := os.CreateTemp("", "hyperconverge-manifests-*.log")
	if err != nil {
		panic(err)
	}
	logFile = file.Name()
	var flags flag.FlagSet
	klog.InitFlags(&flags)
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL", "one_output": "true"} {
		if err := flags.Set(name, value); err != nil {
			panic(err)
		}
	}
	klog.SetOutput(file)
}

// endLog removes the log of a run in which all is well.
func endLog(code int) {
	klog.Flush()
	switch {
	case testing.Verbose():
	case code != 0:
		fmt.Fprintln(os.Stderr, "What the components said is in", logFile)
	default:
		_ = os.Remove(logFile) // a file too many in the temporary folder
	}
}
