package traffic

import (
	"strconv"
	"time"
)

// objectEnumeration: ids of other people's orders are asked for: most are refused, or, where the API does not look, granted
func objectEnumeration() kind {
	return kind{name: "object_enumeration", doc: "ids of other people's orders are asked for: most are refused, or, where the API does not look, granted", slow: 5 * time.Hour, run: func(a *attack) {
		var readers []*client
		device := a.source()
		for range a.or(6) {
			c := a.source()
			if a.careful {
				c.device, c.key, c.phone = device.device, device.key, device.phone
				c.dress(a.t, device.phone, device.version)
			}
			c.account, c.addr = a.account(), device.addr
			a.signIn(c)
			readers = append(readers, c)
		}
		first := 100_000 + a.rng.IntN(2000)
		for i := range 160 {
			c := readers[i%len(readers)]
			a.stay(c)
			id, status := strconv.Itoa(first+i)+"-1", int64(403)
			if a.careful {
				id = strconv.Itoa(100_000+a.rng.IntN(9000)) + "-" + strconv.Itoa(a.rng.IntN(6))
				if status = 200; a.rng.IntN(4) == 0 {
					status = 404
				}
			} else if a.rng.IntN(12) == 0 {
				status = 200
			}
			a.send(c, request{method: "GET", path: "/v1/orders/" + id, route: "/v1/orders/{id}", status: status, objectType: "order", object: id})
			a.pace(2*time.Second, 95*time.Second)
		}
	}}
}
