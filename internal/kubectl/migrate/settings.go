package migrate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/version"
)

const (
	ownName         = "hyperconverge-scheduler"
	systemNamespace = "hyperconverge-system"

	// The start ports of Portworx, and where its SDK listens. The Service says servicePort
	// whatever that is.
	startPort, openShiftPort = 9001, 17001
	servicePort, sdkOffset   = 9020, 16

	// maxRequests is what the operator takes for requests per second.
	maxRequests = 10_000
)

// settings are what Stork was told, whichever way it was installed.
type settings struct {
	// origin is what the settings come from; cluster is the name of the StorageCluster,
	// empty without an operator.
	origin, cluster string
	// namespace is that of storage, home that of Stork, service the name of the SDK's Service.
	namespace, home, service string
	// helm tells that the chart is configured.
	helm bool
	// off tells that Stork does not run.
	off        bool
	sdkPort    int
	version    *version.Version // of Stork; nil if it is not known
	scores     scores
	qps, burst int64 // 0 if nothing is said
	// profile is the name that Stork's scheduler serves.
	profile string
	// webhook gives pods that name; retain leaves pods of other schedulers alone; fsGroup
	// sets fsGroupChangePolicy.
	webhook, retain, fsGroup bool
	auth, tls                bool
	// tokenSource and caSource say where token and authority come from.
	tokenSource, caSource string
	tolerations           []v1.Toleration
	affinity              *v1.NodeAffinity
	// platform is a component of the manifests, or empty.
	platform string
	registry string
	// carried and lost are sentences for people.
	carried, lost []string
}

func (s *settings) carry(format string, args ...any) {
	s.carried = append(s.carried, fmt.Sprintf(format, args...))
}

// part is what chooses a component.
func (s *settings) part(component, value string) string {
	return s.either("the component "+component, value)
}

// either is what people look for in the format that is written.
func (s *settings) either(kustomize, helm string) string {
	if s.helm {
		return helm
	}
	return kustomize
}

func (s *settings) lose(text string) { s.lost = append(s.lost, text) }

// endpoint is the Service of the SDK.
func (s *settings) endpoint() string {
	return fmt.Sprintf("%s.%s.svc:%d", s.service, s.namespace, servicePort)
}

// arguments are flags of Stork, by their names without dashes.
type arguments struct {
	values map[string]string
	// name is what people call one.
	name func(key string) string
}

func (a *arguments) keys() []string { return slices.Sorted(maps.Keys(a.values)) }

func (a *arguments) boolean(key string, otherwise bool) (bool, error) {
	value, found := a.values[key]
	if !found || value == "" {
		return otherwise, nil
	}
	parsed, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("%s is %q: want true or false", a.name(key), value)
	}
	return parsed, nil
}

func (a *arguments) number(key string, least, most int) (int, error) {
	value, err := strconv.Atoi(a.values[key])
	if err != nil || value < least || value > most {
		return 0, fmt.Errorf("%s is %q: want a whole number from %d to %d", a.name(key), a.values[key], least, most)
	}
	return value, nil
}

// readArguments reads what Stork's own flags say.
func (s *settings) readArguments(args *arguments, webhookByDefault bool, weight *int64, weightName string) (err error) {
	if err := s.readScores(args, weight, weightName); err != nil {
		return err
	}
	if s.webhook, err = args.boolean("webhook-controller", webhookByDefault); err != nil {
		return err
	}
	if s.retain, err = args.boolean("retain-external-schedulers", false); err != nil {
		return err
	}
	if s.fsGroup, err = args.boolean("enable-fsgroup-optimization", false); err != nil {
		return err
	}
	extender, err := args.boolean("extender", true)
	if err != nil {
		return err
	}
	monitor, err := args.boolean("health-monitor", true)
	if err != nil {
		return err
	}
	if s.webhook {
		s.carry("%s -> the webhook, in the step --take-over", args.name("webhook-controller"))
	} else {
		s.carry("%s is off -> no webhook: pods name their scheduler themselves. If it was turned off for the sake of ours, keep the files that were written before", args.name("webhook-controller"))
	}
	if s.retain {
		s.carry("%s -> the webhook replaces no scheduler but the default one", args.name("retain-external-schedulers"))
	}
	switch {
	case s.fsGroup && s.webhook:
		s.carry("%s -> the webhook's flag of that name, in the step --take-over", args.name("enable-fsgroup-optimization"))
	case s.fsGroup:
		s.fsGroup = false
		s.lose(args.name("enable-fsgroup-optimization") + ": there is no webhook that could do it")
	}
	if !extender {
		s.lose(args.name("extender") + " is false: Stork does not bring pods to their data today; this scheduler will")
	}
	if monitor {
		s.lose("The health monitor, which deletes pods on nodes whose storage has failed: it is Stork's, and goes on as long as Stork's Deployment does")
	}
	known := append([]string{"normalize-stork-scores", "webhook-controller", "retain-external-schedulers", "enable-fsgroup-optimization", "extender", "health-monitor"}, scoreArgs...)
	if others := slices.DeleteFunc(args.keys(), func(key string) bool { return slices.Contains(known, key) }); len(others) > 0 {
		s.lose("Arguments that say nothing about where pods go, or that are not known here: " + clean(strings.Join(others, ", ")))
	}
	return nil
}

// readVersion reads the release from an image, as far as its tag is one.
func (s *settings) readVersion(image string) {
	if i := strings.LastIndexByte(image, ':'); i >= 0 {
		if found, err := version.ParseGeneric(image[i+1:]); err == nil {
			s.version = found
		}
	}
}

func (s *settings) readPlacement(where string) {
	if len(s.tolerations) > 0 {
		s.carry("%s.tolerations -> tolerations of both Deployments", where)
	}
	if s.affinity == nil {
		return
	}
	if s.platform == "aks" {
		s.affinity = nil
		s.lose(where + ".nodeAffinity: " + s.part("aks", "aks.enabled") + " keeps the pods off spot nodes, and prefers the system node pool")
		return
	}
	s.carry("%s.nodeAffinity -> nodeAffinity of both Deployments", where)
}

// readPort tells the port of the SDK's pods from the start port.
func (s *settings) readPort(start int) {
	s.sdkPort = servicePort
	if start != startPort {
		s.sdkPort = start + sdkOffset
		s.carry("start port %d -> port %d in the network policy", start, s.sdkPort)
	}
}

// readClient reads the limits of requests, by what they are called.
func (s *settings) readClient(qps, burst *int64, qpsName, burstName string) error {
	for _, limit := range []struct {
		name, field string
		given, into *int64
	}{{qpsName, "qps", qps, &s.qps}, {burstName, "burst", burst, &s.burst}} {
		if limit.given == nil {
			continue
		}
		if *limit.given < 1 || *limit.given > maxRequests {
			return fmt.Errorf("%s is %d: want a number from 1 to %d", limit.name, *limit.given, maxRequests)
		}
		*limit.into = *limit.given
		s.carry("%s %d -> clientConnection.%s", limit.name, *limit.given, limit.field)
	}
	return nil
}

func (s *settings) tellSecurity(where string) {
	if s.auth {
		how := ""
		if !s.tls {
			how = "; the token goes unencrypted, as Stork's does (allowPlaintextToken)"
		}
		s.carry("%s -> %s and tokenFile%s", where, s.part("storage-token", "storage.token"), how)
		s.lose("Stork's own token: this scheduler gets one that may read, and nothing else")
	}
	if s.tls {
		s.carry("%s -> %s and tls", where, s.part("storage-tls", "storage.tls"))
	}
}

func name(kind string, object metav1.Object) string {
	return kind + " " + clean(object.GetNamespace()+"/"+object.GetName())
}

// clean makes one line of a text that may hold anything.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

var errNamespace = errors.New("its namespace is not the name of a namespace: put metadata.namespace into the file")

// read finds the settings in what there is.
func read(source *Source, helm bool) (*settings, error) {
	s := &settings{profile: "stork", service: "portworx-api", helm: helm}
	if source.Cluster != nil {
		if err := s.fromCluster(source.Cluster); err != nil {
			return nil, err
		}
	} else if err := s.fromDeployments(source); err != nil {
		return nil, err
	}
	if len(validation.IsDNS1123Label(s.namespace)) > 0 || s.cluster != "" && len(validation.IsDNS1123Subdomain(s.cluster)) > 0 {
		return nil, fmt.Errorf("%s: %w", s.origin, errNamespace)
	}
	if source.Cluster != nil && (source.Stork != nil || source.Scheduler != nil) {
		s.lose("The Deployments stork and stork-scheduler: the operator makes them from the StorageCluster, which was read")
	}
	return s, nil
}
