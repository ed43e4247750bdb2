package event

// envoySources reads the keys of docs/formats.md, which Istio's are, and those of
// Envoy Gateway behind them: a log that has these must not lose them in silence.
func envoySources() []source {
	sources := []source{
		{field: Time, from: "start_time", unit: unit{form: rfc3339}, rank: 1},
		{field: RequestID, from: "request_id", rank: 1},
		{field: Method, from: "method", rank: 1},
		{field: Host, from: "authority", rank: 1},
		{field: Path, from: "path", rank: 1},
		{field: Status, from: "response_code", rank: 1},
		{field: LatencyMicros, from: "duration", unit: unit{shift: 3}, rank: 1},
		{field: RequestBytes, from: "bytes_received", rank: 1},
		{field: ResponseBytes, from: "bytes_sent", rank: 1},
		{field: UserAgent, from: "user_agent", rank: 1},
		{field: Referer, from: "referer", rank: 1},
		{field: IP, from: "downstream_direct_remote_address", rank: 1},
		{field: IP, from: "downstream_remote_address", rank: 2},
		{field: ForwardedFor, from: "x_forwarded_for", rank: 1},
		{field: JA4, from: "ja4", rank: 1},
	}
	for _, s := range envoyGatewayKeys() {
		s.rank += lastRank / 2
		sources = append(sources, s)
	}
	return sources
}
