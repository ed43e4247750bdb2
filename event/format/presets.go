package format

import "github.com/weirdev/weir/event"

// The presets are mappings that were written down for the user, with more than
// one place to look where gateways differ. docs/formats.md shows the gateway
// configuration that goes with each.
//
// The address is always that of the socket's peer, where the log has it. What a
// gateway calls the client's address is often taken from X-Forwarded-For without a
// look at who sent it; whom to believe is for [event.Proxies] to say.

// Names lists what [New] knows.
func Names() []string {
	return []string{
		"weir", "combined", "nginx", "nginx-proxy-manager", "envoy-gateway", "envoy", "traefik", "caddy", "haproxy", "aws-alb",
		"cloudflare-logpush", "mapping", "pattern",
	}
}

// newLineFormat makes a format that reads lines of text; nil where that is none.
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

// presetSources are those of a format that reads JSON objects; nil where that is
// none.
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
// under its own name, which comes before all other places, so that what the
// gateway knows besides (the account in a token, the device) needs no mapping. Ids
// of events and free attributes stay out: the former would have to be made by the
// gateway, the latter are ours.
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
