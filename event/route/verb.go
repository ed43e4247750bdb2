package route

import "strings"

// Classes that the verb of a request gives, whatever it is about.
const (
	HoldClass    = "hold"    // a seat, a slot or the like is kept for a while, unpaid
	ReadClass    = "read"    // a remote procedure that reads
	SearchClass  = "search"  // a search that is posted
	MessageClass = "message" // a message, a comment or an invitation is sent
)

// VerbClasses returns the classes that [VerbClass] may give.
func VerbClasses() []string { return []string{HoldClass, MessageClass, ReadClass, SearchClass} }

// VerbClass returns the class of a posted request whose verb says what it does, even
// if no list and no word says what it is about; "" if it does not. APIs of remote
// procedures post everything, so reads can be told by their names alone. In doubt a
// request is no read: GetReward may hand the reward out, ListItem may offer it for
// sale, and GetOrCreateCart writes.
func VerbClass(method, route string) string {
	if method != "POST" {
		return ""
	}
	prefix, rest := ServicePrefix(route)
	if isInternal(prefix) {
		return ""
	}
	service, name, remote := operation(rest)
	if !remote {
		return restClass(rest)
	}
	var buf [mostWords]string
	words := splitWords(buf[:0], name)
	if len(words) == 0 || len(words) == mostWords {
		return ""
	}
	first, last := words[0], words[len(words)-1]
	if oneOf(holdVerbs, first) || oneOf(holds, last) && (len(words) == 1 || oneOf(makeVerbs, first)) {
		return HoldClass
	}
	if oneOf(sendVerbs, first) || oneOf(sendVerbs, last) {
		if anyOf(messageNouns, name) || anyOf(messageNouns, service) {
			return MessageClass
		}
		return ""
	}
	if anyOf(writeWords, name) {
		return ""
	}
	lists := oneOf("list", first)
	switch {
	case oneOf(searchVerbs, first), oneOf(searchVerbs, last):
		return SearchClass
	case lists && len(words) > 1 && !strings.HasSuffix(last, "s"), (lists || oneOf("list", last)) && anyOf(markets, service):
		return "" // it may offer something for sale
	case oneOf(readVerbs, first), oneOf(readVerbs, last) && len(words) <= 2:
		return ReadClass
	}
	return ""
}

// QueryClass returns [ReadClass] for a posted operation of GraphQL whose name is that of
// a thing, "" for others. There, queries are named after what they ask for, and what
// changes something has a verb: Orders and MyOrders read, PlaceOrder and orderCreate do
// not. It goes before the class by words, which know the same words from REST, where
// POST /orders makes an order.
func QueryClass(method, route string) string {
	if method != "POST" {
		return ""
	}
	prefix, rest := ServicePrefix(route)
	service, name, remote := operation(rest)
	if !remote || service != "" || isInternal(prefix) || oneOf(ofProcedures, strings.TrimLeft(rest[:len(rest)-len(name)-1], "/")) {
		return ""
	}
	var buf [mostWords]string
	words := splitWords(buf[:0], name)
	if len(words) == 0 || len(words) == mostWords || anyOf(changingVerbs, name) || anyOf(classedReads, name) {
		return ""
	}
	first, last := words[0], words[len(words)-1]
	switch {
	case len(words) == 1 && (oneOf("me viewer", first) || isPlural(first)),
		len(words) > 1 && (oneOf("my viewer", first) || oneOf(shownThings, last)):
		return ReadClass
	}
	return ""
}

func isPlural(word string) bool {
	n := len(word)
	return n > 3 && word[n-1]|0x20 == 's' && word[n-2]|0x20 != 's'
}

const (
	searchVerbs  = "search find lookup query autocomplete suggest"
	readVerbs    = "get list fetch view describe"
	sendVerbs    = "send post create add submit write reply publish"
	holdVerbs    = "hold reserve"
	holds        = "hold holds"
	makeVerbs    = "create place add make put"
	messageNouns = "message messages chat chats comment comments reply replies dm dms whisper invite invites invitation invitations"

	// writeWords are verbs that change something, and things that one gets by asking.
	writeWords = writeVerbs + " sale order " +
		"reward rewards gift gifts bonus bonuses coupon coupons voucher vouchers prize prizes token tokens otp code codes key keys ticket tickets loot drop spin"
	writeVerbs = "set put create add update upsert insert delete remove replace modify change reset save make mark lock claim redeem consume buy purchase sell pay " +
		"accept join leave start stop open close send post submit increment decrement swap pop take use apply issue generate renew refresh rotate register"

	// changingVerbs are those that stand in front of things that are shown, too.
	changingVerbs = writeVerbs + " edit clear hide show cancel confirm complete approve reject request export import download upload share like follow mute toggle sync report track " +
		"log record process place begin finish enter verify validate hold release reserve transfer withdraw sign login logout signup signin resend revoke link unlink bind unbind"

	// classedReads are of a class of their own when they are read, too.
	classedReads = "cart carts basket baskets " + searchVerbs

	// shownThings are names that queries of GraphQL end with.
	shownThings = "detail details availability history feed summary overview results"

	markets = "market marketplace auction auctions trade trading exchange shop store"

	// The last segments of routes that are no procedures.
	postedSearches = "search _search lookup query autocomplete"
	postedMessages = "message messages comment comments replies invites invitations"
	postedHolds    = "hold holds reserve"

	// What stands before the name of an operation.
	ofOperations = ofProcedures + " graphql gql"
	ofProcedures = "rpc jsonrpc"

	mostWords = 9
)

// oneOf reports whether a word, in letters of any size, is in a list.
func oneOf(list, word string) bool {
	for w := range strings.SplitSeq(list, " ") {
		if len(w) == len(word) && strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// anyOf reports whether one of the words of a name is in a list.
func anyOf(list, name string) bool {
	var buf [mostWords]string
	for _, w := range splitWords(buf[:0], name) {
		if oneOf(list, w) {
			return true
		}
	}
	return false
}

// restClass returns the class of a route that is no procedure, by its last segment.
func restClass(route string) string {
	last := route[strings.LastIndexByte(route, '/')+1:]
	switch {
	case oneOf(postedSearches, last):
		return SearchClass
	case oneOf(postedMessages, last):
		return MessageClass
	case oneOf(postedHolds, last[strings.LastIndexAny(last, "-_")+1:]):
		return HoldClass
	}
	return ""
}

// operation divides a route as [procedure] does, and knows how operations of GraphQL
// are written, too: /graphql/Feed and graphql:Feed.
func operation(route string) (service, name string, remote bool) {
	if service, name, remote = procedure(route); remote {
		return service, name, true
	}
	at := strings.LastIndexAny(route, "/:")
	if at < 0 || at == len(route)-1 {
		return "", route, false
	}
	if oneOf(ofOperations, strings.TrimPrefix(route[:at], "/")) {
		return "", route[at+1:], true
	}
	return "", route, false
}

// splitWords appends the words of a name: getOrder, get_order and GetOrder have two.
// Beyond the room of words the rest is left out.
func splitWords(words []string, name string) []string {
	begin := 0
	end := func(i int) {
		if i > begin && len(words) < cap(words) {
			words = append(words, name[begin:i])
		}
		begin = i
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '-' || c == '_' || c == '.' || c == ':' || c == '/':
			end(i)
			begin = i + 1
		case isUpper(c) && i > 0 && (!isUpper(name[i-1]) || i+1 < len(name) && isLower(name[i+1])):
			end(i)
		}
	}
	end(len(name))
	return words
}
