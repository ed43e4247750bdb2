package app

import "github.com/weirdev/weir/app/settings"

// One file and one environment may serve all programs of a stream. So each program
// accepts every setting there, but lists and takes as flags only those that it uses.
// uses_test.go compares these lists with the code.

// Program is a program that runs on the settings of a stream.
type Program struct {
	Name string
	Uses settings.Selection
}

// Programs lists the programs that together use every setting.
func Programs() []Program {
	return []Program{{"weir-worker", WorkerSettings()}, {"weir-gate", GateSettings()}, {"weir migrate", MigrateSettings()}, {"weir console", ConsoleSettings()}}
}

// WorkerSettings lists the settings of weir-worker.
func WorkerSettings() settings.Selection {
	s := settings.Selection{"stages", "rules", "stop_timeout", "stuck_after", "stream.secret_file", "stream", "kafka.brokers", "kafka.tls", "kafka.sasl", "kafka"}
	s = append(s, redisAccess()...)
	s = append(s, "redis.write_timeout", "redis.drain_timeout", "redis.pipeline_size", "redis.buffer_size")
	s = append(s, clickhouseAccess()...)
	s = append(s, "clickhouse.flush_rows", "clickhouse.flush_age")
	return append(s, "ingest", "geo", "detect", "snapshots", "notices", "admin", "log", "tracing.endpoint", "tracing.events", "tracing.per_second")
}

// GateSettings lists the settings of weir-gate.
func GateSettings() settings.Selection {
	s := settings.Selection{"gate.listen", "gate.socket", "gate.access", "gate.phase", "gate.policy", "gate.identify", "gate.step_up", "gate"}
	s = append(s, "stream.secret_file", "stream.secret", "stream.name")
	s = append(s, redisRead()...)
	s = append(s, kafkaWrite()...)
	return append(s, "rules", "ingest.trusted_proxies", "ingest.connecting_ip_from", "ingest.routes", "ingest.remote_user", "geo", "admin", "log", "tracing.endpoint", "tracing.per_second")
}

// MigrateSettings lists the settings of weir migrate. It makes topics and tables, and
// checks whether the topics keep enough for snapshots.
func MigrateSettings() settings.Selection {
	s := append(settings.Selection{"stream.secret_file", "stream.secret", "stream.name", "stream.incarnation"}, kafkaAccess()...)
	s = append(s, clickhouseAccess()...)
	return append(s, "clickhouse.retention", "clickhouse.signal_retention", "clickhouse.decision_retention", "clickhouse.dead_letter_retention", "clickhouse.minute_retention", "snapshots.url", "detect.snapshot_interval", "detect.snapshot_keep", "log")
}

// ConsoleSettings lists the settings of weir console. Those of ingest and detect are
// for explanations, which run rules again on stored events.
func ConsoleSettings() settings.Selection {
	s := append(settings.Selection{"console", "stream.secret_file", "stream.secret", "stream.name", "stream.incarnation"}, clickhouseAccess()...)
	s = append(s, redisRead()...)
	s = append(s, kafkaAccess()...)
	s = append(s, "rules")
	s = append(s, ReplaySettings()...)
	return append(s, "admin", "log")
}

// CheckSettings lists the settings of weir check, which wires a worker.
func CheckSettings() settings.Selection {
	s := settings.Selection{}
	for _, one := range WorkerSettings() {
		if one != "admin" && one != "log" && one[:min(len(one), 8)] != "tracing." && one != "stop_timeout" && one != "stuck_after" {
			s = append(s, one)
		}
	}
	return s
}

// QuerySettings lists the settings of weir query.
func QuerySettings() settings.Selection { return clickhouseAccess() }

// DeadSettings lists the settings of weir dead.
func DeadSettings() settings.Selection {
	return append(settings.Selection{"stream.name"}, kafkaAccess()...)
}

// TrafficSettings lists the settings of weir traffic, which only writes events.
func TrafficSettings() settings.Selection {
	return append(append(settings.Selection{"stream.name"}, kafkaWrite()...), "log")
}

// SwitchSettings lists the settings of weir switch, which looks for pushed rules in Kafka,
// and tells the audit over it.
func SwitchSettings() settings.Selection {
	return append(append(redisRead(), "stream.secret_file", "stream.secret", "stream.name", "stream.incarnation", "rules"), kafkaAccess()...)
}

// NoticesSettings lists the settings of weir notices.
func NoticesSettings() settings.Selection {
	return settings.Selection{"notices.file", "rules", "stream.name"}
}

// LabelSettings lists the settings of weir label, which writes to a topic. ClickHouse
// knows the members of groups. Rules only show that an id is misspelt.
func LabelSettings() settings.Selection {
	return append(append(settings.Selection{"stream.name", "stream.incarnation", "rules"}, kafkaAccess()...), clickhouseAccess()...)
}

// PushSettings lists the settings of weir rules push and pushed. Rules are compared with
// those of the setting where none were pushed.
func PushSettings() settings.Selection {
	return append(settings.Selection{"stream.name", "stream.incarnation", "rules"}, kafkaAccess()...)
}

// ReleaseSettings lists the settings of weir release, which also releases at gates.
func ReleaseSettings() settings.Selection { return SwitchSettings() }

// EraseSettings lists the settings of weir erase. Those of snapshots only say when
// they expire.
func EraseSettings() settings.Selection {
	s := append(settings.Selection{"stream.secret_file", "stream.secret", "stream.name", "stream.incarnation"}, kafkaAccess()...)
	s = append(append(s, redisRead()...), clickhouseAccess()...)
	return append(s, "snapshots.url", "detect.snapshot_interval", "detect.snapshot_keep")
}

// CanarySettings lists the settings of weir canary. It runs attacks through both stages
// without a server first.
func CanarySettings() settings.Selection {
	s := append(settings.Selection{"stream.name", "rules"}, kafkaAccess()...)
	return append(append(s, ReplaySettings()...), "notices", "admin", "log")
}

// TrySettings lists the settings of weir try, which reads records and no more.
func TrySettings() settings.Selection {
	return append(reading(), "geo", "rules")
}

// ReplaySettings lists the settings of commands that run events through both stages
// without a server: weir rules explain, weir rules draft.
func ReplaySettings() settings.Selection {
	return append(reading(), "ingest.max_late", "ingest.delayed", "ingest.max_future", "detect.lateness", "detect.max_entities", "detect.max_cohorts", "geo")
}

// EvaluateSettings lists the settings of weir evaluate.
func EvaluateSettings() settings.Selection { return append(ReplaySettings(), "gate.policy") }

// reading lists what ingest uses to make an event of a record.
func reading() settings.Selection {
	return settings.Selection{
		"ingest.format", "ingest.mapping", "ingest.pattern", "ingest.trusted_proxies", "ingest.connecting_ip_from", "ingest.routes", "ingest.remote_user",
	}
}

// kafkaAccess lists what a client of Kafka uses that is no member of a group.
func kafkaAccess() settings.Selection {
	return append(kafkaWrite(), "kafka.fetch_bytes", "kafka.fetch_wait")
}

// kafkaWrite lists what a client of Kafka uses that only writes.
func kafkaWrite() settings.Selection {
	return settings.Selection{
		"kafka.brokers", "kafka.tls", "kafka.sasl", "kafka.client_id", "kafka.compression", "kafka.batch_bytes", "kafka.dial_timeout", "kafka.request_timeout",
	}
}

func redisAccess() settings.Selection {
	return settings.Selection{
		"redis.addrs", "redis.cluster", "redis.master_name", "redis.db", "redis.username", "redis.password_file", "redis.password", "redis.tls", "redis.key_prefix", "redis.dial_timeout",
	}
}

// redisRead lists what a reader of Redis uses.
func redisRead() settings.Selection {
	return append(redisAccess(), "redis.read_timeout", "redis.pool_size")
}

func clickhouseAccess() settings.Selection {
	return settings.Selection{
		"clickhouse.addrs", "clickhouse.database", "clickhouse.cluster", "clickhouse.user", "clickhouse.password_file", "clickhouse.password", "clickhouse.tls", "clickhouse.compression",
		"clickhouse.dial_timeout", "clickhouse.read_timeout",
	}
}
