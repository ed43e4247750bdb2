package middleware_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/weirdev/weir/gate/client"
	"github.com/weirdev/weir/gate/middleware"
)

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := client.New(client.Config{Address: "unix:/run/weir/gate.sock"})
	if err != nil {
		log.Fatal(err)
	}
	m, err := middleware.New(middleware.Config{
		Decider: middleware.Remote(c), Reporter: c,
		Identify: []string{"token=bearer", "device=header:x-device-id"},
		Fields:   func(r *http.Request) map[string]string { return map[string]string{"account": accountOf(r)} },
	})
	if err != nil {
		log.Fatal(err)
	}
	go m.Run(ctx)
	mux := http.NewServeMux()
	mux.Handle("GET /users/{id}", m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, decided := middleware.From(r.Context())
		_, _ = fmt.Fprintln(w, decided, d.Score)
	})))
}

// accountOf returns the account of a session that was verified before.
func accountOf(*http.Request) string { return "alice" }
