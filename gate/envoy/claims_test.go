package envoy

import (
	"maps"
	"strconv"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"
)

func TestClaimsOfVerifiedTokens(t *testing.T) {
	deep := map[string]any{"x": "y"}
	for range maxDepth {
		deep = map[string]any{"a": deep}
	}
	many := map[string]any{}
	for i := range maxClaims {
		many["c"+strconv.Itoa(i)] = "v"
	}
	for _, tc := range []struct {
		name  string
		told  map[string]any
		want  map[string]string
		whole bool
	}{
		{"no token", nil, map[string]string{}, true},
		{"one token", map[string]any{"jwt": map[string]any{"sub": "alice", "n": 17, "half": 0.5, "ok": true, "none": nil, "aud": []any{"api"}, "roles": []any{"a", "b"}, "org": map[string]any{"id": "o1"}}},
			map[string]string{"sub": "alice", "n": "17", "half": "0.5", "ok": "true", "aud": "api", "org.id": "o1",
				"jwt.sub": "alice", "jwt.n": "17", "jwt.half": "0.5", "jwt.ok": "true", "jwt.aud": "api", "jwt.org.id": "o1"}, true},
		{"two tokens that agree", map[string]any{"a": map[string]any{"sub": "alice"}, "b": map[string]any{"sub": "alice"}},
			map[string]string{"sub": "alice", "a.sub": "alice", "b.sub": "alice"}, true},
		{"two tokens that do not", map[string]any{"a": map[string]any{"sub": "alice"}, "b": map[string]any{"sub": "bob"}, "c": map[string]any{"sub": "alice"}},
			map[string]string{"a.sub": "alice", "b.sub": "bob", "c.sub": "alice"}, true},
		{"one name for two claims", map[string]any{"a": map[string]any{"org.id": "1", "org": map[string]any{"id": "2"}}}, map[string]string{}, true},
		{"a number that the filter has rounded", map[string]any{"a": map[string]any{"sub": 12345678901234567890.0, "n": -float64(maxWhole)}}, map[string]string{}, true},
		{"no payload", map[string]any{"sub": "alice"}, map[string]string{}, true},
		{"too deep", map[string]any{"a": deep}, map[string]string{}, true},
	} {
		told, err := structpb.NewStruct(tc.told)
		if err != nil {
			t.Fatal(err)
		}
		if got, whole := claims(told); !maps.Equal(got, tc.want) || whole != tc.whole {
			t.Errorf("%s: %v, whole %v\nwant %v", tc.name, got, whole, tc.want)
		}
	}
	told, err := structpb.NewStruct(map[string]any{"a": many})
	if err != nil {
		t.Fatal(err)
	}
	if got, whole := claims(told); len(got) != maxClaims || whole {
		t.Errorf("%d claims, whole %v", len(got), whole)
	}
	if got, whole := claims(nil); len(got) != 0 || !whole {
		t.Errorf("%v", got)
	}
}
