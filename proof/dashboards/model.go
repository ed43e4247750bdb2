// Package dashboards proves Weir's dashboards without Grafana. It reads their JSON files,
// checks what can be seen there, and runs every query as Grafana and its ClickHouse
// plugin would send it: against a real ClickHouse engine and a real Prometheus, which
// hold what the programs wrote.
//
// [Lint] needs nothing but the files. [Runner] needs the servers.
package dashboards

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
)

// Dashboard is a dashboard in Grafana's classic format, as far as it is checked.
type Dashboard struct {
	UID           string   `json:"uid"`
	Title         string   `json:"title"`
	Description   string   `json:"description"`
	Tags          []string `json:"tags"`
	SchemaVersion int      `json:"schemaVersion"`
	Editable      bool     `json:"editable"`
	Refresh       string   `json:"refresh"`
	Time          struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"time"`
	Timepicker struct {
		Intervals []string `json:"refresh_intervals"`
	} `json:"timepicker"`
	Links      []Link `json:"links"`
	Templating struct {
		List []Variable `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []Annotation `json:"list"`
	} `json:"annotations"`
	Panels []Panel `json:"panels"`
}

// Link is a link of a dashboard, or of a column.
type Link struct {
	Type  string   `json:"type"`
	Title string   `json:"title"`
	Tags  []string `json:"tags"`
	URL   string   `json:"url"`
}

// Variable is a variable of a dashboard.
type Variable struct {
	Type       string          `json:"type"`
	Name       string          `json:"name"`
	Query      json.RawMessage `json:"query"` // a text, or an object with a text of this name
	Datasource Source          `json:"datasource"`
	IncludeAll bool            `json:"includeAll"`
	Refresh    int             `json:"refresh"`
	Current    struct {
		Value any `json:"value"`
	} `json:"current"`
	Options []struct {
		Value string `json:"value"`
	} `json:"options"`
}

// text is the text of the variable's query.
func (v Variable) text() string {
	var s string
	if json.Unmarshal(v.Query, &s) == nil {
		return s
	}
	var o struct {
		Query string `json:"query"`
	}
	_ = json.Unmarshal(v.Query, &o) // a query that is neither is empty, which is a finding
	return o.Query
}

// Source names a data source.
type Source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Annotation is a query whose results are marks in all panels.
type Annotation struct {
	Name       string `json:"name"`
	BuiltIn    int    `json:"builtIn"`
	Datasource Source `json:"datasource"`
	Target     Target `json:"target"`
}

// Panel is a panel, or a row.
type Panel struct {
	ID          int      `json:"id"`
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	GridPos     Grid     `json:"gridPos"`
	Datasource  Source   `json:"datasource"`
	Targets     []Target `json:"targets"`
	FieldConfig struct {
		Defaults struct {
			Unit        string `json:"unit"`
			DisplayName string `json:"displayName"`
		} `json:"defaults"`
		Overrides []Override `json:"overrides"`
	} `json:"fieldConfig"`
	Panels []Panel `json:"panels"`
}

// Grid is the place of a panel in a grid of 24 columns.
type Grid struct{ X, Y, W, H int }

func (g Grid) overlaps(o Grid) bool {
	return g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H
}

// Target is a query.
type Target struct {
	RefID      string `json:"refId"`
	Datasource Source `json:"datasource"`
	RawSQL     string `json:"rawSql"`
	Format     any    `json:"format"`
	QueryType  string `json:"queryType"`
	Expr       string `json:"expr"`
	Instant    bool   `json:"instant"`
}

// Override changes how some columns look.
type Override struct {
	Matcher struct {
		ID      string `json:"id"`
		Options any    `json:"options"`
	} `json:"matcher"`
	Properties []struct {
		ID    string          `json:"id"`
		Value json.RawMessage `json:"value"`
	} `json:"properties"`
}

// links returns the links of an override.
func (o Override) links() (all []Link) {
	for _, p := range o.Properties {
		if p.ID == "links" {
			var some []Link
			_ = json.Unmarshal(p.Value, &some) // what does not read has no address, which is a finding
			all = append(all, some...)
		}
	}
	return all
}

// Read reads all JSON files of a directory.
func Read(dir fs.FS) ([]Dashboard, error) {
	names, err := fs.Glob(dir, "*.json")
	if err != nil {
		return nil, err
	}
	all := make([]Dashboard, len(names))
	for i, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &all[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}

// Finding is something that is wrong.
type Finding struct {
	Dashboard string // uid
	Where     string // the panel, variable or annotation
	Problem   string
}

// String returns the finding in one line.
func (f Finding) String() string {
	return strings.ReplaceAll(fmt.Sprintf("%s: %s: %s", f.Dashboard, f.Where, f.Problem), "\n", " ")
}
