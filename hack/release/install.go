package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hyperconverge/scheduler/hack/kustomize"
)

// install writes what the base, every overlay, and what stands in place of the webhook's
// own certificates come to.
func (r release) install() error {
	choices := map[string]string{
		"install":              "resources: [PATH/base]\n",
		"install-cert-manager": "resources: [PATH/base]\ncomponents: [PATH/webhook/cert-manager]\n",
		"install-policy":       "resources: [PATH/overlays/no-webhook, PATH/webhook/policy]\n",
		"install-policy-v1":    "resources: [PATH/overlays/no-webhook, PATH/webhook/policy-v1]\n",
	}
	manifests := filepath.Join(r.source, "manifests")
	overlays, err := os.ReadDir(filepath.Join(manifests, "overlays"))
	if err != nil {
		return err
	}
	for _, overlay := range overlays {
		choices["install-"+overlay.Name()] = "resources: [PATH/overlays/" + overlay.Name() + "]\n"
	}
	images := "images:\n"
	for _, name := range []string{"hyperconverge-scheduler", "hyperconverge-webhook", "hyperconverge-rebalancer"} {
		image := name
		if r.registry != "" {
			image = r.registry + "/" + name
		}
		images += fmt.Sprintf("- {name: %s, newName: %q, newTag: %q}\n", name, image, r.version)
	}
	for name, kustomization := range choices {
		resources, err := kustomize.Build(manifests, kustomization+images)
		if err != nil {
			return err
		}
		text, err := resources.AsYaml()
		if err != nil {
			return err
		}
		if text, err = r.onlyArch(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := r.write(name+".yaml", text); err != nil {
			return err
		}
	}
	return nil
}
