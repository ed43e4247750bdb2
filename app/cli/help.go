package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirdev/weir/app/settings"
)

// Widths of the help. A terminal has 80 columns at least.
const (
	helpWidth = 80
	nameWidth = 30
)

// usage writes the flags of a command with settings: its own flags first, then the
// settings by section, each on one line. docs/settings-reference.md has the whole texts.
func usage(cmd *cobra.Command, listed []settings.Setting) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	isSetting := map[string]bool{}
	for _, s := range listed {
		isSetting[s.Flag()] = true
	}
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !isSetting[f.Name] {
			own.AddFlag(f)
		}
	})
	fmt.Fprintf(&b, "\nFlags:\n%s", own.FlagUsagesWrapped(helpWidth))
	b.WriteString("\nSettings, with their defaults (docs/settings-reference.md has more):\n")
	section, first := "", true
	for _, s := range listed {
		if first || s.Section() != section {
			section, first = s.Section(), false
			b.WriteString("\n")
		}
		b.WriteString(helpLine(s))
	}
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

// helpLine describes a setting in one line that fits a terminal.
func helpLine(s settings.Setting) string {
	name := "--" + s.Flag()
	if value := s.String(); value != "" && value != "false" && value != "0" && value != "0s" && !s.Secret {
		name += "=" + value
	}
	line := fmt.Sprintf("  %-*s  ", nameWidth, name)
	return line + shorten(s.Doc, helpWidth-utf8.RuneCountInString(line)) + "\n"
}

// shorten returns the first clause of a text, and no more whole words of it than fit.
func shorten(text string, width int) string {
	const leastClause = 12 // of one or two words, nobody knows what they mean
	for _, end := range []string{"; ", " (", ": ", ", "} {
		if before, _, ok := strings.Cut(text, end); ok && utf8.RuneCountInString(text) > width && len(before) >= leastClause {
			text = before
		}
	}
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	short := ""
	for word := range strings.FieldsSeq(text) {
		if utf8.RuneCountInString(short)+utf8.RuneCountInString(word)+2 > width { // a blank, and the ellipsis
			break
		}
		short += " " + word
	}
	return strings.TrimSpace(short) + "…"
}
