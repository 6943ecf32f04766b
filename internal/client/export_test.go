package client

// Pin is the check of a realm at login and at each start.
func (a Address) Pin(realm string) (string, error) { return a.pin(realm) }

// StoreAt returns a store in a file of a test's choice.
func StoreAt(path string) Store { return Store{path} }
