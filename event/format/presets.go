package format

import "github.com/weirdev/weir/event"

// The presets are ready-made mappings, with more than one source for a field if
// gateways differ. docs/formats.md shows the matching gateway configuration.
//
// The address is always that of the socket's peer, if the log has it. The client
// address of a gateway is often taken from X-Forwarded-For without a check of its
// sender; [event.Proxies] decides whom to trust.

// Names lists the formats that [New] knows.
func Names() []string {
	return []string{
		"weir", "combined", "nginx", "nginx-proxy-manager", "envoy-gateway", "envoy", "traefik", "caddy", "haproxy", "aws-alb",
		"cloudflare-logpush", "mapping", "pattern",
	}
}

// newLineFormat creates a format that reads lines of text; nil if there is none of
// that name.
func newLineFormat(name string) Format {
	switch name {
	case "combined":
		return &combined{}
	case "nginx-proxy-manager":
		return &proxyManager{}
	case "haproxy":
		return &haproxy{}
	}
	return nil
}

// presetSources returns the sources of a format that reads JSON objects; nil if
// there is none of that name.
func presetSources(name string) []compiledSource {
	switch name {
	case "nginx":
		return withOwnNames(nginxSources())
	case "envoy":
		return withOwnNames(envoySources())
	case "envoy-gateway":
		return withOwnNames(envoyGatewaySources())
	case "traefik":
		return traefikSources()
	case "caddy":
		return caddySources()
	case "cloudflare-logpush":
		return cloudflareSources()
	}
	return nil
}

// withOwnNames adds, to a preset whose keys the user writes himself, every field
// under its own name, with precedence over all other sources. So anything else that
// the gateway knows (the account in a token, the device) needs no mapping. Ids of
// events and free attributes are excluded: the gateway would have to generate the
// former, and the latter belong to our own format.
func withOwnNames(preset []compiledSource) []compiledSource {
	all := preset
	for _, spec := range event.Fields() {
		taken := spec.Derived || spec.Kind == event.KindObject || spec.Field == event.ID || spec.Field == event.SchemaVersion
		for _, s := range preset {
			taken = taken || s.from == spec.Name
		}
		if !taken {
			all = append(all, compiledSource{field: spec.Field, from: spec.Name, unit: ownUnit()})
		}
	}
	return all
}
