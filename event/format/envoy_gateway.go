package format

import "github.com/weirdev/weir/event"

// envoyGatewaySources reads the default log of Envoy Gateway.
func envoyGatewaySources() []compiledSource {
	return append(envoyGatewayKeys(),
		compiledSource{field: event.Time, from: "start_time", unit: unit{form: rfc3339}, rank: 1},
		compiledSource{field: event.Status, from: "response_code", rank: 1},
		compiledSource{field: event.LatencyMicros, from: "duration", unit: unit{shift: 3}, rank: 1},
		compiledSource{field: event.RequestBytes, from: "bytes_received", rank: 1},
		compiledSource{field: event.ResponseBytes, from: "bytes_sent", rank: 1},
		compiledSource{field: event.IP, from: "downstream_direct_remote_address", rank: 1},
		compiledSource{field: event.IP, from: "downstream_remote_address", rank: 2},
	)
}

// envoyGatewayKeys are the keys named after headers.
func envoyGatewayKeys() []compiledSource {
	return []compiledSource{
		{field: event.Method, from: ":method", rank: 1},
		{field: event.Host, from: ":authority", rank: 1},
		{field: event.Path, from: "x-envoy-origin-path", rank: 1},
		{field: event.Path, from: "x-envoy-original-path", rank: 2},
		{field: event.Path, from: ":path", rank: 3},
		{field: event.ForwardedFor, from: "x-forwarded-for", rank: 1},
		{field: event.UserAgent, from: "user-agent", rank: 1},
		{field: event.Referer, from: "referer", rank: 1},
		{field: event.RequestID, from: "x-request-id", rank: 1},
	}
}
