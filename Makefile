# Everything is built without cgo: the binaries are static, one build cache serves
# all targets, and no C compiler is needed. Only the race detector wants one.
export CGO_ENABLED := 0

KUBERNETES_VERSION := v1.35.4
VERSION := $(shell hack/version.sh)
ifeq ($(VERSION),)
$(error There is no version: see the line above)
endif
VERSION_PKG := k8s.io/component-base/version
# A semantic version whose build metadata names this project's own revision.
LDFLAGS := -X $(VERSION_PKG).gitVersion=$(KUBERNETES_VERSION)+hyperconverge.$(VERSION) \
	-X $(VERSION_PKG).gitCommit=$(shell bash -c 'source hack/version.sh && echo $$REVISION')
CONTROLPLANE_LDFLAGS := -X $(VERSION_PKG).gitVersion=$(KUBERNETES_VERSION)

CONTROLPLANE := bin/etcd bin/kube-apiserver bin/kube-controller-manager bin/kube-scheduler bin/kubectl

CHAOS_BINARIES := bin/etcd bin/kube-apiserver bin/kube-controller-manager bin/scheduler bin/webhook

# The packages with goroutines. Those of the plugin and the prefer-first pass have
# kube-scheduler compiled a second time for the race detector.
RACE_PACKAGES := ./pkg/placement/... ./pkg/volumes/... ./pkg/webhook/... ./pkg/plugins/... ./pkg/localfirst/... ./pkg/strategies/... ./pkg/optional/... \
	./internal/... ./cmd/sandbox

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-zA-Z_-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

.PHONY: build
build: bin/scheduler bin/sandbox bin/webhook bin/kubectl-hyperconverge bin/rebalancer ## Compile our own binaries into bin/

.PHONY: demo
demo: bin/scheduler bin/sandbox bin/webhook bin/rebalancer bin/kubectl-hyperconverge $(CONTROLPLANE) ## Watch real Kubernetes put databases on their data
	@bin/sandbox demo

.PHONY: up
up: bin/scheduler bin/sandbox bin/webhook bin/rebalancer bin/kubectl-hyperconverge $(CONTROLPLANE) ## Keep a local cluster running until Ctrl-C
	@bin/sandbox up

.PHONY: test
test: test-unit test-race test-integration ## Run all tests: unit, race detector, integration

.PHONY: test-unit
test-unit: ## Run the unit tests
	@echo "Unit tests (first time: compiling for some minutes)"
	hack/test.sh ./cmd/... ./internal/... ./pkg/... ./test/kit ./test/kit/child
	@echo "Tests of the tools that make chart, images and releases"
	@go -C hack test ./...

.PHONY: test-race
test-race: ## Run the tests of the concurrent packages under the race detector
	@if command -v $${CC:-gcc} >/dev/null 2>&1; then \
		echo "Race detector: $(RACE_PACKAGES)"; \
		CGO_ENABLED=1 hack/test.sh -race -timeout 30m $(RACE_PACKAGES); \
	else \
		echo "Race detector: left out, it needs a C compiler and there is no $${CC:-gcc} on this machine"; \
	fi

.PHONY: test-integration
test-integration: build $(CONTROLPLANE) ## Run scheduler, webhook, manifests and the documents' commands against a real kube-apiserver and etcd
	@echo "Integration tests (first time: compiling kube-apiserver for some minutes)"
	hack/test.sh -p 1 -timeout 20m ./test/docs/... ./test/integration/... ./test/manifests/... ./test/webhook/... ./test/chaos/... ./test/pages/...

.PHONY: chaos
chaos: $(CHAOS_BINARIES) ## Attack the real binaries with all kinds of faults, write docs/reliability.md; ROWS=regexp SOAK=10m SEED=n
	@go test -c -o bin/chaos.test ./test/chaos
	@cd test/chaos && CHAOS=all ROWS='$(ROWS)' SOAK='$(SOAK)' SEED='$(SEED)' REPORT=docs/reliability.md \
		../../bin/chaos.test -test.run 'TestChaos|TestSoak' -test.timeout 90m

.PHONY: conformance
conformance: ## Run our client against the real OpenStorage SDK server code
	go -C test/conformance test .

.PHONY: bench
bench: ## Measure everything, print the figures beside their limits, write docs/performance.md
	@test/perf/bench.sh

.PHONY: bench-webhook
bench-webhook: ## Measure the webhook alone
	@echo "Measuring the webhook, about 2 minutes"
	@KUBE_CACHE_MUTATION_DETECTOR=false go test -run '^$$' -bench . -benchtime 1x -timeout 20m ./test/webhook

.PHONY: verify
verify: ## Check generated code, modules, formatting and the linters
	@hack/verify-codegen.sh
	@hack/verify-chart.sh
	@hack/verify-docs.sh
	@hack/verify-krew.sh
	@hack/verify-modules.sh
	@hack/update-version.sh --check
	@hack/verify-monitoring.sh
	@go -C hack test ./...
	@hack/verify-lint.sh

.PHONY: generate
generate: ## Generate code, the reference of the configuration, the chart and rules anew
	@hack/update-version.sh
	@hack/update-codegen.sh
	@hack/update-chart.sh
	@hack/update-docs.sh
	@hack/update-monitoring.sh

# go itself knows what is out of date; the phony prerequisite asks it every time.
.PHONY: FORCE
FORCE:

bin/scheduler: FORCE
	@test -x $@ || echo "Compiling the scheduler: all of kube-scheduler: the first time this takes some minutes"
	@go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/scheduler

bin/sandbox: FORCE
	@test -x $@ || echo "Compiling the sandbox"
	@go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/sandbox

bin/webhook: FORCE
	@test -x $@ || echo "Compiling the webhook"
	@go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/webhook

bin/rebalancer: FORCE
	@test -x $@ || echo "Compiling the rebalancer"
	@go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/rebalancer

bin/kubectl-hyperconverge: FORCE
	@test -x $@ || echo "Compiling the kubectl plugin"
	@go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/kubectl-hyperconverge

bin/etcd: hack/controlplane/go.mod
	@echo "Compiling etcd"
	@cd hack/controlplane && go build -ldflags '$(CONTROLPLANE_LDFLAGS)' -o ../../$@ go.etcd.io/etcd/server/v3

bin/kube%: hack/controlplane/go.mod
	@echo "Compiling $(@F) $(KUBERNETES_VERSION): the first of these binaries takes some minutes"
	@cd hack/controlplane && go build -ldflags '$(CONTROLPLANE_LDFLAGS)' -o ../../$@ k8s.io/kubernetes/cmd/$(@F)

.PHONY: image
image: ## Build reproducible OCI images into dist/, without a daemon; ARCH=arm64 for one architecture
	@hack/image.sh

.PHONY: release
release: ## Make a release in dist/; REGISTRY=registry/folder ARCH='amd64 arm64' MINISIGN_KEY=file
	@hack/release.sh

.PHONY: verify-release
verify-release: ## Make a release of two clones and compare them, which takes very long
	@hack/verify-release.sh

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist
