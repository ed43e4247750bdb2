package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/weirdev/weir/internal/facet"
)

// asker asks the gate for decisions, as a gateway would.
type asker struct {
	base   string
	client *http.Client
}

func newAsker(base string) *asker {
	return &asker{base: base, client: &http.Client{Timeout: 2 * time.Second}}
}

// answer holds the displayed members of a decision.
type answer struct {
	ID      string `json:"decision_id"`
	Action  string `json:"action"`
	Score   int    `json:"score"`
	Reasons []struct {
		Rule   string `json:"rule"`
		Reason string `json:"reason"`
	} `json:"reasons"`
}

func (a answer) why() string {
	if len(a.Reasons) == 0 {
		return "nothing is known against it"
	}
	return a.Reasons[0].Rule + " (" + a.Reasons[0].Reason + ")"
}

func (a *asker) alive(ctx context.Context) error {
	_, err := a.decide(ctx, facet.Entity{Kind: facet.IP, Key: "192.0.2.1"})
	return err
}

// decide asks the gate to decide on a request of one entity.
func (a *asker) decide(ctx context.Context, e facet.Entity) (answer, error) {
	body, err := json.Marshal(map[string]any{"tenant": e.Tenant, "entities": map[string]string{e.Kind.String(): e.Key}})
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+"/v1/decide", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := a.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return answer{}, err
	}
	if res.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("the gate answers %s: %s", res.Status, text)
	}
	var out answer
	return out, json.Unmarshal(text, &out)
}
