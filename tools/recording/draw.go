package main

import (
	"bytes"
	"fmt"
	"html"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Extent of the picture, in characters and pixels.
const (
	columns   = 118
	rows      = 34
	width     = 7.25 // of a character
	height    = 16.0 // of a line
	margin    = 14.0
	fontSize  = 12
	endsAfter = 8 * time.Second // the last screen stays so long
)

// styles colour lines by how they begin, without their indentation.
var styles = []struct{ prefix, class string }{
	{"$ ", "prompt"},
	{">> CAUGHT", "caught"},
	{"nginx answers", "answer"},
	{"WHY ", "head"},
	{"SUMMARY", "head"},
	{"CAMPAIGN ", "head"},
	{"ledger ", "answer"},
}

// draw returns an SVG in which the lines appear one after the other, the newest at
// the bottom. All of them stand in one column, which a single animation moves up.
func draw(command string, lines []line) []byte {
	lines = append([]line{{text: command}}, lines...)
	total := lines[len(lines)-1].at + endsAfter
	w, h := 2*margin+columns*width, 2*margin+rows*height
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="%s">`+"\n",
		w, h, w, h, html.EscapeString("A recording of "+command))
	fmt.Fprintf(&b, "<style>\ntext{font:%dpx ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre;fill:#c9d1d9}\n", fontSize)
	b.WriteString(".prompt{fill:#7ee787}.caught{fill:#ff7b72;font-weight:bold}.answer{fill:#7ee787}.head{fill:#79c0ff;font-weight:bold}\n")
	fmt.Fprintf(&b, "#all{animation:up %.2fs step-end infinite}\n@keyframes up{\n", total.Seconds())
	for i, l := range lines {
		if i+1 < len(lines) && lines[i+1].at == l.at {
			continue // one step for lines that come together
		}
		fmt.Fprintf(&b, "%.3f%%{transform:translateY(%.0fpx)}\n", 100*l.at.Seconds()/total.Seconds(), float64(rows-i-1)*height)
	}
	fmt.Fprintf(&b, "}\n@media (prefers-reduced-motion:reduce){#all{animation:none;transform:translateY(%.0fpx)}}\n</style>\n", float64(rows-len(lines))*height)
	fmt.Fprintf(&b, `<rect width="%.0f" height="%.0f" rx="8" fill="#0d1117"/>`+"\n", w, h)
	fmt.Fprintf(&b, `<clipPath id="screen"><rect x="%.0f" y="%.0f" width="%.0f" height="%.0f"/></clipPath>`+"\n", margin, margin, columns*width, rows*height)
	b.WriteString(`<g clip-path="url(#screen)"><g id="all">` + "\n")
	for i, l := range lines {
		if text := shown(l.text); text != "" {
			fmt.Fprintf(&b, `<text x="%.0f" y="%.0f"%s>%s</text>`+"\n", margin, margin+float64(i)*height+fontSize, class(text), html.EscapeString(text))
		}
	}
	b.WriteString("</g></g>\n</svg>\n")
	return b.Bytes()
}

// shown returns a line without what a picture cannot hold, at most as wide as the
// screen.
func shown(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.TrimRight(text, " "))
	if all := []rune(text); len(all) > columns {
		return string(all[:columns-1]) + "…"
	}
	return text
}

func class(text string) string {
	for _, s := range styles {
		if strings.HasPrefix(strings.TrimLeft(text, " "), s.prefix) {
			return ` class="` + s.class + `"`
		}
	}
	return ""
}
