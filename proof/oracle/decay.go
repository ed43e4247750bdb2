package oracle

import (
	"cmp"
	"maps"
	"math/big"
	"slices"

	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// point is one point in units of 2^-24, the units of worth.
const point = 1 << 24

// powers holds 2^(-i/256), for i from 0 to 256, in units of 2^-30, rounded to the
// nearest.
type powers [257]int64

func newPowers() (p powers) {
	root := new(big.Float).SetPrec(200).SetInt64(2)
	for range 8 {
		root.Sqrt(root)
	}
	v := new(big.Float).SetPrec(200).SetInt64(1 << 30)
	for i := range p {
		p[i], _ = new(big.Float).Add(v, big.NewFloat(0.5)).Int64()
		v.Quo(v, root)
	}
	return p
}

// worth computes the result that score.Decayed promises, in units of 2^-24 of a
// point.
func (p *powers) worth(c score.Contribution, now int64) int64 {
	age := new(big.Int).Sub(big.NewInt(now), big.NewInt(c.Time))
	if age.Sign() <= 0 {
		return int64(c.Weight) * point
	}
	half := big.NewInt(c.HalfLife * 1000)
	halvings, rest := new(big.Int).DivMod(age, half, new(big.Int))
	if halvings.Cmp(big.NewInt(32)) >= 0 {
		return 0
	}
	fraction := rest.Lsh(rest, 32).Div(rest, half).Int64() // part of a half-life, in units of 2^-32
	i, along := fraction/(1<<24), fraction%(1<<24)
	power := p[i] - (p[i]-p[i+1])*along/(1<<24)
	return int64(c.Weight) * power / (1 << 6) >> halvings.Uint64()
}

// cleared returns the list, in order of rules, after a rule has withdrawn its
// earlier contributions at a moment. If there were any, contributions worth less
// than a point at that moment are dropped as well.
func (p *powers) cleared(list []score.Contribution, rule string, at int64) (kept []score.Contribution, found bool) {
	for _, c := range list {
		switch {
		case p.worth(c, at) < point:
		case c.Rule == rule && c.Time <= at:
			found = true
		default:
			kept = append(kept, c)
		}
	}
	return kept, found
}

// certain is 100 points in the units of worth.
const certain = 100 * point

// combined returns the sum of a list according to the documentation of package
// score: in total and by category, in units of 2^-24 of a point. Each product is
// rounded down.
func (p *powers) combined(list []score.Contribution, least rules.Phase, now int64) (total int64, of map[string]int64) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b score.Contribution) int { return cmp.Compare(a.Rule, b.Rule) })
	product := func(of int64, chosen func(score.Contribution) bool) int64 {
		for _, c := range list {
			if c.Phase >= least && chosen(c) {
				n := new(big.Int).Mul(big.NewInt(of), big.NewInt(certain-p.worth(c, now)))
				of = n.Quo(n, big.NewInt(certain)).Int64()
			}
		}
		return of
	}
	of = map[string]int64{}
	for _, c := range list {
		if !c.Lowers && c.Phase >= least && p.worth(c, now) > 0 {
			of[c.Category] = 0
		}
	}
	left := big.NewInt(certain)
	for _, name := range slices.Sorted(maps.Keys(of)) {
		raised := certain - product(certain, func(c score.Contribution) bool { return !c.Lowers && c.Category == name })
		of[name] = product(raised, func(c score.Contribution) bool { return c.Lowers && c.Category == name })
		left.Mul(left, big.NewInt(certain-of[name]))
		left.Quo(left, big.NewInt(certain))
	}
	whole := func(c score.Contribution) bool { return c.Lowers && c.Category == "any" }
	for name, n := range of {
		of[name] = product(n, whole)
	}
	return product(certain-left.Int64(), whole), of
}

// merge returns the list, in order of rules, with a contribution added.
// Contributions worth less than a point at its time are dropped. Of two from its own
// rule, the one worth more at the later of their times stays, the later one if they
// are equal. If there are more than eight, the one worth least at its time is
// dropped, the last in order among equals.
func (p *powers) merge(list []score.Contribution, c score.Contribution) (merged []score.Contribution) {
	chosen := c
	for _, old := range list {
		switch {
		case p.worth(old, c.Time) < point:
		case old.Rule != c.Rule:
			merged = append(merged, old)
		default:
			at := max(old.Time, c.Time)
			if was, is := p.worth(old, at), p.worth(c, at); was > is || was == is && old.Time > c.Time {
				chosen = old
			}
		}
	}
	merged = append(merged, chosen)
	slices.SortFunc(merged, func(a, b score.Contribution) int { return cmp.Compare(a.Rule, b.Rule) })
	if len(merged) > score.MaxContributions { // whether they raise or lower the score
		least := 0
		for i := range merged {
			if p.worth(merged[i], c.Time) <= p.worth(merged[least], c.Time) {
				least = i
			}
		}
		merged = slices.Delete(merged, least, least+1)
	}
	return merged
}
