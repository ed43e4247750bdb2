package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/weirdev/weir/gate/listen"
)

// overTLS is net/http's client.
type overTLS struct {
	base  string
	token string
	http  *http.Client
}

func newOverTLS(base string, cfg Config) *overTLS {
	return &overTLS{base: base, token: cfg.Token, http: &http.Client{
		Transport: &http.Transport{
			MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleTimeout,
			DisableCompression: true, TLSClientConfig: cfg.TLS, MaxResponseHeaderBytes: maxDrain,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (o *overTLS) close() { o.http.CloseIdleConnections() }

func (o *overTLS) post(ctx context.Context, until time.Time, path string, body []byte) (status int, answer []byte, err error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header["Content-Type"] = []string{"application/json"}
	req.Header["Idempotency-Key"] = nil // is not sent, and lets net/http ask again if a kept connection was closed
	if o.token != "" {
		req.Header[listen.TokenHeader] = []string{o.token}
	}
	res, err := o.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxDrain))
		_ = res.Body.Close()
	}()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return res.StatusCode, answer, err
}
