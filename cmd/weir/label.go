package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/controls"
	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/printable"
)

// saying is what the commands have in common that write a control record.
type saying struct {
	config *cli.Configured
	said   controls.Control
}

func (s *saying) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.said.Reason, "reason", "", "why; it is kept in the audit")
	f.StringVar(&s.said.Who, "who", userName(), "who says it")
	f.StringVar(&s.said.Tenant, "tenant", "", "tenant of the entity")
}

// about reads the entity, and what every control needs.
func (s *saying) about(entity string) (err error) {
	if s.said.Kind, s.said.Key, err = controls.Entity(entity); err != nil {
		return cli.UsageError(err)
	}
	if s.said.Reason == "" {
		return cli.UsageError(errors.New("-reason: say why"))
	}
	if s.said.Who == "" {
		return cli.UsageError(errors.New("-who: say who you are"))
	}
	return nil
}

// write writes the control record, with its defaults.
func (s *saying) write(ctx context.Context, client *kafka.Client) (err error) {
	w := controls.New(client, s.config.Config.Stream.Topic("controls"))
	s.said.Origin = control.FromCommand
	if s.said, err = w.Complete(s.said); err == nil {
		_, err = w.Write(ctx, s.said)
	}
	if invalid := new(controls.Invalid); errors.As(err, &invalid) {
		return cli.UsageError(invalid.Err)
	}
	return err
}

// patience limits the wait for a topic that does not exist.
const patience = 3 * time.Second

// untilKafka limits the wait for Kafka, during which nothing is said.
const untilKafka = 10 * time.Second

// toKafka reads the configuration, and calls run with a client.
func toKafka(cmd *cobra.Command, config *cli.Configured, run func(*kafka.Client) error) error {
	if err := config.Read(cmd); err != nil {
		return err
	}
	client, err := kafka.New(config.Config.Kafka, slog.New(slog.DiscardHandler), kafka.WithPatience(patience))
	if err != nil {
		return config.Explain(&app.Misconfigured{Err: fmt.Errorf("kafka: %w", err)})
	}
	defer client.Close()
	if err := app.Reach(cmd.Context(), config.Config, client, untilKafka); err != nil {
		return err
	}
	return run(client)
}

func labelCommand() *cobra.Command {
	var s saying
	var m members
	hold := controls.DefaultHold
	cmd := &cobra.Command{
		Use: "label KIND:KEY false_positive|true_positive", Short: "Say whether a finding about an entity was right", Args: cobra.ExactArgs(2),
		Long: `label says whether what a rule found about an entity was right. It goes through the
log, like events: it counts once, and survives restarts and restores.

false_positive takes the rule's part out of the entity's score, and keeps the rule
from raising it again until the label expires (-for). The rule's signals are still
stored, with weight 0 and the label's number. Without -rule it is about every rule
that raises the score when the label is read.

true_positive changes no score. It ends a false positive of the same rule.

With -members, KIND:KEY is a group, such as an address whose accounts a campaign tried:
each of its members is labelled that a rule told in the last day (-since), for the rule
that told it. The group itself is not. -list only shows them.

Both are rows of the table labels, from which the precision of rules is computed.
docs/controls.md has more.`,
		Example: `  weir label account:alice false_positive -rule login-failures-account -reason "a phone with an old password"
  weir label ip:203.0.113.9 false_positive -for 2160h -reason "an office behind one address"
  weir label ip:203.0.113.9 false_positive -members -reason "a school, whose pupils share it"
  weir label device:d-81 true_positive -rule emulator-newcomer-device -reason "case 81, confirmed by the bank"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			action, ok := facet.ParseAction(strings.ReplaceAll(args[1], "-", "_"))
			if !ok || action != facet.FalsePositive && action != facet.TruePositive {
				return cli.UsageError(fmt.Errorf("%q is no label: false_positive and true_positive are", args[1]))
			}
			if err := s.about(args[0]); err != nil {
				return err
			}
			if s.said.Action = action.String(); action == facet.FalsePositive {
				s.said.Time = time.Now().UnixMilli()
				s.said.Expires = s.said.Time + hold.Milliseconds()
			} else if cmd.Flags().Changed("for") {
				return cli.UsageError(errors.New("-for: a true positive holds nothing back"))
			}
			if err := m.check(cmd); err != nil {
				return err
			}
			if m.all {
				return s.labelMembers(cmd, m)
			}
			return toKafka(cmd, s.config, func(client *kafka.Client) error {
				if err := s.write(cmd.Context(), client); err != nil {
					return err
				}
				s.printLabel(cmd, action)
				if text := app.UnknownRule(cmd.Context(), s.config.Config, client, s.said.Rule); text != "" {
					cli.Warn(cmd, text+"; the label was written all the same")
				}
				return nil
			})
		},
	}
	s.config = cli.ConfigureSections(cmd, app.Defaults(), app.LabelSettings()...)
	s.flags(cmd)
	cmd.Flags().StringVar(&s.said.Rule, "rule", "", "`id` of the rule whose finding it is about")
	cmd.Flags().DurationVar(&hold, "for", hold, "how long a false positive holds the rule back; at most 8784h")
	cmd.Flags().BoolVar(&m.all, "members", false, "label the members of the group KIND:KEY, as ClickHouse knows them")
	cmd.Flags().BoolVar(&m.list, "list", false, "with -members: show what would be labelled, and write nothing")
	cmd.Flags().DurationVar(&m.since, "since", 24*time.Hour, "with -members: how long ago a member may have been told")
	return cmd
}

// members holds the flags for the members of a group.
type members struct {
	all, list bool
	since     time.Duration
}

func (m *members) check(cmd *cobra.Command) error {
	for _, name := range []string{"list", "since"} {
		if !m.all && cmd.Flags().Changed(name) {
			return cli.UsageError(fmt.Errorf("-%s: it is about members of a group; add -members", name))
		}
	}
	if m.since < time.Minute || m.since > 366*24*time.Hour {
		return cli.UsageError(fmt.Errorf("-since: %v is outside 1m … 8784h", m.since))
	}
	return nil
}

// labelMembers labels the members of the group that s is about.
func (s *saying) labelMembers(cmd *cobra.Command, m members) error {
	return toKafka(cmd, s.config, func(client *kafka.Client) error {
		if err := s.config.Config.ClickHouse.Validate(); err != nil {
			return s.config.Invalid(err)
		}
		s.said.Origin = control.FromCommand
		all, err := app.LabelsOfMembers(cmd.Context(), s.config.Config.ClickHouse, s.said, m.since)
		if err != nil {
			return s.config.Explain(err)
		}
		out := cmd.OutOrStdout()
		if m.list {
			for _, c := range all {
				fmt.Fprintf(out, "%s:%s %s\n", c.Kind, printable.Text(c.Key), c.Rule)
			}
			fmt.Fprintf(out, "%d labels would be written.\n", len(all))
			return nil
		}
		written, err := controls.New(client, s.config.Config.Stream.Topic("controls")).WriteAll(cmd.Context(), all)
		for _, c := range written {
			fmt.Fprintf(out, "%s %s:%s %s\n", c.ID, c.Kind, printable.Text(c.Key), c.Rule)
		}
		if invalid := new(controls.Invalid); errors.As(err, &invalid) {
			return cli.UsageError(invalid.Err)
		}
		if err != nil {
			return fmt.Errorf("%d of %d labels are written; run it again, a member that is labelled twice is labelled as the last one says: %w", len(written), len(all), err)
		}
		fmt.Fprintf(out, "%d labels %s of members of %s:%s by %s. They count within seconds.\n", len(written), s.said.Action, s.said.Kind, printable.Text(s.said.Key), printable.Text(s.said.Who))
		return nil
	})
}

func (s *saying) printLabel(cmd *cobra.Command, action facet.Action) {
	out, c := cmd.OutOrStdout(), &s.said
	rule := "every rule that raises its score"
	if c.Rule != "" {
		rule = "rule " + c.Rule
	}
	fmt.Fprintf(out, "%s\n%s of %s:%s by %s, for %s\n", c.ID, c.Action, c.Kind, printable.Text(c.Key), printable.Text(c.Who), printable.Text(rule))
	if action == facet.TruePositive {
		fmt.Fprintln(out, "No score changes. The label is in the table labels within seconds.")
		return
	}
	fmt.Fprintf(out, "Within seconds the score loses that part, and the rule cannot raise it until %s.\n", time.UnixMilli(c.Expires).UTC().Format(time.RFC3339))
}

func releaseCommand() *cobra.Command {
	var s saying
	atGates := 5 * time.Minute
	cmd := &cobra.Command{
		Use: "release KIND:KEY", Short: "Clear the score of an entity", Args: cobra.ExactArgs(1),
		Long: `release clears the score of an entity, through the log: whatever was found until then
counts for nothing. It holds no rule back. What is found later raises the score again;
use weir label for a rule that is wrong about the entity.

So that its requests pass at once, and not only when the cleared score has reached every
gate, the gates release it too (as weir switch set release does) for as long as -gates
says. 'weir switch set release' alone lets requests pass whatever the score is, and
leaves the score as it is.`,
		Example: `  weir release account:alice -reason "support, case 81: she is who she says"
  weir release ip:203.0.113.9 -gates 1h -reason "incident 4711 is over"
  weir release account:alice -gates 0 -reason "the score alone"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.about(args[0]); err != nil {
				return err
			}
			if atGates < 0 || atGates > switches.Longest {
				return cli.UsageError(fmt.Errorf("-gates: %v is outside 0 … %v", atGates, switches.Longest))
			}
			s.said.Action = facet.Release.String()
			return toKafka(cmd, s.config, func(client *kafka.Client) error {
				if err := s.write(cmd.Context(), client); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\nrelease of %s:%s by %s\nWithin seconds the score is cleared.\n", s.said.ID, s.said.Kind, printable.Text(s.said.Key), printable.Text(s.said.Who))
				return s.atGates(cmd, atGates)
			})
		},
	}
	s.config = cli.ConfigureSections(cmd, app.Defaults(), app.ReleaseSettings()...)
	s.flags(cmd)
	cmd.Flags().DurationVar(&atGates, "gates", atGates, "how long gates let its requests pass whatever the score; 0: not at all")
	return cmd
}

// atGates releases the entity at all gates for a while.
func (s *saying) atGates(cmd *cobra.Command, lasts time.Duration) error {
	if lasts == 0 {
		return nil
	}
	now := time.Now()
	added, err := app.SetSwitch(cmd.Context(), s.config.Config, slog.New(slog.DiscardHandler), switches.Object{
		Scope: switches.Entity, Kind: s.said.Kind, Name: s.said.Key, Tenant: s.said.Tenant, Action: policy.Allow.String(),
		Owner: s.said.Who, Reason: s.said.Reason, Set: now.UnixMilli(), Expires: now.Add(lasts).UnixMilli(),
	}, patience)
	if err != nil {
		return s.config.Explain(fmt.Errorf("the score is cleared, but the gates were not told: %w; use -gates 0, or weir switch set release", err))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Gates let its requests pass for %v.\n", lasts)
	if added.Warning != "" {
		cli.Warn(cmd, added.Warning)
	}
	return nil
}
