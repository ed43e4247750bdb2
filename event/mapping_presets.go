package event

// The presets are mappings that were written down for the user, with more than
// one place to look where gateways differ. docs/formats.md shows the gateway
// configuration that goes with each.
//
// The address is always that of the socket's peer, where the log has it. What a gateway calls the
// client's address is often taken from X-Forwarded-For without a look at who
// sent it; whom to believe is for [Proxies] to say.

func nginxSources() []source {
	return []source{
		{field: Time, from: "msec", unit: unit{shift: 3}, rank: 1},
		{field: Time, from: "time_iso8601", unit: unit{textOnly: true}, rank: 2},
		{field: RequestID, from: "request_id", rank: 1},
		{field: Account, from: "remote_user", rank: 1},
		{field: Method, from: "request_method", rank: 1},
		{field: Host, from: "host", rank: 1},
		{field: Host, from: "http_host", rank: 2},
		{field: Path, from: "request_uri", rank: 1},
		{field: Status, from: "status", rank: 1},
		{field: LatencyMicros, from: "request_time", unit: unit{shift: 6}, rank: 1},
		{field: RequestBytes, from: "request_length", rank: 1},
		{field: ResponseBytes, from: "bytes_sent", rank: 1},
		{field: ResponseBytes, from: "body_bytes_sent", rank: 2},
		{field: UserAgent, from: "http_user_agent", rank: 1},
		{field: IP, from: "realip_remote_addr", rank: 1},
		{field: IP, from: "remote_addr", rank: 2},
		{field: ForwardedFor, from: "http_x_forwarded_for", rank: 1},
	}
}

func envoySources() []source {
	return []source{
		{field: Time, from: "start_time", unit: unit{textOnly: true}, rank: 1},
		{field: RequestID, from: "request_id", rank: 1},
		{field: Method, from: "method", rank: 1},
		{field: Host, from: "authority", rank: 1},
		{field: Path, from: "path", rank: 1},
		{field: Status, from: "response_code", rank: 1},
		{field: LatencyMicros, from: "duration", unit: unit{shift: 3}, rank: 1},
		{field: RequestBytes, from: "bytes_received", rank: 1},
		{field: ResponseBytes, from: "bytes_sent", rank: 1},
		{field: UserAgent, from: "user_agent", rank: 1},
		{field: IP, from: "downstream_direct_remote_address", rank: 1},
		{field: IP, from: "downstream_remote_address", rank: 2},
		{field: ForwardedFor, from: "x_forwarded_for", rank: 1},
		{field: JA4, from: "ja4", rank: 1},
	}
}

func traefikSources() []source {
	return []source{
		{field: Time, from: "StartUTC", unit: unit{textOnly: true}, rank: 1},
		{field: Time, from: "StartLocal", unit: unit{textOnly: true}, rank: 2},
		{field: RequestID, from: "request_X-Request-Id", rank: 1},
		{field: TraceID, from: "trace_id", rank: 1},
		{field: TraceID, from: "TraceId", rank: 2},
		{field: Account, from: "ClientUsername", rank: 1},
		{field: Method, from: "RequestMethod", rank: 1},
		{field: Host, from: "RequestHost", rank: 1},
		{field: Path, from: "RequestPath", rank: 1},
		{field: Status, from: "DownstreamStatus", rank: 1},
		{field: LatencyMicros, from: "Duration", unit: unit{shift: -3}, rank: 1},
		{field: RequestBytes, from: "RequestContentSize", rank: 1},
		{field: ResponseBytes, from: "DownstreamContentSize", rank: 1},
		{field: UserAgent, from: "request_User-Agent", rank: 1},
		{field: IP, from: "ClientAddr", rank: 1},
		// ClientHost is X-Forwarded-For where the request had one.
		{field: IP, from: "ClientHost", rank: 2},
		{field: ForwardedFor, from: "request_X-Forwarded-For", rank: 1},
	}
}

// withOwnNames adds, to a preset whose keys the user writes himself, every field
// under its own name, which comes before all other places, so that what the
// gateway knows besides (the account in a token, the device) needs no mapping. Ids of events and free attributes stay
// out: the former would have to be made by the gateway, the latter are ours.
func withOwnNames(preset []source) []source {
	all := preset
	for _, spec := range Fields() {
		taken := spec.Derived || spec.Kind == KindObject || spec.Field == ID || spec.Field == SchemaVersion
		for _, s := range preset {
			taken = taken || s.from == spec.Name
		}
		if !taken {
			all = append(all, source{field: spec.Field, from: spec.Name, unit: unit{asOwn: true}})
		}
	}
	return all
}
