package format

import "github.com/weirdev/weir/event"

func traefikSources() []compiledSource {
	return []compiledSource{
		{field: event.Time, from: "StartUTC", unit: unit{form: rfc3339}, rank: 1},
		{field: event.Time, from: "StartLocal", unit: unit{form: rfc3339}, rank: 2},
		{field: event.RequestID, from: "request_X-Request-Id", rank: 1},
		{field: event.TraceID, from: "trace_id", rank: 1},
		{field: event.TraceID, from: "TraceId", rank: 2},
		{field: event.RemoteUser, from: "ClientUsername", rank: 1},
		{field: event.Method, from: "RequestMethod", rank: 1},
		{field: event.Host, from: "RequestHost", rank: 1},
		{field: event.Path, from: "RequestPath", rank: 1},
		{field: event.Status, from: "DownstreamStatus", rank: 1},
		{field: event.LatencyMicros, from: "Duration", unit: unit{shift: -3}, rank: 1},
		{field: event.RequestBytes, from: "RequestContentSize", rank: 1},
		{field: event.ResponseBytes, from: "DownstreamContentSize", rank: 1},
		{field: event.UserAgent, from: "request_User-Agent", rank: 1},
		{field: event.Referer, from: "request_Referer", rank: 1},
		{field: event.IP, from: "ClientAddr", rank: 1},
		// ClientHost is X-Forwarded-For if the request had one.
		{field: event.IP, from: "ClientHost", rank: 2},
		{field: event.ForwardedFor, from: "request_X-Forwarded-For", rank: 1},
	}
}
