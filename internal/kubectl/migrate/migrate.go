// Package migrate turns what Stork was told into what this scheduler is told. Its
// functions read and write nothing: what was read goes in, what is to be written comes
// out.
package migrate

import (
	"fmt"
	"strings"
)

// Formats that files can have.
const (
	Kustomize = "kustomize"
	Helm      = "helm"
)

// Options are what the administrator chooses.
type Options struct {
	Format string
	// TakeOver serves the name that Stork's scheduler has served, and lets the webhook
	// give it. Without it the scheduler stands beside Stork.
	TakeOver bool
	// Manifests are the project's manifests as seen from the folder, or their git URL.
	Manifests string
	// Registry and Tag are those of the images. Without Registry, that of the storage
	// cluster is taken if it has one of its own.
	Registry, Tag string
	// Folder is what commands call the place of the files.
	Folder string
}

// Result is what is to be written and said.
type Result struct {
	Files []File
	// Lost is what could not be carried over, and why.
	Lost []string
	// Next are the commands to run, and comments that begin with "# ".
	Next []string
}

// File is one of a folder.
type File struct{ Name, Content string }

// Plan decides what becomes of Stork's settings.
func Plan(source *Source, o Options) (*Result, error) {
	s, err := read(source, o.Format == Helm)
	if err != nil {
		return nil, err
	}
	if o.Registry == "" {
		o.Registry = s.registry
	}
	if o.Registry == "" {
		o.Registry = "REGISTRY"
	}
	o.Registry = strings.TrimSuffix(o.Registry, "/")
	var files []File
	if s.helm {
		files = s.values(o)
	} else {
		files = s.folder(o)
	}
	return &Result{Files: files, Lost: s.lost, Next: s.next(o)}, nil
}

// profiles are the names that are served.
func (s *settings) profiles(o Options) []string {
	if o.TakeOver {
		return []string{ownName, s.profile}
	}
	return []string{ownName}
}

// hasWebhook reports whether ours is part of this step.
func (s *settings) hasWebhook(o Options) bool { return o.TakeOver && s.webhook }

// header are the comments at the top.
func (s *settings) header(o Options) string {
	var b strings.Builder
	step := "beside Stork"
	if o.TakeOver {
		step = "in the place of Stork's scheduler"
	}
	say(&b, "", "The scheduler "+step+", from "+s.origin+". Written by kubectl hyperconverge migrate; the steps are in docs/migrate-from-stork.md.")
	for _, list := range []struct {
		title string
		lines []string
	}{{"Carried over:", s.carried}, {"Not carried over:", s.lost}} {
		if len(list.lines) > 0 {
			b.WriteString("#\n")
			say(&b, "", list.title)
			for _, line := range list.lines {
				say(&b, "- ", line)
			}
		}
	}
	return b.String()
}

// say writes a comment of lines that are not too long.
func say(b *strings.Builder, bullet, text string) {
	const width = 88
	line, indentation := "# "+bullet, "# "+strings.Repeat(" ", len(bullet))
	empty := len(line)
	for _, word := range strings.Fields(clean(text)) {
		if len(line) > empty && len(line)+1+len(word) > width {
			b.WriteString(line + "\n")
			line, empty = indentation, len(indentation)
		}
		if len(line) > empty {
			line += " "
		}
		line += word
	}
	b.WriteString(line + "\n")
}

// next are the commands for this step, and how the one after it begins.
func (s *settings) next(o Options) []string {
	var commands []string
	add := func(format string, args ...any) { commands = append(commands, fmt.Sprintf(format, args...)) }
	if !o.TakeOver {
		add("kubectl create namespace %s", systemNamespace)
		commands = append(commands, s.secrets()...)
	}
	if !s.helm {
		add("kubectl diff -k %s", o.Folder)
	}
	if o.TakeOver && !s.off {
		add("kubectl -n %s scale deploy stork-scheduler --replicas=0", s.home)
	}
	if s.helm {
		add("helm upgrade --install hyperconverge charts/hyperconverge -n %s -f %s/values.yaml", systemNamespace, o.Folder)
	} else {
		add("kubectl apply --server-side -k %s", o.Folder)
	}
	add("kubectl -n %s rollout status deploy/hyperconverge-scheduler", systemNamespace)
	add("kubectl hyperconverge doctor")
	switch {
	case !o.TakeOver:
		add("# When a first workload has moved: the same command again, with --take-over.")
	case s.off: // there is no webhook to turn off
	case s.cluster != "" && s.webhook:
		add(`kubectl -n %s patch storagecluster %s --type=merge -p '{"spec":{"stork":{"args":{"webhook-controller":"false"}}}}'`, s.home, s.cluster)
	case s.webhook:
		add("# Set --webhook-controller=false in the Deployment %s/stork.", s.home)
	}
	return commands
}

// secrets are the commands that make what is mounted for token and TLS.
func (s *settings) secrets() []string {
	const create = "kubectl -n " + systemNamespace + " create "
	var sources, commands []string
	if s.auth {
		sources = append(sources, fmt.Sprintf("# The file token is made as docs/install.md says; %s.", s.tokenSource))
		commands = append(commands, create+"secret generic hyperconverge-storage-token --from-file=auth-token=token")
	}
	if s.tls {
		sources = append(sources, s.caSource)
		commands = append(commands, create+"configmap hyperconverge-storage-ca --from-file=ca.crt")
	}
	return append(sources, commands...)
}
