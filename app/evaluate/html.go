package evaluate

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
)

//go:embed report.html
var page string

// WriteHTML writes the report as one page. The plots are inline SVG; the page loads
// nothing.
func (r *Report) WriteHTML(to io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"percent": percent, "duration": duration, "stamp": stamp, "top": topCounts,
		"share":    func(v float64) string { return percent(&v) },
		"recall":   plotRecall,
		"times":    plotTimes,
		"variants": variantNames,
		"cell":     variantCell,
		"hours":    plotHours,
	}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(to, r)
}

// svg builds a drawing.
type svg struct {
	b             strings.Builder
	width, height int
}

func (s *svg) add(format string, args ...any) { fmt.Fprintf(&s.b, format, args...) }

func (s *svg) text(x, y int, class, text string) {
	s.add(`<text x="%d" y="%d" class="%s">%s</text>`, x, y, class, template.HTMLEscapeString(text))
}

func (s *svg) done(label string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %d %d" role="img" aria-label="%s">%s</svg>`,
		s.width, s.height, template.HTMLEscapeString(label), s.b.String()))
}

// Coordinates in plots with one row per kind, in pixels.
const (
	left   = 190
	across = 620
	tall   = 20 // of a row
)

// plotRecall draws a bar for each kind: attackers named, only victims named, only
// shared entities named, and missed.
func plotRecall(r Result) template.HTML {
	s := &svg{width: left + across + 70, height: tall*len(r.Kinds) + 10}
	for i, k := range r.Kinds {
		y := i * tall
		s.text(left-8, y+14, "end", k.Kind)
		x := left
		for _, part := range []struct {
			class string
			n     int
		}{{"attacker", k.Named}, {"victim", k.VictimOnly}, {"shared", k.Caught - k.Named - k.VictimOnly}, {"missed", k.Campaigns - k.Caught}} {
			if part.n <= 0 {
				continue
			}
			w := across * part.n / max(1, k.Campaigns)
			s.add(`<rect x="%d" y="%d" width="%d" height="%d" class="%s"><title>%s: %d of %d</title></rect>`,
				x, y+2, w, tall-5, part.class, part.class, part.n, k.Campaigns)
			x += w
		}
		s.text(left+across+8, y+14, "", percent(&k.Recall))
	}
	return s.done("recall by kind of campaign")
}

// plotTimes draws a dot for each campaign that was found, by the time to the first
// signal on a logarithmic axis, and a line at the median.
func plotTimes(r Result) template.HTML {
	s := &svg{width: left + across + 70, height: tall*len(r.Kinds) + 30}
	place := func(v float64) int { return left + int(across*math.Log10(1+v)/math.Log10(1+86_400)) }
	for _, at := range []struct {
		s    float64
		name string
	}{{0, "0"}, {10, "10 s"}, {60, "1 min"}, {600, "10 min"}, {3600, "1 h"}, {6 * 3600, "6 h"}, {86_400, "1 day"}} {
		x := place(at.s)
		s.add(`<line x1="%d" y1="0" x2="%d" y2="%d" class="grid"/>`, x, x, tall*len(r.Kinds))
		s.text(x, tall*len(r.Kinds)+16, "middle", at.name)
	}
	for i, k := range r.Kinds {
		y := i*tall + tall/2
		s.text(left-8, y+4, "end", k.Kind)
		for _, v := range r.firstSignals[k.Kind] {
			s.add(`<circle cx="%d" cy="%d" r="3.5" class="dot"/>`, place(v), y)
		}
		if k.FirstSignal != nil {
			x := place(*k.FirstSignal)
			s.add(`<line x1="%d" y1="%d" x2="%d" y2="%d" class="median"/>`, x, y-8, x, y+8)
			s.text(left+across+8, y+4, "", duration(k.FirstSignal))
		}
	}
	return s.done("time to the first signal by kind of campaign")
}

// plotHours draws the signals per hour, and the false ones among them.
func plotHours(r Result) template.HTML {
	const height = 130
	s := &svg{width: left + across + 70, height: height + 24}
	n, most := len(r.signalsAt), max(1, slices.Max(append([]int{1}, r.signalsAt...)))
	for i, v := range r.signalsAt {
		x, w := left+across*i/n, max(1, across/n-1)
		for _, bar := range []struct {
			class string
			n     int
		}{{"signals", v}, {"false", r.falseAt[i]}} {
			h := height * bar.n / most
			s.add(`<rect x="%d" y="%d" width="%d" height="%d" class="%s"><title>hour %d: %d %s</title></rect>`, x, height-h, w, h, bar.class, i, bar.n, bar.class)
		}
		if i%max(1, n/12) == 0 {
			s.text(x, height+16, "", fmt.Sprintf("%d h", i))
		}
	}
	s.text(left-8, 12, "end", fmt.Sprintf("%d", most))
	return s.done("signals by the hour")
}

// variantNames lists the variants of all kinds.
func variantNames(r Result) (names []string) {
	for _, k := range r.Kinds {
		for _, v := range k.Variants {
			if !slices.Contains(names, v.Variant) {
				names = append(names, v.Variant)
			}
		}
	}
	slices.Sort(names)
	return names
}

// variantCell returns a cell of the table of kinds and variants.
func variantCell(k Kind, variant string) template.HTML {
	for _, v := range k.Variants {
		if v.Variant == variant {
			return template.HTML(fmt.Sprintf(`<td class="cell" style="--part:%.0f%%" title="first signal after %s">%d/%d</td>`,
				100*v.Recall, duration(v.FirstSignal), v.Caught, v.Campaigns))
		}
	}
	return "<td></td>"
}
