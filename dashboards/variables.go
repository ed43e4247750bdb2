package dashboards

import "strings"

// renderVariables returns the variables that all dashboards have, and those of b.
func (b board) renderVariables() []object {
	all := []object{
		dataSource("ds_clickhouse", "ClickHouse", "grafana-clickhouse-datasource"),
		dataSource("ds_prometheus", "Prometheus", "prometheus"),
		{
			"type": "constant", "name": "database", "label": "Database", "description": "Database of Weir's tables in ClickHouse (setting clickhouse.database).",
			"query": "weir", "hide": 2, "skipUrlSync": true, "current": chosen("weir"), "options": []object{chosen("weir")},
		},
	}
	for _, v := range b.variables {
		all = append(all, v.render())
	}
	return all
}

func dataSource(name, label, kind string) object {
	return object{
		"type": "datasource", "name": name, "label": label, "description": "Data source of type " + kind + ".", "query": kind,
		"regex": "", "refresh": 1, "hide": 0, "multi": false, "includeAll": false, "skipUrlSync": false, "options": []object{}, "current": object{},
	}
}

func chosen(value string) object { return object{"text": value, "value": value, "selected": true} }

func (v variable) render() object {
	o := object{"name": v.name, "label": v.label, "description": v.about, "hide": 0, "skipUrlSync": false, "multi": false, "includeAll": false}
	switch {
	case v.sql != "":
		sql := statement(v.sql)
		o["type"], o["datasource"], o["query"], o["definition"] = "query", clickhouse(), sql, sql
	case v.expr != "":
		o["type"], o["datasource"], o["definition"] = "query", prometheus(), v.expr
		o["query"] = object{"query": v.expr, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
	case len(v.options) > 0:
		o["type"], o["query"], o["current"] = "custom", strings.Join(v.options, ","), chosen(v.initial)
		options := make([]object, len(v.options))
		for i, name := range v.options {
			options[i] = object{"text": name, "value": name, "selected": name == v.initial}
		}
		o["options"] = options
		return o
	default:
		o["type"], o["query"], o["current"], o["options"] = "textbox", v.initial, chosen(v.initial), []object{chosen(v.initial)}
		delete(o, "multi")
		delete(o, "includeAll")
		return o
	}
	o["includeAll"], o["refresh"], o["sort"], o["regex"], o["options"] = true, 2, 1, "", []object{}
	o["current"] = object{"text": "All", "value": "$__all", "selected": true}
	return o
}

// annotations mark what operators and analysts changed.
func annotations() []object {
	return []object{
		{
			"name": "Annotations & Alerts", "type": "dashboard", "builtIn": 1, "enable": true, "hide": true, "iconColor": "rgba(0, 211, 255, 1)",
			"datasource": object{"type": "grafana", "uid": "-- Grafana --"}, "target": object{"type": "dashboard", "matchAny": false, "limit": 100, "tags": []string{}},
		},
		annotation("Rules", "purple", `
			SELECT first AS time, concat('Rules of version ', rules_version, ' began to find something') AS text, 'rules' AS tags
			FROM (
				SELECT rules_version, min(s.time) AS first
				FROM v_signals AS s
				WHERE s.time >= $__fromTime - INTERVAL 1 DAY AND s.time <= $__toTime
				GROUP BY rules_version
			)
			WHERE first >= $__fromTime`),
		annotation("Pushed rules", "purple", `
			SELECT v.time AS time, concat(v.who, ': ', v.source, ', version ', v.version) AS text, v.kind AS tags
			FROM v_rule_versions AS v
			WHERE v.program = 'weir rules push' AND v.time >= $__fromTime AND v.time <= $__toTime
			ORDER BY v.time DESC
			LIMIT 200`),
		annotation("Policies", "blue", `
			SELECT first AS time, concat('Policies of version ', policy_version, ' began to decide') AS text, 'policies' AS tags
			FROM (
				SELECT policy_version, min(d.time) AS first
				FROM v_decisions AS d
				WHERE d.time >= $__fromTime - INTERVAL 1 DAY AND d.time <= $__toTime
				GROUP BY policy_version
			)
			WHERE first >= $__fromTime`),
		annotation("Switches that decided", "red", `
			SELECT min(d.time) AS time, max(d.time) AS timeEnd, concat('Switch ', d.switch, ' decided ', toString(count()), ' requests') AS text, 'switch' AS tags
			FROM v_decisions AS d
			WHERE d.switch != '' AND d.time >= $__fromTime AND d.time <= $__toTime
			GROUP BY d.switch`),
		annotation("Releases and erasures", "green", `
			SELECT a.time AS time, concat(a.who, ': ', a.action, ' of ', a.entity_kind, ' ', a.entity, ', ', a.reason) AS text, a.action AS tags
			FROM v_audit AS a
			WHERE a.action IN ('release', 'erase') AND a.time >= $__fromTime AND a.time <= $__toTime
			ORDER BY a.time DESC
			LIMIT 200`),
		{
			"name": "Switches in force", "enable": true, "hide": false, "iconColor": "orange", "datasource": prometheus(),
			"expr": "max(weir_gate_switches) > 0", "step": "60s", "titleFormat": "Kill switches, blocks or releases are in force", "textFormat": "weir switch list shows them", "tagKeys": "", "useValueForTime": "",
			"target": object{"expr": "max(weir_gate_switches) > 0", "interval": "60s", "refId": "Anno"},
		},
	}
}

func annotation(name, color, sql string) object {
	return object{
		"name": name, "enable": true, "hide": false, "iconColor": color, "datasource": clickhouse(),
		"target": object{"refId": "Anno", "datasource": clickhouse(), "rawSql": statement(sql), "editorType": "sql", "pluginVersion": clickhousePlugin, "format": asTable, "queryType": "table"},
	}
}
