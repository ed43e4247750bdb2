package envoy

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/types/known/structpb"
)

// jwtFilter is the filter of Envoy that verifies tokens, and the name of what it
// tells of them.
const jwtFilter = "envoy.filters.http.jwt_authn"

// Limits of what is read of verified tokens.
const (
	maxClaims = 256
	maxDepth  = 4
	maxWhole  = 1 << 53 // the filter's numbers are floating point; larger ones are not what the token says
)

// claims flattens what the filter tells: an object for each payload_in_metadata,
// with the claims. A claim is found by its name, and by that of the payload before
// it (payload.sub); members of objects follow after a dot. A name that stands for
// two texts stands for none. Lists of several, large numbers, and objects far within
// others are passed over. whole is false if there are too many claims.
func claims(told *structpb.Struct) (found map[string]string, whole bool) {
	c := collector{found: map[string]string{}, whole: true}
	for _, payload := range sorted(told.GetFields()) {
		members := told.GetFields()[payload].GetStructValue()
		c.object("", members, 1)
		c.object(payload+".", members, 1)
	}
	maps.DeleteFunc(c.found, func(name, _ string) bool { return c.ambiguous[name] })
	return c.found, c.whole
}

type collector struct {
	found     map[string]string
	ambiguous map[string]bool
	whole     bool
}

func (c *collector) object(prefix string, o *structpb.Struct, depth int) {
	for _, name := range sorted(o.GetFields()) {
		v := o.GetFields()[name]
		if members := v.GetStructValue(); members != nil {
			if depth < maxDepth {
				c.object(prefix+name+".", members, depth+1)
			}
			continue
		}
		if all := v.GetListValue().GetValues(); len(all) == 1 { // as aud often is
			v = all[0]
		}
		if s, ok := scalar(v); ok {
			c.put(prefix+name, s)
		}
	}
}

func (c *collector) put(name, s string) {
	before, there := c.found[name]
	switch {
	case !there && len(c.found) == maxClaims:
		c.whole = false
	case !there:
		c.found[name] = s
	case before != s:
		if c.ambiguous == nil {
			c.ambiguous = map[string]bool{}
		}
		c.ambiguous[name] = true
	}
}

// scalar returns a claim as text.
func scalar(v *structpb.Value) (string, bool) {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return k.StringValue, true
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(k.BoolValue), true
	case *structpb.Value_NumberValue:
		n := k.NumberValue
		return strconv.FormatFloat(n, 'f', -1, 64), math.Abs(n) < maxWhole
	}
	return "", false
}

func sorted(fields map[string]*structpb.Value) []string { return slices.Sorted(maps.Keys(fields)) }
