# Everything is built without cgo: the binaries are static, one build cache serves
# all targets, and no C compiler is needed. Only the race detector wants one.
export CGO_ENABLED := 0

# KUBERNETES=1.36 builds, tests and runs everything for another minor (hack/kubernetes/minors).
DEFAULT_KUBERNETES := $(shell awk '/^[^#]/ { print $$1; exit }' hack/kubernetes/minors)
KUBERNETES ?= $(DEFAULT_KUBERNETES)
KUBERNETES_VERSION := $(shell awk '$$1 == "$(KUBERNETES)" { print "v" $$2 }' hack/kubernetes/minors)
ifeq ($(KUBERNETES_VERSION),)
$(error KUBERNETES=$(KUBERNETES) is none of the minors in hack/kubernetes/minors)
endif
export BIN := bin
CONTROLPLANE_MODULES := hack/controlplane/go.mod
ifneq ($(KUBERNETES),$(DEFAULT_KUBERNETES))
BIN := bin/$(KUBERNETES)
CONTROLPLANE_MODULES := hack/kubernetes/$(KUBERNETES)/controlplane.mod
export GOFLAGS := $(shell go env GOFLAGS) '-modfile=$(CURDIR)/hack/kubernetes/$(KUBERNETES)/go.mod' -tags=kubernetes$(KUBERNETES)
endif
# Modules of this tree that have go.mod files of their own are the same for all minors; scripts
# that build with both choose those of the minor by KUBERNETES.
GO_OWN := env -u GOFLAGS go
VERSION := $(shell KUBERNETES=$(KUBERNETES) hack/version.sh)
ifeq ($(VERSION),)
$(error There is no version: see the line above)
endif
VERSION_PKG := k8s.io/component-base/version
# A semantic version whose build metadata names this project's own revision.
LDFLAGS := -X $(VERSION_PKG).gitVersion=$(KUBERNETES_VERSION)+hyperconverge.$(VERSION) \
	-X $(VERSION_PKG).gitCommit=$(shell bash -c 'source hack/version.sh && echo $$REVISION')
CONTROLPLANE_LDFLAGS := -X $(VERSION_PKG).gitVersion=$(KUBERNETES_VERSION)

CONTROLPLANE := $(BIN)/etcd $(BIN)/kube-apiserver $(BIN)/kube-controller-manager $(BIN)/kube-scheduler $(BIN)/kubectl

CHAOS_BINARIES := $(BIN)/etcd $(BIN)/kube-apiserver $(BIN)/kube-controller-manager $(BIN)/scheduler $(BIN)/webhook

# The packages with goroutines. Those of the plugin and the prefer-first pass have
# kube-scheduler compiled a second time for the race detector.
RACE_PACKAGES := ./pkg/placement/... ./pkg/volumes/... ./pkg/webhook/... ./pkg/plugins/... ./pkg/localfirst/... ./pkg/strategies/... ./pkg/optional/... \
	./internal/... ./cmd/sandbox

# The documents speak of the default minor, with its binaries in bin.
INTEGRATION_PACKAGES := ./test/docs/... ./test/integration/... ./test/manifests/... ./test/webhook/... ./test/chaos/...
ifeq ($(KUBERNETES),$(DEFAULT_KUBERNETES))
INTEGRATION_PACKAGES += ./test/pages/...
endif

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-zA-Z_-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

.PHONY: build
build: $(BIN)/scheduler $(BIN)/sandbox $(BIN)/webhook $(BIN)/kubectl-hyperconverge $(BIN)/rebalancer ## Compile our own binaries into bin/

.PHONY: demo
demo: $(BIN)/scheduler $(BIN)/sandbox $(BIN)/webhook $(BIN)/rebalancer $(BIN)/kubectl-hyperconverge $(CONTROLPLANE) ## Watch real Kubernetes put databases on their data
	@$(BIN)/sandbox demo

.PHONY: up
up: $(BIN)/scheduler $(BIN)/sandbox $(BIN)/webhook $(BIN)/rebalancer $(BIN)/kubectl-hyperconverge $(CONTROLPLANE) ## Keep a local cluster running until Ctrl-C
	@$(BIN)/sandbox up

.PHONY: test
test: test-unit test-race test-integration ## Run all tests: unit, race detector, integration

UNIT_PACKAGES := ./cmd/... ./internal/... ./pkg/... ./test/kit ./test/kit/child

.PHONY: test-unit
test-unit: ## Run the unit tests
	@echo "Unit tests (first time: compiling for some minutes)"
	hack/test.sh $(UNIT_PACKAGES)
ifeq ($(KUBERNETES),$(DEFAULT_KUBERNETES))
	@echo "Tests of the tools that make chart, images and releases"
	@$(GO_OWN) -C hack test ./...
endif

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
	hack/test.sh -p 1 -timeout 20m $(INTEGRATION_PACKAGES)

.PHONY: vet
vet: ## Compile what runs in clusters, its tests included, and vet it
	@go vet ./cmd/... ./internal/... ./pkg/...

.PHONY: test-minors
test-minors: ## Build and vet what runs in clusters for the other minors of Kubernetes, and run the unit tests of what has kube-scheduler in it
	@hack/minors.sh -quick

.PHONY: minors
minors: ## Prove all minors of Kubernetes in hack/kubernetes/minors, write docs/versions.md, which takes hours
	@hack/minors.sh

.PHONY: chaos
chaos: $(CHAOS_BINARIES) ## Attack the real binaries with all kinds of faults, write docs/reliability.md; ROWS=regexp SOAK=10m SEED=n
	@go test -c -o $(BIN)/chaos.test ./test/chaos
	@cd test/chaos && CHAOS=all ROWS='$(ROWS)' SOAK='$(SOAK)' SEED='$(SEED)' REPORT=docs/reliability.md \
		../../$(BIN)/chaos.test -test.run 'TestChaos|TestSoak' -test.timeout 90m
	@test -z '$(SOAK)' || { echo 'The rebalancer under faults at random'; \
		SOAK='$(SOAK)' SEED='$(SEED)' hack/test.sh ./test/integration -run '^TestReturnsWhateverHappens$$' -timeout 90m; }

.PHONY: conformance
conformance: ## Run our client against the real OpenStorage SDK server code
	$(GO_OWN) -C test/conformance test .

.PHONY: bench
bench: ## Measure everything, print the figures beside their limits, write docs/performance.md; SCALE=1 for 30 000 nodes
	@KUBERNETES=$(KUBERNETES) SCALE=$(SCALE) test/perf/bench.sh

.PHONY: bench-quick
bench-quick: ## Measure everything with few pods and one round, and only print, about 20 minutes
	@KUBERNETES=$(KUBERNETES) test/perf/bench.sh -quick

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
	@$(GO_OWN) -C hack test ./...
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

$(BIN)/scheduler: FORCE
	@test -x $@ || echo "Compiling the scheduler: all of kube-scheduler: the first time this takes some minutes"
	@go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/scheduler

$(BIN)/sandbox: FORCE
	@test -x $@ || echo "Compiling the sandbox"
	@go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/sandbox

$(BIN)/webhook: FORCE
	@test -x $@ || echo "Compiling the webhook"
	@go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/webhook

$(BIN)/rebalancer: FORCE
	@test -x $@ || echo "Compiling the rebalancer"
	@go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/rebalancer

$(BIN)/kubectl-hyperconverge: FORCE
	@test -x $@ || echo "Compiling the kubectl plugin"
	@go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/kubectl-hyperconverge

$(BIN)/etcd: $(CONTROLPLANE_MODULES)
	@echo "Compiling etcd"
	@go -C hack/controlplane build -modfile='$(CURDIR)/$<' -ldflags '$(CONTROLPLANE_LDFLAGS)' -o '$(CURDIR)/$@' go.etcd.io/etcd/server/v3

$(BIN)/kube%: $(CONTROLPLANE_MODULES)
	@echo "Compiling $(@F) $(KUBERNETES_VERSION): the first of these binaries takes some minutes"
	@go -C hack/controlplane build -modfile='$(CURDIR)/$<' -ldflags '$(CONTROLPLANE_LDFLAGS)' -o '$(CURDIR)/$@' k8s.io/kubernetes/cmd/$(@F)

.PHONY: image
image: ## Build reproducible OCI images into dist/, without a daemon; ARCH=arm64 for one architecture
	@env -u GOFLAGS KUBERNETES=$(KUBERNETES) hack/image.sh

.PHONY: release
release: ## Make a release in dist/; REGISTRY=registry/folder ARCH='amd64 arm64' MINISIGN_KEY=file
	@env -u GOFLAGS KUBERNETES=$(KUBERNETES) hack/release.sh

.PHONY: verify-release
verify-release: ## Make a release of two clones and compare them, which takes very long
	@env -u GOFLAGS KUBERNETES=$(KUBERNETES) hack/verify-release.sh

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist
