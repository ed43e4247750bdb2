package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// remoteError is how crypto/tls marks complaints of the other side.
const remoteError = "remote error"

// explain names the setting behind a TLS error.
func (d *Dialer) explain(addr string, err error) error {
	if why := d.why(addr, err); why != "" {
		return &explained{why, err}
	}
	return &explained{fmt.Sprintf("%s: TLS with %s fails", d.section, addr), err}
}

// explained is an error with its reason. It wraps a list, not one error, because
// some clients pass on the result of [errors.Unwrap] instead of the error.
type explained struct {
	why string
	err error
}

func (e *explained) Error() string   { return e.why + ": " + e.err.Error() }
func (e *explained) Unwrap() []error { return []error{e.err} }

func (d *Dialer) why(addr string, err error) string {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		plain   tls.RecordHeaderError
		refused *net.OpError
	)
	switch {
	case errors.As(err, &unknown):
		return fmt.Sprintf("nobody who is trusted here has signed the certificate of %s: %s.ca_file names the authority to trust", addr, d.section)
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate of %s is for %s, not for %s: %s.server_name says which name to expect", addr, names(name.Certificate), name.Host, d.section)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of %s holds from %s to %s: it must be renewed on the server, or a clock is wrong", addr, day(invalid.Cert.NotBefore), day(invalid.Cert.NotAfter))
	case errors.As(err, &plain):
		return fmt.Sprintf("%s does not speak TLS: it is another port, or %s.enabled is to be false", addr, d.section)
	case errors.As(err, &refused) && refused.Op == remoteError:
		return d.whyRefused(addr, err.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("%s hangs up amid the handshake: it does not speak TLS, or does not like %s.cert_file", addr, d.section)
	}
	return ""
}

// whyRefused explains the server's complaint about our certificate.
func (d *Dialer) whyRefused(addr, alert string) string {
	switch {
	case len(d.tls.Certificates) > 0:
		leaf := d.tls.Certificates[0].Leaf
		return fmt.Sprintf("%s refuses our certificate (%s.cert_file, for %s, valid from %s to %s): it must be signed by an authority that the server trusts",
			addr, d.section, names(leaf), day(leaf.NotBefore), day(leaf.NotAfter))
	case strings.Contains(alert, "certificate"), strings.Contains(alert, "handshake failure"):
		return fmt.Sprintf("%s asks for a client's certificate: set %s.cert_file and %s.key_file", addr, d.section, d.section)
	}
	return ""
}

// hungUp explains a connection that the server closed before its first data.
func (d *Dialer) hungUp(addr string, asked bool, err error) error {
	switch {
	case len(d.tls.Certificates) > 0:
		return &explained{d.whyRefused(addr, ""), err}
	case asked:
		return &explained{d.whyRefused(addr, "certificate"), err}
	}
	return err
}

// names lists the names in a certificate.
func names(c *x509.Certificate) string {
	all := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name but " + c.Subject.String()
	}
	return strings.Join(all, ", ")
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
