# Run with nothing but Go and make: see README.md. How the tests get what they
# drive: .ci/tools.

SOURCES := $(shell find cmd internal -name '*.go' -o -name '*.sql') go.mod go.sum

.PHONY: run build check test test-all bench clean

# A registry on https://localhost:5000 with its data in ./data.
run: bin/sallyport
	@exec ./bin/sallyport serve --data ./data

build: bin/sallyport

bin/sallyport: $(SOURCES)
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $@ ./cmd/sallyport

# The inner loop: format, vet, the quick tests; under two minutes.
check:
	@test -z "$$(gofmt -l cmd internal *.go)" || { gofmt -l cmd internal *.go; exit 1; }
	go vet ./...
	go test -short ./...

# Everything but the benchmark and what test-all adds: cosign, helm, Kubernetes,
# Chromium.
test:
	.ci/test

test-all:
	.ci/test all

# Beside CNCF distribution and bare floors.
bench:
	.ci/bench

clean:
	rm -rf bin artifacts
