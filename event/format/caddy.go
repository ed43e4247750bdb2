package format

import "github.com/weirdev/weir/event"

// caddySources reads Caddy's access log. By default, Caddy's other messages are in
// the same file, and are skipped.
func caddySources() []compiledSource {
	return []compiledSource{
		{from: "logger", is: []string{"http.log.access*"}},
		{field: event.Time, from: "ts", unit: unit{epoch: true, form: rfc3339Text}, rank: 1},
		{field: event.RequestID, from: "request.headers.X-Request-Id[0]", rank: 1},
		{field: event.TraceID, from: "traceID", rank: 1},
		{field: event.RemoteUser, from: "user_id", rank: 1},
		{field: event.Method, from: "request.method", rank: 1},
		{field: event.Host, from: "request.host", rank: 1},
		{field: event.Path, from: "request.uri", rank: 1},
		{field: event.Status, from: "status", rank: 1},
		{field: event.LatencyMicros, from: "duration", unit: unit{shift: 6}, rank: 1},
		{field: event.RequestBytes, from: "bytes_read", rank: 1},
		{field: event.ResponseBytes, from: "size", rank: 1},
		{field: event.UserAgent, from: "request.headers.User-Agent[0]", rank: 1},
		{field: event.Referer, from: "request.headers.Referer[0]", rank: 1},
		{field: event.IP, from: "request.remote_ip", rank: 1},
		{field: event.IP, from: "request.remote_addr", rank: 2}, // until 2.4
		{field: event.ForwardedFor, from: "request.headers.X-Forwarded-For[*]", rank: 1},
	}
}
