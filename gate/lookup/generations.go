package lookup

// generations is a map of limited size that keeps the most recently used entries.
// When the young half is full, it becomes the old half; entries of the previous old
// half that were not used since are dropped.
type generations[K comparable, V any] struct {
	half       int // maximum number of young entries
	young, old map[K]V
}

func newGenerations[K comparable, V any](most int) generations[K, V] {
	return generations[K, V]{half: max(most/2, 1), young: map[K]V{}}
}

// get returns the value of a key, and makes it young.
func (g *generations[K, V]) get(k K) (v V, ok bool) {
	if v, ok = g.young[k]; ok {
		return v, true
	}
	if v, ok = g.old[k]; ok {
		g.put(k, v)
	}
	return v, ok
}

func (g *generations[K, V]) put(k K, v V) {
	if _, is := g.young[k]; !is && len(g.young) >= g.half {
		g.old, g.young = g.young, make(map[K]V, len(g.young)/2)
	}
	g.young[k] = v
}

// len counts keys; a key in both halves counts twice.
func (g *generations[K, V]) len() int { return len(g.young) + len(g.old) }

// all yields each key once.
func (g *generations[K, V]) all(yield func(K, V)) {
	for k, v := range g.young {
		yield(k, v)
	}
	for k, v := range g.old {
		if _, is := g.young[k]; !is {
			yield(k, v)
		}
	}
}
