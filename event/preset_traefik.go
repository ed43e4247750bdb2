package event

func traefikSources() []source {
	return []source{
		{field: Time, from: "StartUTC", unit: unit{form: rfc3339}, rank: 1},
		{field: Time, from: "StartLocal", unit: unit{form: rfc3339}, rank: 2},
		{field: RequestID, from: "request_X-Request-Id", rank: 1},
		{field: TraceID, from: "trace_id", rank: 1},
		{field: TraceID, from: "TraceId", rank: 2},
		{field: RemoteUser, from: "ClientUsername", rank: 1},
		{field: Method, from: "RequestMethod", rank: 1},
		{field: Host, from: "RequestHost", rank: 1},
		{field: Path, from: "RequestPath", rank: 1},
		{field: Status, from: "DownstreamStatus", rank: 1},
		{field: LatencyMicros, from: "Duration", unit: unit{shift: -3}, rank: 1},
		{field: RequestBytes, from: "RequestContentSize", rank: 1},
		{field: ResponseBytes, from: "DownstreamContentSize", rank: 1},
		{field: UserAgent, from: "request_User-Agent", rank: 1},
		{field: Referer, from: "request_Referer", rank: 1},
		{field: IP, from: "ClientAddr", rank: 1},
		// ClientHost is X-Forwarded-For where the request had one.
		{field: IP, from: "ClientHost", rank: 2},
		{field: ForwardedFor, from: "request_X-Forwarded-For", rank: 1},
	}
}
