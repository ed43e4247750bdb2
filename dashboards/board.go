package dashboards

// board is a dashboard in short.
type board struct {
	uid, title, about string
	variables         []variable
	rows              []row
	withoutCanary     bool // leave out the synthetic attacks of weir canary
}

// row is a heading with the panels below it. They flow from left to right, and all
// panels of a line have the height of its first.
type row struct {
	title  string
	panels []panel
}

// panel is a panel, which shows the results of its queries. Its kind decides on the
// options that are not named here.
type panel struct {
	kind          kind
	title, about  string // about answers: what is this, and what should I do about it?
	unit          string
	width, height int // of Grafana's grid, whose lines have 24 columns; 0: those of the kind
	queries       []query
	columns       []column // of a table, in which something is special
	steps         []step   // colours by value; none: one colour
	stacked       bool
	every         string  // shortest step of time, such as 1m; empty: any
	max           float64 // of the axis; 0: as the data has it
}

// kind is a kind of panel.
type kind string

const (
	stat   kind = "stat"
	lines  kind = "timeseries"
	bars   kind = "bars" // of time, stacked
	table  kind = "table"
	ranks  kind = "bargauge" // one bar per row
	places kind = "geomap"
)

// query is a query of a panel: either SQL for ClickHouse, or expr for Prometheus.
type query struct {
	sql string

	expr, legend string
}

// column is what is special about a column of a table.
type column struct {
	name, unit string
	width      int
	gauge      bool // draw a bar, by the steps of the panel
	link       *link
}

// link leads to a dashboard, with variables whose values are columns of the row.
type link struct {
	title, uid string
	variables  [][2]string // variable, column
}

// step is the lowest value that has a colour.
type step struct {
	from  float64
	color string
}

// variable is a variable of a dashboard, beside those that all have.
type variable struct {
	name, label, about string

	options []string // one of these
	sql     string   // one of what this finds, or all
	expr    string   // the same of Prometheus: one of the values of a label, or all
	initial string   // the first value, if neither sql nor expr is given
}

// graph returns a panel of lines over time.
func graph(title, about, unit string, queries ...query) panel {
	return panel{kind: lines, title: title, about: about, unit: unit, queries: queries}
}

// number returns a panel of a single number.
func number(title, about, unit string, q query, steps ...step) panel {
	return panel{kind: stat, title: title, about: about, unit: unit, queries: []query{q}, steps: steps}
}

// list returns a table.
func list(title, about string, q query, columns ...column) panel {
	return panel{kind: table, title: title, about: about, unit: "none", queries: []query{q}, columns: columns}
}

func (p panel) wide(width int) panel   { p.width = width; return p }
func (p panel) tall(height int) panel  { p.height = height; return p }
func (p panel) stack() panel           { p.stacked = true; return p }
func (p panel) upTo(max float64) panel { p.max = max; return p }

// colored colours lines and bars of a panel by value.
func (p panel) colored(steps ...step) panel { p.steps = steps; return p }

// minutes is for queries of counts by the minute.
func (p panel) minutes() panel { p.every = "1m"; return p }

// overTime turns lines into stacked bars.
func (p panel) overTime() panel { p.kind = bars; return p }

// ms, share and seconds are Grafana's names of units that are easy to mistake.
const (
	ms      = "ms"
	seconds = "s"
	micros  = "µs"
	share   = "percentunit" // 0 to 1
	perSec  = "reqps"
	count   = "short"
	points  = "none" // of a score, 0 to 100
	size    = "bytes"
	moment  = "dateTimeAsIso"
)
