package dashboards

func gate() board {
	of := func(metric string) string { return metric + `{instance=~"$gate"}` }
	rate := func(metric string) string { return "rate(" + of(metric) + "[$__rate_interval])" }
	p := func(quantile, histogram string) string {
		return "histogram_quantile(" + quantile + ", sum by (le) (" + rate(histogram+"_bucket") + "))"
	}
	return board{
		uid: "weir-gate", title: "Weir: gate",
		about:     "Whether gateways get good answers in time: decisions, latency against the budget, what was decided without all knowledge, limits, and what operators have switched.",
		variables: []variable{{name: "gate", label: "Gate", about: "Instances of weir-gate.", expr: "label_values(weir_gate_switches, instance)"}},
		rows: []row{
			{"Does it answer?", []panel{
				number("Gates", "Gates that Prometheus reaches.", count, query{expr: "count(" + of("weir_gate_switches") + ")"}),
				number("Slowest answers", "The 99th percentile of the time to decide, look-up included, in the time range. docs/policy.md: a policy's budget is 25 ms unless it says otherwise.", seconds,
					query{expr: "histogram_quantile(0.99, sum by (le) (increase(" + of("weir_gate_decision_seconds_bucket") + "[$__range])))"}, step{0.010, "orange"}, step{0.025, "red"}),
				number("Degraded", "Share of the decisions in the time range that were made without all that should be known.", share,
					query{expr: "sum(increase(" + of("weir_gate_degraded_total") + "[$__range])) / sum(increase(" + of("weir_gate_decisions_total") + "[$__range]))"}, step{0.01, "orange"}, step{0.1, "red"}),
				number("Without Redis", "Gates that have stopped asking Redis because it failed time and again: for risk, or for limits.", count,
					query{expr: "sum(" + of("weir_gate_breaker_open") + ") + sum(" + of("weir_gate_limits_breaker_open") + ")"}, step{1, "red"}),
				number("Deaf gates", "Gates that do not hear when scores change, and look all of them up.", count, query{expr: "count(" + of("weir_gate_feed_whole") + ") - sum(" + of("weir_gate_feed_whole") + ")"}, step{1, "orange"}),
				number("Policies refused", "Gates whose file of policies is wrong, so that the older ones are in force. The gate's log lists the mistakes.", count, query{expr: "sum(" + of("weir_gate_policy_refused") + ")"}, step{1, "red"}),
				graph("Decisions a second by action", "All gates together.", perSec, query{expr: "sum by (action) (" + rate("weir_gate_decisions_total") + ")", legend: "{{action}}"}).stack(),
				graph("Time to decide", "From the question to the answer, look-up included. Dashed: half of the usual budget, and the budget.", seconds,
					query{expr: p("0.5", "weir_gate_decision_seconds"), legend: "p50"}, query{expr: p("0.99", "weir_gate_decision_seconds"), legend: "p99"}, query{expr: p("0.999", "weir_gate_decision_seconds"), legend: "p99.9"}).colored(step{0.0125, "orange"}, step{0.025, "red"}),
				graph("Questions not understood", "Refused questions by problem, errors that Envoys and HAProxies got, and lines of logs that tell no outcome: a gateway is set up wrongly, or somebody else asks.", perSec,
					query{expr: "sum by (problem) (" + rate("weir_gate_refused_requests_total") + ")", legend: "{{problem}}"}, query{expr: "sum by (code) (" + rate("weir_gate_envoy_errors_total") + ")", legend: "Envoy {{code}}"},
					query{expr: "sum by (reason) (" + rate("weir_gate_haproxy_faults_total") + ")", legend: "HAProxy {{reason}}"},
					query{expr: `sum(rate(weir_gate_log_lines_total{instance=~"$gate",result="unreadable"}[$__rate_interval]))`, legend: "lines of logs"}),
			}},
			{"Does it know enough?", []panel{
				graph("Degraded decisions", "Decisions without all knowledge, look-ups that were answered by what was known earlier, and decisions to allow that were made without knowing anything: those let an attacker in.", perSec,
					query{expr: "sum(" + rate("weir_gate_degraded_total") + ")", legend: "degraded"}, query{expr: "sum(" + rate("weir_gate_fail_open_total") + ")", legend: "failed open"}, query{expr: "sum(" + rate("weir_gate_last_known_good_total") + ")", legend: "last known good"}),
				graph("Failed look-ups", "Look-ups of risk without a whole answer, and values that were not valid scores, by reason. A value with a wrong code was written by somebody else: raise an alarm.", perSec,
					query{expr: "sum by (reason) (" + rate("weir_gate_lookup_errors_total") + ")", legend: "look-up: {{reason}}"}, query{expr: "sum by (reason) (" + rate("weir_redis_bad_values_total") + ")", legend: "value: {{reason}}"}),
				graph("Time to ask Redis", "Duration of a look-up of risk.", seconds, query{expr: p("0.5", "weir_redis_read_seconds"), legend: "p50"}, query{expr: p("0.99", "weir_redis_read_seconds"), legend: "p99"}),
				graph("Look-ups without a round trip", "Share of look-ups that needed none, because the score was kept.", share,
					query{expr: "sum(" + `rate(weir_gate_cache_total{instance=~"$gate",result="hit"}[$__rate_interval])` + ") / sum(" + rate("weir_gate_cache_total") + ")", legend: "kept"}).upTo(1),
				graph("Changes of scores", "Changes that were heard, and gaps after which all is looked up again.", perSec, query{expr: "sum(" + rate("weir_gate_feed_changes_total") + ")", legend: "changes"}, query{expr: "sum(" + rate("weir_gate_feed_gaps_total") + ")", legend: "gaps"}),
				list("Why decisions were degraded", "Degraded decisions by cause, route and action.", query{sql: `
					SELECT degraded_by AS cause, route, action, count() AS decisions, countIf(last_known_good = 1) AS last_known_good, max(d.time) AS last
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time) AND degraded = 1
					GROUP BY cause, route, action
					ORDER BY decisions DESC
					LIMIT 50`}).wide(8).tall(8),
			}},
			{"What does it decide?", []panel{
				list("Routes", "Decisions by route. p99 is the time to decide, over_budget the share that took longer than 25 ms, the usual budget.", query{sql: `
					SELECT if(route = '', 'unknown', route) AS route, count() AS decisions, countIf(` + stops + `) / decisions AS held_back, countIf(would IN ('throttle', 'challenge', 'step_up', 'deny')) / decisions AS would_stop,
						round(avg(score), 1) AS score, quantile(0.99)(latency_us) AS p99, countIf(latency_us > 25000) / decisions AS over_budget
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time)
					GROUP BY route
					ORDER BY decisions DESC
					LIMIT 50`}, column{name: "held_back", unit: share}, column{name: "would_stop", unit: share}, column{name: "over_budget", unit: share}, column{name: "p99", unit: micros}, column{name: "route", width: 220}),
				list("Policies", "Which policy of which version decides, and how far it may go.", query{sql: `
					SELECT policy, policy_version AS version, phase, count() AS decisions, countIf(` + stops + `) / decisions AS held_back, min(d.time) AS first, max(d.time) AS last
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time)
					GROUP BY policy, version, phase
					ORDER BY decisions DESC
					LIMIT 50`}, column{name: "held_back", unit: share}),
				graph("Scores of requests", "Decisions by the level of the score. A rising share of high and critical is an attack that reaches the gates.", count, query{sql: `
					SELECT $__timeInterval(d.time) AS t, level, count() AS decisions
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time)
					GROUP BY t, level
					ORDER BY t`}).overTime(),
				list("Whom it holds back", "Entities of requests that were held back. One address with many accounts may be an office: look before you leave it blocked.", query{sql: `
					SELECT who.1 AS kind, who.2 AS entity, tenant, count() AS requests, arrayStringConcat(arraySort(groupUniqArray(4)(action)), ', ') AS actions, max(score) AS score, max(d.time) AS last
					FROM v_decisions AS d
					ARRAY JOIN arrayZip(mapKeys(entities), mapValues(entities)) AS who
					WHERE $__timeFilter(d.time) AND ` + stops + `
					GROUP BY kind, entity, tenant
					ORDER BY requests DESC
					LIMIT 100`}, column{name: "entity", link: toEntity(), width: 200}).wide(16).tall(8),
			}},
			{"Limits", []panel{
				graph("Requests beyond limits", "By limit and phase. In phase observe they were served: compare before you enforce.", perSec, query{expr: "sum by (limit, phase) (" + rate("weir_gate_limited_total") + ")", legend: "{{limit}} ({{phase}})"}),
				graph("Checks of limits", "Requests to which a limit applied and that the store counted, and those that this gate counted by itself.", perSec,
					query{expr: "sum(" + rate("weir_gate_limit_checks_total") + ")", legend: "checked"}, query{expr: "sum by (reason) (" + rate("weir_gate_limit_errors_total") + ")", legend: "by itself: {{reason}}"}, query{expr: p("0.99", "weir_redis_limit_seconds"), legend: "p99, seconds"}),
				list("Limits that decided", "Whom limits stop.", query{sql: `
					SELECT limit, limit = limited_by AS decides, count() AS requests, uniqExact(entities['account']) AS accounts, uniqExact(entities['ip']) AS addresses, any(action) AS action, max(d.time) AS last
					FROM v_decisions AS d
					ARRAY JOIN limits AS limit
					WHERE $__timeFilter(d.time)
					GROUP BY limit, decides
					ORDER BY requests DESC
					LIMIT 50`}).wide(8).tall(8),
			}},
			{"Switches", []panel{
				graph("Switches in force", "Kill switches, blocks and releases, by gate. Gates that differ do not agree: one has lost Redis.", count, query{expr: of("weir_gate_switches"), legend: "{{instance}}"}),
				graph("Trouble with switches", "Failures to read, write or keep switches, and stored ones that were forged. Anything forged: raise an alarm.", count,
					query{expr: "sum(increase(" + of("weir_gate_switches_failed_total") + "[$__rate_interval]))", legend: "failed"}, query{expr: "sum(increase(" + of("weir_gate_switches_forged_total") + "[$__rate_interval]))", legend: "forged"},
					query{expr: "sum by (result) (increase(" + of("weir_gate_policy_reloads_total") + "[$__rate_interval]))", legend: "policies {{result}}"}),
				list("Switches that decided", "What each kill switch, block and release decided. weir switch list shows owner, reason and end.", query{sql: `
					SELECT switch, arrayStringConcat(arraySort(groupUniqArray(4)(action)), ', ') AS actions, count() AS requests, uniqExact(entities['account']) AS accounts, uniqExact(entities['ip']) AS addresses, min(d.time) AS first, max(d.time) AS last
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time) AND switch != ''
					GROUP BY switch
					ORDER BY last DESC
					LIMIT 50`}).wide(8).tall(8),
			}},
			{"Processes", []panel{
				graph("CPU", "Cores in use, by gate.", "none", query{expr: rate("process_cpu_seconds_total"), legend: "{{instance}}"}),
				graph("Memory", "Resident memory, and what waits for Kafka.", size, query{expr: of("process_resident_memory_bytes"), legend: "{{instance}}"}, query{expr: of("weir_gate_buffered_bytes"), legend: "{{instance}} {{kind}}"}),
				graph("Decisions and events to Kafka", "Acknowledged by Kafka, and dropped because Kafka took too long: the audit lacks what was dropped.", perSec,
					query{expr: "sum by (kind) (" + rate("weir_gate_emitted_total") + ")", legend: "{{kind}}"}, query{expr: "sum by (kind, reason) (" + rate("weir_gate_dropped_total") + ")", legend: "{{kind}} dropped: {{reason}}"}),
				graph("Entities kept", "Entities of which a gate keeps the score.", count, query{expr: of("weir_gate_cache_entries"), legend: "{{instance}}"}),
			}},
		},
	}
}
