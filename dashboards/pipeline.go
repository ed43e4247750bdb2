package dashboards

func pipeline() board {
	ofWorker := func(metric string) string { return metric + `{instance=~"$worker"}` }
	rate := func(metric string) string { return "rate(" + ofWorker(metric) + "[$__rate_interval])" }
	p := func(quantile, histogram, by string) string {
		return "histogram_quantile(" + quantile + ", sum by (le" + by + ") (" + rate(histogram+"_bucket") + "))"
	}
	return board{
		uid: "weir-pipeline", title: "Weir: pipeline",
		about:     "Whether events get through: lag, rates, the ledger, latency, the stores, snapshots and memory of the workers.",
		variables: []variable{{name: "worker", label: "Worker", about: "Instances of weir-worker.", expr: "label_values(weir_worker_stuck_total, instance)"}},
		rows: []row{
			{"Is it up?", []panel{
				number("Workers", "Workers that Prometheus reaches.", count, query{expr: "count(" + ofWorker("weir_worker_stuck_total") + ")"}),
				number("Stopped partitions", "Partitions that stopped because of an error. They are tried again every five minutes; the worker's log has the error.", count,
					query{expr: "sum(" + ofWorker("weir_ingest_stopped_partitions") + ") + sum(" + ofWorker("weir_detect_stopped_partitions") + ")"}, step{1, "red"}),
				number("Oldest commit", "The partition whose last commit is longest ago. Above a minute a worker hangs, or a store is down.", seconds,
					query{expr: `max({__name__=~"weir_ingest_commit_age_seconds|weir_detect_commit_age_seconds",instance=~"$worker"})`}, step{60, "orange"}, step{300, "red"}),
				number("Oldest snapshot", "The oldest state that is in no snapshot. After a crash that much is replayed.", seconds,
					query{expr: "max(" + ofWorker("weir_detect_snapshot_age_seconds") + ")"}, step{1800, "orange"}, step{7200, "red"}),
				number("Lost records", "Raw records that were deleted before they were read, or do not read at all. Anything but 0 is a declared loss.", count,
					query{expr: "sum(" + ofWorker("weir_ingest_lost_records_total") + ") + sum(" + ofWorker("weir_ingest_skipped_records_total") + ") + sum(" + ofWorker("weir_decisions_lost_records_total") + ")"}, step{1, "red"}),
				number("Clock ahead", "How far the clock of a worker is ahead of the brokers'.", seconds,
					query{expr: "max(" + ofWorker("weir_ingest_clock_ahead_seconds") + ")"}, step{1, "orange"}),
			}},
			{"Does it keep up?", []panel{
				graph("Lag", "Time since the records were written that are read now, of the partition that is furthest behind, by stage. Scores are old by the sum.", seconds,
					query{expr: "max(" + ofWorker("weir_ingest_lag_seconds") + ")", legend: "ingest"}, query{expr: "max(" + ofWorker("weir_detect_lag_seconds") + ")", legend: "detect"}),
				graph("Age of events when they are read", "How old events are when a worker reads them, by their own time. Delayed events, which a shipper delivers late, are left out.", ms, query{sql: `
					SELECT $__timeInterval(e.received) AS t, quantile(0.5)(dateDiff('millisecond', e.time, e.received)) AS p50,
						quantile(0.99)(dateDiff('millisecond', e.time, e.received)) AS p99, max(dateDiff('millisecond', e.time, e.received)) AS oldest
					FROM v_events AS e
					WHERE $__timeFilter(e.received) AND e.time >= $__fromTime - INTERVAL 1 DAY AND delayed = 0
					GROUP BY t
					ORDER BY t`}),
				graph("Waiting records", "Records that are not read yet, by stage. Add workers, up to one per partition, or find the slow store.", count,
					query{expr: "sum(" + ofWorker("weir_ingest_lag_records") + ")", legend: "ingest"}, query{expr: "sum(" + ofWorker("weir_detect_lag_records") + ")", legend: "detect"},
					query{expr: "sum(" + ofWorker("weir_decisions_lag_records") + ")", legend: "decisions"}),
				graph("Waiting records of the slowest partitions", "A single partition that lags has a stopped worker, an open transaction, or a key that too many records share.", count,
					query{expr: "topk(5, " + ofWorker("weir_ingest_lag_records") + ")", legend: "ingest {{partition}}"}, query{expr: "topk(5, " + ofWorker("weir_detect_lag_records") + ")", legend: "detect {{partition}}"}),
				graph("From event to signal", "Time from a request to the signal about it in ClickHouse, for signals that are not late. Rules that wait, for the end of a window or for a missing event, take as long as they wait.", ms, query{sql: `
					SELECT $__timeInterval(s.received) AS t, quantile(0.5)(dateDiff('millisecond', s.time, s.received)) AS p50, quantile(0.99)(dateDiff('millisecond', s.time, s.received)) AS p99
					FROM v_signals AS s
					WHERE $__timeFilter(s.received) AND s.time >= $__fromTime - INTERVAL 1 DAY AND late = 0
					GROUP BY t
					ORDER BY t`}),
				graph("Oldest work", "Age of the oldest commit of each stage, of the oldest score that Redis has not acknowledged, and how long reading has waited for an open transaction.", seconds,
					query{expr: "max(" + ofWorker("weir_ingest_commit_age_seconds") + ")", legend: "commit of ingest"}, query{expr: "max(" + ofWorker("weir_detect_commit_age_seconds") + ")", legend: "commit of detect"},
					query{expr: "max(" + ofWorker("weir_redis_oldest_unwritten_seconds") + ")", legend: "score"}, query{expr: "max(" + ofWorker("weir_ingest_held_seconds") + ")", legend: "open transaction"}),
				graph("Slowest gateways", "The 99th percentile of the age of events, by gateway. A gateway far above the others has a slow shipper, or a wrong clock.", ms, query{sql: `
					SELECT $__timeInterval(e.received) AS t, if(gateway = '', 'unnamed', gateway) AS gateway, quantile(0.99)(dateDiff('millisecond', e.time, e.received)) AS p99
					FROM v_events AS e
					WHERE $__timeFilter(e.received) AND e.time >= $__fromTime - INTERVAL 1 DAY
					GROUP BY t, gateway
					ORDER BY t`}),
			}},
			{"What comes in, and what becomes of it?", []panel{
				graph("Records a second", "Raw records by what became of them. Together with control records, these are all offsets of the raw topic.", perSec,
					query{expr: "sum(" + rate("weir_ingest_events_total") + ")", legend: "events"}, query{expr: "sum(" + rate("weir_ingest_repeats_total") + ")", legend: "repeats"},
					query{expr: "sum(" + rate("weir_ingest_filtered_total") + ")", legend: "filtered"}, query{expr: "sum(" + rate("weir_ingest_control_records_total") + ")", legend: "control"},
					query{expr: "sum(" + rate("weir_ingest_canary_events_total") + ")", legend: "events of the canary"}),
				graph("Dead letters by reason", "Raw records that could not be read. Their bytes are in the topic of dead letters: weir dead list.", perSec,
					query{expr: "sum by (reason) (" + rate("weir_ingest_dead_letters_total") + ")", legend: "{{reason}}"}),
				graph("Events with something special", "clipped: a client value was shortened. skewed and delayed: the gateway's clock. refused: Weir had refused the request. keyless: the record has no key.", perSec,
					query{expr: "sum(" + rate("weir_ingest_clipped_events_total") + ")", legend: "clipped"}, query{expr: "sum(" + rate("weir_ingest_skewed_events_total") + ")", legend: "skewed"},
					query{expr: "sum(" + rate("weir_ingest_delayed_events_total") + ")", legend: "delayed"}, query{expr: "sum(" + rate("weir_ingest_refused_events_total") + ")", legend: "refused"},
					query{expr: "sum(" + rate("weir_ingest_keyless_records_total") + ")", legend: "keyless"}),
				graph("Ledger of ingest", "Raw records and facets, as the commits count them. fetched is the sum of the outcomes but facets. lost and skipped are declared losses.", count,
					query{expr: "sum by (outcome) (" + ofWorker("weir_ingest_ledger_records") + ")", legend: "{{outcome}}"}),
				graph("Ledger of detect", "Facets by outcome, as the ledger in the state counts them. duplicate facets are dropped; late ones are counted where rules can.", count,
					query{expr: "sum by (outcome) (" + ofWorker("weir_detect_facets") + ")", legend: "{{outcome}}"}),
				graph("Signals a second", "Firings of rules, by phase.", perSec, query{expr: "sum by (phase) (" + rate("weir_detect_signals_total") + ")", legend: "{{phase}}"}),
				graph("Labels and releases", "Control records that became facets, by action.", count, query{expr: "sum by (action) (increase(" + ofWorker("weir_ingest_controls_total") + "[$__rate_interval]))", legend: "{{action}}"}),
				graph("Decisions stored", "Decisions of gates that a worker read from Kafka, and those that could not be read.", perSec,
					query{expr: "sum(" + rate("weir_decisions_read_total") + ")", legend: "read"}, query{expr: "sum(" + rate("weir_decisions_unreadable_total") + ")", legend: "unreadable"}),
			}},
			{"Stores", []panel{
				graph("ClickHouse: rows a second", "Rows that ClickHouse acknowledged, by table.", perSec, query{expr: "sum by (table) (" + rate("weir_clickhouse_rows_total") + ")", legend: "{{table}}"}),
				graph("ClickHouse: time to insert", "The 99th percentile, retries included, by table. Above a few seconds the partitions wait for it.", seconds, query{expr: p("0.99", "weir_clickhouse_flush_seconds", ", table"), legend: "{{table}}"}),
				graph("ClickHouse: retries", "Inserts that were retried, by reason.", perSec, query{expr: "sum by (reason) (" + rate("weir_clickhouse_retries_total") + ")", legend: "{{reason}}"}),
				graph("Redis: scores a second", "Scores by outcome. stale: a newer one was stored already. coalesced: a newer one replaced it before it was sent.", perSec,
					query{expr: "sum by (outcome) (" + rate("weir_redis_writes_total") + ")", legend: "{{outcome}}"}, query{expr: "sum(" + rate("weir_redis_coalesced_total") + ")", legend: "coalesced"}),
				graph("Redis: time to write", "Duration of a pipeline of writes.", seconds, query{expr: p("0.5", "weir_redis_flush_seconds", ""), legend: "p50"}, query{expr: p("0.99", "weir_redis_flush_seconds", ""), legend: "p99"}),
				graph("Redis: waiting and failing", "Scores that wait, scores whose first write failed, and the share of time that detection waits for room.", count,
					query{expr: "sum(" + ofWorker("weir_redis_pending_scores") + ")", legend: "pending"}, query{expr: "sum(" + rate("weir_redis_write_errors_total") + ")", legend: "failed a second"},
					query{expr: "sum(" + rate("weir_redis_blocked_seconds_total") + ")", legend: "seconds blocked a second"}, query{expr: "sum(increase(" + ofWorker("weir_redis_forgotten_total") + "[$__rate_interval]))", legend: "losses of Redis"}),
			}},
			{"State and snapshots", []panel{
				graph("Entities with state", "By worker.", count, query{expr: "sum by (instance) (" + ofWorker("weir_detect_entities") + ")", legend: "{{instance}}"}),
				graph("State in memory", "Memory of the state, by worker. Entities are evicted, or refused, when it reaches detect.state_bytes.", size, query{expr: "sum by (instance) (" + ofWorker("weir_detect_state_bytes") + ")", legend: "{{instance}}"}),
				graph("Evicted and refused", "Entities that lost their state because of the cap, and facets that found no room: an attacker who invents entities fills the state of one kind.", count,
					query{expr: "sum by (kind) (" + ofWorker("weir_detect_evicted_entities") + ")", legend: "evicted {{kind}}"}, query{expr: "sum by (kind) (" + ofWorker("weir_detect_refused_facets") + ")", legend: "refused {{kind}}"}),
				graph("Age of snapshots", "The oldest state that is in no snapshot, of the five partitions that are worst off.", seconds, query{expr: "topk(5, " + ofWorker("weir_detect_snapshot_age_seconds") + ")", legend: "partition {{partition}}"}),
				graph("Time of snapshots", "The 99th percentile of the time to encode a snapshot and to store it.", seconds, query{expr: p("0.99", "weir_detect_snapshot_seconds", ", step"), legend: "{{step}}"}),
				graph("Size and failures of snapshots", "Size of all latest snapshots. Failures are counted by reason.", size,
					query{expr: "sum(" + ofWorker("weir_detect_snapshot_bytes") + ")", legend: "bytes"}, query{expr: "sum by (reason) (increase(" + ofWorker("weir_detect_snapshot_failures_total") + "[$__rate_interval]))", legend: "failed: {{reason}}"}),
			}},
			{"Processes", []panel{
				graph("CPU", "Cores in use, by worker.", "none", query{expr: rate("process_cpu_seconds_total"), legend: "{{instance}}"}),
				graph("Memory", "Resident memory, and Go's heap, by worker.", size, query{expr: ofWorker("process_resident_memory_bytes"), legend: "{{instance}} resident"}, query{expr: ofWorker("go_memstats_heap_inuse_bytes"), legend: "{{instance}} heap"}),
				graph("Garbage collection", "The longest pause, and collections a second.", seconds, query{expr: ofWorker("go_gc_duration_seconds") + " > 0", legend: "{{instance}} quantile {{quantile}}"}),
				graph("Goroutines", "A number that only grows is a leak.", count, query{expr: ofWorker("go_goroutines"), legend: "{{instance}}"}),
				graph("Restarts", "Starts of workers in the interval.", count, query{expr: "changes(" + ofWorker("process_start_time_seconds") + "[$__rate_interval])", legend: "{{instance}}"}),
				graph("Age of geographic databases", "Time since each database was built. Addresses change hands: fetch new ones every month.", seconds, query{expr: "time() - min by (database) (" + ofWorker("weir_geo_built_timestamp_seconds") + ")", legend: "{{database}}"}),
			}},
			{"Notices to people", []panel{
				graph("Notices", "Notices by channel: taken by their receiver, failed attempts, and those that were given up and are dead letters. Empty while no file of notices is set (docs/notices.md).", count,
					query{expr: "sum by (channel, status) (increase(weir_notices_sent_total[$__rate_interval]))", legend: "{{channel}} {{status}}"}, query{expr: "sum by (channel) (increase(weir_notices_failures_total[$__rate_interval]))", legend: "{{channel}} failed"},
					query{expr: "sum by (channel) (increase(weir_notices_given_up_total[$__rate_interval]))", legend: "{{channel}} given up"}),
				graph("Waiting notices", "Notices that wait for delivery, by channel, and signals that are not read yet.", count,
					query{expr: "sum by (channel) (weir_notices_pending)", legend: "{{channel}}"}, query{expr: "sum(weir_notices_lag_records)", legend: "signals"}),
				graph("The canary", "Synthetic attacks of weir canary by detector and outcome. Anything but caught means that a real attack of this kind would not be seen either. Empty while no canary runs.", count,
					query{expr: "sum by (detector, outcome) (increase(weir_canary_attacks_total[$__rate_interval]))", legend: "{{detector}} {{outcome}}"}),
			}},
		},
	}
}
