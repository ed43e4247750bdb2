package format

import "github.com/weirdev/weir/event"

// envoySources reads the keys in docs/formats.md, which are also Istio's, and then
// those of Envoy Gateway: a log with those keys must not lose them silently.
func envoySources() []compiledSource {
	sources := []compiledSource{
		{field: event.Time, from: "start_time", unit: unit{form: rfc3339}, rank: 1},
		{field: event.RequestID, from: "request_id", rank: 1},
		{field: event.Method, from: "method", rank: 1},
		{field: event.Host, from: "authority", rank: 1},
		{field: event.Path, from: "path", rank: 1},
		{field: event.Status, from: "response_code", rank: 1},
		{field: event.LatencyMicros, from: "duration", unit: unit{shift: 3}, rank: 1},
		{field: event.RequestBytes, from: "bytes_received", rank: 1},
		{field: event.ResponseBytes, from: "bytes_sent", rank: 1},
		{field: event.UserAgent, from: "user_agent", rank: 1},
		{field: event.Referer, from: "referer", rank: 1},
		{field: event.IP, from: "downstream_direct_remote_address", rank: 1},
		{field: event.IP, from: "downstream_remote_address", rank: 2},
		{field: event.ForwardedFor, from: "x_forwarded_for", rank: 1},
		{field: event.JA4, from: "ja4", rank: 1},
	}
	for _, s := range envoyGatewayKeys() {
		s.rank += lastRank / 2
		sources = append(sources, s)
	}
	return sources
}
