package gate

import (
	"encoding/json"
	"net/http"
)

// problem is an error as in RFC 9457. Codes are a closed set, used as metric
// labels.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

const problemSpace = "urn:weir:problem:"

// Media types of answers.
const (
	jsonMedia    = "application/json"
	problemMedia = "application/problem+json"
)

// problem counts a refusal, and returns it.
func (g *Gate) problem(status int, code, title, detail string) problem {
	g.metrics.refused.WithLabelValues(code).Inc()
	return problem{Type: problemSpace + code, Title: title, Status: status, Detail: detail}
}

func (g *Gate) refuse(w http.ResponseWriter, status int, code, title, detail string) {
	write(w, status, problemMedia, encode(g.problem(status, code, title, detail)))
}

// send writes v as JSON.
func send(w http.ResponseWriter, status int, v any) { write(w, status, jsonMedia, encode(v)) }

// encode returns a value of our own as a line of JSON.
func encode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil { // a programming error
		body = []byte("{}")
	}
	return append(body, '\n')
}

// write answers with a body that no proxy may cache.
func write(w http.ResponseWriter, status int, media string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}
