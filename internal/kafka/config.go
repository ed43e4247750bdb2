package kafka

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/weirdev/weir/internal/secret"
	"github.com/weirdev/weir/internal/tlsconfig"
)

// Config holds the address of Kafka and the settings of its client.
type Config struct {
	Brokers     []string         `yaml:"brokers" doc:"addresses of some brokers, host:port; the client finds the others through them"`
	ClientID    string           `yaml:"client_id" doc:"name shown in the brokers' logs and quotas"`
	Instance    string           `yaml:"instance" doc:"stable, unique name of the worker, such as the name of its pod: after a crash its partitions then return at once, instead of after session_timeout; empty: no name"`
	Compression string           `yaml:"compression" doc:"how batches are written: lz4 or none"`
	TLS         tlsconfig.Config `yaml:"tls"`
	SASL        SASL             `yaml:"sasl"`

	FetchBytes int           `yaml:"fetch_bytes" doc:"bytes requested in one fetch of one partition"`
	FetchWait  time.Duration `yaml:"fetch_wait" doc:"longest time that a broker delays a fetch when there is nothing new"`
	BatchBytes int           `yaml:"batch_bytes" doc:"size above which the records for one partition are written in several batches; must be below the topics' max.message.bytes"`

	DialTimeout       time.Duration `yaml:"dial_timeout" doc:"time limit for connecting"`
	RequestTimeout    time.Duration `yaml:"request_timeout" doc:"time limit for a reply, after which the request is repeated"`
	SessionTimeout    time.Duration `yaml:"session_timeout" doc:"silence after which a member counts as dead and its partitions are given to others"`
	RebalanceTimeout  time.Duration `yaml:"rebalance_timeout" doc:"time limit for members to join again in a rebalance; a slower member counts as dead"`
	HeartbeatInterval time.Duration `yaml:"heartbeat_interval" doc:"how often a member sends a heartbeat; at most a third of the session timeout"`
	DrainTimeout      time.Duration `yaml:"drain_timeout" doc:"time after which a member that is still giving up partitions is logged or, when the program ends, abandoned"`
}

// SASL holds our credentials.
type SASL struct {
	Mechanism    string `yaml:"mechanism" doc:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty: no authentication"`
	Username     string `yaml:"username" doc:"user name"`
	Password     string `yaml:"password" secret:"true" doc:"password; better kept in a file"`
	PasswordFile string `yaml:"password_file" doc:"file with the password"`
}

// Defaults returns values that suit most installations.
func Defaults() Config {
	return Config{
		Brokers: []string{"127.0.0.1:9092"}, ClientID: "weir", Compression: "lz4",
		FetchBytes: 1 << 20, FetchWait: 250 * time.Millisecond, BatchBytes: 512 << 10,
		DialTimeout: 5 * time.Second, RequestTimeout: 10 * time.Second,
		// The shortest session that brokers accept by default: the partitions of a
		// killed worker wait for this long.
		SessionTimeout: 6 * time.Second, RebalanceTimeout: 30 * time.Second, HeartbeatInterval: time.Second,
		DrainTimeout: 10 * time.Second,
	}
}

// Validate reports all errors in c. It reads no file.
func (c Config) Validate() error {
	errs := []error{c.SASL.validate(), c.TLS.Validate("kafka.tls")}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka."+format, args...)) }
	if len(c.Brokers) == 0 {
		bad("brokers: none is given")
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			bad("brokers: %w", err)
		}
	}
	if c.Compression != "lz4" && c.Compression != "none" {
		bad("compression: %q is neither lz4 nor none", c.Compression)
	}
	if c.SASL.Mechanism == "PLAIN" && !c.TLS.Enabled && !loopback(c.Brokers) {
		bad("sasl: PLAIN sends the password as it is; it needs tls.enabled")
	}
	if c.HeartbeatInterval > c.SessionTimeout/3 {
		bad("heartbeat_interval: %v is more than a third of session_timeout, %v", c.HeartbeatInterval, c.SessionTimeout)
	}
	return errors.Join(append(errs, c.validateBounds()...)...)
}

func (c Config) validateBounds() (errs []error) {
	for _, b := range []struct {
		name          string
		v, low, upper time.Duration
	}{
		{"fetch_wait", c.FetchWait, time.Millisecond, time.Second},
		{"dial_timeout", c.DialTimeout, 10 * time.Millisecond, time.Minute},
		{"request_timeout", c.RequestTimeout, 100 * time.Millisecond, time.Minute},
		{"session_timeout", c.SessionTimeout, time.Second, 5 * time.Minute},
		{"rebalance_timeout", c.RebalanceTimeout, time.Second, 5 * time.Minute},
		{"heartbeat_interval", c.HeartbeatInterval, 10 * time.Millisecond, time.Minute},
		{"drain_timeout", c.DrainTimeout, 10 * time.Millisecond, 5 * time.Minute},
	} {
		if b.v < b.low || b.v > b.upper {
			errs = append(errs, fmt.Errorf("kafka.%s: %v is outside %v … %v", b.name, b.v, b.low, b.upper))
		}
	}
	for _, b := range []struct {
		name          string
		v, low, upper int
	}{{"fetch_bytes", c.FetchBytes, 1 << 10, maxFetchBytes}, {"batch_bytes", c.BatchBytes, 1 << 10, 64 << 20}} {
		if b.v < b.low || b.v > b.upper {
			errs = append(errs, fmt.Errorf("kafka.%s: %d is outside %d … %d", b.name, b.v, b.low, b.upper))
		}
	}
	return errs
}

func loopback(addrs []string) bool {
	for _, a := range addrs {
		host, _, _ := net.SplitHostPort(a)
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

func (c Config) codec() compress.Compression {
	if c.Compression == "lz4" {
		return compress.Lz4
	}
	return compress.None
}

func (s SASL) validate() error {
	switch s.Mechanism {
	case "":
		return nil
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
	default:
		return fmt.Errorf("kafka.sasl.mechanism: %q is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", s.Mechanism)
	}
	var errs []error
	if s.Username == "" {
		errs = append(errs, errors.New("kafka.sasl.username: none is given"))
	}
	if (s.Password == "") == (s.PasswordFile == "") {
		errs = append(errs, errors.New("kafka.sasl: one of password and password_file is needed"))
	}
	return errors.Join(errs...)
}

func (s SASL) mechanism() (sasl.Mechanism, error) {
	if s.Mechanism == "" {
		return nil, nil
	}
	password, err := secret.Read("kafka.sasl.password", s.Password, s.PasswordFile)
	if err != nil {
		return nil, err
	}
	var m sasl.Mechanism
	switch s.Mechanism {
	case "PLAIN":
		return plain.Mechanism{Username: s.Username, Password: password}, nil
	case "SCRAM-SHA-256":
		m, err = scram.Mechanism(scram.SHA256, s.Username, password)
	default:
		m, err = scram.Mechanism(scram.SHA512, s.Username, password)
	}
	if err != nil {
		return nil, fmt.Errorf("kafka.sasl: %w", err)
	}
	return m, nil
}
