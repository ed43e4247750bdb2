package event

// cloudflareSources reads Cloudflare's Logpush, dataset HTTP requests. Its times
// are RFC 3339, or Unix times in seconds or nanoseconds, as the job says.
func cloudflareSources() []source {
	return []source{
		{field: Time, from: "EdgeStartTimestamp", unit: unit{epoch: true, form: rfc3339Text}, rank: 1},
		{field: RequestID, from: "RayID", rank: 1},
		{field: Method, from: "ClientRequestMethod", rank: 1},
		{field: Host, from: "ClientRequestHost", rank: 1},
		{field: Path, from: "ClientRequestURI", rank: 1},
		{field: Path, from: "ClientRequestPath", rank: 2},
		{field: Status, from: "EdgeResponseStatus", rank: 1},
		{field: LatencyMicros, from: "EdgeTimeToFirstByteMs", unit: unit{shift: 3}, rank: 1},
		{field: RequestBytes, from: "ClientRequestBytes", rank: 1},
		{field: ResponseBytes, from: "EdgeResponseBytes", rank: 1},
		{field: UserAgent, from: "ClientRequestUserAgent", rank: 1},
		{field: Referer, from: "ClientRequestReferer", rank: 1},
		{field: IP, from: "ClientIP", rank: 1},
		{field: JA4, from: "JA4", rank: 1},
	}
}
