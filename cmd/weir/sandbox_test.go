package main

import (
	"testing"

	"github.com/weirdev/weir/internal/sandbox"
)

func TestASandboxNamesItsServersToOtherPrograms(t *testing.T) {
	for _, c := range []struct {
		name string
		at   sandbox.Addresses
		want string
	}{
		{"all", sandbox.Addresses{Kafka: "127.0.0.1:1", Redis: "127.0.0.1:2", ClickHouse: "127.0.0.1:3", ClickHouseHTTP: "127.0.0.1:4"},
			"In the shell of the other programs:\n  export WEIR_KAFKA_BROKERS=127.0.0.1:1 WEIR_REDIS_ADDRS=127.0.0.1:2 WEIR_CLICKHOUSE_ADDRS=127.0.0.1:3\n"},
		{"one", sandbox.Addresses{Redis: "127.0.0.1:2"}, "In the shell of the other programs:\n  export WEIR_REDIS_ADDRS=127.0.0.1:2\n"},
		{"none that programs use", sandbox.Addresses{ClickHouseHTTP: "127.0.0.1:4"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := exports(c.at); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
