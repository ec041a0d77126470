package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
)

// storageCluster is as much of the operator's resource as matters here.
type storageCluster struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		StartPort           *int   `json:"startPort"`
		CustomImageRegistry string `json:"customImageRegistry"`
		ImagePullSecret     string `json:"imagePullSecret"`
		Placement           struct {
			NodeAffinity *v1.NodeAffinity `json:"nodeAffinity"`
			Tolerations  []v1.Toleration  `json:"tolerations"`
		} `json:"placement"`
		Security struct {
			Enabled bool `json:"enabled"`
			Auth    struct {
				Enabled    *bool `json:"enabled"`
				SelfSigned struct {
					Issuer       string `json:"issuer"`
					SharedSecret string `json:"sharedSecret"`
				} `json:"selfSigned"`
			} `json:"auth"`
			TLS struct {
				Enabled *bool `json:"enabled"`
				RootCA  struct {
					FileName  string `json:"filename"`
					SecretRef struct {
						SecretName string `json:"secretName"`
						SecretKey  string `json:"secretKey"`
					} `json:"secretRef"`
				} `json:"rootCA"`
			} `json:"tls"`
		} `json:"security"`
		Stork struct {
			Enabled   *bool             `json:"enabled"`
			Image     string            `json:"image"`
			Args      map[string]string `json:"args"`
			Scheduler struct {
				QPS       *int64 `json:"kubeSchedulerClientQPS"`
				Burst     *int64 `json:"kubeSchedulerClientBurst"`
				Weight    *int64 `json:"kubeSchedulerExtenderWeight"`
				NodeCache *bool  `json:"kubeSchedulerNodeCacheEnabled"`
			} `json:"scheduler"`
		} `json:"stork"`
	} `json:"spec"`
	Status struct {
		DesiredImages struct {
			Stork string `json:"stork"`
		} `json:"desiredImages"`
	} `json:"status"`
}

// passed are fields of spec.stork that are not carried over, and why.
var passed = map[string]string{
	"env":         "what is in it is Stork's own, and may be secret",
	"volumes":     "they are Stork's own",
	"resources":   "the manifests have requests and limits that fit this scheduler; docs/operate.md has more",
	"hostNetwork": "where API servers do not reach pods, docs/webhook.md has the ways out",
}

// fromCluster reads an installation by the operator.
func (s *settings) fromCluster(object *unstructured.Unstructured) error {
	s.origin, s.cluster = name("StorageCluster", object), object.GetName()
	s.namespace, s.home = object.GetNamespace(), object.GetNamespace()
	content, err := object.MarshalJSON()
	if err != nil {
		return fmt.Errorf("%s: %w", s.origin, err)
	}
	var c storageCluster
	if err := json.Unmarshal(content, &c); err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) {
			err = fmt.Errorf("%s: a %s does not belong there (arguments of Stork stand in quotes)", mismatch.Field, mismatch.Value)
		}
		return fmt.Errorf("%s: %w", s.origin, err)
	}
	spec := &c.Spec
	s.readVersion(c.Status.DesiredImages.Stork)
	s.readVersion(spec.Stork.Image)
	if err := s.readPlatform(&c); err != nil {
		return fmt.Errorf("%s: %w", s.origin, err)
	}
	scheduler := &spec.Stork.Scheduler
	args := &arguments{values: map[string]string{}, name: func(key string) string { return "spec.stork.args." + key }}
	for key, value := range spec.Stork.Args { // the operator takes them with dashes, too
		args.values[strings.TrimLeft(key, "-")] = value
	}
	if err := s.readArguments(args, true, scheduler.Weight, "kubeSchedulerExtenderWeight"); err != nil {
		return fmt.Errorf("%s: %w", s.origin, err)
	}
	if err := s.readClient(scheduler.QPS, scheduler.Burst, "spec.stork.scheduler.kubeSchedulerClientQPS", "spec.stork.scheduler.kubeSchedulerClientBurst"); err != nil {
		return fmt.Errorf("%s: %w", s.origin, err)
	}
	if scheduler.NodeCache != nil {
		s.lose("spec.stork.scheduler.kubeSchedulerNodeCacheEnabled: not needed, nothing is asked over HTTP")
	}
	if s.off = spec.Stork.Enabled != nil && !*spec.Stork.Enabled; s.off {
		s.lose("spec.stork.enabled is false: Stork does not run, and --take-over is only for pods that still name it")
	}
	if spec.ImagePullSecret != "" {
		s.lose("spec.imagePullSecret: copy it to " + systemNamespace + " and name it in " + s.either("imagePullSecrets", "image.pullSecrets") + ", if our images are in that registry, too")
	}
	s.readPassed(object)
	s.readSecurity(&c)
	return nil
}

// readPlatform reads where the cluster runs, and where its storage listens.
func (s *settings) readPlatform(c *storageCluster) error {
	start := startPort
	is := func(platform string) bool {
		yes, err := strconv.ParseBool(c.Metadata.Annotations["portworx.io/is-"+platform])
		return err == nil && yes
	}
	switch {
	case is("aks"):
		s.platform = "aks"
	case is("openshift"):
		s.platform, start = "openshift", openShiftPort
	}
	if s.platform != "" {
		s.carry("portworx.io/is-%s -> %s", s.platform, s.part(s.platform, s.platform+".enabled"))
	}
	for _, other := range []string{"eks", "gke", "iks", "pks"} {
		if is(other) {
			s.lose("portworx.io/is-" + other + ": no component is for that platform; docs/install.md has what is to be known")
		}
	}
	if given := c.Spec.StartPort; given != nil {
		if start = *given; start < 1 || start > 1<<16-1-sdkOffset {
			return fmt.Errorf("spec.startPort is %d: want a port", start)
		}
	}
	s.readPort(start)
	s.carry("namespace %s -> endpoint %s", s.namespace, s.endpoint())
	s.tolerations, s.affinity = c.Spec.Placement.Tolerations, c.Spec.Placement.NodeAffinity
	s.readPlacement("spec.placement")
	if s.registry = c.Spec.CustomImageRegistry; s.registry != "" {
		s.carry("spec.customImageRegistry -> the registry of our images, unless --registry names another")
	}
	return nil
}

// readPassed names the fields that are there and not carried over.
func (s *settings) readPassed(object *unstructured.Unstructured) {
	handled := []string{"enabled", "image", "lockImage", "args", "restrictDataProtectionRBAC", "scheduler",
		"scheduler.kubeSchedulerClientQPS", "scheduler.kubeSchedulerClientBurst", "scheduler.kubeSchedulerExtenderWeight", "scheduler.kubeSchedulerNodeCacheEnabled"}
	for _, parent := range []string{"", "scheduler."} {
		path := append([]string{"spec", "stork"}, strings.Split(strings.TrimSuffix(parent, "."), ".")...)
		fields, _, err := unstructured.NestedMap(object.Object, slices.DeleteFunc(path, func(p string) bool { return p == "" })...)
		if err != nil {
			continue // decoding has told it
		}
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			if key = parent + key; slices.Contains(handled, key) {
				continue
			}
			why, known := passed[key]
			if key == "scheduler.verboseLogLevel" {
				why = "the log level is " + s.either("--v in the Deployment", "scheduler.logLevel")
			} else if !known {
				why = "it is not known here; look it up in the operator's release notes"
			}
			s.lose("spec.stork." + clean(key) + ": " + why)
		}
	}
}

// readSecurity reads token and TLS as the operator does: TLS is off unless it is on.
func (s *settings) readSecurity(c *storageCluster) {
	security := &c.Spec.Security
	s.auth = security.Enabled && (security.Auth.Enabled == nil || *security.Auth.Enabled)
	s.tls = security.Enabled && security.TLS.Enabled != nil && *security.TLS.Enabled
	self := security.Auth.SelfSigned
	issuer, secret := self.Issuer, self.SharedSecret
	if issuer == "" {
		issuer = "operator.portworx.io"
	}
	if secret == "" {
		secret = "px-shared-secret"
	}
	s.tokenSource = fmt.Sprintf("the issuer is %s, and the shared secret is in the Secret %s/%s", clean(issuer), s.namespace, clean(secret))
	ca := security.TLS.RootCA
	switch ref := ca.SecretRef; {
	case len(validation.IsDNS1123Subdomain(ref.SecretName)) == 0 && len(validation.IsConfigMapKey(ref.SecretKey)) == 0:
		s.caSource = fmt.Sprintf(`kubectl -n %s get secret %s -o go-template='{{index .data "%s" | base64decode}}' >ca.crt`, s.namespace, ref.SecretName, ref.SecretKey)
	case ca.FileName != "":
		s.caSource = "# ca.crt is the file " + clean(ca.FileName) + " of a storage node."
	default:
		s.caSource = "# ca.crt is the certificate of the authority that signed that of the storage API (spec.security.tls.rootCA says none)."
	}
	s.tellSecurity("spec.security")
}
