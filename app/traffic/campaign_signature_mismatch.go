package traffic

import (
	"strconv"
	"time"
)

// signatureMismatch: requests are altered on the way, or sent without the device's key
func signatureMismatch() kind {
	return kind{name: "signature_mismatch", doc: "requests are altered on the way, or sent without the device's key", slow: 5 * time.Hour, run: func(a *attack) {
		var devices []*client
		for range a.or(6) {
			c := a.source()
			a.genuine(c)
			c.account = a.account()
			a.signIn(c)
			devices = append(devices, c)
		}
		for i := range 90 {
			c := devices[i%len(devices)]
			a.stay(c)
			status := int64(401)
			c.signature, c.reason = "invalid", "sig_invalid"
			if a.careful && a.rng.IntN(5) < 2 {
				c.signature, c.reason, status = "valid", "", 200
			}
			n := strconv.Itoa(a.rng.IntN(400))
			a.send(c, request{method: "GET", path: "/v1/items/" + n, route: "/v1/items/{id}", status: status, objectType: "item", object: n})
			a.pace(4*time.Second, 150*time.Second)
		}
	}}
}
