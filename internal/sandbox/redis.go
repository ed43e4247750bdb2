package sandbox

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// expiryTick is how often keys expire: the stand-in's clock only moves when told
// to.
const expiryTick = time.Second

func (s *Sandbox) startRedis(string) (stop func() error, err error) {
	if s.cfg.RedisAddr == "" {
		return nil, nil
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(s.cfg.RedisAddr); err != nil {
		return nil, inUse(err, s.cfg.RedisAddr)
	}
	s.addresses.Redis = m.Addr()
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { expire(m, over) })
	return func() error {
		close(over)
		wg.Wait()
		m.Close()
		return nil
	}, nil
}

func expire(m *miniredis.Miniredis, over <-chan struct{}) {
	tick := time.NewTicker(expiryTick)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-tick.C:
			now := time.Now()
			m.FastForward(now.Sub(last))
			last = now
		case <-over:
			return
		}
	}
}

// inUse says what to do about an address in use.
func inUse(err error, addr string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use, perhaps by another sandbox; stop it, or choose another port: %w", addr, err)
	}
	return err
}
