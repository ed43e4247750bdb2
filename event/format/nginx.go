package format

import "github.com/weirdev/weir/event"

func nginxSources() []compiledSource {
	return []compiledSource{
		{field: event.Time, from: "msec", unit: unit{shift: 3}, rank: 1},
		{field: event.Time, from: "time_iso8601", unit: unit{form: rfc3339}, rank: 2},
		{field: event.RequestID, from: "request_id", rank: 1},
		{field: event.RemoteUser, from: "remote_user", rank: 1},
		{field: event.Method, from: "request_method", rank: 1},
		{field: event.Host, from: "host", rank: 1},
		{field: event.Host, from: "http_host", rank: 2},
		{field: event.Path, from: "request_uri", rank: 1},
		// If nginx could not parse the request, it has neither method nor URI.
		{from: "request", line: true, rank: 2},
		{field: event.Status, from: "status", rank: 1},
		{field: event.LatencyMicros, from: "request_time", unit: unit{shift: 6}, rank: 1},
		{field: event.RequestBytes, from: "request_length", rank: 1},
		{field: event.ResponseBytes, from: "bytes_sent", rank: 1},
		{field: event.ResponseBytes, from: "body_bytes_sent", rank: 2},
		{field: event.UserAgent, from: "http_user_agent", rank: 1},
		{field: event.Referer, from: "http_referer", rank: 1},
		{field: event.IP, from: "realip_remote_addr", rank: 1},
		{field: event.IP, from: "remote_addr", rank: 2},
		{field: event.ForwardedFor, from: "http_x_forwarded_for", rank: 1},
	}
}
