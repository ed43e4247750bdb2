package dashboards

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// object is an object of JSON. Its keys are written in alphabetical order.
type object = map[string]any

// schemaVersion is the version of the format of dashboards. Grafana 11 knows it, and
// later ones migrate from it.
const schemaVersion = 39

// clickhousePlugin is the version of the data source's plugin that the queries are for.
const clickhousePlugin = "4.20.0"

func clickhouse() object {
	return object{"type": "grafana-clickhouse-datasource", "uid": "${ds_clickhouse}"}
}
func prometheus() object { return object{"type": "prometheus", "uid": "${ds_prometheus}"} }

func (b board) render() object {
	return object{
		"uid": b.uid, "title": b.title, "description": b.about, "tags": []string{Tag},
		"schemaVersion": schemaVersion, "version": 1, "editable": false, "graphTooltip": 1, "timezone": "",
		"time": object{"from": "now-6h", "to": "now"}, "refresh": "1m",
		"timepicker":  object{"refresh_intervals": []string{"30s", "1m", "5m", "15m"}},
		"links":       menu(),
		"templating":  object{"list": b.renderVariables()},
		"annotations": object{"list": annotations()},
		"panels":      b.renderPanels(),
	}
}

// menu leads to the other dashboards, and keeps the range of time.
func menu() []object {
	return []object{{
		"type": "dashboards", "title": "Weir", "tags": []string{Tag}, "asDropdown": true, "keepTime": true, "includeVars": false,
		"targetBlank": false, "icon": "external link", "tooltip": "All dashboards of Weir", "url": "",
	}}
}

// renderPanels places the panels, and numbers them.
func (b board) renderPanels() (all []object) {
	id, y := 0, 0
	for _, r := range b.rows {
		id++
		all = append(all, object{"id": id, "type": "row", "title": r.title, "collapsed": false, "panels": []object{}, "gridPos": grid(0, y, 24, 1)})
		y++
		x, height := 0, 0
		for _, p := range r.panels {
			width := cmp.Or(p.width, sizes[p.kind][0])
			if x+width > 24 {
				x, y, height = 0, y+height, 0
			}
			if x == 0 {
				height = cmp.Or(p.height, sizes[p.kind][1])
			}
			id++
			if b.withoutCanary {
				p = p.withoutCanary()
			}
			o := p.render()
			o["id"], o["gridPos"] = id, grid(x, y, width, height)
			all = append(all, o)
			x += width
		}
		y += height
	}
	return all
}

var bounded = regexp.MustCompile(`\$__timeFilter\((\w+)\.\w+\)`)

// withoutCanary leaves out what weir canary does, wherever a query reads a view.
func (p panel) withoutCanary() panel {
	p.queries = slices.Clone(p.queries)
	for i := range p.queries {
		p.queries[i].sql = bounded.ReplaceAllString(p.queries[i].sql, "$0 AND NOT startsWith($1.tenant, 'weir-canary')")
	}
	return p
}

func grid(x, y, w, h int) object { return object{"x": x, "y": y, "w": w, "h": h} }

// sizes are the usual width and height of each kind.
var sizes = map[kind][2]int{stat: {4, 4}, lines: {8, 8}, bars: {8, 8}, table: {12, 9}, ranks: {8, 9}, places: {12, 14}}

func (p panel) render() object {
	o := object{
		"title": p.title, "description": p.about, "type": p.grafanaType(), "transparent": false,
		"datasource": p.queries[0].source(), "targets": p.targets(),
		"fieldConfig": object{"defaults": p.defaults(), "overrides": p.overrides()}, "options": p.options(),
	}
	if p.kind == places {
		o["options"] = mapOptions()
	}
	if p.every != "" {
		o["interval"] = p.every
	}
	return o
}

func (p panel) grafanaType() string {
	if p.kind == bars {
		return string(lines)
	}
	return string(p.kind)
}

func (q query) source() object {
	if q.sql != "" {
		return clickhouse()
	}
	return prometheus()
}

// Formats of the ClickHouse plugin, by number and by name.
const (
	asTimeSeries = 0
	asTable      = 1
)

func (p panel) targets() (all []object) {
	for i, q := range p.queries {
		t := object{"refId": string(rune('A' + i)), "datasource": q.source()}
		switch {
		case q.sql != "":
			t["rawSql"], t["editorType"], t["pluginVersion"] = statement(q.sql), "sql", clickhousePlugin
			t["format"], t["queryType"] = asTable, "table"
			if p.kind == lines || p.kind == bars {
				t["format"], t["queryType"] = asTimeSeries, "timeseries"
			}
		case p.kind == stat || p.kind == table || p.kind == ranks:
			t["expr"], t["legendFormat"], t["editorMode"], t["instant"], t["range"] = q.expr, cmp.Or(q.legend, "__auto"), "code", true, false
			t["format"] = "time_series"
			if p.kind == table {
				t["format"] = "table"
			}
		default:
			t["expr"], t["legendFormat"], t["editorMode"], t["instant"], t["range"] = q.expr, cmp.Or(q.legend, "__auto"), "code", false, true
		}
		all = append(all, t)
	}
	return all
}

func (p panel) defaults() object {
	d := object{"unit": p.unit, "color": object{"mode": "palette-classic"}}
	if p.max > 0 {
		d["min"], d["max"] = 0, p.max
	}
	if len(p.steps) > 0 {
		d["thresholds"] = object{"mode": "absolute", "steps": thresholds(p.steps)}
		d["color"] = object{"mode": "thresholds"}
	} else if p.kind == stat || p.kind == table {
		d["color"] = object{"mode": "fixed", "fixedColor": "text"}
	}
	switch p.kind {
	case places:
		d["color"] = object{"mode": "continuous-YlRd"}
	case lines, bars:
		d["custom"] = p.drawn()
		if by := grouped.FindStringSubmatch(p.queries[0].sql); by != nil { // the name of the column would stand before each
			d["displayName"] = "${__field.labels." + by[1] + "}"
		}
		if len(p.steps) > 0 {
			d["color"] = object{"mode": "palette-classic"}
		}
	case table:
		d["custom"] = object{"align": "auto", "cellOptions": object{"type": "auto"}, "inspect": true}
	case stat:
		d["noValue"] = "none"
	}
	return d
}

// grouped finds the column by which a query has several series.
var grouped = regexp.MustCompile(`GROUP BY t, (\w+)\s+ORDER BY t`)

// drawn states how lines and bars look.
func (p panel) drawn() object {
	c := object{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false, "stacking": object{"mode": "none", "group": "A"}}
	if p.kind == bars {
		c["drawStyle"], c["fillOpacity"] = "bars", 80
	}
	if p.kind == bars || p.stacked {
		c["stacking"] = object{"mode": "normal", "group": "A"}
	}
	if len(p.steps) > 0 {
		c["thresholdsStyle"] = object{"mode": "dashed"}
	}
	return c
}

// thresholds begins with a step for everything below the first.
func thresholds(steps []step) []object {
	all := []object{{"value": nil, "color": "green"}}
	for _, s := range steps {
		all = append(all, object{"value": s.from, "color": s.color})
	}
	return all
}

func (p panel) overrides() []object {
	all := []object{}
	for _, c := range p.columns {
		properties := []object{}
		add := func(id string, value any) { properties = append(properties, object{"id": id, "value": value}) }
		if c.unit != "" {
			add("unit", c.unit)
		}
		if c.width > 0 {
			add("custom.width", c.width)
		}
		if c.gauge {
			add("custom.cellOptions", object{"type": "gauge", "mode": "basic", "valueDisplayMode": "text"})
			add("min", 0)
			add("max", 100)
			add("color", object{"mode": "thresholds"})
			add("thresholds", object{"mode": "absolute", "steps": thresholds(p.steps)})
		}
		if c.link != nil {
			add("links", []object{c.link.render()})
		}
		all = append(all, object{"matcher": object{"id": "byName", "options": c.name}, "properties": properties})
	}
	return all
}

// render makes the address of a link. Values are encoded: names of entities come from
// clients, and may hold anything.
func (l link) render() object {
	var url strings.Builder
	fmt.Fprintf(&url, "/d/%s?${ds_clickhouse:queryparam}&${ds_prometheus:queryparam}&${__url_time_range}", l.uid)
	for _, v := range l.variables {
		fmt.Fprintf(&url, "&var-%s=${__data.fields.%s:percentencode}", v[0], v[1])
	}
	return object{"title": l.title, "url": url.String(), "targetBlank": false}
}

func (p panel) options() object {
	switch p.kind {
	case stat:
		mode := "none"
		if len(p.steps) > 0 {
			mode = "background"
		}
		return object{
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}, "colorMode": mode, "graphMode": "none",
			"justifyMode": "auto", "orientation": "auto", "textMode": "auto", "wideLayout": true,
		}
	case table:
		return object{"showHeader": true, "cellHeight": "sm", "footer": object{"show": false, "reducer": []string{"sum"}, "fields": ""}}
	case ranks:
		return object{
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": true, "limit": 20}, "orientation": "horizontal",
			"displayMode": "basic", "valueMode": "text", "namePlacement": "auto", "showUnfilled": true, "sizing": "auto", "minVizHeight": 16, "minVizWidth": 8, "maxVizHeight": 30,
			"legend": object{"showLegend": false, "displayMode": "list", "placement": "bottom", "calcs": []string{}},
		}
	}
	return object{
		"legend":  object{"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []string{}},
		"tooltip": object{"mode": "multi", "sort": "desc"},
	}
}

// mapOptions draws a marker for each row, whose size is the column size and whose color
// the column weight. The outlines of countries come with Grafana, so there is something
// to see where no server of map tiles can be reached.
func mapOptions() object {
	return object{
		"basemap":  object{"type": "default", "name": "Tiles", "config": object{}},
		"controls": object{"showZoom": true, "mouseWheelZoom": true, "showAttribution": true, "showScale": false, "showMeasure": false, "showDebug": false},
		"tooltip":  object{"mode": "details"},
		"view":     object{"id": "fit", "allLayers": false, "layer": "Places", "lat": 20, "lon": 0, "zoom": 4, "padding": 10, "lastOnly": false},
		"layers": []object{
			{
				"type": "geojson", "name": "Countries", "opacity": 0.3, "tooltip": false,
				"config": object{"src": "public/maps/countries.geojson", "rules": []object{}, "style": object{"color": object{"fixed": "#808080"}, "opacity": 0.1, "size": object{"fixed": 1}}},
			},
			{
				"type": "markers", "name": "Places", "tooltip": true,
				"location": object{"mode": "coords", "latitude": "latitude", "longitude": "longitude"},
				"config": object{"showLegend": true, "style": object{
					"color": object{"field": "weight", "fixed": "dark-orange"}, "opacity": 0.6, "rotation": object{"fixed": 0, "max": 360, "min": -360, "mode": "mod"},
					"size":   object{"field": "size", "fixed": 5, "min": 4, "max": 24},
					"symbol": object{"fixed": "img/icons/marker/circle.svg", "mode": "fixed"}, "symbolAlign": object{"horizontal": "center", "vertical": "center"},
					"textConfig": object{"fontSize": 12, "offsetX": 0, "offsetY": 0, "textAlign": "center", "textBaseline": "middle"},
				}},
			},
		},
	}
}

// view is the name of a view in a query.
var view = regexp.MustCompile(`\bv_[a-z_]+\b`)

// statement completes a query: it puts the database before the views, and removes the
// indentation that the text has in Go.
func statement(sql string) string {
	sql = view.ReplaceAllString(sql, "$${database}.$0")
	text := strings.Split(strings.TrimSpace(sql), "\n")
	common := -1
	for _, l := range text[1:] {
		if depth := len(l) - len(strings.TrimLeft(l, "\t")); strings.TrimSpace(l) != "" && (common < 0 || depth < common) {
			common = depth
		}
	}
	for i := range text[1:] {
		text[i+1] = strings.ReplaceAll(strings.TrimRight(text[i+1][min(max(common, 0), len(text[i+1])):], " \t"), "\t", "    ")
	}
	return strings.Join(text, "\n")
}
