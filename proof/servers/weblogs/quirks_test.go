package weblogs

import (
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
)

// This file lists, for each server, how it changes a request before it logs it.
// Everything else is logged as it was sent.

// quirks are the differences between a server's log and the client's requests.
type quirks struct {
	silent     map[string]string     // exchanges that it does not log, with the reason
	unread     []string              // exchanges of which it logs only address, time and status
	rewrites   map[string]func(*ask) // changes in the log of an exchange
	always     func(*ask)            // changes in the log of every exchange
	unanswered map[string]int        // status that it logs if it gives no answer, or one without status
}

func webServers(t *testing.T, behind string) []*server {
	const (
		host, referer, forwarded, user = event.Host, event.Referer, event.ForwardedFor, event.RemoteUser
	)
	return []*server{
		{
			name: "nginx", describe: nginx(t, behind), quirks: nginxQuirks(),
			logs: []log{
				{file: "combined.log", format: "combined", lacks: []event.Field{host, forwarded}},
				{file: "vhost.log", format: "combined", lacks: []event.Field{forwarded}},
				{file: "main.log", format: "combined", lacks: []event.Field{host}},
				{file: "weir.json", format: "nginx", rewrites: map[string]func(*ask){
					// $request_uri contains no scheme and host; $host contains the
					// host.
					"a URI in absolute form":  path("/v1?x"),
					"a URI of another scheme": path("/v1"),
				}},
			},
		},
		{
			name: "Apache", describe: apache(t, behind), quirks: apacheQuirks(),
			logs: []log{
				{file: "combined.log", format: "combined", lacks: []event.Field{host, forwarded}},
				{file: "vhost.log", format: "combined", lacks: []event.Field{forwarded}},
				{file: "common.log", format: "combined", lacks: []event.Field{host, forwarded, event.UserAgent, referer}},
			},
		},
		{
			name: "Traefik, JSON", describe: traefik(t, behind, "json"), quirks: traefikQuirks(),
			logs: []log{{file: "weir.json", format: "traefik"}},
		},
		{
			name: "Traefik, CLF", describe: traefik(t, behind, "common"), quirks: traefikQuirks(),
			logs: []log{{file: "weir.json", format: "combined", lacks: []event.Field{host, forwarded}, rewrites: traefikText()}},
		},
		{
			name: "Caddy", describe: caddy(t, behind), quirks: caddyQuirks(),
			logs: []log{{file: "access.log", format: "caddy"}},
		},
		{
			name: "Envoy", describe: envoy(t, behind), quirks: envoyQuirks(),
			logs: []log{{file: "weir.json", format: "envoy"}},
		},
		{
			name: "Envoy Gateway", describe: envoyGateway(behind), quirks: envoyGatewayQuirks(),
			logs: []log{{file: "gateway.json", format: "envoy-gateway", lacks: []event.Field{referer, user}}},
		},
	}
}

func nginxQuirks() quirks {
	return quirks{
		silent: map[string]string{"nothing at all": "there was no request"},
		always: func(a *ask) { a.host = bareHost(a.host) }, // $host is in lower case and without port
		rewrites: map[string]func(*ask){
			"nine kilobytes": cut(8192 - len("GET ")), // as much as fits its buffer
		},
		unanswered: map[string]int{
			"HTTP/0.9": 200, "half a request line": 400, "half a header": 400, "a client that does not wait": 499,
		},
	}
}

func apacheQuirks() quirks {
	return quirks{
		silent: map[string]string{
			"nothing at all":      "there was no request",
			"half a request line": "it waits for the line's end",
		},
		always: func(a *ask) {
			a.user = "" // only modules that verify a user log the name
			if a.host = bareHost(a.host); a.host != "api.example" {
				a.host = shop // %v is the name from the configuration
			}
			a.path, _, _ = strings.Cut(a.path, "\x00") // its strings end at NUL
		},
		rewrites: map[string]func(*ask){
			"nine kilobytes":    cut(8191 - len("GET ")), // LimitRequestLine, plus one
			"a tab":             path("/a b"),
			"a URI with a user": func(a *ask) { a.path, a.host = "http://ann:XXXXXXXX@api.example/v1", shop },
		},
		unanswered: map[string]int{"HTTP/0.9": 200, "a client that does not wait": 502},
	}
}

// refusedByGo returns the exchanges that Go's HTTP library answers or ends itself,
// without notice to the server that uses it.
func refusedByGo(more ...string) map[string]string {
	const why = "net/http deals with it, and tells nobody"
	silent := map[string]string{"nothing at all": "there was no request"}
	for _, name := range append([]string{
		"control characters", "a tab", "a NUL", "DEL", "a blank", "an escape that is none", "a query and no path", "a word",
		"OPTIONS of everything", "HTTP/0.9", "HTTP/9.9", "RTSP", "several blanks", "empty lines in front",
		"a TLS hello", "an SSH client", "an SMB client", "a quote", "a minus", "the preface of HTTP/2",
		"a user agent with control characters", "a user agent with DEL", "no host", "a host that is none", "two hosts",
		"a header line without a colon", "a blank before the colon", "half a request line", "half a header",
		"a length that is none", "two lengths",
	}, more...) {
		silent[name] = why
	}
	return silent
}

func caddyQuirks() quirks {
	return quirks{
		silent: refusedByGo("a header of 100 kilobytes"),
		always: func(a *ask) {
			a.user = "" // only modules that verify a user log the name
			inUTF8(a)
		},
		unanswered: map[string]int{"a client that does not wait": 499},
	}
}

// Traefik logs the path as it passes it on: cleaned, with everything escaped that
// RFC 3986 does not allow in a path.
func traefikQuirks() quirks {
	return quirks{
		silent: refusedByGo("a fragment", "CONNECT"),
		always: func(a *ask) {
			a.user = "" // only middleware that verifies a user logs the name
			inUTF8(a)
		},
		rewrites: map[string]func(*ask){
			"escapes in the path and in the query":   path("/c%2Fd?q=%22x%22&r=%5C&s=%00"),
			"double slashes and dots":                path("/a/c/d"),
			"a climb out of the root":                path("/..%2F..%2Fetc/passwd"),
			"quotes and backslashes":                 path("/a%22b%5Cc%5C%22d%5Cx22e%5C%5C"),
			"what looks like the end of the request": path("/a%22%20200%201%20%22-%22"),
			"UTF-8":                                  path("/caf%C3%A9/%C5%BDlu%C5%A5ou%C4%8Dk%C3%BD?q=日本"),
			"bytes that are not UTF-8":               path("/%FF%FE/%C3%28"),
			"a URI in absolute form":                 path("/v1?x"),
			"a URI with a user":                      func(a *ask) { a.path, a.user = "/v1", "ann" },
			"a URI of another scheme":                path("/v1"),
			"a host in capitals with a port":         func(a *ask) { a.host = "API.Example" },
			"a host that is an IPv6 address":         func(a *ask) { a.host = "2001:db8::1" },
		},
		unanswered: map[string]int{"a client that does not wait": 499},
	}
}

// traefikText adds the quirks of Traefik's CLF: X-Forwarded-For in place of the
// address, if Traefik trusts its peer, and texts in which only quotes are escaped.
func traefikText() map[string]func(*ask) {
	from := func(peer, forwarded string) func(*ask) {
		return func(a *ask) { a.peer, a.listed = peer, forwarded }
	}
	return map[string]func(*ask){
		"an ordinary request":            from("203.0.113.7", ""),
		"a list of proxies":              from("192.0.2.9", "203.0.113.7, 198.51.100.2"),
		"a list with rubbish":            from("203.0.113.7", `unknown, "x", [::1]:80, \`),
		"lists in two headers":           from("192.0.2.9", "203.0.113.7, 198.51.100.2"),
		"a user agent with quotes":       func(a *ask) { a.userAgent = `say "hi" \o/ " \` },
		"a user agent that is not UTF-8": func(a *ask) { a.userAgent = "x\xc3(\xff" },
		"a user agent of escapes":        func(a *ask) { a.userAgent = "\\u0000 \\ud800 \n \t %22 &quot;" },
		"a referer with quotes":          func(a *ask) { a.referer = `https://shop.example/"\` },
	}
}

// envoyUnread lists the exchanges that Envoy's codec refuses.
var envoyUnread = []string{
	"UTF-8", "bytes that are not UTF-8", "control characters", "a tab", "a NUL", "DEL", "a blank", "a query and no path", "a word",
	"a URI of another scheme", "an unknown method", "a method with a hyphen", "a method in lower case", "a method with digits and dots",
	"RTSP", "a TLS hello", "an SSH client", "an SMB client", "a quote", "a minus",
	"a user agent with control characters", "a user agent with DEL", "a host that is none",
	"a header of 100 kilobytes", "a header of 200 lines", "a header line without a colon", "a blank before the colon",
	"half a request line", "half a header", "a length that is none", "two lengths", "length and chunks",
}

func envoyQuirks() quirks {
	return quirks{
		silent: map[string]string{
			"nothing at all":        "there was no request",
			"the preface of HTTP/2": "it speaks HTTP/2, and no request follows",
		},
		unread: envoyUnread,
		always: func(a *ask) { a.user = "" }, // it knows no users
		rewrites: map[string]func(*ask){
			"a URI in absolute form":         path("/v1?x"),
			"a URI with a user":              path("/v1"),
			"CONNECT":                        path(""),                              // the target is its :authority
			"a user agent that is not UTF-8": func(a *ask) { a.userAgent = "xÃ(ÿ" }, // interpreted as Latin-1
			"lists in two headers":           func(a *ask) { a.forwarded = "203.0.113.7, 198.51.100.2,192.0.2.9" },
			"two hosts":                      func(a *ask) { a.host = "shop.example,api.example" },
		},
		unanswered: map[string]int{
			"HTTP/0.9": 400, "a TLS hello": 400, "an SSH client": 400, "an SMB client": 400, "a quote": 400, "a minus": 400,
		},
	}
}

// Envoy Gateway makes Envoy append its peer to X-Forwarded-For before it logs.
func envoyGatewayQuirks() quirks {
	q := envoyQuirks()
	q.always = func(a *ask) {
		a.user = ""
		a.forwarded = strings.TrimPrefix(a.forwarded+","+a.peer, ",")
	}
	q.rewrites["HTTP/1.0 without a host"] = func(a *ask) { a.forwarded = "" }
	q.rewrites["HTTP/0.9"] = q.rewrites["HTTP/1.0 without a host"] // it refuses both earlier
	q.rewrites["no host"] = q.rewrites["HTTP/0.9"]
	q.rewrites["lists in two headers"] = func(a *ask) { a.forwarded = "203.0.113.7, 198.51.100.2,192.0.2.9," + a.peer }
	return q
}

func path(p string) func(*ask) { return func(a *ask) { a.path = p } }

func cut(n int) func(*ask) { return func(a *ask) { a.path = a.path[:n] } }

// inUTF8 converts texts in the same way as Go's JSON encoders.
func inUTF8(a *ask) {
	for _, text := range []*string{&a.path, &a.userAgent, &a.referer, &a.forwarded} {
		var b strings.Builder
		for _, r := range *text { // a byte that is not UTF-8 is read as U+FFFD
			b.WriteRune(r)
		}
		*text = b.String()
	}
}

// bareHost returns a host in lower case, without port.
func bareHost(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	return strings.ToLower(host)
}
