package volumes

import (
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// LabelKeys are the node labels that say where a node stands, per level and
// in the order in which they are looked up: the first label that is there and
// not empty counts.
type LabelKeys struct {
	Region, Zone, Rack []string
}

// place is where a node says it stands; empty where it does not say.
type place struct {
	region, zone, rack string
}

func (k *LabelKeys) of(labels map[string]string) place {
	first := func(keys []string) string {
		for _, key := range keys {
			if value := labels[key]; value != "" {
				return value
			}
		}
		return ""
	}
	return place{region: first(k.Region), zone: first(k.Zone), rack: first(k.Rack)}
}

// domainKey names a domain by its level, by the domains of the levels above it,
// which may be absent, and by its own label value (S3).
type domainKey struct {
	level        uint8
	region, zone placement.Domain
	value        string
}

const (
	levelRegion uint8 = iota
	levelZone
	levelRack
)

// domains numbers the topology domains. A domain that is still in use keeps its
// number from one view to the next, so that nodes of two views can be compared;
// one that is not is forgotten.
type domains struct {
	last    placement.Domain
	numbers map[domainKey]placement.Domain
	next    map[domainKey]placement.Domain // being built
}

func (d *domains) begin() { d.next = make(map[domainKey]placement.Domain, len(d.numbers)) }

func (d *domains) commit() { d.numbers, d.next = d.next, nil }

func (d *domains) topology(p place) placement.Topology {
	var t placement.Topology
	t.Region = d.number(domainKey{level: levelRegion, value: p.region})
	t.Zone = d.number(domainKey{level: levelZone, region: t.Region, value: p.zone})
	t.Rack = d.number(domainKey{level: levelRack, region: t.Region, zone: t.Zone, value: p.rack})
	return t
}

func (d *domains) number(key domainKey) placement.Domain {
	if key.value == "" {
		return 0
	}
	if n, found := d.next[key]; found {
		return n
	}
	n, found := d.numbers[key]
	if !found {
		d.last++
		n = d.last
	}
	d.next[key] = n
	return n
}
