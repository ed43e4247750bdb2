package notices

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirdev/weir/proof/testkit"
)

// folder makes a file of notices with secrets beside it, and loads it.
func folder(t *testing.T, text string, secrets map[string]string) (*File, error) {
	t.Helper()
	dir := t.TempDir()
	for name, value := range secrets {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Parse(filepath.Join(dir, "notices.yaml"), []byte(text), words(t))
}

func channel(t *testing.T, text string, secrets map[string]string) *Channel {
	t.Helper()
	f, err := folder(t, "channels:\n  - {id: it, "+text+"}\n", secrets)
	if err != nil {
		t.Fatal(err)
	}
	return f.Channels[0]
}

const exampleSignature = "4044ca25a9ac3b5063a4601aeec44fcbb11138c6969d01662fb8a6e680f84a1d"

func hostileNotice() *Notice {
	n := Notice{
		Version: 1, ID: "abc-2", GroupID: "abc", Status: Update, Stream: "weir", Rules: []string{"scan"}, Title: visible("a <!channel> & title"),
		Tenant: visible("shop\r\nBcc: all@example.org"), Signals: 2, Entities: 1,
	}
	s := signal(1, "scan", "x\r\n.\r\nQUIT\r\n<!here> *b* é http://evil.example")
	n.Findings = []Finding{finding(&s)}
	return &n
}

// posted is a receiver of webhooks, and its last request.
type posted struct {
	*httptest.Server
	mu     sync.Mutex
	header http.Header
	body   []byte
	answer http.HandlerFunc // nil: 204
}

func newReceiver(t *testing.T) *posted {
	t.Helper()
	p := &posted{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.header = r.Header
		p.body, _ = io.ReadAll(r.Body)
		if p.answer != nil {
			p.answer(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(p.Close)
	return p
}

// TestAReceiverCanTellWhoHasSentAWebhook verifies a signature as docs/notices.md says,
// without the code of this package.
func TestAReceiverCanTellWhoHasSentAWebhook(t *testing.T) {
	const secret = "a secret of the tests"
	r := newReceiver(t)
	c := channel(t, "webhook: {url: '"+r.URL+"/hook?a=b', secret_file: s}", map[string]string{"s": secret + "\n"})
	if err := c.sender.Send(t.Context(), hostileNotice()); err != nil {
		t.Fatal(err)
	}
	m := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(m, "%s.%s", r.header.Get("Weir-Timestamp"), r.body)
	if got, want := r.header.Get("Weir-Signature"), "v1="+hex.EncodeToString(m.Sum(nil)); got != want {
		t.Errorf("the signature is %s, want %s", got, want)
	}
	var n Notice
	if err := json.Unmarshal(r.body, &n); err != nil || n.ID != "abc-2" || r.header.Get("Weir-Notice-Id") != n.ID || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("%v %v %s", err, r.header, r.body)
	}
	// Worked out with Python's hmac.
	if got := Sign("an example, never a real secret!", "1763892000", []byte(`{"v":1}`)); got != "v1="+exampleSignature {
		t.Errorf("the example is signed %s", got)
	}
}

func TestAnswersOfReceivers(t *testing.T) {
	elsewhere := newReceiver(t)
	r := newReceiver(t)
	c := channel(t, "webhook: {url: '"+r.URL+"', secret_file: s}", map[string]string{"s": "a secret of the tests"})
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		final  bool
		after  time.Duration
	}{
		"a redirect is not followed": {func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, elsewhere.URL, http.StatusTemporaryRedirect)
		}, false, 0},
		"no such thing":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }, true, 0},
		"not allowed yet": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, false, 0},
		"later": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}, false, 7 * time.Second},
		"much later": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "99999999")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, false, mostPatience},
		"an answer without an end": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			for range 1000 {
				if _, err := w.Write([]byte(strings.Repeat("\x1b[31mX\n", 1000))); err != nil {
					return
				}
			}
		}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r.answer = tc.answer
			err := c.sender.Send(t.Context(), hostileNotice())
			var final refusal
			var later busy
			if err == nil || errors.As(err, &final) != tc.final || errors.As(err, &later) != (tc.after > 0) || later.after != tc.after {
				t.Fatalf("%#v", err)
			}
			if text := err.Error(); len(text) > 900 || strings.ContainsAny(text, "\x1b\n") {
				t.Errorf("the error is %q", text)
			}
		})
	}
	if elsewhere.body != nil {
		t.Error("the redirect was followed")
	}
}

func TestSlackIsToldPlainText(t *testing.T) {
	r := newReceiver(t)
	c := channel(t, "slack: {url_file: u}", map[string]string{"u": r.URL + "/services/T0/B0/secret\n"})
	if err := c.sender.Send(t.Context(), hostileNotice()); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Text      string `json:"text"`
		Markdown  *bool  `json:"mrkdwn"`
		LinkNames *bool  `json:"link_names"`
	}
	if err := json.Unmarshal(r.body, &got); err != nil || got.Markdown == nil || *got.Markdown || got.LinkNames == nil || *got.LinkNames {
		t.Fatalf("%s: %v", r.body, err)
	}
	if strings.ContainsAny(got.Text, "<>") || strings.Contains(got.Text, "://") || !strings.Contains(got.Text, "a &lt;!channel&gt; &amp; title") || !strings.Contains(got.Text, "&lt;!here&gt;") {
		t.Errorf("the text is %q", got.Text)
	}
	// The address is a secret, and in no error.
	r.Close()
	if err := c.sender.Send(t.Context(), hostileNotice()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error is %v", err)
	}
}

// post office is a mail server that takes one message.
type office struct {
	addr string
	tls  *tls.Config
	said chan string // commands, and the message
}

func newOffice(t *testing.T, authority *testkit.Authority, always bool, refuse string) *office {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &office{addr: l.Addr().String(), said: make(chan string, 100)}
	if authority != nil {
		o.tls = &tls.Config{Certificates: []tls.Certificate{authority.Identity("mail.example", nil).Pair}}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if always {
				c = tls.Server(c, o.tls)
			}
			o.serve(c, refuse)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return o
}

func (o *office) serve(c net.Conn, refuse string) {
	defer func() { c.Close() }()
	in := bufio.NewReader(c)
	refused, answer, _ := strings.Cut(refuse, "|")
	say := func(text string) { fmt.Fprintf(c, "%s\r\n", text) }
	say("220 mail.example ready")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		o.said <- line
		verb, _, _ := strings.Cut(line, " ")
		_, secure := c.(*tls.Conn)
		switch {
		case refuse != "" && strings.HasPrefix(line, refused):
			say(answer)
		case verb == "EHLO" && o.tls != nil && !secure:
			say("250-mail.example\r\n250 STARTTLS")
		case verb == "EHLO":
			say("250-mail.example\r\n250 AUTH PLAIN")
		case verb == "STARTTLS":
			say("220 go ahead")
			c = tls.Server(c, o.tls)
			in = bufio.NewReader(c)
		case verb == "AUTH":
			say("235 welcome")
		case verb == "DATA":
			say("354 go ahead")
			var b strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				b.WriteString(line)
			}
			o.said <- b.String()
			say("250 taken")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// heard returns the commands, and the message.
func (o *office) heard(t *testing.T) (commands, message string) {
	t.Helper()
	for {
		select {
		case s := <-o.said:
			if strings.Contains(s, "\r\n") {
				message = s
				continue
			}
			commands += s + "\n"
			if s == "QUIT" {
				return commands, message
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no QUIT after %q", commands)
		}
	}
}

const mailTo = "from: 'Weir <weir@example.org>', to: ['Ops <ops@example.org>', 'second@example.org']"

func TestAMailIsSentOverTLSAndNothingInItIsACommand(t *testing.T) {
	authority := testkit.NewAuthority(t)
	for _, mode := range []string{tlsStart, tlsAlways} {
		t.Run(mode, func(t *testing.T) {
			o := newOffice(t, authority, mode == tlsAlways, "")
			c := channel(t, fmt.Sprintf("email: {server: '%s', tls: %s, ca_file: %s, user: weir, password_file: p, %s}", o.addr, mode, authority.File, mailTo), map[string]string{"p": "horse staple"})
			if err := c.sender.Send(t.Context(), hostileNotice()); err != nil {
				t.Fatal(err)
			}
			commands, message := o.heard(t)
			for _, want := range []string{"AUTH PLAIN", "MAIL FROM:<weir@example.org>", "RCPT TO:<ops@example.org>", "RCPT TO:<second@example.org>"} {
				if !strings.Contains(commands, want) {
					t.Errorf("no %s in\n%s", want, commands)
				}
			}
			m, err := mail.ReadMessage(strings.NewReader(message))
			if err != nil {
				t.Fatal(err)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
			if err != nil || !strings.HasPrefix(subject, "[UPDATE] scan, tenant shop\ufffd Bcc: all@example.org") || len(m.Header) != 11 {
				t.Errorf("subject %q (%v), headers %v", subject, err, m.Header)
			}
			if m.Header.Get("Message-Id") != "<abc-2@example.org>" || m.Header.Get("In-Reply-To") != "<abc-1@example.org>" || m.Header.Get("Bcc") != "" {
				t.Errorf("headers %v", m.Header)
			}
			for _, line := range strings.Split(message, "\r\n") {
				if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
					t.Errorf("a line of %d bytes: %q", len(line), line)
				}
			}
		})
	}
}

func TestAMailServerThatCannotBeTrustedIsToldNothing(t *testing.T) {
	authority := testkit.NewAuthority(t)
	send := func(o *office, more string) error {
		c := channel(t, fmt.Sprintf("email: {server: '%s', %s%s}", o.addr, more, mailTo), map[string]string{"p": "horse staple"})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return c.sender.Send(ctx, hostileNotice())
	}
	var final refusal
	if err := send(newOffice(t, nil, false, ""), ""); err == nil || !strings.Contains(err.Error(), "STARTTLS") {
		t.Errorf("a server without TLS: %v", err)
	}
	if err := send(newOffice(t, authority, false, ""), ""); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server with a certificate of nobody: %v", err)
	}
	if err := send(newOffice(t, nil, false, "DATA|554 no spam"), "tls: never, "); !errors.As(err, &final) {
		t.Errorf("a refused message: %v", err)
	}
	if err := send(newOffice(t, nil, false, "MAIL|450 later"), "tls: never, "); err == nil || errors.As(err, &final) {
		t.Errorf("a busy server: %v", err)
	}
}

// TestReceiversWithAnAuthorityOfTheirOwn: they are told if the file names it, and sent
// nothing if it does not.
func TestReceiversWithAnAuthorityOfTheirOwn(t *testing.T) {
	authority, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	taken := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { taken++ }))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Identity("receiver.example", nil).Pair}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of clients that hang up
	server.StartTLS()
	defer server.Close()
	ca, err := os.ReadFile(authority.File)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"s": "a secret of the tests", "u": server.URL, "ca.pem": string(ca)}
	for name, text := range map[string]string{"webhook": "webhook: {url: '" + server.URL + "', secret_file: s%s}", "slack": "slack: {url_file: u%s}"} {
		t.Run(name, func(t *testing.T) {
			taken = 0
			send := func(more string) error {
				return channel(t, fmt.Sprintf(text, more), secrets).sender.Send(t.Context(), hostileNotice())
			}
			for _, more := range []string{"", ", ca_file: '" + other.File + "'"} {
				if err := send(more); err == nil || !strings.Contains(err.Error(), "ca_file") || taken != 0 {
					t.Errorf("with %q: %v, %d are taken", more, err, taken)
				}
			}
			if err := send(", ca_file: ca.pem"); err != nil || taken != 1 {
				t.Errorf("%v, %d are taken", err, taken)
			}
			for more, want := range map[string]string{", ca_file: s": "holds no certificate", ", ca_file: gone.pem": "cannot be read"} {
				if _, err := folder(t, "channels:\n  - {id: it, "+fmt.Sprintf(text, more)+"}\n", secrets); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("with %q: %v", more, err)
				}
			}
		})
	}
	if _, err := folder(t, "channels:\n  - {id: it, webhook: {url: 'http://127.0.0.1:9/', secret_file: s, ca_file: ca.pem}}\n", secrets); err == nil || !strings.Contains(err.Error(), "no certificate is asked for") {
		t.Errorf("an authority without TLS: %v", err)
	}
}

// TestOneAddressThatIsGoneKeepsTheMailFromNobodyElse: the others are told, and the log
// says whom the server refused.
func TestOneAddressThatIsGoneKeepsTheMailFromNobodyElse(t *testing.T) {
	for refuse, want := range map[string]string{
		"RCPT TO:<ops@|550 gone":       "taken in part",
		"RCPT TO:<second@|550 gone":    "taken in part",
		"RCPT|550 gone":                "tried again",
		"RCPT TO:<second@|450 be back": "tried again",
	} {
		o := newOffice(t, nil, false, refuse)
		c := channel(t, fmt.Sprintf("email: {server: '%s', tls: never, %s}", o.addr, mailTo), nil)
		err := c.sender.Send(t.Context(), hostileNotice())
		got, final := "tried again", refusal{}
		if errors.As(err, &inPart{}) {
			got = "taken in part"
			if _, message := o.heard(t); !strings.Contains(message, "Subject:") {
				t.Errorf("%s: the message is %q", refuse, message)
			}
		}
		if err == nil || errors.As(err, &final) || got != want || !strings.Contains(err.Error(), "@example.org") {
			t.Errorf("%s: %s (%v), want %s", refuse, got, err, want)
		}
	}
}

// TestASubjectIsNoEncodedWord: a mail program would show what is in it.
func TestASubjectIsNoEncodedWord(t *testing.T) {
	e := &email{from: &mail.Address{Address: "weir@example.org"}, now: time.Now}
	n := &Notice{ID: "abc-1", GroupID: "abc", Status: Firing, Rules: []string{"scan"}, Group: "device:=?utf-8?q?visit_https=3A//evil.example?=", Signals: 1, Entities: 1}
	m, err := mail.ReadMessage(bytes.NewReader(e.message(n)))
	if err != nil {
		t.Fatal(err)
	}
	if shown, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil || !strings.Contains(shown, "https=3A//evil") {
		t.Errorf("a mail program shows %q (%v)", shown, err)
	}
}

// TestMentionsWakeNobodyUp: what follows Slack's form of webhooks has other mentions.
func TestMentionsWakeNobodyUp(t *testing.T) {
	r := newReceiver(t)
	c := channel(t, "slack: {url_file: u}", map[string]string{"u": r.URL})
	if err := c.sender.Send(t.Context(), &Notice{Title: "@all, @here and (@channel), but ann@example.org", Status: Firing}); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(r.body, &got); err != nil || !strings.Contains(got.Text, "@\u200ball, @\u200bhere and (@\u200bchannel), but ann@example.org") {
		t.Errorf("the text is %q (%v)", got.Text, err)
	}
}

func TestMistakesInTheFile(t *testing.T) {
	const good = "channels:\n  - {id: one, webhook: {url: 'https://example.org/', secret_file: s}}\n"
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":                     {"", "channels"},
		"an unknown key":              {good + "silence: []\n", `notices.yaml:3:1: `},
		"no way":                      {"channels:\n  - {id: one}\n", "0 of webhook, slack and email are there"},
		"two ways":                    {"channels:\n  - {id: one, slack: {url_file: u}, webhook: {url: 'https://example.org/', secret_file: s}}\n", "2 of webhook, slack and email are there"},
		"twice one id":                {good + "  - {id: one, slack: {url_file: u}}\n", "another channel is called one"},
		"an address that is none":     {strings.Replace(good, "https://example.org/", "file:///etc/passwd", 1), "is no address of HTTP"},
		"a password in the address":   {strings.Replace(good, "https://", "https://u:p@", 1), "is no address of HTTP"},
		"a secret that is not there":  {strings.Replace(good, "secret_file: s", "secret_file: gone", 1), "no such file"},
		"a short secret":              {strings.Replace(good, "secret_file: s", "secret_file: short", 1), "a secret of 5 bytes is too short"},
		"a secret of two lines":       {strings.Replace(good, "secret_file: s", "secret_file: two", 1), "does not hold one line"},
		"Slack without TLS":           {"channels:\n  - {id: one, slack: {url_file: plain}}\n", "no address of HTTPS"},
		"a password without TLS":      {"channels:\n  - {id: one, email: {server: 'h:25', tls: never, user: u, password_file: s, " + mailTo + "}}\n", "the password could be read"},
		"a server without a port":     {"channels:\n  - {id: one, email: {server: h, " + mailTo + "}}\n", "is no host with a port"},
		"a receiver that is none":     {"channels:\n  - {id: one, email: {server: 'h:25', from: a@b.c, to: [\"a@b.c\\r\\nBcc: x@y.z\"]}}\n", "is no address"},
		"a rule that does not exist":  {good + "silences:\n  - {match: {rule: [scrape-everything]}, owner: o, reason: r, expires: 2030-01-01}\n", `no rule is called "scrape-everything"`},
		"an entity that is none":      {good + "silences:\n  - {match: {entity: [planet:earth]}, owner: o, reason: r, expires: 2030-01-01}\n", `"planet:earth" is no entity`},
		"a silence of everything":     {good + "silences:\n  - {match: {}, owner: o, reason: r, expires: 2030-01-01}\n", "it selects every signal"},
		"a silence without an end":    {good + "silences:\n  - {match: {tenant: [shop]}, owner: o, reason: r}\n", "expires"},
		"a category that is not used": {good + "silences:\n  - {match: {category: [weather]}, owner: o, reason: r, expires: 2030-01-01}\n", `no category is called "weather"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := folder(t, tc.text, map[string]string{"s": "a secret of the tests", "u": "https://example.org/x", "plain": "http://example.org/x", "short": "short", "two": "a secret\nof the tests"})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "notices.yaml") {
				t.Errorf("got %v\nwant %s", err, tc.want)
			}
		})
	}
	if f, err := folder(t, good+"silences:\n  - {match: {rule: ['scraping-*'], tenant: [shop]}, owner: o, reason: r, expires: 2030-01-01}\n", map[string]string{"s": "a secret of the tests"}); err != nil || len(f.Silences) != 1 || f.Wait != 30*time.Second || !f.Channels[0].Resolved {
		t.Errorf("a right one: %+v, %v", f, err)
	}
}

// TestTheExampleOfTheDocumentation loads the file on the page.
func TestTheExampleOfTheDocumentation(t *testing.T) {
	text := testkit.ReadPage(t, "docs/notices.md").Blocks(t, "yaml")[0]
	f, err := folder(t, text, map[string]string{"oncall.secret": "a secret of the tests", "slack.url": "https://hooks.example/x", "smtp.password": "horse staple"})
	if err != nil || len(f.Channels) != 3 || len(f.Silences) != 1 || f.Channels[0].Phase != 2 || f.Channels[2].Resolved {
		t.Errorf("%+v: %v", f, err)
	}
}
