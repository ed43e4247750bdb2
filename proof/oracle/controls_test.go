package oracle

import (
	"testing"

	"github.com/weirdev/weir/proof/mutants"
)

func TestEveryBugHasItsPlace(t *testing.T) { mutants.Suite{Bugs: bugs}.Apply(t) }

// TestNegativeControls checks that the oracle catches bugs in the code that it
// judges.
func TestNegativeControls(t *testing.T) {
	mutants.Suite{
		Package: "./proof/oracle", Test: "TestTheEngineAgreesWithTheOracle", Args: []string{"-rapid.nofailfile"},
		Env: []string{"WEIR_SEED=1", "WEIR_HISTORIES=1000", "WEIR_SHRINK=no"}, SeedEnv: "WEIR_SEED", Bugs: bugs,
	}.Run(t)
}

const (
	ofWindow    = "detectors/sliding_window.go"
	ofTravel    = "detectors/impossible_travel.go"
	ofTheft     = "detectors/token_theft.go"
	ofSenders   = "detectors/sender.go"
	ofFamily    = "detectors/refresh_family.go"
	ofReplay    = "detectors/replay.go"
	ofPartition = "engine/partition.go"
	ofSwitch    = "engine/switch.go"
	ofControls  = "engine/control.go"
	ofTimers    = "engine/timers.go"
	ofCohorts   = "engine/cohorts.go"
	onEdits     = "TestTheEngineAgreesWithTheOracleOnEditedRules"
	onTravels   = "TestImpossibleTravelAgreesWithItsModel"
	onThefts    = "TestTokenTheftAgreesWithItsModel"
	onFamilies  = "TestRefreshFamilyAgreesWithItsModel"
	onReplays   = "TestReplayAgreesWithItsModel"
	ofPanes     = "detectors/sliding_window_panes.go"
	ofValues    = "detectors/sliding_window_composed.go"
	onMany      = "TestTheWindowAgreesWithItsModelOnManyEvents"
	onForms     = "TestTheEngineAgreesWithTheOracleOnEveryForm"
	onMerge     = "TestScoresMergeAsTheOracleSays"
	onCombine   = "TestScoresCombineAsTheOracleSays"
	onTimers    = "TestTheEngineAgreesWithTheOracleOnTimers"
	onCohorts   = "TestTheEngineAgreesWithTheOracleOnCohorts"
	ofMismatch  = "detectors/signature_mismatch.go"
	ofPeers     = "detectors/peers.go"
	onSigned    = "TestTheEngineAgreesWithTheOracleOnSignatures"
	ofSequence  = "detectors/sequence.go"
	ofSteps     = "detectors/sequence_match.go"
	onSequences = "TestSequencesAgreeWithTheirModel"
	onUsual     = "TestTheEngineAgreesWithTheOracleOnSequences"
	ofOrder     = "detectors/sequence_anomaly.go"
	onOrders    = "TestTheEngineAgreesWithTheOracleOnOrders"
	ofAttested  = "detectors/attestation.go"
	onAttested  = "TestTheEngineAgreesWithTheOracleOnAttestations"
	ofCadence   = "detectors/cadence.go"
	onCadence   = "TestCadenceAgreesWithItsModel"
	ofVolumes   = "detectors/volume_anomaly.go"
	onVolumes   = "TestTheEngineAgreesWithTheOracleOnVolumes"
	ofIDs       = "detectors/id_enumeration.go"
	onIDs       = "TestIDEnumerationAgreesWithItsModel"
	ofSeen      = "detectors/first_seen.go"
	onSeen      = "TestFirstSeenAgreesWithItsModel"
	ofDrift     = "detectors/drift.go"
	onDrift     = "TestDriftAgreesWithItsModel"
)

// bugs are faults of detectors, state and scores.
var bugs = []mutants.Bug{
	{Name: "a window holds the moment at which it begins", File: ofWindow, Edits: [][2]string{{"e.after(ends-w.window, end+1)", "e.after(ends-w.window-1, end+1)"}}},
	{Name: "entries are dropped a moment too early", File: ofWindow, Edits: [][2]string{{"<= oldest", "<= oldest+1"}}},
	{Name: "a cooldown lasts a moment too long", File: ofWindow, Edits: [][2]string{{">= w.cooldown", "> w.cooldown"}}},
	{Name: "a tier fires again at once", File: ofWindow, Edits: [][2]string{{"t.At <= int(le.Uint16(e[16:])) &&", "t.At < int(le.Uint16(e[16:])) &&"}}},
	{Name: "windows count late events", File: ofWindow, Edits: [][2]string{{"if c.Late || !counted", "if !counted"}}},
	{Name: "a window's share is given up too soon", File: ofWindow, Edits: [][2]string{{"(100 - w.rule.MinShare) / w.rule.MinShare", "(100 - w.rule.MinShare) / (w.rule.MinShare + 20)"}}},
	{Name: "thinning drops the wrong entry", File: ofWindow, Edits: [][2]string{{"\te.remove(before, 1)\n\treturn true", "\te.remove(first, 1)\n\treturn true"}}},
	{Name: "thinning drops what a window needs", File: ofWindow, Edits: [][2]string{{"e.delta(at)-e.delta(first) < w.window", "e.delta(at)-e.delta(first) < 2*w.window"}}},
	{Name: "the bound drops the newest entry", File: ofWindow, Edits: [][2]string{{"e.remove(0, extra)", "e.remove(e.len()-extra, extra)"}}},
	{Name: "the lowest tier fires", File: ofWindow, Edits: [][2]string{{"best = i\n", "return i\n"}}},
	{Name: "the least share is ignored", File: ofWindow, Edits: [][2]string{{"100*c.counted < w.rule", "c.counted < 0*w.rule"}}},
	{Name: "numbers are hashed as texts", File: ofWindow, Edits: [][2]string{{"if f.Numeric() {", "if false {"}}},
	{Name: "windows that end with later events are not looked at", File: ofWindow, Edits: [][2]string{{"for end++; end < e.len() &&", "for end++; end < 0 &&"}}},
	{Name: "windows that end with any later event are looked at", File: ofWindow, Edits: [][2]string{{"e.value(j) == e.value(i) &&", "false &&"}}},
	{Name: "times that are far apart wrap around", File: ofWindow, Edits: [][2]string{{"t >= base && t-base <= math.MaxUint32", "t >= base"}}},

	{Name: "a window keeps the place of the tier that fired, not what it said", File: ofWindow, Test: onEdits, Edits: [][2]string{
		{"if e.said(w.top) &&", "if int(le.Uint16(e[16:])) == len(w.rule.Tiers) &&"},
		{"if e.said(tier) &&", "if best < int(le.Uint16(e[16:])) &&"},
		{"e.fired(tier, t)", "tier.At = best + 1\n\te.fired(tier, t)"}}},
	{Name: "a tier that weighs more now is held back", File: ofWindow, Test: onEdits, Edits: [][2]string{{" && t.Weight <= e[18]", ""}}},
	{Name: "a tier that asks for more is held back", File: ofWindow, Test: onEdits, Edits: [][2]string{{"t.At <= int(le.Uint16(e[16:])) &&", ""}}},
	{Name: "a state outgrown by its rule stays so", File: ofWindow, Test: onEdits, Edits: [][2]string{{"extra := max(e.len()-w.bound, 0)", "extra := min(max(e.len()-w.bound, 0), 1)"}}},
	{Name: "a rule that comes back has its old part of scores", File: "engine/snapshot_codec.go", Test: onEdits, Edits: [][2]string{{"if l.bySlot[le.Uint32(c)] != nil {", "if true {"}}},

	{Name: "a switch leaves what is gone", File: ofSwitch, Test: onEdits, Edits: [][2]string{{"if err := l.table.Refit(p.watermark, l.checkSlot); err != nil {\n\t\treturn err\n\t}\n\tl.releaseIdle()\n", ""}}},
	{Name: "an older switch counts", File: ofSwitch, Test: onEdits, Edits: [][2]string{{"if s.Number <= p.number {", "if false {"}}},
	{Name: "a change of phase reaches no score", File: ofSwitch, Test: onEdits, Edits: [][2]string{{" || n.Phase != r.Phase", ""}}},
	{Name: "scores that a switch changes have one position", File: ofSwitch, Test: onEdits, Edits: [][2]string{{"\t\tat.Index++\n", ""}}},
	{Name: "an older value may come back after a switch", File: ofSwitch, Test: onEdits, Edits: [][2]string{{"Expires: a.expires}", "Expires: 0}"}}},
	{Name: "what is watched is a signal", File: ofPartition, Test: onEdits, Edits: [][2]string{{"out.Shadow = append(out.Shadow, p.found", "out.Signals = append(out.Signals, p.found"}}},
	{Name: "what is watched shares the state", File: ofSwitch, Test: onEdits, Edits: [][2]string{{"&lane{table: state.New(p.caps())}", "&lane{table: p.table}"}}},
	{Name: "a restored partition has its owner's rules", File: "engine/snapshot_codec.go", Test: onEdits, Edits: [][2]string{{"if live.Number > 0 {", "if false {"}}},
	{Name: "a restored partition watches nothing", File: "engine/snapshot_codec.go", Test: onEdits, Edits: [][2]string{{"if !watched {", "if true {"}}},

	{Name: "controls hold back time", File: ofPartition, Edits: [][2]string{{"for i := range p.cfg.Sources {", "for i := range p.sources {"}}},
	{Name: "a false positive holds back beyond its expiry", File: ofControls, Edits: [][2]string{{"t < expires && p.closed(expires) > p.watermark", "expires > 0"}}},
	{Name: "a rule that is held back tells its members", File: ofPartition, Edits: [][2]string{{"held && !sig.Clears {", "held && !sig.Clears && a.members == nil {"}}},
	{Name: "members named long ago are told", File: "rules/rule.go", Edits: [][2]string{{"if r.Members.Within > 0 {", "if false {"}}},
	{Name: "nothing withdraws a member", File: "detectors/members.go", Edits: [][2]string{{"m.withdraw(s, c)\n\tcase", "\n\tcase"}}},
	{Name: "what a group says is not held back", File: "engine/loopback.go", Edits: [][2]string{{"found && !sig.Clears {", "found && sig.Clears {"}}},
	{Name: "a false positive leaves the score", File: ofControls, Edits: [][2]string{{"return slices.Contains(rules, c.Rule) })", "return slices.Contains(rules, c.Rule) && c.Lowers })"}}},
	{Name: "a false positive without a rule is about none", File: ofControls, Edits: [][2]string{{"\t\t\tif !has.Lowers {", "\t\t\tif has.Lowers {"}}},
	{Name: "an older value may come back after a control", File: ofControls, Edits: [][2]string{{"Expires: until})", "Expires: min(until, 0)})"}}},
	{Name: "a release leaves what speaks for the entity", File: ofControls, Edits: [][2]string{{"return nil, len(list) > 0 })", "return score.Without(list, func(c score.Contribution) bool { return !c.Lowers }) })"}}},
	{Name: "an erasure leaves the state", File: ofControls, Edits: [][2]string{{"\tp.table.Remove(key)\n", ""}}},
	{Name: "an erasure leaves what is watched", File: ofControls, Test: onEdits, Edits: [][2]string{{"\t\tp.shadow.table.Remove(key)\n", ""}}},
	{Name: "a restored partition has forgotten false positives", File: "engine/snapshot_codec.go", Edits: [][2]string{{"ok = len(payload)%holdSize == 0", "return nil, nil"}}},
	{Name: "the false positive that lasts longest goes first", File: ofControls, Edits: [][2]string{{"if all[i].expires < all[first].expires {", "if all[i].expires > all[first].expires {"}}},
	{Name: "a true positive ends all false positives", File: ofControls, Edits: [][2]string{{"return rule == \"\" || h.rule == id })", "return rule == \"\" || h.rule == id || true })"}}},
	{Name: "a passed challenge halves what speaks for the entity", File: "score/control.go", Edits: [][2]string{{"!c.Lowers && (category", "(category"}}},
	{Name: "a passed challenge counts for every category", File: "score/control.go", Edits: [][2]string{{"(category == \"\" || c.Category == category)", "true"}}},

	{Name: "radii count once", File: ofTravel, Test: onTravels, Edits: [][2]string{{"1000*(d.radius(from)+d.radius(to))", "1000*d.radius(to)"}}},
	{Name: "a weak place has the radius of its database", File: ofTravel, Test: onTravels, Edits: [][2]string{{"r = max(r, d.rule.WeakRadius)", ""}}},
	{Name: "the least distance is taken before the radii", File: ofTravel, Test: onTravels, Edits: [][2]string{{"if l.beyond < d.least {", "if l.distance < d.least {"}}},
	{Name: "the lowest speed that is reached fires", File: ofTravel, Test: onTravels, Edits: [][2]string{{"for l.tier+1 < len(d.rule.Tiers) &&", "for l.tier < 0 &&"}}},
	{Name: "an address that is moved travels", File: ofTravel, Test: onTravels, Edits: [][2]string{{"sameAddress := from.address != 0 &&", "sameAddress := from.address < 0 &&"}}},
	{Name: "a trusted network hides the stop before it", File: ofTravel, Test: onTravels, Edits: [][2]string{{"if d.before = m.stop(i); !d.before.is(trustedFrom) {", "if d.before = m.stop(i); true {"}}},
	{Name: "the sides of trusted networks are exchanged", File: ofTravel, Test: onTravels, Edits: [][2]string{{"trustedFromNetwork: trustedFrom, trustedToNetwork: trustedTo", "trustedFromNetwork: trustedTo, trustedToNetwork: trustedFrom"}}},
	{Name: "ignored networks are remembered", File: ofTravel, Test: onTravels, Edits: [][2]string{{" || d.matches(ignoredNetwork, c.Event)", ""}}},
	{Name: "the stop after an event is not looked at", File: ofTravel, Test: onTravels, Edits: [][2]string{{"for i := at; i < m.stops(); i++ {\n\t\tif d.behind", "for i := at; i < 0; i++ {\n\t\tif d.behind"}}},
	{Name: "stops of one moment are in the wrong order", File: ofTravel, Test: onTravels, Edits: [][2]string{{"m.time(i-1) > t {", "m.time(i-1) >= t {"}}},
	{Name: "a device needs no proof", File: ofTravel, Test: onTravels, Edits: [][2]string{{"if e.Text(event.Signature) == \"valid\" || e.Text(event.Attestation) == \"passed\" {", "if true {"}}},
	{Name: "each lowering is rounded by itself", File: ofTravel, Test: onTravels, Edits: [][2]string{{"weight*d.rule.WeakPercent, whole*100", "weight*d.rule.WeakPercent/100, whole"}}},
	{Name: "one known place is enough", File: ofTravel, Test: onTravels, Edits: [][2]string{{"d.isKnown(m, d.placeOf(m, d.here.Point)) && d.isKnown", "d.isKnown(m, d.placeOf(m, d.here.Point)) || d.isKnown"}}},
	{Name: "implausible places are learned", File: ofTravel, Test: onTravels, Edits: [][2]string{{"\tif plausible {\n", "\tif plausible || true {\n"}}},
	{Name: "what is near an implausible place is plausible", File: ofTravel, Test: onTravels, Edits: [][2]string{{"!d.before.is(implausible | trustedFrom)", "!d.before.is(trustedFrom)"}}},
	{Name: "a device that proves itself is not at home", File: ofTravel, Test: onTravels, Edits: [][2]string{{" || d.sameDevice(m, &d.before)", ""}}},
	{Name: "every event is a visit", File: ofTravel, Test: onTravels, Edits: [][2]string{{"if d.here.time-v.last >= visitSpacing.Milliseconds() {", "if true {"}}},
	{Name: "known places go first", File: ofTravel, Test: onTravels, Edits: [][2]string{{"!known && than ||", "known && !than ||"}}},
	{Name: "stops are forgotten a moment too early", File: ofTravel, Test: onTravels, Edits: [][2]string{{"m.removeStops(0, m.after(oldest))", "m.removeStops(0, m.after(oldest+1))"}}},
	{Name: "a cooldown of travels lasts a moment too long", File: ofTravel, Test: onTravels, Edits: [][2]string{{"d.here.time-m.firedAt() < d.cooldown", "d.here.time-m.firedAt() <= d.cooldown"}}},
	{Name: "devices of a run are not kept", File: ofTravel, Test: onTravels, Edits: [][2]string{{"if device(i) == device(later) {", "if later > i || device(i) == device(later) {"}}},
	{Name: "the bound drops the newest stop", File: ofTravel, Test: onTravels, Edits: [][2]string{{"m.removeStops(0, extra)\n", "m.removeStops(m.stops()-extra, extra)\n"}}},
	{Name: "sides are exchanged in the evidence", File: ofTravel, Test: onTravels, Edits: [][2]string{{"from, to := f.from, f.to", "to, from := f.from, f.to"}}},
	{Name: "longitudes are not halved", File: "internal/greatcircle/greatcircle.go", Test: onTravels, Edits: [][2]string{{"cosines, sine(east)); hav", "cosines, sine(2*east)); hav"}}},

	{Name: "a phone that takes up another's token takes turns with it", File: ofTheft, Test: onThefts, Edits: [][2]string{{"return max(s.first, o.first) <= min(s.last, o.last)", "return true || max(s.first, o.first) <= min(s.last, o.last)"}}},
	{Name: "devices of one moment take no turns", File: ofTheft, Test: onThefts, Edits: [][2]string{{"max(s.first, o.first) <= min(s.last, o.last)", "max(s.first, o.first) < min(s.last, o.last)"}}},
	{Name: "a device that is not named is another", File: ofSenders, Test: onThefts, Edits: [][2]string{{"return a != 0 && b != 0 && a != b", "return a != b"}}},
	{Name: "an update of the app is another client", File: ofSenders, Test: onThefts, Edits: [][2]string{{" && c != '.' && c != '_' {", " {"}}},
	{Name: "another network of one operator is another", File: ofSenders, Test: onThefts, Edits: [][2]string{{" && (s.asn == 0 || s.asn != o.asn)", ""}}},
	{Name: "a new key with a new token is a thief's", File: ofTheft, Test: onThefts, Edits: [][2]string{{"u.token != 0 && u.token == d.here.token ||", "u.token != 0 ||"}}},
	{Name: "a stranger may have been in the network before", File: ofTheft, Test: onThefts, Edits: [][2]string{{"!u.apart(&own)", "!u.otherNetwork(&own.sender)"}}},
	{Name: "a party is those that share something with the event itself", File: ofTheft, Test: onThefts, Edits: [][2]string{{"d.near[i], grown = true, true", "d.near[i] = u.sameLook(&d.here) || !u.apart(&d.here)"}}},
	{Name: "who has no key moves among an operator's networks", File: ofTheft, Test: onThefts, Edits: [][2]string{{"if (u.key == 0) == (o.key == 0) {", "if true {"}}},
	{Name: "an operator's networks are apart", File: ofTheft, Test: onThefts, Edits: [][2]string{{"if (u.key == 0) == (o.key == 0) {", "if false {"}}},
	{Name: "one event is a party", File: ofTheft, Test: onThefts, Edits: [][2]string{{" || min(events[0], events[1]) < d.rule.Least {", " {"}}},
	{Name: "the mildest sign speaks", File: ofTheft, Test: onThefts, Edits: [][2]string{{"for tier := len(d.rule.Tiers) - 1; tier >= 0; tier-- {", "for tier := range d.rule.Tiers {"}}},
	{Name: "uses are forgotten a moment too early", File: ofTheft, Test: onThefts, Edits: [][2]string{{"<= c.Watermark-d.lateness-d.memory", "<= c.Watermark-d.lateness-d.memory+1"}}},
	{Name: "a use that comes back keeps its token", File: ofTheft, Test: onThefts, Edits: [][2]string{{"u.last, u.offset, u.source, u.token = d.here.last, d.here.offset, d.here.source, d.here.token", "u.last, u.offset, u.source = d.here.last, d.here.offset, d.here.source"}}},
	{Name: "the newest use gives way", File: ofTheft, Test: onThefts, Edits: [][2]string{{"if m.last(i) < m.last(oldest) {", "if m.last(i) > m.last(oldest) {"}}},

	{Name: "what failed teaches", File: ofSeen, Test: onSeen, Edits: [][2]string{{"if teaches {\n\t\td.teach", "if teaches || judged {\n\t\td.teach"}}},
	{Name: "a value is new for a moment too long", File: ofSeen, Test: onSeen, Edits: [][2]string{{"return t-v.first() >= d.newFor", "return t-v.first() > d.newFor"}}},
	{Name: "what was told is not in doubt", File: ofSeen, Test: onSeen, Edits: [][2]string{{"\t\td.doubt(m, news)\n", ""}}},
	{Name: "the first value of a field is new", File: ofSeen, Test: onSeen, Edits: [][2]string{{" && d.known[i] > 0 && d.known[i]", " && d.known[i]"}}},
	{Name: "of many values one more is new", File: ofSeen, Test: onSeen, Edits: [][2]string{{" && d.known[i] < d.rule.Kept {\n\t\t\tnews", " {\n\t\t\tnews"}}},
	{Name: "invented values push out what is known", File: ofSeen, Test: onSeen, Edits: [][2]string{{"goes < 0 || known && !is || known == is && v.last()", "goes < 0 || known && is && !is || v.last()"}}},
	{Name: "every event that teaches is a visit", File: ofSeen, Test: onSeen, Edits: [][2]string{{"c.Time-m.lastVisit() >= visitSpacing.Milliseconds()", "c.Time-m.lastVisit() >= 0"}}},
	{Name: "visits and time must both be there", File: ofSeen, Test: onSeen, Edits: [][2]string{{"m.visits() >= d.rule.LearnVisits ||", "m.visits() >= d.rule.LearnVisits &&"}}},
	{Name: "an earlier sight that arrives later is not the first", File: ofSeen, Test: onSeen, Edits: [][2]string{{"v.put(0, min(v.first(), c.Time))", ""}}},
	{Name: "a challenge is avoided on its own device", File: ofSeen, Test: onSeen, Edits: [][2]string{{" && device != m.challenged()\n", "\n"}}},
	{Name: "a solution that arrives first closes nothing", File: ofSeen, Test: onSeen, Edits: [][2]string{{"if m.solved() == device && m.solvedAt() >= c.Time {", "if false {"}}},
	{Name: "any device solves a challenge", File: ofSeen, Test: onSeen, Edits: [][2]string{{"if device == m.challenged() && c.Time >= m.challengedAt() {", "if c.Time >= m.challengedAt() {"}}},
	{Name: "what was seen is forgotten a moment too early", File: ofSeen, Test: onSeen, Edits: [][2]string{{"if m.value(i).last() <= oldest {", "if m.value(i).last() <= oldest+1 {"}}},
	{Name: "what is usual was seen last", File: ofSeen, Test: onSeen, Edits: [][2]string{{"v.times() > best.times() || v.times() == best.times() && v.last()", "v.last()"}}},
	{Name: "fields that must be new need not be", File: ofSeen, Test: onSeen, Edits: [][2]string{{" && news&d.with[i] == d.with[i] {", " {"}}},

	{Name: "a token is replaced when it is used", File: ofFamily, Test: onFamilies, Edits: [][2]string{{"if !ok || next.first > here.first {", "if !ok {"}}},

	{Name: "a drift is learned", File: ofDrift, Test: onDrift, Edits: [][2]string{{"if !off && !drifted {", "if !off || drifted {"}}},
	{Name: "one bucket that is off is enough", File: ofDrift, Test: onDrift, Edits: [][2]string{{"int(m[54]) >= d.rule.For", "int(m[54]) >= 1"}}},
	{Name: "a row goes on over a bucket that is neither", File: ofDrift, Test: onDrift, Edits: [][2]string{{"\tdefault:\n\t\tm[54], m[55] = 0, 0\n", ""}}},
	{Name: "a drift is over at the limit", File: ofDrift, Test: onDrift, Edits: [][2]string{{"case away <= limit/2:", "case away <= limit:"}}},
	{Name: "what is learned is not cut", File: ofDrift, Test: onDrift, Edits: [][2]string{{"min(max(value, d.base.usual-limit), d.base.usual+limit)", "value"}}},
	{Name: "today is one of the days", File: ofDrift, Test: onDrift, Edits: [][2]string{{"today-daysKept+1); gone <= today", "today-daysKept+1); gone < today"}}},
	{Name: "an hour is kept by its last bucket", File: ofDrift, Test: onDrift, Edits: [][2]string{{"m.put(40, m.i64(40)+value)", "m.put(40, value)"}}},
	{Name: "two days are enough", File: ofDrift, Test: onDrift, Edits: [][2]string{{"if len(days) >= daysNeeded {", "if len(days) >= 2 {"}}},
	{Name: "chance does nothing to a share", File: ofDrift, Test: onDrift, Edits: [][2]string{{"chance = squareRoot(p * (10_000 - p) / events)", "chance = 0 * p * events"}}},
	{Name: "the spread is that of all", File: ofDrift, Test: onDrift, Edits: [][2]string{{"return last[(len(last)+1)/2-1], spread", "return medianOf(last)"}}},
	{Name: "a bucket is closed with the next", File: ofDrift, Test: onDrift, Edits: [][2]string{{"d.closeUpTo(m, c, n-openBuckets, f)", "d.closeUpTo(m, c, n-1, f)"}}},
	{Name: "a bucket is judged before all have come", File: ofDrift, Test: onDrift, Edits: [][2]string{{"floorDiv(c.Time, d.bucket)-1, f)", "floorDiv(c.Time, d.bucket), f)"}}},
	{Name: "a new value has one event", File: ofDrift, Test: onDrift, Edits: [][2]string{{"count := h.u32(4) + 1", "count := int64(1)"}}},
	{Name: "the greatest explains, whatever is usual", File: ofDrift, Test: onDrift, Edits: [][2]string{{"- m.usually(of).usualOf(le.Uint32(h)); h", "; h"}}},
	{Name: "who was away for days is as before", File: ofDrift, Test: onDrift, Edits: [][2]string{{"m.seen() <= c.Watermark-d.lateness-driftReach", "m.seen() <= c.Watermark-d.lateness-9*driftReach"}}},
	{Name: "a drift never settles", File: ofDrift, Test: onDrift, Edits: [][2]string{{"m.since()*d.bucket >= d.settle {", "m.since()*d.bucket >= 1000*d.settle {"}}},

	{Name: "the grace lasts a moment too long", File: ofFamily, Test: onFamilies, Edits: [][2]string{{"here.first-next.first <= d.grace &&", "here.first-next.first <= d.grace+1 &&"}}},
	{Name: "a race may be between networks", File: ofFamily, Test: onFamilies, Edits: [][2]string{{" && !here.by.otherNetwork(&next.by.sender):", ":"}}},
	{Name: "who used the token first does not matter", File: ofFamily, Test: onFamilies, Edits: [][2]string{{"case other || here.by.isOther(&next.by):", "case here.by.isOther(&next.by):"}}},
	{Name: "who used the next token does not matter", File: ofFamily, Test: onFamilies, Edits: [][2]string{{"case other || here.by.isOther(&next.by):", "case other:"}}},
	{Name: "a token that is never replaced is stolen", File: ofFamily, Test: onFamilies, Edits: [][2]string{{"if other && before.last-before.first <= d.grace {", "if other {"}}},
	{Name: "tokens are in the order of their use only", File: ofFamily, Test: onFamilies, Edits: [][2]string{{"if t.issued > 0 && o.issued > 0 {", "if false {"}}},
	{Name: "the last of several newer tokens replaced it", File: ofFamily, Test: onFamilies, Edits: [][2]string{{"o.newerThan(&t) && (!ok || o.first < by.first)", "o.newerThan(&t) && (!ok || o.first > by.first)"}}},
	{Name: "a token's first use is the one that arrived first", File: ofFamily, Test: onFamilies, Edits: [][2]string{{"if here.first < t.first {", "if false {"}}},
	{Name: "what is shown first counts for ever", File: ofFamily, Test: onFamilies, Edits: [][2]string{{"was.issued > issued ||", "was.issued > 0 ||"}}},
	{Name: "who has no key elsewhere is the same", File: ofFamily, Test: onFamilies, Edits: [][2]string{{" || keyless && differ(p.net, o.net)", " || keyless && false"}}},
	{Name: "what is shown replaces its own", File: ofFamily, Test: onFamilies, Edits: [][2]string{{"t.issued > 0 && o.issued > t.issued &&", "t.issued > 0 && o.issued >= t.issued &&"}}},
	{Name: "tokens of a family are forgotten a moment too early", File: ofFamily, Test: onFamilies, Edits: [][2]string{{"<= c.Watermark-d.lateness-d.memory", "<= c.Watermark-d.lateness-d.memory+1"}}},

	{Name: "a retry may be a moment too late", File: ofReplay, Test: onReplays, Edits: [][2]string{{"case elapsed <= d.grace && int(first.retries)", "case elapsed <= d.grace+1 && int(first.retries)"}}},
	{Name: "one retry more is allowed", File: ofReplay, Test: onReplays, Edits: [][2]string{{"int(first.retries) < d.rule.Retries", "int(first.retries) <= d.rule.Retries"}}},
	{Name: "a retry may be another client's", File: ofReplay, Test: onReplays, Edits: [][2]string{{" && !differ(first.client, here.client):", ":"}}},
	{Name: "the same request is a retry whenever it comes", File: ofReplay, Test: onReplays, Edits: [][2]string{{"case elapsed <= d.grace && first.request != 0", "case first.request != 0"}}},
	{Name: "two requests without an id are the same", File: ofReplay, Test: onReplays, Edits: [][2]string{{"first.request != 0 && first.request == here.request", "first.request == here.request"}}},
	{Name: "what was not answered is repeated", File: ofReplay, Test: onReplays, Edits: [][2]string{{"first.answered && changes(c.Event)", "changes(c.Event)"}}},
	{Name: "reading again is repeated", File: ofReplay, Test: onReplays, Edits: [][2]string{{"first.answered && changes(c.Event)", "first.answered"}}},
	{Name: "an answer to a retry is forgotten", File: ofReplay, Test: onReplays, Edits: [][2]string{{"first.answered || here.answered", "first.answered"}}},
	{Name: "a nonce is new a moment too late", File: ofReplay, Test: onReplays, Edits: [][2]string{{"if elapsed >= d.window {", "if elapsed > d.window {"}}},
	{Name: "the youngest nonce gives way", File: ofReplay, Test: onReplays, Edits: [][2]string{{"if m.nonceTime(i) < m.nonceTime(oldest) {", "if m.nonceTime(i) > m.nonceTime(oldest) {"}}},
	{Name: "nonces give way in silence", File: ofReplay, Test: onReplays, Edits: [][2]string{{"if gone > c.Time-d.room {", "if gone > c.Time {"}}},
	{Name: "what gave way is not said", File: ofReplay, Test: onReplays, Edits: [][2]string{{"complete = max(min(complete, now-m.forgotten()), 0)", "complete = max(complete, 0)"}}},
	{Name: "every clock is learned", File: ofReplay, Test: onReplays, Edits: [][2]string{{"max(off, -off) <= d.skew {", "max(off, -off) <= 1<<40 {"}}},
	{Name: "a time that stands still is a clock", File: ofReplay, Test: onReplays, Edits: [][2]string{{"client <= m.runClient() ||", "client < m.runClient() ||"}}},
	{Name: "a clock that is set is wrong", File: ofReplay, Test: onReplays, Edits: [][2]string{{"		m[121] = m[122]\n		d.endRun(m)\n", "		m[121] = m[122]\n		m = d.flush(m, own, now)\n"}}},
	{Name: "a run that ends is forgiven", File: ofReplay, Test: onReplays, Edits: [][2]string{{"	n := m.run()\n	d.endRun(m)\n", "	d.endRun(m)\n	n := m.run()\n"}}},
	{Name: "an event that comes late is back in time", File: ofReplay, Test: onReplays, Edits: [][2]string{{"if !m.hasLatest() || now >= m.latest() {", "if true {"}}},
	{Name: "times that were moved are learned", File: ofReplay, Test: onReplays, Edits: [][2]string{{" && c.Event.Num(event.Skewed) == 0 {", " {"}}},
	{Name: "a tier of another sign speaks", File: ofReplay, Test: onReplays, Edits: [][2]string{{"if !d.seen[t.Sign] || n < t.At {", "if n < t.At {"}}},
	{Name: "what was seen counts for ever", File: ofReplay, Test: onReplays, Edits: [][2]string{{"at > t-window && at <= t {", "at <= t {"}}},
	{Name: "the median is the upper of two", File: ofCadence, Test: onCadence, Edits: [][2]string{{"intervals[(n-2)/2]", "intervals[(n-1)/2]"}}},
	{Name: "every interval must be even", File: ofCadence, Test: onCadence, Edits: [][2]string{{"off[(4*(n-1)+4)/5-1]", "off[n-2]"}}},
	{Name: "a spread is rounded down", File: ofCadence, Test: onCadence, Edits: [][2]string{{"(100*most+p.median-1)/p.median", "100*most/p.median"}}},
	{Name: "all attempts are judged for every tier", File: ofCadence, Test: onCadence, Edits: [][2]string{{"p := d.pace(m, tier.At)\n\t\tif !d.holds", "p := d.pace(m, d.most)\n\t\tif !d.holds"}}},
	{Name: "cancelling forgets what comes later", File: ofCadence, Test: onCadence, Edits: [][2]string{{"m.cancelled() != 0 && c.Time <= m.cancelled()", "false"}}},
	{Name: "an attempt at the moment of cancelling counts", File: ofCadence, Test: onCadence, Edits: [][2]string{{"c.Time <= m.cancelled() {", "c.Time < m.cancelled() {"}}},
	{Name: "an earlier cancelling takes the place of a later one", File: ofCadence, Test: onCadence, Edits: [][2]string{{"m.cancel(max(m.cancelled(), c.Time))", "m.cancel(c.Time)"}}},
	{Name: "attempts that lack a value share one", File: ofCadence, Test: onCadence, Edits: [][2]string{{"if v != 0 && (i == 0", "if (i == 0"}}},
	{Name: "an hour of yesterday counts", File: ofCadence, Test: onCadence, Edits: [][2]string{{"hours<<(hour-latest)&(1<<hoursOfDay-1)|1", "hours<<(hour-latest)|1"}}},
	{Name: "an hour that comes late is lost", File: ofCadence, Test: onCadence, Edits: [][2]string{{"hours |= 1 << (latest - hour)", ""}}},
	{Name: "attempts are forgotten a moment too late", File: ofCadence, Test: onCadence, Edits: [][2]string{{"m.upTo(latest - d.memory); gone", "m.upTo(latest - d.memory - 1); gone"}}},
	{Name: "the latest attempt makes room", File: ofCadence, Test: onCadence, Edits: [][2]string{{"m = m.withoutFirst(extra)", "m = m[:len(m)-extra*attemptSize]"}}},
	{Name: "what was even once lasts", File: ofCadence, Test: onCadence, Edits: [][2]string{{":\n		m.even(0)\n	case", ":\n	case"}}},
	{Name: "a pause lasts", File: ofCadence, Test: onCadence, Edits: [][2]string{{" || p.longest > mostPause*p.median:", ":"}}},
	{Name: "cancelling does not end what lasts", File: ofCadence, Test: onCadence, Edits: [][2]string{{"			m.even(0)\n			c.Own", "			c.Own"}}},
	{Name: "evenness is followed by the most attempts", File: ofCadence, Test: onCadence, Edits: [][2]string{{"(step == 0 || tier.At < step)", "tier.At > step"}}},
	{Name: "a pace is said at every attempt", File: ofCadence, Test: onCadence, Edits: [][2]string{{"if tier.Weight <= m.firedWeight() && at-m.firedAt() < d.cooldown {\n\t\t\treturn false", "if tier.Weight < m.firedWeight() && at-m.firedAt() < d.cooldown {\n\t\t\treturn false"}}},
	{Name: "a window of panes holds a pane that begins with it", File: ofPanes, Test: onForms, Edits: [][2]string{{"p.first(at) > p.last(end)-w.reach", "p.first(at) >= p.last(end)-w.reach"}}},
	{Name: "a window of panes holds one that begins before it", File: ofPanes, Test: onForms, Edits: [][2]string{{"w.rule.Gap == 0 && p.first(at) >", "w.rule.Gap == 0 && p.last(at) >"}}},
	{Name: "windows that end with later panes are not looked at", File: ofPanes, Test: onForms, Edits: [][2]string{{"for end := panesHeader; end <= at;", "for end := at; end <= at;"}}},
	{Name: "panes are dropped a moment too early", File: ofPanes, Test: onForms, Edits: [][2]string{{"if p.last(at) <= until {", "if p.last(at) <= until+1 {"}}},
	{Name: "one pane too many is kept", File: ofPanes, Test: onForms, Edits: [][2]string{{"if n > w.most ||", "if n > w.most+1 ||"}}},
	{Name: "sessions a gap apart are one", File: ofPanes, Test: onForms, Edits: [][2]string{{"return later-earlier < w.reach", "return later-earlier <= w.reach"}}},
	{Name: "sessions that meet stay two", File: ofPanes, Test: onForms, Edits: [][2]string{{"case older < len(p) && w.near(p.last(older), p.first(at)):", "case older < 0:"}}},
	{Name: "what is not counted is added up", File: ofPanes, Test: onForms, Edits: [][2]string{{"if m.sums && counted {", "if m.sums {"}}},
	{Name: "a share is rounded up", File: ofPanes, Test: onForms, Edits: [][2]string{{"return 100 * part / whole", "return (100*part + whole - 1) / whole"}}},
	{Name: "a value that is known never fires again", File: ofPanes, Test: onForms, Edits: [][2]string{{"|| !changed && !(cooled && p.hasFired())", "|| !changed"}}},
	{Name: "a value that is known fires at once", File: ofPanes, Test: onForms, Edits: [][2]string{{"|| !changed && !(cooled && p.hasFired())", "|| !changed && p == nil"}}},
	{Name: "registers lack what was listed", File: "internal/sketch/distinct.go", Test: onMany, Edits: [][2]string{{"d.raise(le.Uint32(former))", "_ = former"}}},
	{Name: "the estimate takes empty registers for none", File: "internal/sketch/distinct.go", Test: onMany, Edits: [][2]string{{"sigma += x << k", "_ = k"}}},
	{Name: "few events make a share", File: ofPanes, Test: onForms, Edits: [][2]string{{"w.rule.MinEvents > 0 && x.matching < int64(w.rule.MinEvents)", "false"}}},
	{Name: "panes fire again at once", File: ofPanes, Test: onForms, Edits: [][2]string{{"int64(t.At) <= int64(le.Uint64(p[8:])) &&", "int64(t.At) < int64(le.Uint64(p[8:])) &&"}}},
	{Name: "a percentile is the value before it", File: "internal/sketch/histogram.go", Test: onForms, Edits: [][2]string{{"uint64(p)+99)/100", "uint64(p))/100"}}},
	{Name: "buckets are half as fine", File: "internal/sketch/histogram.go", Test: onForms, Edits: [][2]string{{"int(u>>(power-4)&15)", "int(u>>(power-4)&14)"}}},
	{Name: "the latest values are pushed out", File: ofValues, Test: onForms, Edits: [][2]string{{"if v.until(at) < v.until(least) {", "if v.until(at) > v.until(least) {"}}},
	{Name: "values are forgotten a moment too early", File: ofValues, Test: onForms, Edits: [][2]string{{"if v.until(at) <= s.gone {", "if v.until(at) <= s.gone+1 {"}}},
	{Name: "values are forgotten before their cooldown", File: ofValues, Test: onForms, Edits: [][2]string{{"w.values.keep(c.Time + w.cooldown)\n", ""}}},
	{Name: "a combination is its last value", File: ofValues, Test: onForms, Edits: [][2]string{{"if len(w.rule.By) == 1 {", "if f == w.rule.By[len(w.rule.By)-1] {"}}},
	{Name: "what is cancelled counts when it comes late", File: ofValues, Test: onForms, Edits: [][2]string{{"return c.Time >= w.window.until() && w.inner", "return w.inner"}}},
	{Name: "an event of the moment of a success counts", File: ofValues, Test: onForms, Edits: [][2]string{{"uint64(t)+1)", "uint64(t))"}}},
	{Name: "a success clears nothing", File: ofValues, Test: onForms, Edits: [][2]string{{"w.inner.forget(&w.window, c.Time)", "_ = c.Time"}}},

	{Name: "failures fall out of the window a pane too late", File: ofMismatch, Test: onSigned, Edits: [][2]string{{"for p := max(newest+1, pane-windowPanes+1); p <= pane; p++ {", "for p := max(newest+2, pane-windowPanes+1); p <= pane; p++ {"}}},
	{Name: "a device is judged before others were asked", File: ofMismatch, Test: onSigned, Edits: [][2]string{{"if !d.peers.judged.now {", "if d.peers.judged.by == event.None {"}}},
	{Name: "a broken cohort holds nothing back", File: ofMismatch, Test: onSigned, Edits: [][2]string{{"case j.broken:", "case j.broken && weight == 0:"}}},
	{Name: "a new build of a device that had passed counts against it", File: ofMismatch, Test: onSigned, Edits: [][2]string{{"case !j.first && d.updated(m, t):", "case !j.first && d.updated(m, t) && weight == 0:"}}},
	{Name: "what is not judged weighs as much", File: ofMismatch, Test: onSigned, Edits: [][2]string{{"weight = weight * d.rule.UnjudgedPercent / 100", "weight *= 1"}}},
	{Name: "that a device had passed is never forgotten", File: ofMismatch, Test: onSigned, Edits: [][2]string{{" && t-m.passedAt() < d.rule.Memory.Milliseconds()", ""}}},
	{Name: "a timer stays after the firing", File: ofMismatch, Test: onSigned, Edits: [][2]string{{"\tc.Timer = 0\n", ""}}},
	{Name: "a wait begins anew with each failure", File: ofMismatch, Test: onSigned, Edits: [][2]string{{"; c.Timer == 0 {", "; true {"}}},
	{Name: "a few failures among many events count", File: ofMismatch, Test: onSigned, Edits: [][2]string{{"for 100*failures >= d.rule.MinShare*(failures+passes) && tier+1", "for 100*failures >= passes-passes && tier+1"}}},
	{Name: "an entity that fails still counts as passing", File: ofPeers, Test: onSigned, Edits: [][2]string{{"was >= how) {", "was > 0) {"}}},
	{Name: "an entity counts with each event", File: ofPeers, Test: onSigned, Edits: [][2]string{{"s.at(of) == stretch && was >= how", "false"}}},
	{Name: "one network is as good as three", File: ofPeers, Test: onSigned, Seed: 8, Edits: [][2]string{{"failed && (all || networks >= p.enough)", "failed && (all || networks >= 1)"}}},
	{Name: "other partitions are not heard", File: ofPeers, Test: onSigned, Seed: 12, Edits: [][2]string{{"f+q > fails+passes {", "f+q < 0 {"}}},
	{Name: "verdicts leave out who passes", File: ofPeers, Test: onSigned, Edits: [][2]string{{"mostToldFailing*min(passes, mostToldPassing)", "mostToldFailing*min(passes, 0)"}}},
	{Name: "an entity is its own witness", File: ofPeers, Test: onSigned, Seed: 56, Edits: [][2]string{{"b.since(passedLast, since, who)", "b.since(passedLast, since, 0)"}}},
	{Name: "others that passed before are witnesses", File: ofPeers, Test: onSigned, Seed: 252, Edits: [][2]string{{"b.since(passedLast, since, who)", "b.since(passedLast, since-60_000, who)"}}},
	{Name: "a stretch that is over is taken for the present one", File: ofPeers, Test: onSigned, Seed: 203, Edits: [][2]string{{"newest >= n {", "newest >= n-1 {"}}},
	{Name: "a stretch behind a gap keeps the one before", File: ofPeers, Test: onSigned, Edits: [][2]string{{"if stretch == newest+1 {", "if stretch > newest {"}}},
	{Name: "a timer comes back to no cohort", File: ofCohorts, Test: onSigned, Edits: [][2]string{{"if !found || rec.Kind() < firstCohort", "if found || rec.Kind() < firstCohort"}}},
	{Name: "a sequence may last a moment too long", File: ofSteps, Test: onSequences, Edits: [][2]string{{"m.time(int(start)-1) <= d.within {", "m.time(int(start)-1) <= d.within+1 {"}}},
	{Name: "a step may come a moment too early", File: ofSteps, Test: onSequences, Edits: [][2]string{{"gap >= e.after &&", "gap >= e.after-1 &&"}}},
	{Name: "a step may come a moment too late", File: ofSteps, Test: onSequences, Edits: [][2]string{{"gap <= e.within &&", "gap <= e.within+1 &&"}}},
	{Name: "steps of other values go together", File: ofSteps, Test: onSequences, Edits: [][2]string{{"\t\tif m.value(j) != m.value(i) {\n\t\t\tcontinue\n\t\t}\n\t\tfor k := range d.links {\n\t\t\te := &d.links[k]\n\t\t\tif !d.follows(e, held", "\t\tfor k := range d.links {\n\t\t\te := &d.links[k]\n\t\t\tif !d.follows(e, held"}}},
	{Name: "what must be absent may be there", File: ofSteps, Test: onSequences, Edits: [][2]string{{"gap <= e.within && between&absent == 0", "gap <= e.within && (true || between&absent == 0)"}}},
	{Name: "what must be absent after an optional step is forgotten when that is left out", File: ofSteps, Test: onSequences, Edits: [][2]string{{"exits[j].absent |= part.Absent", "exits[j].absent = part.Absent"}}},
	{Name: "what has begun never ends", File: ofSteps, Test: onSequences, Edits: [][2]string{{"e.from, e.absent = uint8(x.state), s.Until|x.absent", "e.from, e.absent = uint8(x.state), x.absent"}}},
	{Name: "the first event of a sequence is the earliest", File: ofSteps, Test: onSequences, Edits: [][2]string{{"start > *to &&", "(*to == 0 || start < *to) && start > 0 &&"}}},
	{Name: "a sequence need not hold the event that arrived", File: ofSteps, Test: onSequences, Edits: [][2]string{{"d.wholeAt(m, i, 1); s > start", "max(d.wholeAt(m, i, 1), d.wholeAt(m, i, 0)); s > start"}}},
	{Name: "absence before the first event ends a moment early", File: ofSteps, Test: onSequences, Edits: [][2]string{{"d.strict && j >= 0 && m.time(j) >= from", "d.strict && j >= 0 && m.time(j) > from"}}},
	{Name: "absence behind the last event ends a moment early", File: ofSteps, Test: onSequences, Edits: [][2]string{{"m.time(j) <= until; j++", "m.time(j) < until; j++"}}},
	{Name: "who is new is judged", File: ofSteps, Test: onSequences, Edits: [][2]string{{"if m.knownFrom() > from {", "if m.knownFrom() > from+1 {"}}},
	{Name: "what is forgotten was not there", File: ofSequence, Test: onSequences, Edits: [][2]string{{"m.forgot(m.time(0))\n", ""}}},
	{Name: "a sequence forgets for which conditions it has events", File: ofSequence, Test: onSequences, Edits: [][2]string{{"m.setConditions(before | held)", "m.setConditions(held)"}}},
	{Name: "a sequence is whole a moment too late", File: ofSequence, Test: onSequences, Edits: [][2]string{{"return longest(s.After) + time.Millisecond }\nfunc", "return longest(s.After) + 2*time.Millisecond }\nfunc"}}},
	{Name: "events are forgotten a moment too early", File: ofSequence, Test: onSequences, Edits: [][2]string{{"m.time(n) <= gone {", "m.time(n) <= gone+1 {"}}},
	{Name: "a sequence that was judged is judged again", File: ofSequence, Test: onSequences, Edits: [][2]string{{"\tm.set(hasJudged, c.Time)\n", ""}}},
	{Name: "only sequences that lack something are counted", File: ofSequence, Test: onSequences, Edits: [][2]string{{"if d.search(m, -1, false); !lacks && d.due(m, c.Time) < 0 {", "if !lacks {"}}},
	{Name: "an entity counts again at once", File: ofSequence, Test: onSequences, Edits: [][2]string{{"c.Time-m.countedAt() < d.once {", "c.Time-m.countedAt() < 1 {"}}},
	{Name: "what is unusual becomes usual", File: ofSequence, Test: onSequences, Edits: [][2]string{{"\t\todd++\n", "\t\tlacking++\n"}}},
	{Name: "counts are never halved", File: ofSequence, Test: onSequences, Edits: [][2]string{{"if whole >= mostUsual {", "if whole > mostUsual {"}}},
	{Name: "an app that has changed is unusual", File: ofSequence, Test: onSequences, Edits: [][2]string{{"u.odd()*mostOdd)", "0*u.odd()*mostOdd)"}}},
	{Name: "an entity counts as often as it can be complete", File: ofSequence, Test: onSequences, Edits: [][2]string{{"once: s.once().Milliseconds()", "once: s.Within.Milliseconds()"}}},
	{Name: "new entities teach", File: ofSequence, Test: onSequences, Edits: [][2]string{{"c.Time-m.countedAt() < d.known {", "c.Time-m.countedAt() < min(d.known, 0) {"}}},
	{Name: "an entity is known a moment too early", File: ofSequence, Test: onSequences, Edits: [][2]string{{"c.Time-m.countedAt() < d.known {", "c.Time-m.countedAt() < d.known-1 {"}}},
	{Name: "a new entity that lacks something teaches when it is known", File: ofSequence, Test: onSequences, Edits: [][2]string{{"\t\tif lacks {\n", "\t\tif false {\n"}}},
	{Name: "a new entity that lacks nothing teaches late", File: ofSequence, Test: onSequences, Edits: [][2]string{{"\t\tif lacks {\n", "\t\tif true {\n"}}},
	{Name: "whoever was away is known", File: ofSequence, Test: onSequences, Edits: [][2]string{{"\t\tif m.seen() <= gone {\n\t\t\td.meet(m, c.Time)", "\t\tif m.seen() <= gone {\n\t\t\tm.put(8, d.knownFrom(c.Time))"}}},
	{Name: "whoever was away has counted", File: ofSequence, Test: onSequences, Edits: [][2]string{{"\t\tm[40] &^= hasCounted\n", ""}}},
	{Name: "nobody asks what other partitions know", File: ofSequence, Test: onSequences, Edits: [][2]string{{"w > whole {", "w > whole && w < 0 {"}}},
	{Name: "a partition that knows more listens to others", File: ofSequence, Test: onSequences, Edits: [][2]string{{"w > whole {", "w > 0 {"}}},
	{Name: "exceptions of other partitions are forgotten", File: ofSequence, Test: onSequences, Edits: [][2]string{{"exceptions += int64(n-above) *", "exceptions += 0 *"}}},
	{Name: "each partition is added once for each level", File: ofSequence, Test: onSequences, Edits: [][2]string{{"\t\tabove = n\n\t}\n\treturn whole, exceptions", "\t\tif above = 0; n == partitions {\n\t\t\tabove = n\n\t\t}\n\t}\n\treturn whole, exceptions"}}},
	{Name: "a verdict rounds sequences up", File: ofSequence, Test: onUsual, Edits: [][2]string{{"bits.Len64(uint64(whole*4/3)) +", "min(bits.Len64(uint64(whole*4/3))+1, wholeLevels) +"}}},
	{Name: "a verdict rounds sequences down", File: ofSequence, Test: onUsual, Edits: [][2]string{{"whole*4/3", "whole"}}},
	{Name: "a verdict rounds exceptions down", File: ofSequence, Test: onUsual, Edits: [][2]string{{"1+bits.Len64(uint64((exceptions*stepsOfOdds+odds-1)/odds-1))", "bits.Len64(uint64((exceptions*stepsOfOdds+odds-1)/odds))"}}},
	{Name: "events of one moment are in the order of their offsets", File: ofSequence, Test: onSequences, Edits: [][2]string{{"m.time(at-1) > c.Time {", "m.time(at-1) >= c.Time {"}}},

	{Name: "an event is taken before all others have come", File: ofOrder, Test: onOrders, Edits: [][2]string{{"settled = c.Watermark - d.lateness\n", "settled = c.Watermark\n"}}},
	{Name: "events of one moment wait in the wrong order", File: ofOrder, Test: onOrders, Seed: 10, Edits: [][2]string{{"m.timeOf(at-1) > c.Time {", "m.timeOf(at-1) >= c.Time {"}}},
	{Name: "sessions a moment too far apart are one", File: ofOrder, Test: onOrders, Seed: 13, Edits: [][2]string{{"t-m.last() <= d.gap &&", "t-m.last() <= d.gap+1 &&"}}},
	{Name: "a cohort judges too early", File: ofOrder, Test: onOrders, Edits: [][2]string{{"o.all() >= int64(d.rule.Learn)", "o.all()+1 >= int64(d.rule.Learn)"}}},
	{Name: "an operation judges too early", File: ofOrder, Test: onOrders, Edits: [][2]string{{"o.from(from) >= int64(d.rule.Least)", "o.from(from)+1 >= int64(d.rule.Least)"}}},
	{Name: "what never came is not unlikely", File: ofOrder, Test: onOrders, Edits: [][2]string{{"if (like+1)*int64(d.rule.Odds) > all {", "if like == 0 || (like+1)*int64(d.rule.Odds) > all {"}}},
	{Name: "a transition teaches before it is compared", File: ofOrder, Test: onOrders, Edits: [][2]string{{"\t\tto := o.find(number)\n", "\t\tto := o.find(number)\n\t\to.learn(from, to)\n"}}},
	{Name: "whoever is signalled teaches on", File: ofOrder, Test: onOrders, Seed: 24, Edits: [][2]string{{" && !(m.is(orderFired) && t-m.firedAt() < d.cooldown) {", " {"}}},
	{Name: "who is nearly signalled teaches on", File: ofOrder, Test: onOrders, Edits: [][2]string{{"2*m.unlikely() < orderFraction", "m.unlikely() < orderFraction"}}},
	{Name: "nothing is forgotten", File: ofOrder, Test: onOrders, Edits: [][2]string{{"\tshift := min(halves, 32)\n", "\tshift := min(halves, 0)\n"}}},
	{Name: "a share that is just enough is too little", File: ofOrder, Test: onOrders, Seed: 13, Edits: [][2]string{{"if 100*m.unlikely() < int64(d.rule.MinShare)*m.transitions() {", "if 100*m.unlikely() <= int64(d.rule.MinShare)*m.transitions() {"}}},
	{Name: "the most likely transitions are told", File: ofOrder, Test: onOrders, Seed: 6, Edits: [][2]string{{"(like+1)*w.u32(12) < (w.u32(8)+1)*all", "(like+1)*w.u32(12) > (w.u32(8)+1)*all"}}},
	{Name: "a new version goes on with the old session", File: ofOrder, Test: onOrders, Edits: [][2]string{{"\tm[45] &^= orderBegan\n", ""}}},
	{Name: "who has another version goes on among those of the old one", File: ofOrder, Test: onOrders, Edits: [][2]string{{"m.cohort() != key {", "m.cohort() == 0 {"}}},

	{Name: "what is not there counts as failed", File: ofAttested, Test: onAttested, Edits: [][2]string{{"is[Failed] = verdict == \"failed\"", "is[Failed] = verdict == \"failed\" || verdict == \"missing\""}}},
	{Name: "the first level that is required is the one", File: ofAttested, Test: onAttested, Seed: 8, Edits: [][2]string{{"r.Level > need && r.When.Holds(e)", "need == 0 && r.When.Holds(e)"}}},
	{Name: "attestations are missing where none is required", File: ofAttested, Test: onAttested, Edits: [][2]string{{"is[Missing] = need > 0 &&", "is[Missing] = need >= 0 &&"}}},
	{Name: "a device that has a level drops to it", File: ofAttested, Test: onAttested, Seed: 10, Edits: [][2]string{{"need > 0 && level == 0 && best >= trustedLevel", "need > 0 && level <= 1 && best >= trustedLevel"}}},
	{Name: "the best level is the last one", File: ofAttested, Test: onAttested, Seed: 8, Edits: [][2]string{{"(!known || level >= best)", "(!known || level >= 0)"}}},
	{Name: "the best level is never forgotten", File: ofAttested, Test: onAttested, Edits: [][2]string{{"if t-m.bestAt() >= d.memory {", "if t-m.bestAt() >= d.memory<<20 {"}}},
	{Name: "a counter that came out of order goes back", File: ofAttested, Test: onAttested, Seed: 22, Edits: [][2]string{{"return c.Time >= m.countedAt()\n", "return true\n"}}},
	{Name: "counters of two attestations are one", File: ofAttested, Test: onAttested, Seed: 20, Edits: [][2]string{{"m.counterOf() == of && ", ""}}},
	{Name: "the first finding that is reached fires", File: ofAttested, Test: onAttested, Seed: 10, Edits: [][2]string{{"(best < 0 || f.Weight > d.rule.Findings[best].Weight)", "best < 0"}}},
	{Name: "an outage holds nothing back", File: ofAttested, Test: onAttested, Seed: 24, Edits: [][2]string{{"if d.peers.judged.broken {", "if d.peers.judged.broken && weight == 0 {"}}},

	{Name: "the number of a page is that of its size", File: ofIDs, Test: onIDs, Edits: [][2]string{{"if from, to := pageIn(id); from < to {", "if from, to := pageIn(id); from > to {"}}},
	{Name: "an object is forgotten a moment too late", File: ofIDs, Test: onIDs, Edits: [][2]string{{"o.last() > until", "o.last() >= until"}}},
	{Name: "an object that was granted is refused", File: ofIDs, Test: onIDs, Edits: [][2]string{{"o[35]&(refusedObject|grantedObject) == refusedObject", "o[35]&refusedObject != 0"}}},
	{Name: "objects of all kinds are one list", File: ofIDs, Test: onIDs, Edits: [][2]string{{"m.object(at).hash() != hash || m.object(at).of() != kind", "m.object(at).hash() != hash"}}},
	{Name: "the kind that was asked for last makes room", File: ofIDs, Test: onIDs, Edits: [][2]string{{"if m.lastOf(i) < m.lastOf(oldest) {", "if m.lastOf(i) > m.lastOf(oldest) {"}}},
	{Name: "the first run of digits is the number", File: ofIDs, Test: onIDs, Edits: [][2]string{{"i-from >= end-begin", "i-from > end-begin"}}},
	{Name: "forms do not matter", File: ofIDs, Test: onIDs, Edits: [][2]string{{"ids[i].form != ids[i-1].form || gap == 0", "gap == 0"}}},
	{Name: "a sample is not multiplied", File: ofIDs, Test: onIDs, Edits: [][2]string{{"w.objects, w.refused, w.foreign = int64(w.n)<<w.level, w.refused<<w.level", "w.objects, w.refused, w.foreign = int64(w.n), w.refused<<w.level"}}},
	{Name: "the smallest kind is thinned out", File: ofIDs, Test: onIDs, Edits: [][2]string{{"if n[i] > n[largest] {", "if n[i] > 0 && n[i] < n[largest] {"}}},
	{Name: "a sample takes in what is not in it", File: ofIDs, Test: onIDs, Edits: [][2]string{{"\tif !sampled(hash, m.level(kind)) {\n\t\treturn false\n\t}\n", ""}}},
	{Name: "the widest quarter says how even ids are", File: ofIDs, Test: onIDs, Edits: [][2]string{{"narrowest = min(narrowest, numbers[from", "narrowest = max(0*narrowest, numbers[from"}}},
	{Name: "a request for the same object is new", File: ofIDs, Test: onIDs, Edits: [][2]string{{"return 100 * int64(w.n) / max(w.asks, 1)", "return 100 * w.asks / max(w.asks, 1)"}}},
	{Name: "own objects count", File: ofIDs, Test: onIDs, Edits: [][2]string{{"digits >= ownDigits && end-begin >= ownDigits", "digits > mostDigits && end-begin >= ownDigits"}}},
	{Name: "the account that asked first is counted", File: ofIDs, Test: onIDs, Edits: [][2]string{{"if account := c.Event.Text(event.Account); account != \"\" {", "if account := c.Event.Text(event.Account); account != \"\" && o.account() == 0 {"}}},
	{Name: "a cooldown of objects lasts a moment too long", File: ofIDs, Test: onIDs, Edits: [][2]string{{"t.Weight <= m.firedWeight() && c.Time-m.firedAt() < d.cooldown {\n\t\t\treturn false", "t.Weight <= m.firedWeight() && c.Time-m.firedAt() <= d.cooldown {\n\t\t\treturn false"}}},

	{Name: "a session goes on for a moment less", File: ofVolumes, Test: onVolumes, Edits: [][2]string{{"case c.Time > m.last()+d.gap:", "case c.Time >= m.last()+d.gap:"}}},
	{Name: "a session that is over teaches nothing", File: ofVolumes, Test: onVolumes, Edits: [][2]string{{"\td.end(m, c, v)\n\treturn false\n", "\t_ = v\n\td.end(m, c, nil)\n\treturn false\n"}}},
	{Name: "what accuses is learned", File: ofVolumes, Test: onVolumes, Edits: [][2]string{{"if v != nil && !m.is(volumeReached) {", "if v != nil {"}}},
	{Name: "a session of another cohort is taught to the present one", File: ofVolumes, Test: onVolumes, Edits: [][2]string{{"m = d.end(m, c, nil)", "m = d.end(m, c, v)"}}},
	{Name: "a quantile has no confidence", File: ofVolumes, Test: onVolumes, Edits: [][2]string{{"return (n*q + root + wholeQuantile - 1) / wholeQuantile", "return (n*q + 0*root + wholeQuantile - 1) / wholeQuantile"}}},
	{Name: "a bucket ends a call too soon", File: ofVolumes, Test: onVolumes, Edits: [][2]string{{"return int64(5+(b-3)%4)<<((b-3)/4) - 1", "return int64(5+(b-3)%4)<<((b-3)/4) - 2"}}},
	{Name: "the limit of few sessions is known", File: ofVolumes, Test: onVolumes, Edits: [][2]string{{"if sessions < int64(d.rule.Learn) {", "if sessions < 0*int64(d.rule.Learn) {"}}},
	{Name: "the least calls do not matter", File: ofVolumes, Test: onVolumes, Edits: [][2]string{{"return max(int64(t.Least), (int64(t.Percent)*limit+99)/100)", "return (int64(t.Percent)*limit + 99) / 100"}}},
	{Name: "a cooldown of volumes lasts a moment too long", File: ofVolumes, Test: onVolumes, Edits: [][2]string{{"t.Weight <= m.firedWeight() && c.Time-m.firedAt() < d.cooldown {\n\t\t\treturn false\n\t\t}\n\t\tm[33]", "t.Weight <= m.firedWeight() && c.Time-m.firedAt() <= d.cooldown {\n\t\t\treturn false\n\t\t}\n\t\tm[33]"}}},
	{Name: "what comes before a session is in it", File: ofVolumes, Test: onVolumes, Edits: [][2]string{{"case c.Time < m.begin()-d.gap:", "case c.Time < m.begin()-2*d.gap:"}}},

	{Name: "sections of former owners are applied", File: ofPartition, Edits: [][2]string{{"stale := s.Owner < src.owner", "stale := false"}}},
	{Name: "duplicates are applied", File: ofPartition, Edits: [][2]string{{"if stale || p.facet.Offset < src.next {", "if stale {"}}},
	{Name: "a gap is not seen", File: ofPartition, Seed: 8, Edits: [][2]string{{"s.From > src.next", "s.From > src.next+1"}}},
	{Name: "what is covered goes back", File: ofPartition, Edits: [][2]string{{"src.next = max(src.next, s.To)", "src.next = s.To"}}},
	{Name: "a source's time goes back", File: ofPartition, Edits: [][2]string{{"src.watermark = max(src.watermark, s.Watermark)", "src.watermark = s.Watermark"}}},
	{Name: "time goes on with the fastest source", File: ofPartition, Edits: [][2]string{
		{"least := int64(math.MaxInt64)", "least := int64(math.MinInt64)"},
		{"least = min(least, p.sources[i].watermark)", "least = max(least, p.sources[i].watermark)"}}},
	{Name: "time goes on before all sources were heard", File: ofPartition, Edits: [][2]string{{"if !p.sources[i].heard {\n\t\t\treturn false", "if !p.sources[i].heard {\n\t\t\tcontinue"}}},
	{Name: "an event is late a moment too early", File: ofPartition, Edits: [][2]string{{"t < p.watermark-p.cfg", "t <= p.watermark-p.cfg"}}},
	{Name: "delayed events are late only by the watermark", File: ofPartition, Edits: [][2]string{{"late := p.late(f.Time) || f.Delayed()", "late := p.late(f.Time)"}}},
	{Name: "delayed events that were moved are late", File: "internal/facet/facet.go", Edits: [][2]string{{" && e.Num(event.Skewed) == 0", ""}}},
	{Name: "entities are forgotten when time passes, not lateness", File: ofPartition, Edits: [][2]string{{"p.closed(f.Time+l.horizon(f.Entity.Kind))", "f.Time+l.horizon(f.Entity.Kind)"}}},
	{Name: "cooldowns are forgotten with windows", File: ofPartition, Seed: 19, Edits: [][2]string{{"\te.Prolong(p.closed(sig.Time + a.after))\n", ""}}},
	{Name: "scores are forgotten with windows", File: ofPartition, Edits: [][2]string{{"until := p.closed(score.Fades(merged))", "until := sig.Time"}}},
	{Name: "of the scores of a record the first is sent", File: ofPartition, Edits: [][2]string{{"*old = u\n", ""}}},
	{Name: "facets of a frame have one position", File: ofPartition, Edits: [][2]string{{"\t\tat.Index++\n", ""}}},

	{Name: "a timer is due a moment too early", File: ofTimers, Test: onTimers, Edits: [][2]string{{"<= p.watermark-p.cfg.Lateness.Milliseconds()", "<= p.watermark-p.cfg.Lateness.Milliseconds()+1"}}},
	{Name: "a timer is due when time passes, not lateness", File: ofTimers, Test: onTimers, Edits: [][2]string{{"<= p.watermark-p.cfg.Lateness.Milliseconds()", "<= p.watermark"}}},
	{Name: "timers of one moment are called in the wrong order", File: ofTimers, Test: onTimers, Edits: [][2]string{{"cmp.Compare(a.slot(), b.slot())", "cmp.Compare(b.slot(), a.slot())"}}},
	{Name: "an entity that is waited for is forgotten", File: ofTimers, Test: onTimers, Edits: [][2]string{{"e.Hold(true)", ""}}},
	{Name: "signals of timers have one position", File: ofTimers, Test: onTimers, Edits: [][2]string{{"\t\t\tat.Index++\n\t\t}\n\t}\n\tif l = p", "\t\t}\n\t}\n\tif l = p"}}},
	{Name: "a timer that was moved on is called at its old time", File: ofTimers, Test: onTimers, Edits: [][2]string{{"if t.due() > first.due {", "if false {"}}},
	{Name: "a timer that was moved nearer is called at its old time", File: ofTimers, Test: onTimers, Edits: [][2]string{{"\tif due < list.armed() {", "\tif list.armed() == unarmed {"}}},
	{Name: "the end of the log is time", File: ofTimers, Test: onTimers, Edits: [][2]string{{"watermark != facet.EndWatermark", "watermark < facet.EndWatermark+0 || true"}}},
	{Name: "a score takes in what a timer found too late", File: ofPartition, Test: onTimers, Edits: [][2]string{{"if now != facet.NoWatermark && !sig.Clears && score", "if false && score"}}},
	{Name: "timers of rules that are gone stay", File: ofTimers, Test: onTimers, Edits: [][2]string{{"; a != nil && a.timed != nil {\n\t\t\tkept", "; true || a != nil {\n\t\t\tkept"}}},
	{Name: "a restored partition has no timers", File: ofTimers, Test: onTimers, Edits: [][2]string{{"l.timers.push(entry{timerList(rec.Slot(timerSlot)).armed(), rec.Key()})", ""}}},
	{Name: "a timer names the event that came last", File: ofTimers, Test: onTimers, Edits: [][2]string{{"&l.timers.event, t.source(), t.offset()", "&l.timers.event, t.source(), c.Offset"}}},

	{Name: "cohorts of all tenants are one", File: ofCohorts, Test: onCohorts, Edits: [][2]string{{"Tenant: tenant, Key: value})", "Key: value})"}}},
	{Name: "a cohort has the key of the one before", File: ofCohorts, Test: onCohorts, Edits: [][2]string{{"string(c.value) != value", "len(c.value) != len(value)"}}},
	{Name: "cohorts of all fields are one", File: ofCohorts, Test: onCohorts, Edits: [][2]string{{"return firstCohort + uint8(placeOf(by))", "return firstCohort + uint8(placeOf(by)&0)"}}},
	{Name: "cohorts are forgotten when time passes, not lateness", File: ofCohorts, Test: onCohorts, Seed: 6040, Edits: [][2]string{{"rec.Touch(offset, p.closed(until))", "rec.Touch(offset, until)"}}},
	{Name: "a cohort is remembered for the rule that asks first", File: ofCohorts, Test: onCohorts, Seed: 65, Edits: [][2]string{{"f.rec.Prolong(c.p.closed(at.Time + reach))", ""}}},
	{Name: "a facet has the cohorts of the one before", File: ofPartition, Test: onCohorts, Edits: [][2]string{{"l.cohorts.close()", ""}}},
	{Name: "a verdict is said with every event", File: ofCohorts, Test: onCohorts, Edits: [][2]string{{"at.Time < v.saidAt()+keeps.reach/2)", "at.Time < v.saidAt())"}}},
	{Name: "a verdict that still holds is not said again", File: ofCohorts, Test: onCohorts, Edits: [][2]string{{"(level == 0 || at.Time < v.saidAt()+keeps.reach/2)", "true"}}},
	{Name: "verdicts follow one another too soon", File: ofCohorts, Test: onCohorts, Edits: [][2]string{{" || at.Time < v.saidAt()+keeps.verdicts {", " {"}}},
	{Name: "a verdict holds for ever", File: ofCohorts, Test: onCohorts, Edits: [][2]string{{"o.level() >= level && o.until() > c.p.watermark", "o.level() >= level"}}},
	{Name: "a partition that changes its mind counts twice", File: ofCohorts, Test: onCohorts, Edits: [][2]string{{"o.from() != from && ", ""}}},
	{Name: "verdicts that are known count again", File: ofCohorts, Test: onCohorts, Edits: [][2]string{{"if !known {", "if true {"}}},
	{Name: "verdicts are told to the others only", File: ofCohorts, Test: onCohorts, Edits: [][2]string{{"\t\tstep := p.loopback.step(int32(to), offset)", "\t\tif to == int(p.id) {\n\t\t\tcontinue\n\t\t}\n\t\tstep := p.loopback.step(int32(to), offset)"}}},
	{Name: "a restored partition has no verdicts", File: ofCohorts, Test: onCohorts, Edits: [][2]string{{"\t\treturn payload, nil\n", "\t\treturn nil, nil\n"}}},

	{Name: "names lose their tenant", File: "engine/entity.go", Edits: [][2]string{{"copy(b[1:], n.Tenant)", ""}}},
	{Name: "a score lives a moment longer", File: "engine/entity.go", Edits: [][2]string{{"score.Expires(list) <= p", "score.Expires(list) < p"}}},

	{Name: "what lowers lives as a score", File: "score/decay.go", Edits: [][2]string{{"if !list[i].Lowers {\n\t\t\tlast", "if true {\n\t\t\tlast"}}},
	{Name: "what lowers is forgotten with what raises", File: ofPartition, Edits: [][2]string{{"p.closed(score.Fades(merged))", "p.closed(score.Expires(merged))"}}},
	{Name: "a score that nothing raises is sent", File: ofPartition, Edits: [][2]string{{"was := score.Raised(all) && until > max(now, sig.Time)", "was := true"}}},
	{Name: "a score of which all is taken back is not sent", File: ofPartition, Seed: 10, Edits: [][2]string{{"was := score.Raised(all) && until > max(now, sig.Time)", "was := false"}}},
	{Name: "a signal of weight 0 touches the score", File: ofPartition, Edits: [][2]string{{"if sig.Weight == 0 && !sig.Clears {", "if false {"}}},
	{Name: "what is taken back asks all the same", File: ofPartition, Seed: 10, Edits: [][2]string{{"sig.Weight, sig.Asks = 0, 0", "sig.Weight = 0"}}},
	{Name: "a score that was taken back is remembered for no longer", File: ofPartition, Edits: [][2]string{{"u.Expires = until", ""}}},
	{Name: "operators are told of each member", File: "rules/asks.go", Seed: 8, Edits: [][2]string{{"a &^= Notify", ""}}},
	{Name: "what has no credentials is to be revoked", File: "rules/asks.go", Seed: 10, Edits: [][2]string{{"a &^= Revoke", ""}}},
	{Name: "a rule that is turned round keeps what it said", File: "rules/version.go", Test: onEdits, Seed: 39, Edits: [][2]string{{`name = append(name, " lowers"...)`, ""}}},
	{Name: "nothing is taken back of members", File: "engine/loopback.go", Edits: [][2]string{{"say(&sig, f.Weight, f.Clears)", "say(&sig, f.Weight, false)"}}},

	{Name: "what is taken back is of any time", File: "score/merge.go", Edits: [][2]string{{"c.Rule == rule && c.Time <= at", "c.Rule == rule"}}, Test: onMerge},
	{Name: "what is taken back is before its moment", File: "score/merge.go", Edits: [][2]string{{"c.Time <= at", "c.Time < at"}}, Test: onMerge},
	{Name: "all rules take back", File: "score/merge.go", Edits: [][2]string{{"c.Rule == rule && c.Time", "c.Time"}}, Test: onMerge},
	{Name: "what has decayed stays when something is taken back", File: "score/merge.go", Edits: [][2]string{{"live, _ := Live(list, at)", "live := list"}}, Test: onMerge},
	{Name: "what is observed lowers", File: "score/combine.go", Edits: [][2]string{{"!c.Lowers || c.Phase < least ||", "!c.Lowers ||"}}, Test: onCombine},
	{Name: "what is observed raises", File: "score/combine.go", Edits: [][2]string{{"if c.Phase < least {", "if false {"}}, Test: onCombine},
	{Name: "what lowers raises", File: "score/combine.go", Edits: [][2]string{{"\t\tif c.Lowers {\n\t\t\tlowered = true\n\t\t} else if", "\t\tlowered = true\n\t\tif"}}, Test: onCombine},
	{Name: "what lowers one category lowers all", File: "score/combine.go", Edits: [][2]string{{"whole || of.Category == c.Category", "true"}}, Test: onCombine},
	{Name: "what lowers any category lowers only the total", File: "score/combine.go", Edits: [][2]string{{"whole || of.Category == c.Category", "of.Category == c.Category"}}, Test: onCombine},
	{Name: "what lowers a category does not lower the total", File: "score/combine.go", Edits: [][2]string{{"\t\ts.lower(false, least, list, now)\n\t}\n\ts.sum()", "\t}\n\ts.sum()\n\ts.lower(false, least, list, now)"}}, Test: onCombine},
	{Name: "products are rounded up", File: "score/combine.go", Edits: [][2]string{{"uint64(b) / uint64(Full)", "uint64(b) / uint64(Full) + 1"}}, Test: onCombine},

	{Name: "a signal does not refresh what is worth the same", File: "score/merge.go", Edits: [][2]string{{"is == was && c.Time < old.Time", "is == was"}}, Test: "TestScoresMergeAsTheOracleSays"},
	{Name: "the older of two signals is kept", File: "score/merge.go", Edits: [][2]string{{"max(old.Time, c.Time)", "old.Time"}}},
	{Name: "what is worth a point goes", File: "score/merge.go", Edits: [][2]string{{"now) < Point", "now) <= Point"}}},
	{Name: "of equals the first goes", File: "score/merge.go", Edits: [][2]string{{"list[i].Rule > rule", "list[i].Rule < rule"}}},
	{Name: "a score has one contribution too many", File: "score/merge.go", Edits: [][2]string{{"len(merged) < MaxContributions", "len(merged) <= MaxContributions"}}},
	{Name: "decay is rounded to the nearest", File: "score/decay.go", Edits: [][2]string{{"(from-to)*rest>>24", "((from-to)*rest+1<<23)>>24"}}, Test: "TestDecayIsEqualToTheUnit"},
	{Name: "a score expires a moment too early", File: "score/decay.go", Edits: [][2]string{{"Decayed(c, mid) >= Point", "Decayed(c, mid) > Point"}}, Test: "TestAScoreExpiresAtTheMomentAtWhichItIsWorthLessThanAPoint"},
}
