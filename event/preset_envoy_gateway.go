package event

// envoyGatewaySources reads what Envoy Gateway writes where nothing is configured.
func envoyGatewaySources() []source {
	return append(envoyGatewayKeys(),
		source{field: Time, from: "start_time", unit: unit{form: rfc3339}, rank: 1},
		source{field: Status, from: "response_code", rank: 1},
		source{field: LatencyMicros, from: "duration", unit: unit{shift: 3}, rank: 1},
		source{field: RequestBytes, from: "bytes_received", rank: 1},
		source{field: ResponseBytes, from: "bytes_sent", rank: 1},
		source{field: IP, from: "downstream_direct_remote_address", rank: 1},
		source{field: IP, from: "downstream_remote_address", rank: 2},
	)
}

// envoyGatewayKeys are those that are named after headers.
func envoyGatewayKeys() []source {
	return []source{
		{field: Method, from: ":method", rank: 1},
		{field: Host, from: ":authority", rank: 1},
		{field: Path, from: "x-envoy-origin-path", rank: 1},
		{field: Path, from: "x-envoy-original-path", rank: 2},
		{field: Path, from: ":path", rank: 3},
		{field: ForwardedFor, from: "x-forwarded-for", rank: 1},
		{field: UserAgent, from: "user-agent", rank: 1},
		{field: Referer, from: "referer", rank: 1},
		{field: RequestID, from: "x-request-id", rank: 1},
	}
}
