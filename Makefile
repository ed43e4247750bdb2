# Weir. `make` alone says what can be made.

GO      ?= go
CACHE   ?= $(or $(WEIR_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/weir)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/weirdev/weir/app.version=$(VERSION)

# Packages that are tested at a time: several of them wait more than they compute.
# `make lint` runs vet, so tests leave it out.
TESTJOBS := 4

# The longest that each may take, in seconds, compiling on a new machine included: what
# hangs is ended then.
TESTLIMIT  := 900
PROOFLIMIT := 2400
RACELIMIT  := 1500

# Packages with tests that a short run leaves out or cuts short, and packages that
# share memory between goroutines, those that take longest first. split_test.go holds
# both lists to the code.
PROOF := proof/oracle proof/sim app app/console app/demo app/geofetch app/query app/stack cmd/weir gate/envoy gate/haproxy ingest internal/chdb internal/kafka internal/sketch proof/chaos proof/dashboards proof/gateways \
	proof/servers/weblogs proof/testkit sink/clickhouse sink/redis
RACE := engine app app/canary app/cli app/console app/demo app/evaluate app/procs app/push app/stack event/route gate gate/accesslog gate/client gate/emit \
	gate/envoy gate/haproxy gate/http1 gate/limits gate/listen gate/lookup gate/middleware gate/policy gate/switches ingest internal/breaker internal/chdb \
	internal/geo internal/kafka internal/quota internal/sandbox internal/snapshot internal/state internal/telemetry internal/tlsconfig internal/tracing \
	internal/tracing/tracetest internal/watch notices proof/bench proof/chaos proof/dashboards proof/gateways proof/proxy proof/servers proof/sim rules \
	score sink/clickhouse sink/redis

GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

export WEIR_CACHE := $(CACHE)

.DEFAULT_GOAL := help
.PHONY: help secrets build demo recording pictures chaos test proof race bench profile scale lint vuln generate chdb kafka webservers kubernetes ci clean

help: ## say what can be made
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build weir, weir-worker and weir-gate into bin/
	@mkdir -p bin
	$(GO) build -trimpath -pgo cmd/weir-worker/default.pgo -ldflags '$(LDFLAGS)' -o bin/ ./cmd/weir ./cmd/weir-worker ./cmd/weir-gate

demo: build chdb ## watch an attack being caught (DEMO='-for 60s' passes flags on)
	@bin/weir demo $(DEMO)

recording: build chdb ## record the demonstration, as the README shows it
	$(GO) run ./tools/recording -o docs/pictures/demo.svg bin/weir demo -for 25s

pictures: build chdb ## take the pictures of the console, as the documentation shows them; needs Chromium
	PATH=$(CURDIR)/bin:$$PATH $(GO) run ./tools/pictures -weir bin/weir -out docs/pictures

chaos: build chdb ## kill everything and check that nothing is lost (CHAOS='-for 30m' passes flags on)
	@bin/weir chaos $(CHAOS)

test: ## run the tests that need nothing but Go, in TESTLIMIT seconds
	tools/limit.sh $(TESTLIMIT) $(GO) test -p $(TESTJOBS) -vet=off -short -shuffle=on $(GOTESTFLAGS) ./...

proof: chdb kafka webservers ## run what takes long: every crash point, all seeded bugs, real servers, processes that are killed
	tools/limit.sh $(PROOFLIMIT) $(GO) test -p $(TESTJOBS) -vet=off -shuffle=on -timeout 40m $(GOTESTFLAGS) $(PROOF:%=./%)

race: chdb ## run what shares memory between goroutines under the race detector
	tools/limit.sh $(RACELIMIT) $(GO) test -p $(TESTJOBS) -vet=off -race -shuffle=on -timeout 15m $(GOTESTFLAGS) $(RACE:%=./%)

bench: build chdb ## run the benchmarks, and compare with their bars
	$(GO) test -run '^$$' -bench . -benchmem ./event/... ./condition/... ./rules/... ./detectors/... ./engine/... ./internal/facet/... ./internal/state/... ./score/... ./gate/...
	@bin/weir bench

scale: build chdb ## load 20 million events and time the questions that people ask (SCALE='-scale-dir DIR' keeps them)
	@bin/weir bench -scale $(SCALE)

lint: ## formatting, and the linters of .golangci.yml, which are vet and staticcheck among others
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-clean:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) run $(GOLANGCI) run --timeout 10m ./...

vuln: ## look for known vulnerabilities in what is called; their data comes from the network
	@out=$$($(GO) run $(GOVULNCHECK) ./... 2>&1); status=$$?; echo "$$out"; \
	case $$status-$$out in \
	  *"fetching vulnerabilities"*) echo "the data on vulnerabilities cannot be had here; nothing was checked" ;; \
	  *) exit $$status ;; \
	esac

profile: ## measure anew where time goes, which builds are optimised for
	$(GO) test ./proof/bench -run '^$$' -bench Path -benchtime 6s -o /dev/null -cpuprofile $(CURDIR)/cmd/weir-worker/default.pgo

generate: ## rewrite generated documents and schemas
	$(GO) test . ./app ./dashboards ./event/format ./gate/policy ./rules -run 'UpToDate|Schema|Reference|Mistakes' -update

chdb: ## fetch the embedded ClickHouse engine (once, into the cache)
	@tools/chdb/fetch.sh

kafka: ## fetch Apache Kafka's jars for the integration tests (once, into the cache)
	@tools/kafka/fetch.sh

webservers: ## fetch Caddy, Envoy and Traefik for the integration tests (once, into the cache)
	@tools/webservers/fetch.sh

kubernetes: ## fetch the schemas of Kubernetes for the tests of manifests (once, into the cache)
	@tools/kubernetes/fetch.sh

ci: ## all that must hold before a change lands
	@bash .ci/run

secrets: ## make the passwords that docker-compose.yml asks for (once, into .env)
	@tools/compose/secrets.sh

clean: ## remove what was built; the cache stays
	rm -rf bin
