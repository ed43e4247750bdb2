package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// ask returns a question with a body of {} and further lines in its head.
func ask(lines ...string) string {
	return "POST /v1/decide HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n{}"
}

func TestWhatIsAQuestion(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     verdict
	}{
		{"the least", ask(), whole},
		{"what clients commonly send", ask("User-Agent: python-requests/2", "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive", "content-type: application/json"), whole},
		{"a trace and a token", ask("traceparent: 00-a", "TraceState: a=b,c=d", "X-WEIR-TOKEN:\ta "), whole},
		{"followed by another one", ask() + ask(), whole},
		{"a header in two lines", ask("Accept: a", "Accept: b"), whole},

		{"nothing yet", "", partial},
		{"half a method", "PO", partial},
		{"half a head", "POST /v1/decide HTTP/1.1\r\nHost: gate\r\n", partial},
		{"half a body", strings.TrimSuffix(ask(), "}"), partial},

		{"another method", "GET /v1/decide HTTP/1.1\r\n", other},
		{"another path", "POST /v1/decide/ HTTP/1.1\r\n", other},
		{"a query", "POST /v1/decide?a HTTP/1.1\r\n", other},
		{"an older version", "POST /v1/decide HTTP/1.0\r\n", other},
		{"no host", "POST /v1/decide HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", other},
		{"an empty host", "POST /v1/decide HTTP/1.1\r\nHost:\r\nContent-Length: 2\r\n\r\n{}", other},
		{"two hosts", ask("Host: other"), other},
		{"a host that net/http refuses", "POST /v1/decide HTTP/1.1\r\nHost: a b\r\nContent-Length: 2\r\n\r\n{}", other},
		{"no length", "POST /v1/decide HTTP/1.1\r\nHost: gate\r\n\r\n{}", other},
		{"two lengths", ask("Content-Length: 2"), other},
		{"a length with a sign", strings.Replace(ask(), ": 2", ": +2", 1), other},
		{"no body", strings.Replace(ask(), ": 2", ": 0", 1), other},
		{"a large body", strings.Replace(ask(), ": 2", ": 16385", 1), other},
		{"a length that no number holds", strings.Replace(ask(), ": 2", ": 99999999999999999999", 1), other},
		{"chunks", ask("Transfer-Encoding: chunked"), other},
		{"the end of the connection", ask("Connection: close"), other},
		{"an upgrade", ask("Connection: upgrade"), other},
		{"a client that waits", ask("Expect: 100-continue"), other},
		{"a form", ask("Content-Type: application/x-www-form-urlencoded"), other},
		{"a character set", ask("Content-Type: application/json; charset=utf-8"), other},
		{"a header of somebody else", ask("X-Forwarded-For: 203.0.113.9"), other},
		{"two tokens", ask("X-Weir-Token: a", "X-Weir-Token: b"), other},
		{"a blank before the colon", ask("Accept : a"), other},
		{"a folded line", ask("Accept: a", " b"), other},
		{"a line without a colon", ask("Accept"), other},
		{"an empty name", ask(": a"), other},
		{"a control character", ask("Accept: a\x00"), other},
		{"a lone carriage return", ask("Accept: a\rb"), other},
		{"a line feed alone", "POST /v1/decide HTTP/1.1\r\nHost: gate\nContent-Length: 2\r\n\r\n{}", other},
		{"a byte beyond ASCII", ask("Accept: ä"), other},
		{"a head that does not end", "POST /v1/decide HTTP/1.1\r\nAccept: " + strings.Repeat("a", mostHead), other},
		{"the longest head", ask("Accept: " + strings.Repeat("a", mostHead-len(ask("Accept: "))+len("{}"))), whole},
		{"a head that is longer by a byte", ask("Accept: " + strings.Repeat("a", mostHead-len(ask("Accept: "))+len("{}")+1)), other},
		{"a long head", ask("Accept: " + strings.Repeat("a", mostHead)), other},
	} {
		if q, v := parse([]byte(tc.in)); v != tc.want {
			t.Errorf("%s: %v, %+v", tc.name, v, q)
		}
	}
}

func TestWhatAQuestionSays(t *testing.T) {
	in := ask("traceparent: 00-a", "tracestate: a=b,c=d", "X-Weir-Token:\ta b ")
	q, v := parse([]byte(in))
	if v != whole || q.parent != "00-a" || q.state != "a=b,c=d" || q.token != "a b" || in[q.head:q.size()] != "{}" {
		t.Errorf("%v %+v", v, q)
	}
}

// FuzzParse: what is read here, net/http reads in the same way.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{ask(), ask() + "GET", ask("traceparent: 00-a", "tracestate: a=b", "X-Weir-Token: a", "Connection: Keep-Alive"), ask("Content-Type: application/json", "Accept: */*"), ask("Transfer-Encoding: chunked"), ask("Accept: a", " b")} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		q, v := parse(in)
		if v != whole {
			return
		}
		for n := range q.size() { // however it is cut
			if _, v := parse(in[:n]); v != partial {
				t.Fatalf("%d of %d bytes: %v", n, q.size(), v)
			}
		}
		rest := bytes.NewReader(in)
		b := bufio.NewReader(rest)
		r, err := http.ReadRequest(b)
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(body, in[q.head:q.size()]) || rest.Len()+b.Buffered() != len(in)-q.size() {
			t.Fatalf("%q: body %q, %v", in, body, err)
		}
		h := r.Header
		media := h.Values("Content-Type")
		if r.Method != http.MethodPost || r.RequestURI != "/v1/decide" || !r.ProtoAtLeast(1, 1) || r.Host == "" || r.Close || r.TransferEncoding != nil || r.ContentLength != int64(q.body) ||
			len(media) > 0 && !strings.EqualFold(media[0], "application/json") || h.Get("Expect") != "" || h.Get("Upgrade") != "" {
			t.Fatalf("%q: %+v", in, r)
		}
		if h.Get("X-Weir-Token") != q.token || h.Get("Traceparent") != q.parent || h.Get("Tracestate") != q.state {
			t.Fatalf("%q: %+v, %v", in, q, h)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	in := []byte(ask("Content-Type: application/json", "User-Agent: "+strconv.Itoa(1)))
	b.ReportAllocs()
	for b.Loop() {
		if _, v := parse(in); v != whole {
			b.Fatal(v)
		}
	}
}
