package rebalance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// What a configuration file says it is.
const (
	APIVersion = "hyperconverge.dev/v1"
	Kind       = "RebalancerConfiguration"
)

// OptIn says which pods go home that say nothing about it themselves.
type OptIn string

const (
	// OptInAnnotated takes those pods only that have the annotation, or whose namespace
	// has the label, ReturnHome.
	OptInAnnotated OptIn = "annotated"
	// OptInAll takes all pods but those that say no.
	OptInAll OptIn = "all"
)

// Configuration is what administrators write. Decode fills in the defaults; a field that
// does not exist is an error.
type Configuration struct {
	metav1.TypeMeta `json:",inline"`

	// DryRun decides and reports, and evicts nothing. Default: true.
	DryRun bool `json:"dryRun"`
	// Interval is the time between two looks at the cluster, 1s to 5m, because the alert
	// HyperconvergeRebalancerStands fires ten minutes after the last one. Default: 30s.
	Interval metav1.Duration `json:"interval"`
	// OptIn is annotated or all. Default: annotated.
	OptIn OptIn `json:"optIn"`
	// MinAge is how long a pod has to have been ready before it may be evicted; 0 or more.
	// Default: 30m.
	MinAge metav1.Duration `json:"minAge"`
	// AllowLocalData takes pods that lose data of their own on the way: emptyDir, local
	// and hostPath volumes, and generic ephemeral ones. Default: false.
	AllowLocalData bool `json:"allowLocalData"`
	// OwnerKinds are further kinds of controllers, as Kind.group, that make a pod anew when
	// it is evicted, beside ReplicaSet, ReplicationController and StatefulSet. Whether
	// such an owner is still there is not looked up. Default: none.
	OwnerKinds []string `json:"ownerKinds,omitempty"`
	// ReadyTimeout is how long after the grace period of the evicted pod its successor may
	// take to be ready; more than 0. When it is over, nobody goes home any more. Default: 10m.
	ReadyTimeout metav1.Duration `json:"readyTimeout"`
	// Cooldown is how long an owner is left alone after a pod of it has not come home,
	// doubled with each further time, up to seven days; at least 1m. Default: 1h.
	Cooldown metav1.Duration `json:"cooldown"`
	Budgets  Budgets         `json:"budgets"`
	// Window is when pods may be evicted. Default: always.
	Window *Window `json:"window,omitempty"`
	Rescue Rescue  `json:"rescue"`
}

// Budgets bound the evictions.
type Budgets struct {
	// MaxPerHour is how many pods may be evicted within any hour, 1 to 1000. Default: 10.
	MaxPerHour int `json:"maxPerHour"`
	// MaxConcurrent is how many pods may be on their way at once, 1 to 100. Default: 1.
	MaxConcurrent int `json:"maxConcurrent"`
}

// Window is a maintenance window that recurs.
type Window struct {
	// Start is a cron expression of five fields, or a descriptor such as @daily.
	Start string `json:"start"`
	// Duration is how long the window is open after each start; 1m to 168h.
	Duration metav1.Duration `json:"duration"`
	// TimeZone is a name of the IANA time zone database. Default: UTC.
	TimeZone string `json:"timeZone,omitempty"`

	schedule cron.Schedule
}

// Rescue says what is done about pods on nodes whose storage is gone.
type Rescue struct {
	// Enabled turns it on. Default: false, Stork's health monitor does it where Stork runs.
	Enabled bool `json:"enabled"`
	// After is how long storage has to have been gone; at least 30s. Default: 2m.
	After metav1.Duration `json:"after"`
	// Batch is how many pods are evicted at each look, 1 to 1000. Default: 10.
	Batch int `json:"batch"`
	// ForceDelete also deletes, without a grace period, pods on nodes that Kubernetes cannot
	// reach and that the storage system has lost, and detaches the driver's volumes from
	// them. Default: false.
	ForceDelete bool `json:"forceDelete"`
}

// Default is the configuration of an empty file.
func Default() *Configuration {
	minutes := func(n int) metav1.Duration { return metav1.Duration{Duration: time.Duration(n) * time.Minute} }
	return &Configuration{
		TypeMeta:     metav1.TypeMeta{APIVersion: APIVersion, Kind: Kind},
		DryRun:       true,
		Interval:     metav1.Duration{Duration: 30 * time.Second},
		OptIn:        OptInAnnotated,
		MinAge:       minutes(30),
		ReadyTimeout: minutes(10),
		Cooldown:     minutes(60),
		Budgets:      Budgets{MaxPerHour: 10, MaxConcurrent: 1},
		Rescue:       Rescue{After: minutes(2), Batch: 10},
	}
}

// Decode reads a configuration file in YAML or JSON. All that is wrong with its values is
// told at once, by the fields' paths.
func Decode(data []byte) (*Configuration, error) {
	c := Default()
	c.TypeMeta = metav1.TypeMeta{}
	document, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, err
	}
	if err := single(data); err != nil {
		return nil, err
	}
	// encoding/json would take dryrun for dryRun.
	strict, err := json.UnmarshalStrict(document, c)
	if err := errors.Join(append(strict, err)...); err != nil {
		return nil, err
	}
	if err := c.validate().ToAggregate(); err != nil {
		return nil, err
	}
	return c, nil
}

// single complains of a further document, which nobody would read.
func single(data []byte) error {
	reader, documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data))), 0
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if text, err := yaml.YAMLToJSON(document); err != nil || string(text) != "null" { // comments are none
			documents++
		}
		if documents > 1 {
			return errors.New("there is a second document")
		}
	}
}

func (c *Configuration) validate() (errs field.ErrorList) {
	check := func(ok bool, value any, detail string, path string, more ...string) {
		if !ok {
			errs = append(errs, field.Invalid(field.NewPath(path, more...), value, detail))
		}
	}
	within := func(d metav1.Duration, least, most time.Duration) bool {
		return d.Duration >= least && d.Duration <= most
	}
	const day = 24 * time.Hour
	check(c.APIVersion == APIVersion, c.APIVersion, "must be "+APIVersion, "apiVersion")
	check(c.Kind == Kind, c.Kind, "must be "+Kind, "kind")
	check(within(c.Interval, time.Second, 5*time.Minute), c.Interval.Duration.String(), "must be from 1s to 5m", "interval")
	check(c.OptIn == OptInAll || c.OptIn == OptInAnnotated, c.OptIn, "must be all or annotated", "optIn")
	check(within(c.MinAge, 0, 365*day), c.MinAge.Duration.String(), "must be from 0s to 8760h", "minAge")
	check(within(c.ReadyTimeout, time.Second, day), c.ReadyTimeout.Duration.String(), "must be from 1s to 24h", "readyTimeout")
	check(within(c.Cooldown, time.Minute, MaxCooldown), c.Cooldown.Duration.String(), "must be from 1m to 168h", "cooldown")
	const none = "; to evict nothing, set dryRun or annotate the Deployment with " + PauseAnnotation
	check(c.Budgets.MaxPerHour >= 1 && c.Budgets.MaxPerHour <= 1000, c.Budgets.MaxPerHour, "must be from 1 to 1000"+none, "budgets", "maxPerHour")
	check(c.Budgets.MaxConcurrent >= 1 && c.Budgets.MaxConcurrent <= 100, c.Budgets.MaxConcurrent, "must be from 1 to 100"+none, "budgets", "maxConcurrent")
	check(within(c.Rescue.After, 30*time.Second, day), c.Rescue.After.Duration.String(), "must be from 30s to 24h", "rescue", "after")
	check(c.Rescue.Batch >= 1 && c.Rescue.Batch <= 1000, c.Rescue.Batch, "must be from 1 to 1000", "rescue", "batch")
	check(c.Rescue.Enabled || !c.Rescue.ForceDelete, true, "needs rescue.enabled", "rescue", "forceDelete")
	for i, kind := range c.OwnerKinds {
		name, group, _ := strings.Cut(kind, ".")
		path := field.NewPath("ownerKinds").Index(i)
		switch {
		// Groups without a dot are those of Kubernetes, of which all kinds are known here.
		case name == "" || !strings.Contains(group, ".") || len(validation.IsDNS1123Subdomain(group)) > 0:
			errs = append(errs, field.Invalid(path, kind, "must be Kind.group of an operator, such as Cluster.postgresql.cnpg.io"))
		case name == "DaemonSet" || name == "Job":
			errs = append(errs, field.Invalid(path, kind, "is of a kind that does not make a pod anew elsewhere"))
		}
	}
	if c.Window != nil {
		errs = append(errs, c.Window.validate(field.NewPath("window"))...)
	}
	return errs
}

// neverOpens is a time from which any schedule that ever starts has a start: cron looks
// five years ahead.
var neverOpens = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

func (w *Window) validate(path *field.Path) (errs field.ErrorList) {
	if w.Duration.Duration < time.Minute || w.Duration.Duration > 7*24*time.Hour {
		errs = append(errs, field.Invalid(path.Child("duration"), w.Duration.Duration.String(), "must be from 1m to 168h"))
	}
	zone, err := time.LoadLocation(w.TimeZone)
	if err != nil || w.TimeZone == "Local" {
		errs = append(errs, field.Invalid(path.Child("timeZone"), w.TimeZone, "is no time zone of the IANA database, such as Europe/Berlin"))
		zone = time.UTC
	}
	if strings.Contains(w.Start, "TZ=") {
		return append(errs, field.Invalid(path.Child("start"), w.Start, "has a time zone: write that into timeZone"))
	}
	if w.schedule, err = cron.ParseStandard(w.Start); err != nil {
		return append(errs, field.Invalid(path.Child("start"), w.Start, fmt.Sprintf("is no cron expression: %v", err)))
	}
	if spec, is := w.schedule.(*cron.SpecSchedule); is {
		spec.Location = zone
	} else {
		return append(errs, field.Invalid(path.Child("start"), w.Start, "must name times of the day: @every counts from the start of the process"))
	}
	if w.schedule.Next(neverOpens).IsZero() {
		errs = append(errs, field.Invalid(path.Child("start"), w.Start, "never comes: the window would never open"))
	}
	return errs
}

// Open reports whether the window is open. No window is always open.
func (w *Window) Open(now time.Time) bool {
	if w == nil {
		return true
	}
	start := w.schedule.Next(now.Add(-w.Duration.Duration))
	return !start.IsZero() && !start.After(now)
}
