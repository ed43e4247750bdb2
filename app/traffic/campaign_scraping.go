package traffic

import (
	"strconv"
	"time"
)

// scraping: a catalogue is read from end to end
func scraping() kind {
	return kind{name: "scraping", doc: "a catalogue is read from end to end", slow: 5 * time.Hour, run: func(a *attack) {
		var readers []*client
		for _, c := range a.sources(8) {
			c.account = a.account()
			a.signIn(c)
			readers = append(readers, c)
		}
		size := a.t.catalogue
		at := a.rng.IntN(size)
		for i := range 800 {
			c := readers[i%len(readers)]
			a.stay(c)
			if at++; a.careful {
				at = a.rng.IntN(size)
			}
			if i%25 == 0 && !a.careful {
				page := strconv.Itoa(1 + i/25)
				a.send(c, request{method: "GET", path: "/v1/catalogue?page=" + page, route: "/v1/catalogue", status: 200})
				a.wait(300 * time.Millisecond)
			}
			n := strconv.Itoa(at % size)
			a.send(c, request{method: "GET", path: "/v1/items/" + n, route: "/v1/items/{id}", status: 200, objectType: "item", object: n})
			a.pace(700*time.Millisecond, 18*time.Second)
		}
	}}
}
