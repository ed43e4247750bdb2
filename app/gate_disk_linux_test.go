package app

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/proof/proxy"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/sink/redis"
)

// TestAFullDisk: a gate decides as before, a switch takes effect at once, and says
// that it would not survive a restart. It is saved as soon as there is room.
func TestAFullDisk(t *testing.T) {
	redis.Quiet()
	disk := testkit.NewDisk(t, 256, 20)
	d := startDrill(t)
	d.stop()
	d.cfg.Gate.Lookup.State = filepath.Join(disk.Dir, "state")
	d.start(t)
	d.accuse(t, "attacker")
	within(t, 5*time.Second, "the attacker is refused", func() bool { return d.decide("/feed", "attacker").Action == policy.Deny })
	disk.Leave(t, 0, 0)
	d.crowd(t, func(route, name string, got gate.Decision) {
		if got.Action == policy.Deny && name != "attacker" {
			t.Errorf("%s %s: %+v", route, name, got)
		}
	})
	within(t, 5*time.Second, "the attacker is still refused, with all known", func() bool { got := d.decide("/feed", "attacker"); return got.Action == policy.Deny && !got.Degraded })
	d.proxy.Set(proxy.Refuse, 0)
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/v1/switches", strings.NewReader(`{"scope":"entity","kind":"account","name":"stranger","action":"challenge","owner":"ann","reason":"a drill","set":1,"expires":3600001}`))
	r.Header.Set("Content-Type", "application/json")
	d.gate.admin.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "it is in force here, but cannot be saved") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := d.decide("/feed", "stranger"); got.Action != policy.Challenge {
		t.Errorf("%+v", got)
	}
	disk.Leave(t, 200, 15)
	within(t, 5*time.Second, "the switch is saved", func() bool {
		_, err := os.Stat(filepath.Join(d.cfg.Gate.Lookup.State, "switches"))
		return !errors.Is(err, os.ErrNotExist)
	})
	d.stop()
	d.start(t)
	if got := d.decide("/feed", "stranger"); got.Action != policy.Challenge {
		t.Errorf("after a restart: %+v", got)
	}
	if got := d.decide("/pay", "attacker"); got.Action != policy.Deny || !got.LastKnownGood {
		t.Errorf("after a restart: %+v", got)
	}
}
