package score

// Hearer hears of scores that change where they are stored. Its methods are called one
// at a time.
type Hearer interface {
	// Whole says that all changes from now on are told, until Broken.
	Whole()
	// Broken says that changes may have been missed, and are, until Whole.
	Broken()
	// Changed tells what stands under a key from now on. key is not to be kept.
	Changed(key string, v Value)
}
