package confine

// Remains says how to find what is left of a process tree whose launcher was
// killed. The tree's first process ends with its launcher; those that it had
// started do not.
type Remains struct {
	// Name and User are those of the tree's Policy.
	Name string
	User User
	// Session is the number of its first process, or 0 when nobody knows it any
	// more. It may be given only at the moment at which the launcher is found to
	// be gone: later the number may be another's.
	Session int
	// Env are entries of its environment that together no other tree has, such as
	// TMPDIR=/its/own. Without any, environments are not looked at.
	Env []string
}
