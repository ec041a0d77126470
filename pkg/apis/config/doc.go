// +k8s:deepcopy-gen=package
// +groupName=kubescheduler.config.k8s.io

// Package config holds the arguments of the Hyperconverge plugin in the form
// that the scheduler works with: every value is set, because the versioned form
// (package v1) has been defaulted and converted into it.
package config
