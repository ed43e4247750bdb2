// Package tlsconfig protects the connections of Weir's clients: one set of settings
// for Kafka, Redis and ClickHouse, one way of reading the files that they name, and
// errors that say which setting is wrong.
//
// It knows no protocol beyond TLS, and does not watch the files: they are read
// once, when the program starts.
package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"
)

// Config holds the TLS settings of a client.
type Config struct {
	Enabled    bool   `yaml:"enabled" doc:"speak TLS"`
	CAFile     string `yaml:"ca_file" doc:"certificates to trust instead of the system's, PEM"`
	CertFile   string `yaml:"cert_file" doc:"client certificate, PEM"`
	KeyFile    string `yaml:"key_file" doc:"key of that certificate, PEM"`
	ServerName string `yaml:"server_name" doc:"name expected in the server's certificate, if it is not the address"`
}

// Validate reports all errors in c. It reads no file. section is the section of the
// settings, such as kafka.tls.
func (c Config) Validate(section string) error {
	var errs []error
	if (c.CertFile == "") != (c.KeyFile == "") {
		errs = append(errs, fmt.Errorf("%s: cert_file and key_file go together", section))
	}
	if !c.Enabled && c != (Config{}) {
		errs = append(errs, fmt.Errorf("%s: files or a name are given, but enabled is false, so nothing would be protected; set %s.enabled", section, section))
	}
	return errors.Join(errs...)
}

// Dialer reads the files and creates a dialer. It does not connect yet.
func (c Config) Dialer(section string, timeout time.Duration) (*Dialer, error) {
	d := &Dialer{section: section, timeout: timeout}
	if !c.Enabled {
		return d, nil
	}
	d.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	return d, errors.Join(d.trust(c.CAFile), d.show(c.CertFile, c.KeyFile))
}

// trust reads the certificates of the servers' authorities.
func (d *Dialer) trust(file string) error {
	if file == "" {
		return nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%s.ca_file: %w", d.section, err)
	}
	d.tls.RootCAs = x509.NewCertPool()
	if !d.tls.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s.ca_file: %s holds no certificate", d.section, file)
	}
	return nil
}

// show reads our own certificate.
func (d *Dialer) show(certFile, keyFile string) error {
	if certFile == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("%s.cert_file: %w", d.section, err)
	}
	d.tls.Certificates = []tls.Certificate{pair}
	return nil
}
