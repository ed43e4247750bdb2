package sandbox

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kfake"
)

// startKafka starts one broker. Only `weir migrate` creates topics, as on a
// well-run cluster: the broker creates none for a misspelled name.
func (s *Sandbox) startKafka(dir string) (stop func() error, err error) {
	if s.cfg.KafkaAddr == "" {
		return nil, nil
	}
	clients := &clients{open: map[string]struct{}{}}
	options := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DataDir(filepath.Join(dir, "kafka")),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) { return clients.listen(network, s.cfg.KafkaAddr) }),
		kfake.WithLogger(kafkaLogger{s.log.With("part", "kafka")}),
		kfake.BrokerConfigs(map[string]string{"default.replication.factor": "1", "group.min.session.timeout.ms": "1000"}),
	}
	if s.cfg.SyncWrites {
		options = append(options, kfake.SyncWrites())
	}
	c, err := kfake.NewCluster(options...)
	if err != nil {
		return nil, inUse(err, s.cfg.KafkaAddr)
	}
	s.addresses.Kafka = c.ListenAddrs()[0]
	r, err := newReaper(c, clients.connected, s.log.With("part", "kafka"))
	if err != nil {
		c.Close()
		return nil, err
	}
	return func() error {
		r.stop()
		c.Close()
		return nil
	}, nil
}

// kafkaLogger forwards the broker's complaints. Its info level is one line per
// request.
type kafkaLogger struct{ log *slog.Logger }

func (l kafkaLogger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error(fmt.Sprintf(format, args...)) //nolint:sloglint // the words are the library's
	case kfake.LogLevelWarn:
		l.log.Warn(fmt.Sprintf(format, args...)) //nolint:sloglint // the words are the library's
	}
}
