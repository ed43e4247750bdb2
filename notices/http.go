package notices

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weirdev/weir/rules"
)

// sender delivers notices to one receiver.
type sender interface {
	// Send returns nil when the receiver has taken the notice. Its error is a
	// [refusal] if another attempt would end in the same way, and [inPart] if the
	// notice was taken, but not for everybody.
	Send(ctx context.Context, n *Notice) error
}

// refusal is the error of a receiver that does not take a notice for good.
type refusal struct{ error }

// inPart is the error of a receiver that has taken a notice for some people only.
type inPart struct{ error }

// busy is the error of a receiver that says when to come back.
type busy struct {
	error
	after time.Duration
}

const (
	attemptTime  = 10 * time.Second
	mostAnswer   = 4 << 10 // bytes of an answer that are read
	mostPatience = 5 * time.Minute
)

// Headers of a webhook.
const (
	HeaderID        = "Weir-Notice-Id"
	HeaderTimestamp = "Weir-Timestamp" // Unix seconds
	HeaderSignature = "Weir-Signature" // see Sign
)

// Sign returns the signature of a webhook's body: "v1=" and the hexadecimal digits of
//
//	HMAC-SHA-256(secret, timestamp "." body)
//
// where timestamp is the value of the header.
func Sign(secret, timestamp string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(timestamp + "."))
	m.Write(body)
	return "v1=" + hex.EncodeToString(m.Sum(nil))
}

// newClient returns a client that follows no redirect: the receiver is the one that
// the operator has named. It trusts the authorities in roots; nil: those of the system.
func newClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout:       attemptTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: attemptTime}).DialContext,
			TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, MaxIdleConns: 2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

// post sends a body. The address is not in its errors, since it may be a secret.
func post(ctx context.Context, client *http.Client, address string, body []byte, header map[string]string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return refusal{errors.New("the address does not read")}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "weir-notices")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := client.Do(req)
	if err != nil {
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err
		}
		if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
			return fmt.Errorf("post: %w; if the receiver's authority is your own, name its certificate in ca_file", err)
		}
		return fmt.Errorf("post: %w", err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(res.Body, mostAnswer)) // for the log
	if res.StatusCode/100 == 2 {
		return nil
	}
	err = fmt.Errorf("the receiver answers %d %s", res.StatusCode, visible(string(answer)))
	switch res.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return refusal{err}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if s, bad := strconv.Atoi(strings.TrimSpace(res.Header.Get("Retry-After"))); bad == nil && s > 0 {
			return busy{err, min(time.Duration(s)*time.Second, mostPatience)}
		}
	}
	return err
}

// webhook posts notices as JSON, with a signature.
type webhook struct {
	client *http.Client
	url    string
	secret string
	now    func() time.Time
}

const shortestSecret = 16

func (l *loader) webhook(in *rules.Params) sender {
	w := &webhook{client: newClient(l.roots(in)), url: in.Text("url"), secret: l.secret(in, "secret_file"), now: time.Now}
	if !isAddress(w.url, "http", "https") {
		in.Problem("url", "is no address of HTTP", "write it as https://host/path, without a user or a password")
	} else if in.Has("ca_file") && !isAddress(w.url, "https") {
		in.Problem("ca_file", "the address is one of HTTP, so no certificate is asked for", "write the address as https://, or remove ca_file")
	}
	if w.secret != "" && len(w.secret) < shortestSecret {
		in.Problem("secret_file", fmt.Sprintf("a secret of %d bytes is too short, %d are needed", len(w.secret), shortestSecret), "make one with `head -c 32 /dev/urandom | base64`")
	}
	return w
}

func isAddress(text string, schemes ...string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	for _, s := range schemes {
		if u.Scheme == s {
			return true
		}
	}
	return false
}

// Send implements [sender].
func (w *webhook) Send(ctx context.Context, n *Notice) error {
	body, err := n.Encode()
	if err != nil {
		return refusal{err}
	}
	at := strconv.FormatInt(w.now().Unix(), 10)
	return post(ctx, w.client, w.url, body, map[string]string{HeaderID: n.ID, HeaderTimestamp: at, HeaderSignature: Sign(w.secret, at, body)})
}

// slack posts notices as text to an incoming webhook.
type slack struct {
	client *http.Client
	url    string
}

func (l *loader) slack(in *rules.Params) sender {
	s := &slack{client: newClient(l.roots(in)), url: l.secret(in, "url_file")}
	if s.url != "" && !isAddress(s.url, "https") && !isLoopback(s.url) {
		in.Problem("url_file", "the file holds no address of HTTPS", "write the address of the incoming webhook: https://…")
	}
	return s
}

// isLoopback reports whether an address is one of HTTP on this machine.
func isLoopback(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// slackText escapes what Slack reads as a link, a mention or a channel.
var slackText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// mostSlack is the longest text of a message, bytes; Slack cuts longer ones.
const mostSlack = 8000

// mention is what Mattermost and Rocket.Chat take for one even where link_names is off,
// so that a client could wake up everybody. Addresses of mail are none.
var mention = regexp.MustCompile(`(^|[^\pL\pN._-])@([\pL\pN])`)

// Send implements [sender].
func (s *slack) Send(ctx context.Context, n *Notice) error {
	text := n.Subject() + "\n" + n.Text()
	if len(text) > mostSlack {
		text = strings.ToValidUTF8(text[:mostSlack], "") + "…"
	}
	text = mention.ReplaceAllString(text, "$1@\u200b$2") // a space without width
	// With mrkdwn off, nothing in the text is formatting. Blocks would turn it on.
	body, err := json.Marshal(map[string]any{
		"text": slackText.Replace(text), "mrkdwn": false, "link_names": false, "unfurl_links": false, "unfurl_media": false,
	})
	if err != nil {
		return refusal{err}
	}
	return post(ctx, s.client, s.url, body, nil)
}
