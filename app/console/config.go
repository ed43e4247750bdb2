// Package console is the analysts' page: a small web server that shows what is
// abused, by whom and why, and lets analysts act on it.
//
// It reads ClickHouse through its views, scores and switches from Redis, and dead
// letters from Kafka. Where one of them is away, the rest of a page still shows. All
// pages are drawn here: they need no script, and no other server.
package console

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Config says where the console listens, and who may sign in.
type Config struct {
	Listen      string        `yaml:"listen" doc:"address of the analysts' page, host:port"`
	CertFile    string        `yaml:"cert_file" doc:"certificate of the console, PEM; empty: no TLS"`
	KeyFile     string        `yaml:"key_file" doc:"key of that certificate, PEM"`
	UsersFile   string        `yaml:"users_file" doc:"file that says who may sign in: a name, a role and a token in each line; empty: one administrator, with a token that the console prints when it starts"`
	BehindProxy bool          `yaml:"behind_proxy" doc:"a proxy in front of the console speaks TLS, so the console may listen beyond loopback without"`
	OIDC        OIDC          `yaml:"oidc"`
	Session     time.Duration `yaml:"session" doc:"time after which people have to sign in again"`
}

// Defaults returns values that suit one machine.
func Defaults() Config {
	return Config{Listen: "127.0.0.1:9490", Session: 12 * time.Hour, OIDC: OIDC{Scopes: []string{"profile", "email"}, NameClaim: "preferred_username", RoleClaim: "groups"}}
}

// Validate reports all errors in c. It reads no file.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("console."+format, args...)) }
	if (c.CertFile == "") != (c.KeyFile == "") {
		bad("cert_file and key_file go together")
	}
	if c.Session < time.Minute || c.Session > 7*24*time.Hour {
		bad("session: %v is outside 1m … 168h", c.Session)
	}
	if err := c.OIDC.validate(); err != nil {
		errs = append(errs, err)
	}
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		bad("listen: %w", err)
	case isLoopback(host):
	case c.UsersFile == "" && !c.OIDC.on():
		bad("listen: %s can be reached from other machines; set console.users_file or console.oidc to say who may sign in, or listen on 127.0.0.1", c.Listen)
	case c.CertFile == "" && !c.BehindProxy:
		bad("listen: %s can be reached from other machines, and tokens would cross the network in clear text; set console.cert_file and console.key_file, listen on 127.0.0.1, or set console.behind_proxy if a proxy in front speaks TLS", c.Listen)
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}
