package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
)

func switchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "switch",
		Short: "Turn parts of Weir off at once, block and release entities",
		Long: `switch works on what gates do, whatever the scores are: kill switches, and blocks and
releases of entities. What it sets is in Redis, and holds on every gate within a
second. Where Redis is away, -gate names the admin listener of a gate, which has it at
once, keeps it over a restart, and tells the others when Redis is back.
docs/switches.md has more.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(switchSetCommand(), switchListCommand(), switchClearCommand())
	return cmd
}

// switching holds the target of a command, and the object.
type switching struct {
	config *cli.Configured
	gate   string
	object switches.Object
	lasts  time.Duration
}

func (s *switching) flags(cmd *cobra.Command) {
	s.config = cli.ConfigureSections(cmd, app.Defaults(), app.SwitchSettings()...)
	cmd.Flags().StringVar(&s.gate, "gate", "", "`address` of a gate's admin listener, to ask that gate instead of Redis: http://127.0.0.1:9481")
	s.object.Owner = userName()
}

// said adds the flags about an object.
func (s *switching) said(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.object.Owner, "owner", s.object.Owner, "who answers for it")
	f.StringVar(&s.object.Reason, "reason", "", "why")
	f.StringVar(&s.object.Tenant, "tenant", "", "tenant of the entity")
}

func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// name reads the subject of the object: a scope and a name, or block or release, a
// kind and an entity.
func (s *switching) name(args []string) error {
	o := &s.object
	switch verb := args[0]; {
	case verb == "block" || verb == "release":
		if len(args) != 3 {
			return cli.UsageError(fmt.Errorf("%s: name a kind and an entity, such as %s account alice", verb, verb))
		}
		kind, ok := facet.ParseKind(args[1])
		e, _, known := gate.Resolve(kind, o.Tenant, args[2])
		if !ok || !known {
			return cli.UsageError(fmt.Errorf("%s: %q %q is no entity", verb, args[1], args[2]))
		}
		o.Scope, o.Kind, o.Name = switches.Entity, e.Kind.String(), e.Key
		if verb == "release" {
			o.Action = policy.Allow.String()
		}
	case slices.Contains(switches.Scopes(), switches.Scope(verb)):
		o.Scope, o.Action = switches.Scope(verb), ""
		o.Name = strings.Join(args[1:], " ")
	default:
		return cli.UsageError(fmt.Errorf("%q is none of global, detector, rule, route, tenant, block, release", verb))
	}
	return nil
}

const switchSubjects = `  global
  detector NAME    rule ID    route ROUTE    tenant NAME
  block KIND ENTITY    release KIND ENTITY`

func switchSetCommand() *cobra.Command {
	var s switching
	cmd := &cobra.Command{
		Use: "set SUBJECT", Short: "Switch something off, block or release an entity", Args: cobra.RangeArgs(1, 3),
		Long: "set takes one of\n\n" + switchSubjects + `

What is switched off lets requests pass (global, route, tenant), or counts for nothing
(detector, rule). It ends by itself after -for.`,
		Example: `  weir switch set rule scraping-breadth-token -for 2h -reason "false signals since the release"
  weir switch set block ip 203.0.113.9 -for 24h -reason "incident 4711"
  weir switch set global -for 1h -reason "payments fail" -gate http://127.0.0.1:9481`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.name(args); err != nil {
				return err
			}
			if s.object.Scope == switches.Entity && s.object.Action == policy.Allow.String() && args[0] == "block" {
				return cli.UsageError(errors.New("-action allow is no block: release the entity"))
			}
			return s.put(cmd, false)
		},
	}
	s.flags(cmd)
	s.said(cmd)
	cmd.Flags().StringVar(&s.object.Action, "action", policy.Deny.String(), "of a block: tag, throttle, challenge, step_up or deny")
	cmd.Flags().DurationVar(&s.lasts, "for", time.Hour, "how long it holds")
	return cmd
}

func switchClearCommand() *cobra.Command {
	var s switching
	cmd := &cobra.Command{
		Use: "clear SUBJECT", Short: "End a switch, block or release", Args: cobra.RangeArgs(1, 3),
		Long: "clear takes one of\n\n" + switchSubjects,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.name(args); err != nil {
				return err
			}
			if s.object.Scope == switches.Entity {
				s.object.Action = policy.Allow.String()
			}
			s.lasts = switches.Longest // for this long, an older version must not return
			return s.put(cmd, true)
		},
	}
	s.flags(cmd)
	s.said(cmd)
	return cmd
}

func switchListCommand() *cobra.Command {
	var s switching
	cmd := &cobra.Command{
		Use: "list", Short: "List what holds", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := s.list(cmd)
			if err != nil {
				return err
			}
			for _, o := range all {
				action := o.Action
				if action == "" {
					action = "off"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-9s %-40q until %s  %q, %q\n", action, o.ID(), time.UnixMilli(o.Expires).UTC().Format(time.RFC3339), o.Owner, o.Reason)
			}
			return nil
		},
	}
	s.flags(cmd)
	return cmd
}

// put sets or clears the object.
func (s *switching) put(cmd *cobra.Command, clears bool) error {
	o := &s.object
	now := time.Now()
	o.Set, o.Expires, o.Cleared = now.UnixMilli(), now.Add(s.lasts).UnixMilli(), clears
	if err := o.Check(); err != nil {
		return cli.UsageError(err)
	}
	added, err := s.add(cmd)
	if err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), s.holds(&added.Object))
	if added.Warning != "" {
		cli.Warn(cmd, added.Warning+"; it was written all the same")
	}
	return nil
}

// holds says what holds now, and where.
func (s *switching) holds(o *switches.Object) string {
	where := fmt.Sprintf("on every gate of stream %s, within a second (Redis at %s)", s.config.Config.Stream.Name, strings.Join(s.config.Config.Redis.Addrs, ", "))
	if s.gate != "" {
		where = fmt.Sprintf("at the gate %s; other gates have it once that gate reaches Redis", s.gate)
	}
	action := o.Action
	switch {
	case o.Cleared:
		return fmt.Sprintf("%q holds no longer, %s", o.ID(), where)
	case action == "":
		action = "off"
	}
	return fmt.Sprintf("%q is set to %s until %s, %s", o.ID(), action, time.UnixMilli(o.Expires).UTC().Format(time.RFC3339), where)
}

func (s *switching) add(cmd *cobra.Command) (added switches.Added, err error) {
	if s.gate != "" {
		body, err := json.Marshal(s.object)
		if err != nil {
			return added, fmt.Errorf("write the object: %w", err)
		}
		return added, s.ask(cmd.Context(), http.MethodPost, bytes.NewReader(body), &added)
	}
	if err := s.config.Read(cmd); err != nil {
		return added, err
	}
	added, err = app.SetSwitch(cmd.Context(), s.config.Config, slog.New(slog.DiscardHandler), s.object, patience)
	if errors.Is(err, app.ErrNoRule) {
		return added, cli.UsageError(err)
	}
	return added, s.config.Explain(err)
}

func (s *switching) list(cmd *cobra.Command) (all []switches.Object, err error) {
	if s.gate != "" {
		return all, s.ask(cmd.Context(), http.MethodGet, nil, &all)
	}
	if err := s.config.Read(cmd); err != nil {
		return nil, err
	}
	all, err = app.ListSwitches(cmd.Context(), s.config.Config, slog.New(slog.DiscardHandler))
	return all, s.config.Explain(err)
}

// ask sends a request to a gate.
func (s *switching) ask(ctx context.Context, method string, body io.Reader, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(s.gate, "/")+"/v1/switches", body)
	if err != nil {
		return cli.UsageError(fmt.Errorf("-gate: %w", err))
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the gate: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("ask the gate: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the gate answers %s: %s", res.Status, bytes.TrimSpace(text))
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("ask the gate: %w", err)
	}
	return nil
}
