package event

// caddySources reads Caddy's access log. Its other messages are in the same file
// where nothing is configured, and are none of ours.
func caddySources() []source {
	return []source{
		{from: "logger", is: []string{"http.log.access*"}},
		{field: Time, from: "ts", unit: unit{epoch: true, form: rfc3339Text}, rank: 1},
		{field: RequestID, from: "request.headers.X-Request-Id[0]", rank: 1},
		{field: TraceID, from: "traceID", rank: 1},
		{field: RemoteUser, from: "user_id", rank: 1},
		{field: Method, from: "request.method", rank: 1},
		{field: Host, from: "request.host", rank: 1},
		{field: Path, from: "request.uri", rank: 1},
		{field: Status, from: "status", rank: 1},
		{field: LatencyMicros, from: "duration", unit: unit{shift: 6}, rank: 1},
		{field: RequestBytes, from: "bytes_read", rank: 1},
		{field: ResponseBytes, from: "size", rank: 1},
		{field: UserAgent, from: "request.headers.User-Agent[0]", rank: 1},
		{field: Referer, from: "request.headers.Referer[0]", rank: 1},
		{field: IP, from: "request.remote_ip", rank: 1},
		{field: IP, from: "request.remote_addr", rank: 2}, // until 2.4
		{field: ForwardedFor, from: "request.headers.X-Forwarded-For[*]", rank: 1},
	}
}
