package format

import "github.com/weirdev/weir/event"

// cloudflareSources reads Cloudflare's Logpush, dataset HTTP requests. The job
// decides whether its times are RFC 3339, or Unix times in seconds or nanoseconds.
func cloudflareSources() []compiledSource {
	return []compiledSource{
		{field: event.Time, from: "EdgeStartTimestamp", unit: unit{epoch: true, form: rfc3339Text}, rank: 1},
		{field: event.RequestID, from: "RayID", rank: 1},
		{field: event.Method, from: "ClientRequestMethod", rank: 1},
		{field: event.Host, from: "ClientRequestHost", rank: 1},
		{field: event.Path, from: "ClientRequestURI", rank: 1},
		{field: event.Path, from: "ClientRequestPath", rank: 2},
		{field: event.Status, from: "EdgeResponseStatus", rank: 1},
		{field: event.LatencyMicros, from: "EdgeTimeToFirstByteMs", unit: unit{shift: 3}, rank: 1},
		{field: event.RequestBytes, from: "ClientRequestBytes", rank: 1},
		{field: event.ResponseBytes, from: "EdgeResponseBytes", rank: 1},
		{field: event.UserAgent, from: "ClientRequestUserAgent", rank: 1},
		{field: event.Referer, from: "ClientRequestReferer", rank: 1},
		{field: event.IP, from: "ClientIP", rank: 1},
		{field: event.JA4, from: "JA4", rank: 1},
	}
}
