package console

import (
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/printable"
)

// functions are those of the templates. What clients wrote passes through plain or
// bdi, which make control characters and changes of direction visible.
func functions() template.FuncMap {
	return template.FuncMap{
		"plain":    printable.Text,
		"bdi":      bdi,
		"at":       at,
		"entity":   entityLink,
		"ruleRef":  ruleLink,
		"eventRef": eventLink,
		"decided":  decisionLink,
		"link":     link,
		"n":        grouped,
		"lasts":    lasts,
		"choices":  choices,
		"dict":     dict,
		"spoken":   spoken,
		"value":    attribute,
		"words":    spaced,
		"terms":    terms,
		"ms":       func(ms int64) time.Time { return time.UnixMilli(ms) },
		"first":    shorten,
		"broad": func(kind string) bool {
			k, _ := facet.ParseKind(kind)
			return isBroad(k)
		},
	}
}

// dict makes a map of pairs, for templates that take several values.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("%d values make no pairs", len(pairs))
	}
	all := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("%v is no name", pairs[i])
		}
		all[name] = pairs[i+1]
	}
	return all, nil
}

// bdi isolates a text that clients may have written.
func bdi(text string) template.HTML {
	return template.HTML("<bdi>" + template.HTMLEscapeString(printable.Text(text)) + "</bdi>") //nolint:gosec // escaped
}

// attribute writes a form's value. Characters that editors would not show stand as
// references.
func attribute(text string) template.HTMLAttr {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteString(template.HTMLEscapeString(string(r)))
		} else {
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	return template.HTMLAttr(`value="` + b.String() + `"`) //nolint:gosec // escaped
}

// shorten cuts a text after n characters.
func shorten(text string, n int) string {
	text = printable.Text(text)
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n]) + "…"
}

// at writes a moment, with its zone.
func at(t time.Time) template.HTML {
	if t.UnixMilli() == 0 || t.IsZero() {
		return ""
	}
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s">%s</time>`, t.Format(time.RFC3339Nano), t.Format("2006-01-02 15:04:05 UTC"))) //nolint:gosec // of numbers
}

// link returns the address of a page, with parameters that mean the span and those
// given in pairs.
func link(path string, of span, pairs ...any) string {
	q := of.Query()
	for i := 0; i+1 < len(pairs); i += 2 {
		if value := fmt.Sprint(pairs[i+1]); value != "" {
			q.Set(fmt.Sprint(pairs[i]), value)
		}
	}
	return path + "?" + q.Encode()
}

func anchor(class, to, text string) template.HTML {
	return template.HTML(fmt.Sprintf(`<a class="%s" href="%s">%s</a>`, class, template.HTMLEscapeString(to), text)) //nolint:gosec // escaped
}

func entityLink(of span, tenant, kind, key string) template.HTML {
	text := `<span class="kind">` + template.HTMLEscapeString(printable.Text(kind)) + "</span> " + string(bdi(key))
	if tenant != "" {
		text += ` <span class="kind">of ` + string(bdi(tenant)) + "</span>"
	}
	return anchor("entity", link("/entity", of, "kind", kind, "key", key, "tenant", tenant), text)
}

func ruleLink(of span, id string) template.HTML {
	return anchor("rule", link("/rule", of, "id", id), string(bdi(id)))
}

func decisionLink(id string) template.HTML {
	return anchor("id", "/decision?"+url.Values{"id": {id}}.Encode(), string(bdi(id)))
}

// place is a position in the raw log, which names an event.
type place struct {
	Stream      string
	Incarnation uint32
	Partition   uint32
	Offset      uint64
}

func (p place) query() url.Values {
	return url.Values{
		"stream": {p.Stream}, "incarnation": {strconv.FormatUint(uint64(p.Incarnation), 10)},
		"partition": {strconv.FormatUint(uint64(p.Partition), 10)}, "offset": {strconv.FormatUint(p.Offset, 10)},
	}
}

func eventLink(p any, text string) template.HTML {
	switch x := p.(type) {
	case place:
		return eventAnchor(x, text)
	case *place:
		return eventAnchor(*x, text)
	}
	return ""
}

func eventAnchor(p place, text string) template.HTML {
	return anchor("event", "/event?"+p.query().Encode(), template.HTMLEscapeString(printable.Text(text)))
}

// grouped writes a number with thin spaces between thousands.
func grouped(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// lasts writes a duration as people say it.
func lasts(d time.Duration) string {
	switch {
	case d < 0:
		return "−" + lasts(-d)
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 2*time.Minute:
		return strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Round(time.Minute)/time.Minute)) + " min"
	case d < 48*time.Hour:
		return strconv.FormatFloat(d.Round(6*time.Minute).Hours(), 'f', -1, 64) + " h"
	}
	return strconv.FormatFloat(float64(d.Round(2*time.Hour+24*time.Minute))/float64(24*time.Hour), 'f', 1, 64) + " days"
}

// spaced writes a name of code with blanks.
func spaced(name string) string { return strings.ReplaceAll(name, "_", " ") }
