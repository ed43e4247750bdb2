package event

func nginxSources() []source {
	return []source{
		{field: Time, from: "msec", unit: unit{shift: 3}, rank: 1},
		{field: Time, from: "time_iso8601", unit: unit{form: rfc3339}, rank: 2},
		{field: RequestID, from: "request_id", rank: 1},
		{field: RemoteUser, from: "remote_user", rank: 1},
		{field: Method, from: "request_method", rank: 1},
		{field: Host, from: "host", rank: 1},
		{field: Host, from: "http_host", rank: 2},
		{field: Path, from: "request_uri", rank: 1},
		// Where nginx could not read the request, it has neither method nor URI.
		{from: "request", line: true, rank: 2},
		{field: Status, from: "status", rank: 1},
		{field: LatencyMicros, from: "request_time", unit: unit{shift: 6}, rank: 1},
		{field: RequestBytes, from: "request_length", rank: 1},
		{field: ResponseBytes, from: "bytes_sent", rank: 1},
		{field: ResponseBytes, from: "body_bytes_sent", rank: 2},
		{field: UserAgent, from: "http_user_agent", rank: 1},
		{field: Referer, from: "http_referer", rank: 1},
		{field: IP, from: "realip_remote_addr", rank: 1},
		{field: IP, from: "remote_addr", rank: 2},
		{field: ForwardedFor, from: "http_x_forwarded_for", rank: 1},
	}
}
