package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/internal/sandbox"
)

func sandboxCommand() *cobra.Command {
	c := sandbox.Defaults()
	verbose := false
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run Kafka, Redis and ClickHouse in one process, to try things on",
		Long: `sandbox starts Kafka, Redis and ClickHouse, each behind its real protocol on a
loopback port, and prints where. Clients use them as they would the real ones. It
is not for production: there is one broker, no replica, no password, and what
Redis holds is gone when the process ends.`,
		Example: `  weir sandbox -dir ./sandbox -kafka-addr 127.0.0.1:9092 -redis-addr 127.0.0.1:6379 -clickhouse-addr 127.0.0.1:9000 \
    -clickhouse-http-addr 127.0.0.1:8123`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.Validate(); err != nil {
				return cli.UsageError(err)
			}
			s, err := sandbox.New(c, logger(cmd, verbose))
			if err != nil {
				return err
			}
			if err := s.Start(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n%sCtrl-C ends it.\n", s.Addresses(), exports(s.Addresses()))
			select {
			case <-cmd.Context().Done():
				return s.Close()
			case err := <-s.Failed():
				_ = s.Close()
				return err
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Dir, "dir", c.Dir, "directory that keeps the data of Kafka and ClickHouse; empty: a temporary one")
	f.StringVar(&c.KafkaAddr, "kafka-addr", c.KafkaAddr, "loopback address of Kafka; port 0: any free one; empty: none")
	f.StringVar(&c.RedisAddr, "redis-addr", c.RedisAddr, "loopback address of Redis; port 0: any free one; empty: none")
	f.StringVar(&c.ClickHouseAddr, "clickhouse-addr", c.ClickHouseAddr, "loopback address of ClickHouse; port 0: any free one; empty: none")
	f.StringVar(&c.ClickHouseHTTPAddr, "clickhouse-http-addr", "127.0.0.1:0", "loopback address of ClickHouse's HTTP interface; port 0: any free one; empty: none")
	f.BoolVar(&c.SyncWrites, "sync-writes", c.SyncWrites, "have Kafka wait for the disk at every write")
	f.BoolVar(&verbose, "verbose", false, "log what happens to the error output")
	return cmd
}

// exports returns a command that names the servers to the other programs; "" if none
// runs that they use.
func exports(a sandbox.Addresses) string {
	var all []string
	for _, v := range []struct{ name, addr string }{
		{"WEIR_KAFKA_BROKERS", a.Kafka}, {"WEIR_REDIS_ADDRS", a.Redis}, {"WEIR_CLICKHOUSE_ADDRS", a.ClickHouse},
	} {
		if v.addr != "" {
			all = append(all, v.name+"="+v.addr)
		}
	}
	if all == nil {
		return ""
	}
	return "In the shell of the other programs:\n  export " + strings.Join(all, " ") + "\n"
}
