package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/internal/quota"
)

// limitCall is one call of the script: the counters of a request, or, in a cluster,
// those of them whose keys are on the same node.
type limitCall struct {
	request  int
	counters []int // indexes among those of the request
	keys     []string
	args     []any
	reply    *goredis.Cmd
	err      error
}

// Take counts requests, given by their counters, in one round trip that ends with
// ctx. The answers are in the order of the requests. An error may hide that a request
// was counted.
//
// In a cluster, counters that begin with different entities are counted
// independently: one may count a request that another one refuses.
func (r *Reader) Take(ctx context.Context, batch [][]quota.Counter) []quota.Answer {
	start := time.Now()
	calls := r.limitCalls(batch)
	r.call(ctx, calls)
	if missing := lackingScript(calls); len(missing) > 0 { // they did nothing
		if err := r.client.ScriptLoad(ctx, r.limits).Err(); err == nil {
			r.call(ctx, missing)
		}
	}
	answers := make([]quota.Answer, len(batch))
	for i := range batch {
		answers[i].Counts = make([]quota.Count, len(batch[i]))
	}
	for _, c := range calls {
		r.limitAnswer(c, batch[c.request], &answers[c.request])
	}
	r.metrics.limitSeconds.Observe(time.Since(start).Seconds())
	return answers
}

// limitCalls divides the counters of each request by where their keys are.
func (r *Reader) limitCalls(batch [][]quota.Counter) (calls []*limitCall) {
	for request, counters := range batch {
		tags := map[string]*limitCall{}
		for i := range counters {
			tag, key := r.limitKey(&counters[i])
			if !r.cfg.Cluster {
				tag = "" // one call for all
			}
			c, ok := tags[tag]
			if !ok {
				c = &limitCall{request: request}
				tags[tag], calls = c, append(calls, c)
			}
			c.counters, c.keys = append(c.counters, i), append(c.keys, key)
			c.args = append(c.args, counters[i].Most, counters[i].Window.Microseconds(), flag(counters[i].Refuses), flag(counters[i].All))
		}
	}
	return calls
}

// limitKey returns the key of a counter, "<prefix>:limit:<id>:{<digest>}:<digest>…",
// and its first digest, by which a cluster places it.
func (r *Reader) limitKey(c *quota.Counter) (tag, key string) {
	var b strings.Builder
	b.WriteString(r.cfg.KeyPrefix)
	b.WriteString(":limit:")
	b.WriteString(c.ID)
	for i, e := range c.Entities {
		digest := r.codec.Digest(e)
		if i > 0 {
			b.WriteString(":" + digest)
			continue
		}
		tag = digest
		b.WriteString(":{" + digest + "}")
	}
	return tag, b.String()
}

func flag(v bool) int {
	if v {
		return 1
	}
	return 0
}

// call sends calls in one pipeline. Each has its own outcome.
func (r *Reader) call(ctx context.Context, calls []*limitCall) {
	pipe := r.client.Pipeline()
	for _, c := range calls {
		c.reply = pipe.EvalSha(ctx, r.limitsName, c.keys, c.args...)
	}
	_, err := pipe.Exec(ctx) // the first error of the calls
	for _, c := range calls {
		if c.err = c.reply.Err(); c.err == nil && c.reply.Val() == nil {
			c.err = cmp.Or(err, errLimitReply) // the pipeline broke before this reply
		}
	}
}

// lackingScript lists the calls that found no script.
func lackingScript(calls []*limitCall) (missing []*limitCall) {
	for _, c := range calls {
		if c.err != nil && reasonOf(c.err) == reasonScript {
			missing = append(missing, c)
		}
	}
	return missing
}

// errLimitReply means that something else than the script answered.
var errLimitReply = errors.New("redis: the reply is not that of the script of limits")

// limitAnswer reads the reply of a call into the answer of its request.
func (r *Reader) limitAnswer(c *limitCall, counters []quota.Counter, a *quota.Answer) {
	numbers, err := []int64(nil), c.err
	if err == nil {
		numbers, err = c.reply.Int64Slice()
	}
	if err == nil && len(numbers) != 1+4*len(c.keys) {
		err = errLimitReply
	}
	if err != nil {
		r.metrics.limitErrors[reasonOf(err)].Inc()
		a.Counts, a.Err = nil, fmt.Errorf("redis: check limits: %w", err)
		return
	}
	if a.Err != nil {
		return
	}
	a.At = time.UnixMicro(numbers[0])
	for i, n := range c.counters {
		of, most := numbers[1+4*i:], &counters[n]
		a.Counts[n] = quota.Count{
			Exceeded:  of[0] == 1,
			Remaining: int(max(of[1], 0)),
			// Time may stand still for up to a window; see the script.
			Reset: time.Duration(min(max(of[2], 0), 2*most.Window.Microseconds())) * time.Microsecond,
		}
		if of[3] == 1 {
			r.anew(c.keys[i])
		}
	}
}

// anew reports a key that held no times of ours.
func (r *Reader) anew(key string) {
	r.metrics.limitsAnew.Inc()
	if r.alarm.due(r.now()) {
		r.log.Error("redis held something in a limit's place that is no list of times, or one of the future; the limit begins anew. Somebody else writes to it, unless the server's clock went back",
			"key", key)
	}
}
