# Static binaries on a distroless image, without a shell and not as root.
# The embedded ClickHouse engine is not in it: a container has a real one.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -pgo cmd/weir-worker/default.pgo -ldflags "-s -w -X github.com/weirdev/weir/app.version=${VERSION}" -o /out/ ./cmd/weir ./cmd/weir-worker ./cmd/weir-gate

# Directories of snapshots, of gate.state and of the canary's state: a volume that is mounted there takes
# its owner over.
RUN mkdir -p /var/lib/weir/snapshots /var/lib/weir/gate /var/lib/weir/canary

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/weir /out/weir-worker /out/weir-gate /usr/local/bin/
COPY --from=build --chown=nonroot:nonroot /var/lib/weir /var/lib/weir
USER nonroot:nonroot
ENTRYPOINT ["/usr/local/bin/weir"]
