// +k8s:deepcopy-gen=package
// +k8s:conversion-gen=github.com/hyperconverge/scheduler/pkg/apis/config
// +k8s:defaulter-gen=TypeMeta
// +groupName=kubescheduler.config.k8s.io

// Package v1 is what users write: the arguments of the Hyperconverge plugin in
// the pluginConfig of a kubescheduler.config.k8s.io/v1 KubeSchedulerConfiguration.
// Every field is optional. A field that does not exist stops the scheduler.
package v1
