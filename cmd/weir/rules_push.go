package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/printable"
	"github.com/weirdev/weir/rules"
)

// pushing holds the flags of weir rules push.
type pushing struct {
	config                         *cli.Configured
	shadow, none, previous, dryRun bool
	number                         uint64
	who, reason                    string
	timeout                        time.Duration
}

func rulesPushCommand() *cobra.Command {
	var p pushing
	cmd := &cobra.Command{
		Use: "push DIR", Short: "Put rules in force in a running stream", Args: cobra.MaximumNArgs(1),
		Long: `push puts the rules of DIR ("default": the built-in ones) in force in every worker of
a running stream, within a second or two and without a restart. It first runs the
tests in the rules, and pushes nothing if one fails. Rules that keep counting the same
thing keep their state; a removed rule loses its state and its part of every score.

Workers must read the rules, and ingest must add the fields that they need to its
facets. Until both are so, nothing changes. Then a record in the log changes the rules,
at one place in every partition. If push is interrupted, run it again: it finishes.

From then on the log says which rules are in force. The setting "rules" of workers
counts no longer; -previous goes back to the rules before.

With -shadow, the rules only watch: their signals are in the table shadow_signals, and
no score and no gate takes note of them.`,
		Example: `  weir rules push ./my-rules -dry-run                 what would change
  weir rules push ./my-rules -reason "case 4711"
  weir rules push -previous                           back to the rules before
  weir rules push -number 12                          the rules of push 12 again (weir rules pushed)
  weir rules push -shadow ./new-rules                 watch new rules beside the live ones
  weir rules push -shadow -none                       and end that`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.check(args); err != nil {
				return cli.UsageError(err)
			}
			var set *rules.Set
			if len(args) > 0 {
				var err error
				if set, err = tested(args); err != nil {
					return err
				}
			}
			return toKafka(cmd, p.config, func(client *kafka.Client) error { return p.run(cmd, client, set, args) })
		},
	}
	p.config = cli.ConfigureSections(cmd, app.Defaults(), app.PushSettings()...)
	f := cmd.Flags()
	f.BoolVar(&p.shadow, "shadow", false, "push rules that only watch")
	f.BoolVar(&p.none, "none", false, "with -shadow: no rules watch any more")
	f.BoolVar(&p.previous, "previous", false, "push the rules that were in force before the present ones")
	f.Uint64Var(&p.number, "number", 0, "push the rules of this push again")
	f.BoolVar(&p.dryRun, "dry-run", false, "say what would change, and change nothing")
	f.StringVar(&p.who, "who", userName(), "who pushes")
	f.StringVar(&p.reason, "reason", "", "why; it is kept")
	f.DurationVar(&p.timeout, "timeout", 30*time.Second, "how long to wait for workers")
	return cmd
}

func (p *pushing) check(args []string) error {
	ways := len(args)
	for _, given := range []bool{p.none, p.previous, p.number > 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return errors.New(`name a directory of rules, or "default" for the built-in ones, or one of -previous, -number and -none`)
	case p.none && !p.shadow:
		return errors.New("-none: a stream has live rules always; -shadow -none ends shadow rules")
	case p.timeout <= 0:
		return fmt.Errorf("-timeout: %v is no time to wait", p.timeout)
	case p.who == "":
		return errors.New("-who: say who you are")
	}
	return nil
}

// tested loads rules, which must pass their tests.
func tested(args []string) (*rules.Set, error) {
	set, problems, err := loadRules(args)
	if err != nil {
		return nil, err
	}
	if problems != nil {
		return nil, findings(problems)
	}
	if _, err := set.Bundle(); err != nil {
		return nil, &cli.Error{Code: cli.Failed, Err: err}
	}
	results, _, err := testRules(set, "")
	if err != nil {
		return nil, err
	}
	failed := 0
	for _, r := range results {
		if len(r.Problems) > 0 {
			failed++
		}
	}
	if failed > 0 {
		return nil, &cli.Error{Code: cli.Failed, Err: fmt.Errorf("%d tests of the rules fail, and nothing is pushed; weir rules test %s shows them", failed, args[0])}
	}
	return set, nil
}

var errTimeout = errors.New("-timeout is over")

func (p *pushing) run(cmd *cobra.Command, client *kafka.Client, set *rules.Set, args []string) error {
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), p.timeout, errTimeout)
	defer cancel()
	out := cmd.OutOrStdout()
	if err := p.config.Config.Stream.IsPresent(ctx, client); err != nil {
		return p.config.Explain(err)
	}
	pusher := app.NewPusher(p.config.Config.Stream, client, func(text string) { fmt.Fprintln(out, text) })
	h, err := pusher.History(ctx)
	if err != nil {
		return err
	}
	r := push.Request{Rules: set, Who: p.who, Reason: p.reason}
	if p.shadow {
		r.Lane = facet.Shadow
	}
	if len(args) > 0 {
		r.Source = args[0]
	}
	if err := p.again(h, &r); err != nil {
		return cli.UsageError(err)
	}
	if p.compare(out, h, &r); p.dryRun {
		return nil
	}
	started := time.Now()
	is, err := pusher.Push(ctx, r)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "push %d: in force everywhere, after %v\n", is.Number, time.Since(started).Round(10*time.Millisecond))
	return nil
}

// again finds the rules that were pushed before.
func (p *pushing) again(h *push.History, r *push.Request) error {
	var was *push.Push
	switch {
	case p.previous:
		var err error
		if was, err = h.Back(r.Lane); err != nil {
			return fmt.Errorf("-previous: %w", err)
		}
		if was.Version == "" {
			return nil // no shadow rules watched before
		}
	case p.number > 0:
		if was = h.Find(p.number); was == nil || was.Version == "" {
			return fmt.Errorf("-number: there is no push %d of rules; weir rules pushed lists them", p.number)
		}
	default:
		return nil
	}
	base, err := rules.OpenBundle(was.Bundle, detectors.All())
	if err != nil {
		return fmt.Errorf("push %d: this program does not read its rules: %w", was.Number, err)
	}
	r.Rules, r.Source = base, fmt.Sprintf("push %d", was.Number)
	return nil
}

// compare says what a push would change.
func (p *pushing) compare(out io.Writer, h *push.History, r *push.Request) {
	now := h.InForce(r.Lane)
	if r.Rules == nil {
		fmt.Fprintln(out, "no shadow rules will watch any more; their state is dropped")
		return
	}
	fmt.Fprintf(out, "version %s, %d rules", r.Rules.Version, len(r.Rules.Rules))
	var was *rules.Set
	var err error
	switch {
	case now != nil && now.Version != "":
		fmt.Fprintf(out, "; in force: %s, push %d of %s\n", now.Version, now.Number, printable.Text(now.Who))
		was, err = rules.OpenBundle(now.Bundle, detectors.All())
	case r.Lane == facet.Shadow:
		fmt.Fprintln(out, "; no shadow rules watch now")
		return
	default:
		fmt.Fprintln(out, "; nothing was pushed before, so they are compared with the setting rules, which workers may have otherwise")
		was, err = app.LoadRules(p.config.Config.Rules)
	}
	if err != nil {
		fmt.Fprintf(out, "the rules before cannot be read here, and are not compared: %v\n", err)
		return
	}
	writeChanges(out, rules.Compare(was, r.Rules))
}

func writeChanges(out io.Writer, c rules.Changes) {
	for _, id := range c.Added {
		fmt.Fprintf(out, "  added    %s\n", id)
	}
	for _, id := range c.Removed {
		fmt.Fprintf(out, "  removed  %s: its state is lost, and its part of every score\n", id)
	}
	for _, one := range c.Changed {
		state := "keeps its state"
		if one.Lost {
			state = "begins with empty state"
		}
		fmt.Fprintf(out, "  changed  %s: %s; %s\n", one.ID, strings.Join(one.What, ", "), state)
	}
	fmt.Fprintf(out, "  %d rules behave as before, and keep their state\n", c.Same)
}

func rulesPushedCommand() *cobra.Command {
	var p pushing
	cmd := &cobra.Command{
		Use: "pushed", Short: "List the rules that were pushed", Args: cobra.NoArgs,
		Long: `pushed lists what was pushed into a stream, the last first: number, lane, state,
version, number of rules, time, who, from where, why. States are

  in force      every facet partition has it
  replaced      other rules came after it
  unfinished    some partitions may have it: push the same rules again
  proposed      no partition has it: workers could not follow yet
  given up      other rules were pushed before it was finished`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return toKafka(cmd, p.config, func(client *kafka.Client) error {
				h, err := app.NewPusher(p.config.Config.Stream, client, nil).History(cmd.Context())
				if err != nil {
					return err
				}
				writePushed(cmd.OutOrStdout(), h)
				return nil
			})
		},
	}
	p.config = cli.ConfigureSections(cmd, app.Defaults(), app.PushSettings()...)
	return cmd
}

func writePushed(out io.Writer, h *push.History) {
	if len(h.Pushes) == 0 {
		fmt.Fprintln(out, "no rules were pushed: each worker's setting rules counts")
	}
	for i := range h.Pushes {
		p := h.Pushes[len(h.Pushes)-1-i]
		fmt.Fprintf(out, "%-5d %-6s %-10s %-16s %4d rules  %s  %s  %s", p.Number, p.Lane, h.State(p), cmp.Or(printable.Text(p.Version), "none"), p.Count,
			time.UnixMilli(p.Time).UTC().Format(time.RFC3339), printable.Text(p.Who), printable.Text(p.Source))
		if p.Reason != "" {
			fmt.Fprintf(out, "  %q", p.Reason)
		}
		fmt.Fprintln(out)
	}
}
