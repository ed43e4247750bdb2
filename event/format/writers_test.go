package format

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// writers are the servers that write a format, as far as the bytes of clients are
// concerned. A format needs one at least.
func writers() map[string][]writer {
	line := []piece{partUser, partMethod, partPath, partAgent, partReferer}
	object := []piece{partUser, partMethod, partPath, partHost, partAgent, partReferer, partChain}
	own := append([]piece{partDevice, partSession}, object...)
	noUser := object[1:]
	return map[string][]writer{
		"weir": {
			{"a careful gateway", true, own, func(r written) string { return ownRecord(r, jsonOfNginx) }},
			{"a careless gateway", true, own, func(r written) string { return ownRecord(r, jsonLeast) }},
			{"a gateway in Go", false, own, func(r written) string { return ownRecord(r, jsonOfGo) }},
		},
		"combined": {
			{"Apache", true, line, func(r written) string { return combinedLine(r, "", "", textOfApache) }},
			{"nginx", true, line, func(r written) string { return combinedLine(r, "", "", textOfNginx) }},
			{"nginx with X-Forwarded-For", true, append(line, partChain), func(r written) string {
				return combinedLine(r, "", ` "`+orDash(textOfNginx(r[partChain]))+`"`, textOfNginx)
			}},
			{"Apache with the virtual host", true, line, func(r written) string { return combinedLine(r, "shop.example.com:80 ", "", textOfApache) }},
			{"nginx with $host in front", true, append(line, partHost), func(r written) string {
				return combinedLine(r, textOfNginx(hostOfNginx(r[partHost]))+" ", "", textOfNginx)
			}},
			{"lighttpd", true, []piece{partMethod, partPath, partHost, partAgent, partReferer}, func(r written) string {
				return strings.Replace(combinedLine(r, "", "", textOfApache), " - ann ", " "+hostOfLighttpd(r[partHost])+" - ", 1)
			}},
			{"nginx behind syslog", true, line, func(r written) string {
				return combinedLine(r, "Sep 15 16:13:46 web1 nginx[1]: ", "", textOfNginx)
			}},
		},
		"nginx": {{"nginx", true, object, nginxRecord}},
		"envoy": {{"Envoy", false, noUser, func(r written) string {
			return objectOf(jsonOfEnvoy, `{"start_time":"2026-09-15T16:13:46Z","downstream_remote_address":"192.0.2.7:41000","response_code":200,"duration":17`,
				"method", r[partMethod], "path", r[partPath], "authority", r[partHost], "user_agent", r[partAgent], "referer", r[partReferer], "x_forwarded_for", r[partChain])
		}}},
		"envoy-gateway": {{"Envoy Gateway", false, noUser, func(r written) string {
			return objectOf(jsonOfEnvoy, `{"start_time":"2026-09-15T16:13:46Z","downstream_remote_address":"192.0.2.7:41000","response_code":200,"duration":17`,
				"method", r[partMethod], "x-envoy-origin-path", r[partPath], ":authority", r[partHost], "user-agent", r[partAgent], "referer", r[partReferer], "x-forwarded-for", r[partChain])
		}}},
		"traefik": {{"Traefik", false, object, func(r written) string {
			return objectOf(jsonOfGo, `{"StartUTC":"2026-09-15T16:13:46Z","ClientAddr":"192.0.2.7:41000","ClientHost":"192.0.2.7","DownstreamStatus":200,"Duration":5123456`,
				"ClientUsername", r[partUser], "RequestMethod", r[partMethod], "RequestPath", r[partPath], "RequestHost", r[partHost],
				"request_User-Agent", r[partAgent], "request_Referer", r[partReferer], "request_X-Forwarded-For", r[partChain])
		}}},
		"caddy":   {{"Caddy", false, object, caddyRecord}},
		"haproxy": {{"HAProxy", true, noUser, haproxyLine}},
		"nginx-proxy-manager": {{"Nginx Proxy Manager", true, []piece{partPath, partAgent, partReferer}, func(r written) string {
			return fmt.Sprintf(`[15/Sep/2026:16:13:46 +0000] - 200 200 - GET https shop.example.com "%s" [Client 192.0.2.7] [Length 512] [Gzip 2.31] [Sent-to 10.0.0.5] "%s" "%s"`,
				textOfNginx(r[partPath]), orDash(textOfNginx(r[partAgent])), orDash(textOfNginx(r[partReferer])))
		}}},
		"aws-alb": {{"an Application Load Balancer", true, []piece{partMethod, partPath, partAgent}, func(r written) string {
			return fmt.Sprintf(`https 2026-09-15T16:13:46.186641Z app/shop/50dc 192.0.2.7:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 0 57 `+
				`"%s https://shop.example.com:443%s HTTP/1.1" "%s" ECDHE TLSv1.2 arn:aws:x "Root=1-58337281" "shop.example.com" "arn:aws:y" 1 2026-09-15T16:13:36.364000Z "forward" "-" "-"`,
				textOfNginx(r[partMethod]), textOfNginx(r[partPath]), orDash(textOfNginx(r[partAgent])))
		}}},
		"cloudflare-logpush": {{"Logpush", false, []piece{partMethod, partPath, partHost, partAgent, partReferer}, func(r written) string {
			return objectOf(jsonOfGo, `{"ClientIP":"192.0.2.7","EdgeStartTimestamp":"2026-09-15T16:13:46Z","EdgeResponseStatus":200`,
				"ClientRequestMethod", r[partMethod], "ClientRequestURI", r[partPath], "ClientRequestHost", r[partHost],
				"ClientRequestUserAgent", r[partAgent], "ClientRequestReferer", r[partReferer])
		}}},
		"mapping": {
			{"a careful program", true, own, func(r written) string { return mappedRecord(r, jsonOfNginx) }},
			{"a careless program", true, own, func(r written) string { return mappedRecord(r, jsonLeast) }},
		},
		"pattern": {{"nginx", false, []piece{partMethod, partPath, partAgent}, func(r written) string {
			return fmt.Sprintf(`198.51.100.1, 203.0.113.7 192.0.2.7 ann [15/Sep/2026:16:13:46 +0000] "%s" 200 1.5 "%s" auth=failure`,
				textOfNginx(sentLine(r)), orDash(textOfNginx(r[partAgent])))
		}}},
	}
}

func sentLine(r written) string { return r[partMethod] + " " + r[partPath] + " HTTP/1.1" }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func combinedLine(r written, head, tail string, escape func(string) string) string {
	return fmt.Sprintf(`%s192.0.2.7 - %s [15/Sep/2026:16:13:46 +0000] "%s" 200 512 "%s" "%s"%s`,
		head, orDash(escape(r[partUser])), orDash(escape(sentLine(r))), orDash(escape(r[partReferer])), orDash(escape(r[partAgent])), tail)
}

func ownRecord(r written, quote func(string) string) string {
	return objectOf(quote, `{"id":"1","time":"2026-09-15T16:13:46Z","ip":"192.0.2.7","status":401,"auth":"failure","tenant":"shop","account_":0`,
		"account", r[partUser], "method", r[partMethod], "path", r[partPath], "host", r[partHost], "user_agent", r[partAgent], "referer", r[partReferer],
		"forwarded_for", r[partChain], "device", r[partDevice], "session", r[partSession])
}

func nginxRecord(r written) string {
	return objectOf(jsonOfNginx, `{"msec":"1789488826.123","remote_addr":"192.0.2.7","status":"200","request_time":"0.005","bytes_sent":"512"`,
		"remote_user", r[partUser], "request_method", r[partMethod], "request_uri", r[partPath], "host", r[partHost],
		"http_user_agent", r[partAgent], "http_referer", r[partReferer], "http_x_forwarded_for", r[partChain])
}

func caddyRecord(r written) string {
	q := jsonOfGo
	return `{"level":"info","ts":1789488826.25,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"192.0.2.7","remote_port":"41342","proto":"HTTP/2.0",` +
		`"method":` + q(r[partMethod]) + `,"host":` + q(r[partHost]) + `,"uri":` + q(r[partPath]) + `,"headers":{"User-Agent":[` + q(r[partAgent]) + `],"X-Forwarded-For":[` + q(r[partChain]) +
		`],"Referer":[` + q(r[partReferer]) + `]}},"bytes_read":17,"user_id":` + q(r[partUser]) + `,"duration":0.0009,"size":10900,"status":401}`
}

func haproxyLine(r written) string {
	h := textOfHAProxy
	return fmt.Sprintf(`Sep 15 16:13:46 lb1 haproxy[14389]: 192.0.2.7:33317 [15/Sep/2026:16:13:46.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {%s|%s|%s|%s} {} "%s"`,
		h(r[partHost]), h(r[partChain]), h(r[partAgent]), h(r[partReferer]), h(sentLine(r)))
}

func mappedRecord(r written, quote func(string) string) string {
	return objectOf(quote, `{"at":"2026-09-15T16:13:46Z","peer":"192.0.2.7","code":401,"user":{"name":`+quote(r[partUser])+`},"http":{"method":`+quote(r[partMethod])+
		`,"path":`+quote(r[partPath])+`,"host":`+quote(r[partHost])+`}`,
		"agent", r[partAgent], "referer", r[partReferer], "chain", r[partChain], "device", r[partDevice], "session", r[partSession])
}

// objectOf adds members, name and value in turn, to the start of an object.
func objectOf(quote func(string) string, start string, members ...string) string {
	var b strings.Builder
	b.WriteString(start)
	for i := 0; i < len(members); i += 2 {
		b.WriteString(`,"` + members[i] + `":` + quote(members[i+1]))
	}
	b.WriteByte('}')
	return b.String()
}

// escapeBytes writes every byte that escape has something for in its way.
func escapeBytes(s string, escape func(c byte) string) string {
	var b strings.Builder
	for i := range len(s) {
		if e := escape(s[i]); e != "" {
			b.WriteString(e)
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// textOfApache is how Apache 2.4 escapes in its logs.
func textOfApache(s string) string {
	named := map[byte]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\v': `\v`}
	return escapeBytes(s, func(c byte) string {
		if e := named[c]; e != "" || c >= ' ' && c < 0x7f {
			return e
		}
		return fmt.Sprintf(`\x%02x`, c)
	})
}

// textOfNginx is nginx' escape=default.
func textOfNginx(s string) string {
	return escapeBytes(s, func(c byte) string {
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			return ""
		}
		return fmt.Sprintf(`\x%02X`, c)
	})
}

// hostOfNginx is nginx' $host: of a header that it takes for none, the server's
// own name. So it is here for one that ends in a comma, which nobody can tell from
// a list of addresses: docs/formats.md says to log $server_name.
func hostOfNginx(s string) string {
	bad := strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' })
	s, _, _ = strings.Cut(s, ":")
	if bad || s == "" || strings.Contains(s, "..") || strings.HasSuffix(s, ",") {
		return "shop.example.com"
	}
	return strings.ToLower(s)
}

// hostOfLighttpd is the host that lighttpd logs: of what is none it answers 400,
// and logs a dash.
func hostOfLighttpd(s string) string {
	strange := func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-:", r) }
	if s = strings.ToLower(s); s == "" || strings.ContainsFunc(s, strange) {
		return "-"
	}
	return s
}

func textOfHAProxy(s string) string {
	return escapeBytes(s, func(c byte) string {
		if c >= ' ' && c < 0x7f && !strings.ContainsRune(`"#{|}`, rune(c)) {
			return ""
		}
		return fmt.Sprintf(`#%02X`, c)
	})
}

// jsonOfNginx is nginx' escape=json: bytes that are not UTF-8 stay as they are.
func jsonOfNginx(s string) string {
	named := map[byte]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`}
	return `"` + escapeBytes(s, func(c byte) string {
		if e := named[c]; e != "" || c >= ' ' {
			return e
		}
		return fmt.Sprintf(`\u%04X`, c)
	}) + `"`
}

// jsonLeast escapes what ends a text, and nothing else.
func jsonLeast(s string) string {
	return `"` + escapeBytes(s, func(c byte) string { return map[byte]string{'"': `\"`, '\\': `\\`}[c] }) + `"`
}

// jsonOfGo is encoding/json: what is no text becomes U+FFFD.
func jsonOfGo(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// jsonOfEnvoy is Envoy's from 1.32 on.
func jsonOfEnvoy(s string) string {
	if utf8.ValidString(s) {
		return jsonOfNginx(s)
	}
	return `"` + escapeBytes(s, func(c byte) string {
		switch {
		case c == '"' || c == '\\':
			return `\` + string(rune(c))
		case c < ' ' || c >= 0x7f:
			return fmt.Sprintf(`\u%04x`, c)
		}
		return ""
	}) + `"`
}
