// Package webhook is the mutating admission webhook for pods: it gives pods that
// use volumes of the storage driver to our scheduler, so that nobody has to
// remember spec.schedulerName, and lets them onto nodes that the storage
// operator has tainted.
//
// It is a convenience, never a condition. Whatever happens in here, the answer to a
// request is "allowed", or there is none: a pod that cannot be judged is created as it
// is, with a warning that says why.
//
// Anybody may send reviews, and of as many and as large pods as they like. So their
// bytes have a budget (intake), and of a pod only what is judged is kept (decodePod).
//
// Rules decides, from values alone. Claims of pods are found by package claims
// in informer caches; what is not there is read from the API server once.
// Certificates come from package certificates or from mounted files.
package webhook
