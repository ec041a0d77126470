// Package openstorage feeds the volume index from a storage cluster that serves
// the OpenStorage SDK.
//
// The SDK's watch is a hint: messages are lost, doubled and reordered, and say
// nothing about nodes. So a message that differs from what the index holds only
// makes the volume dirty, and an Inspect finds the truth; every volume is
// inspected once per resync interval anyway; and the nodes are polled. What is
// not reachable, refused or empty never takes anything out of the index.
package openstorage

import (
	"errors"
	"time"
)

// Config says how the storage API is reached and how often it is asked.
type Config struct {
	// Endpoint is host:port, dns:///host:port or unix:///path.
	Endpoint string
	// TokenFile holds the bearer token; empty for none. It is read again when it
	// changes.
	TokenFile string
	TLS       TLSOptions
	// NodePollInterval is the time between two node lists; 10 s if zero.
	NodePollInterval time.Duration
	// ResyncInterval is the time in which every volume is inspected once, evenly
	// spread; 15 min if zero.
	ResyncInterval time.Duration
	// RequestTimeout is for each call but the watch; 10 s if zero.
	RequestTimeout time.Duration
	// WatchBackoff is the least time between two attempts to open the watch; 30 s
	// if zero. Servers have been seen to crash when watches come and go quickly.
	WatchBackoff time.Duration
	// AllowPlaintextToken has the token sent over a connection without TLS.
	AllowPlaintextToken bool
}

// TLSOptions is how the storage system proves who it is.
type TLSOptions struct {
	Enabled bool
	// CAFile holds certificates that are trusted besides the system's own.
	CAFile string
	// ServerName is expected in the certificate instead of the endpoint's host.
	ServerName string
}

const (
	defaultNodePollInterval = 10 * time.Second
	defaultResyncInterval   = 15 * time.Minute
	defaultRequestTimeout   = 10 * time.Second
	defaultWatchBackoff     = 30 * time.Second
)

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.NodePollInterval, defaultNodePollInterval},
		{&c.ResyncInterval, defaultResyncInterval},
		{&c.RequestTimeout, defaultRequestTimeout},
		{&c.WatchBackoff, defaultWatchBackoff},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return c
}

func (c *Config) validate() error {
	if c.TokenFile != "" && !c.TLS.Enabled && !c.AllowPlaintextToken {
		return errors.New("the token would go over the network in plain text: enable TLS, or set allowPlaintextToken if the network is trusted")
	}
	return nil
}
