package notices

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirdev/weir/rules"
)

// How a connection to a mail server is protected.
const (
	tlsStart  = "starttls"
	tlsAlways = "always"
	tlsNever  = "never"
)

// email sends notices over SMTP.
type email struct {
	server   string // host:port
	host     string
	tls      string
	roots    *x509.CertPool // nil: those of the system
	user     string
	password string
	from     *mail.Address
	to       []*mail.Address
	now      func() time.Time
}

func (l *loader) email(in *rules.Params) sender {
	e := &email{server: in.Text("server"), tls: in.Text("tls"), user: in.Text("user"), now: time.Now}
	if e.tls == "" {
		e.tls = tlsStart
	}
	host, port, err := net.SplitHostPort(e.server)
	if err != nil || host == "" || port == "" {
		in.Problem("server", "is no host with a port", "write it as mail.example.org:587")
	}
	e.host = host
	if in.Has("user") != in.Has("password_file") {
		in.Problem("", "user and password_file belong together", "name both, or none")
	} else if in.Has("user") {
		e.password = l.secret(in, "password_file")
	}
	if in.Has("user") && e.tls == tlsNever {
		in.Problem("tls", "without TLS the password could be read on its way", "use starttls or always, or no password")
	}
	e.from = address(in, "from", in.Text("from"))
	for _, to := range in.Texts("to") {
		e.to = append(e.to, address(in, "to", to))
	}
	e.roots = l.roots(in)
	return e
}

// address reads an address of a mail. [mail.Address.String] writes it so that it can
// stand in a header, whatever is in it.
func address(in *rules.Params, key, text string) *mail.Address {
	a, err := mail.ParseAddress(text)
	if err != nil || strings.ContainsAny(a.Address, "\r\n") {
		in.Problem(key, fmt.Sprintf("%q is no address", text), "write it as name@example.org")
		return &mail.Address{}
	}
	return a
}

// roots reads the certificates of ca_file; nil if there is none.
func (l *loader) roots(in *rules.Params) *x509.CertPool {
	name := in.Text("ca_file")
	if name == "" {
		return nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(l.dir, name)
	}
	pem, err := os.ReadFile(name)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		in.Problem("ca_file", name+" cannot be read, or holds no certificate", "name a file of certificates in PEM")
	}
	return pool
}

// Send implements [sender].
func (e *email) Send(ctx context.Context, n *Notice) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	plain, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.server)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { plain.Close() })
	defer stop()
	conn := plain
	if e.tls == tlsAlways {
		conn = tls.Client(plain, e.config())
	}
	c, err := smtp.NewClient(conn, e.host)
	if err != nil {
		conn.Close()
		return fmt.Errorf("greet: %w", err)
	}
	defer c.Close()
	err = e.session(c, n)
	if part := (inPart{}); err == nil || errors.As(err, &part) {
		_ = c.Quit() // the message is taken
	}
	return err
}

func (e *email) config() *tls.Config {
	return &tls.Config{ServerName: e.host, RootCAs: e.roots, MinVersion: tls.VersionTLS12}
}

func (e *email) session(c *smtp.Client, n *Notice) error {
	if e.tls == tlsStart {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return errors.New("the server does not offer STARTTLS")
		}
		if err := c.StartTLS(e.config()); err != nil {
			return fmt.Errorf("start TLS: %w", err)
		}
	}
	if e.user != "" {
		if err := c.Auth(smtp.PlainAuth("", e.user, e.password, e.host)); err != nil {
			return fmt.Errorf("sign in: %w", err)
		}
	}
	if err := c.Mail(e.from.Address); err != nil {
		return fmt.Errorf("sender: %w", err)
	}
	refused, err := e.receivers(c)
	if err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return judged(err)
	}
	if _, err := w.Write(e.message(n)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if err := judged(w.Close()); err != nil || refused == nil {
		return err
	}
	return inPart{refused}
}

// receivers names those who get the mail. One whose address the server refuses for good
// must not keep it from the others: refused lists them.
func (e *email) receivers(c *smtp.Client) (refused, err error) {
	accepted := 0
	for _, to := range e.to {
		err := c.Rcpt(to.Address)
		answer := (*textproto.Error)(nil)
		switch {
		case err == nil:
			accepted++
		case errors.As(err, &answer) && answer.Code >= 500:
			refused = errors.Join(refused, fmt.Errorf("receiver %s: %w", to.Address, err))
		default:
			return nil, fmt.Errorf("receiver %s: %w", to.Address, err)
		}
	}
	if accepted == 0 {
		return nil, refused
	}
	return refused, nil
}

// judged is the error of a server that was given a message: one from 500 is final.
func judged(err error) error {
	if answer := (*textproto.Error)(nil); errors.As(err, &answer) && answer.Code >= 500 {
		return refusal{fmt.Errorf("the server refuses the message: %w", err)}
	}
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// message returns the mail. Every text in a header is encoded, and the body is
// quoted-printable, so that nothing in it can end either.
func (e *email) message(n *Notice) []byte {
	var b bytes.Buffer
	_, domain, _ := strings.Cut(e.from.Address, "@")
	header := func(name, value string) {
		b.WriteString(name + ": " + strings.NewReplacer("\r", " ", "\n", " ").Replace(value) + "\r\n")
	}
	var to []string
	for _, a := range e.to {
		to = append(to, a.String())
	}
	header("From", e.from.String())
	b.WriteString("To: " + strings.Join(to, ",\r\n ") + "\r\n")
	// A client's text must not pass for an encoded word, whose content nobody has looked at.
	subject := strings.ReplaceAll(n.Subject(), "=?", "= ?")
	b.WriteString("Subject: " + strings.ReplaceAll(mime.QEncoding.Encode("utf-8", subject), "?= =?", "?=\r\n =?") + "\r\n")
	header("Date", e.now().UTC().Format(time.RFC1123Z))
	header("Message-ID", "<"+n.ID+"@"+domain+">")
	if n.Status != Firing && n.Status != Test {
		header("In-Reply-To", "<"+n.GroupID+"-1@"+domain+">")
		header("References", "<"+n.GroupID+"-1@"+domain+">")
	}
	header("Auto-Submitted", "auto-generated")
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(strings.ReplaceAll(n.Text(), "\n", "\r\n"))) // to a buffer
	_ = w.Close()
	return b.Bytes()
}
