// Package dashboards has Weir's dashboards for Grafana: as Go values, which are short
// enough to review, and as the JSON files beside them, which Grafana reads.
//
// The files are generated: change the Go values and run make generate. A test compares
// the two; proof/dashboards runs every query of the files.
package dashboards

import (
	"embed"
	"encoding/json"
	"io/fs"
	"strings"
)

//go:embed *.json
var files embed.FS

// Files returns the JSON files of all dashboards, and nothing else.
func Files() fs.FS { return files }

// Tag is the tag of all dashboards; the menu at the top of each lists those that have it.
const Tag = "weir"

// all lists the dashboards, by the name of their file.
func all() map[string]board {
	return map[string]board{
		"overview.json": overview(),
		"attack.json":   attack(),
		"entity.json":   entity(),
		"rules.json":    rules(),
		"travel.json":   travel(),
		"pipeline.json": pipeline(),
		"gate.json":     gate(),
	}
}

// Generate returns the content of each file, by its name.
func Generate() (map[string][]byte, error) {
	texts := map[string][]byte{}
	for name, b := range all() {
		var out strings.Builder
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(b.render()); err != nil {
			return nil, err
		}
		texts[name] = []byte(out.String())
	}
	return texts, nil
}
