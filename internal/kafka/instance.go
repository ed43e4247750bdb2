package kafka

import (
	"context"
	"errors"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describegroups"
)

// memberName is the client id of this client's group members. With a configured
// instance, no other process has it.
func (c *Client) memberName() string {
	if c.cfg.Instance == "" {
		return c.cfg.ClientID
	}
	return c.cfg.ClientID + "@" + c.cfg.Instance
}

// dismiss removes the members that a former process of this instance has left in a
// group. That process is gone, but the group would wait for its session to end
// before it assigns anything to this one. If it is still running, it learns that it
// is no longer a member, and its commits are refused.
func (c *Client) dismiss(ctx context.Context, group string) error {
	if c.cfg.Instance == "" {
		return nil
	}
	return c.ask(ctx, "take the former process out of group", group, func(ctx context.Context) error {
		m, err := c.roundTrip(ctx, &describegroups.Request{Groups: []string{group}})
		if err != nil {
			return err
		}
		found := 0
		for _, g := range m.(*describegroups.Response).Groups {
			if g.ErrorCode != 0 {
				return kafkago.Error(g.ErrorCode)
			}
			for _, member := range g.Members {
				if member.ClientID != c.memberName() {
					continue
				}
				if err := c.remove(ctx, group, member.MemberID); err != nil {
					return fmt.Errorf("member %s: %w", member.MemberID, err)
				}
				c.log.Info("kafka: a former process of this instance is taken out of the group", "group", group, "member", member.MemberID)
				found++
			}
		}
		if found > 1 {
			c.log.Warn("kafka: several members of the group had the name of this instance; each worker needs one of its own (kafka.instance)",
				"group", group, "instance", c.cfg.Instance, "members", found)
		}
		return nil
	})
}

func (c *Client) remove(ctx context.Context, group, member string) error {
	res, err := c.admin.LeaveGroup(ctx, &kafkago.LeaveGroupRequest{GroupID: group, Members: []kafkago.LeaveGroupRequestMember{{ID: member}}})
	if err != nil {
		return err
	}
	errs := []error{res.Error}
	for _, m := range res.Members {
		errs = append(errs, m.Error)
	}
	if err := errors.Join(errs...); !errors.Is(err, kafkago.UnknownMemberId) { // already gone
		return err
	}
	return nil
}
